//! What the benches share: the hand-made peer, the race of two sides, and how figures are printed.
//!
//! Every bench compares two sides in one process and one run, interleaved, on one runtime with two
//! workers. Both drive from a spawned task. A round ends untimed, when both sides are at rest, so
//! that no side pays for what the other leaves behind.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]
#![expect(clippy::missing_panics_doc, reason = "a bench that cannot go on says so and stops")]

pub mod bare;
pub mod figures;
pub mod peer;
pub mod race;
pub mod submitters;
