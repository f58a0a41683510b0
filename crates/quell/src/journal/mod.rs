//! What happens to runs, on its way into a [`Store`](quell_core::store::Store).
//!
//! A step of a run leaves an [`Entry`] in the [`Journal`], under the lock of its node: so the
//! entries of one run are in the order of its decisions. The [`Writer`] takes them on a thread of
//! its own, has records made of them where no lock is held, appends them, and tells the runs what
//! came of it. No body, no stop and no end ever waits for the store; who wants to know whether
//! something is durable asks [`RunRef::stored`](crate::RunRef::stored).

mod append;
mod doubted;
mod entry;
mod fit;
mod giving_up;
mod held;
mod journal;
mod leaving;
mod look_behind;
mod queue;
mod slow;
#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests;
mod unaccepted;
mod writer;

pub(crate) use doubted::Doubted;
pub(crate) use entry::{Entry, Given, Recorded};
pub(crate) use fit::to_record;
pub(crate) use journal::Journal;
pub(crate) use writer::{Heard, Writer};
