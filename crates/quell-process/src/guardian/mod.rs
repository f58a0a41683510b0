//! A guardian: a process that dies after its embedder, and ends what that leaves behind.
//!
//! An embedder that is killed (SIGKILL, out of memory, an abort) cannot end its programs. So it
//! starts a small process that reads a pipe: which programs begin, which have ended. The system
//! closes the pipe when the embedder dies, however it dies, and the guardian ends the rest: SIGTERM
//! to each group and to what carries its mark, 500 ms later SIGKILL until nothing is left.
//!
//! A program is announced by its mark before it is started, so that there is no moment at which
//! nobody knows it. Its group is told with the time at which its leader began: the number of one
//! that is gone can come to mean a stranger's, also before another guardian is told of it.

mod guard;
mod guarded;
mod ledger;
mod news;
mod take_over;
#[cfg(test)]
mod tests;

pub use guard::{guard, guard_and_tell};
pub(crate) use guarded::{Announced, announce, reaped, started};
pub use guarded::{Guarded, forget_doubt, guarded_by, let_go};
pub use take_over::{TakenOver, take_over};
