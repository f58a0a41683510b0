//! The engine and parallel steps under a scheduler that draws what goes on next (rung 4).
//!
//! ```sh
//! RUSTFLAGS="--cfg quell_shuttle" cargo test --profile model --package quell-schedules \
//!     --target-dir target/shuttle -- --nocapture
//! ```
//!
//! Where the models of loom play every interleaving of two or three threads, these draw thousands
//! for whole trees, half of them at random and half by probabilistic concurrency testing (PCT).
//! What is real: all of the engine with its control thread, and the parallel step. What is not:
//!
//! - Locks, atomics, tasks and threads are shuttle's, the map of runs is two of its maps, and time
//!   passes when the schedule says so (`crates/quell/src/sync/scheduled.rs`). Atomics are
//!   sequentially consistent: weaker orders are loom's business.
//! - Tokens of tokio-util, channels and sets of futures, reference counts: they are entered and
//!   left between two points at which the schedule may switch, so they are atomic here.
//! - Blocking closures and tokio's timers (policies with a deadline or a stagger, the pauses of a
//!   retry) are not played.
//!
//! `QUELL_SEED` repeats a model, `QUELL_SCHEDULES` says how many schedules of each kind are played.
//! Whoever fails names the seed, and shuttle prints the schedule. A wake-up that is lost is a
//! deadlock, which shuttle reports.
#![cfg(quell_shuttle)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod claims;
mod crowd;
mod detach;
mod disk;
mod doors;
mod ends;
mod journal;
mod limits;
mod parallel;
mod pauses;
mod play;
mod queue;
mod readers;
mod trees;
mod witness;
