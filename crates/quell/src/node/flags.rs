//! The bits of a node's word: what readers may know without its lock.

use quell_core::RunStatus;

use crate::faults;

pub(crate) const STATUS: u32 = 0b111;
/// The body has used the stop API.
pub(crate) const LISTENS: u32 = 1 << 3;
/// A stop was accepted.
pub(crate) const STOPPING: u32 = 1 << 4;
/// The body is to be dropped at its next await.
pub(crate) const DROP: u32 = 1 << 5;
/// The body is to be polled once more, then dropped if it is pending.
pub(crate) const POLL_DROP: u32 = 1 << 6;
/// The hard deadline has come.
pub(crate) const ABORTING: u32 = 1 << 7;
/// Terminal and quiescent.
pub(crate) const OVER: u32 = 1 << 8;
/// Not quiescent when it became terminal.
pub(crate) const RESTLESS: u32 = 1 << 9;
/// A stop waits for the next checkpoint.
pub(crate) const SCHEDULED: u32 = 1 << 11;
/// Waits for its turn to start.
pub(crate) const HELD: u32 = 1 << 12;
/// Spawned by the cleanup of a parent that was stopping already.
pub(crate) const CLEANUP: u32 = 1 << 13;
/// Its body has failed, and what is left of the run is to stop.
pub(crate) const FAILING: u32 = 1 << 14;
/// Without a parent: submitted, or detached.
pub(crate) const ROOT: u32 = 1 << 10;

/// Nobody can ask for the value any more.
pub(crate) const UNREAD: u32 = 1 << 15;

/// Somebody tells the runs below of the stop, and is not through.
pub(crate) const TELLING: u32 = 1 << 16;

/// The first poll of the body has returned: what it did in it is known.
pub(crate) const PARKED: u32 = 1 << 17;

/// Admission knows the run: it waits, holds a lane or a slot, or did.
pub(crate) const GATED: u32 = 1 << 19;

/// The tree was forgotten on request: it is not kept when it leaves.
pub(crate) const FORGOTTEN: u32 = 1 << 20;

/// It was spawned, and waits for its due time: what its root asks of admission is not for it, also
/// when it has left its parent.
pub(crate) const UNDER: u32 = 1 << 21;

/// A token from outside stops the run: it is asked before the run starts.
pub(crate) const LINKED: u32 = 1 << 18;

/// Yields the place of a status among [`RunStatus::ALL`].
pub(crate) const fn status_bits(status: RunStatus) -> u32 {
    status as u32
}

const _: () = assert!(RunStatus::ALL.len() <= STATUS as usize + 1, "every status has its bits");

pub(crate) fn status(bits: u32) -> RunStatus {
    if faults::on("read-what-was") && bits & STOPPING != 0 {
        return RunStatus::Running;
    }
    RunStatus::ALL.get((bits & STATUS) as usize).copied().unwrap_or(RunStatus::Queued)
}
