//! The contract, call by call, in one process and over sockets.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::print_stderr, reason = "a race names its seed")]

/// Section 2: who asks.
mod access;
/// Section 3: the calls, and what other contracts see.
mod calls;
/// Section 4: the table of cancels.
mod cancel;
/// Idempotency, deadlines, prefixes.
mod extensions;
/// Ids of callers, twice.
mod identity;
/// What is lost is marked.
mod marks;
/// Cancels against ends, and against starts.
mod races;
/// Section 5: the table of refusals, and its order.
mod refusals;
/// The same over sockets; clients that vanish.
mod sockets;
mod support;
