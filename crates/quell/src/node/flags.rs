//! The flags of a node: what readers may know of a run without its lock.
//!
//! The node sets them under its lock, with the exceptions that its invariants name. The low bits
//! are the status; each of the others is one fact that is read on a hot path.

use quell_core::RunStatus;

/// The mask of the status: its place among [`RunStatus::ALL`].
pub(crate) const STATUS: u32 = 0b111;
/// The body has used the stop API: under `StopDelivery::Auto` it is given the grace.
pub(crate) const LISTENS: u32 = 1 << 3;
/// A stop was accepted.
pub(crate) const STOPPING: u32 = 1 << 4;
/// The driver is to drop the body at its next await.
pub(crate) const DROP: u32 = 1 << 5;
/// The driver is to poll the body once more, and to drop it if it is still pending.
pub(crate) const POLL_DROP: u32 = 1 << 6;
/// The hard deadline of an accepted stop has come.
pub(crate) const ABORTING: u32 = 1 << 7;
/// Terminal, and nothing of the subtree executes any more.
pub(crate) const QUIESCENT: u32 = 1 << 8;
/// The run was not quiescent when it became terminal.
pub(crate) const ENDED_NON_QUIESCENT: u32 = 1 << 9;
/// Without a parent: submitted, or detached.
pub(crate) const ROOT: u32 = 1 << 10;
/// A stop waits for the next checkpoint.
pub(crate) const SCHEDULED: u32 = 1 << 11;
/// The run waits for its turn to start.
pub(crate) const AWAITS_ADMISSION: u32 = 1 << 12;
/// Spawned by the cleanup of a parent that was stopping already.
pub(crate) const CLEANUP: u32 = 1 << 13;
/// The run fails, by its body or by a failure of a child that nobody saw: the rest is to stop.
pub(crate) const FAILING: u32 = 1 << 14;
/// No handle is left that could ask for the value of the body.
pub(crate) const VALUE_UNCLAIMED: u32 = 1 << 15;
/// A thread is signalling the stop to the descendants, and has not finished.
pub(crate) const CASCADING: u32 = 1 << 16;
/// The first poll of the body has returned: what the body did in it is known.
pub(crate) const PARKED: u32 = 1 << 17;
/// A token from outside stops the run: it is checked before the run starts.
pub(crate) const LINKED: u32 = 1 << 18;
/// Admission knows the run: it waits, holds a lane or a slot, or did.
pub(crate) const GATED: u32 = 1 << 19;
/// The tree was forgotten on request: it is not kept when it leaves.
pub(crate) const FORGOTTEN: u32 = 1 << 20;
/// The run was spawned with a due time. Lanes and slots are for roots, so admission asks nothing
/// else of it, also when it has left its parent.
pub(crate) const UNDER: u32 = 1 << 21;

/// The acceptance of the root, its answer, or the start of one that had a due time, is not stored
/// yet: its body does not start before.
pub(crate) const AWAITS_STORE: u32 = 1 << 22;
/// The store has refused the root: it does not start, and nothing of it is stored.
pub(crate) const REFUSED: u32 = 1 << 23;
/// The acceptance of the run is stored.
pub(crate) const ACCEPTANCE_STORED: u32 = 1 << 24;
/// With a store: what the tree of the root was charged is given back.
pub(crate) const RELEASED: u32 = 1 << 25;
/// With a store: the process ends and leaves the run paused, or queued to another node. Nothing
/// more of it is stored, so that its successor finds it so.
pub(crate) const LEFT_TO_NEXT: u32 = 1 << 26;
/// With a store: the root has left the live ones.
pub(crate) const RETIRED: u32 = 1 << 27;
/// A client has asked for a pause at the next checkpoint.
pub(crate) const PAUSE_ASKED: u32 = 1 << 28;
/// The run was resumed after a pause, in which it kept its lane.
pub(crate) const RESUMED: u32 = 1 << 29;
/// The run may be paused: it has what makes the body of another attempt.
pub(crate) const RESUMABLE: u32 = 1 << 30;
/// The run goes on from an earlier process, and does not start before its embedder says so.
pub(crate) const HELD: u32 = 1 << 31;

/// Yields the place of a status among [`RunStatus::ALL`].
pub(crate) const fn status_bits(status: RunStatus) -> u32 {
    status as u32
}

const _: () = assert!(RunStatus::ALL.len() <= STATUS as usize + 1, "every status has its bits");

pub(crate) fn status(bits: u32) -> RunStatus {
    RunStatus::ALL.get((bits & STATUS) as usize).copied().unwrap_or(RunStatus::Queued)
}
