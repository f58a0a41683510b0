//! The contract, call by call, in one process and over sockets.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

/// Who asks (contract, section 2).
mod access;
/// The calls, and what other contracts see (contract, section 3).
mod calls;
/// The table of cancels (contract, section 4).
mod cancel;
/// The document and the routes.
mod document;
/// Idempotency, deadlines, prefixes.
mod extensions;
/// Ids of callers, twice.
mod identity;
/// What is lost is marked.
mod marks;
/// What is shown of a run is in the run.
mod memory;
mod nodes;
/// Runs that wait for an answer.
mod pausing;
/// Cancels against ends, and against starts.
mod races;
/// The table of refusals, and its order (contract, section 5).
mod refusals;
/// Runs that are only in the store.
mod restart;
/// The same over sockets; clients that vanish.
mod sockets;
/// What a store has to do with answers.
mod stored;
mod support;
