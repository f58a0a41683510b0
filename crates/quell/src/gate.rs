//! [`Gate`] is what a root asks of admission: its lane, its due time and its priority.

use std::sync::Arc;
use std::time::Instant;

use crate::queue::Scope;
use crate::sync::OnceLock;

/// What becomes of a run whose lane is busy: it has a root that has not ended. Which one is decided
/// in one step with the acceptance of the new run, and also those count that are due later. What
/// becomes of it if another node has a run of the lane, says the chapter
/// [`nodes`](crate::manual::nodes#lanes).
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// use quell::{CauseKind, Engine, OnBusy, RunSpec, SubmitError};
///
/// let engine = Engine::new();
/// let reply = |on_busy| RunSpec::agent("reply").lane("thread-1", on_busy);
/// let first = engine.submit(reply(OnBusy::Reject), async |ctx| {
///     ctx.stopped().await;
///     Ok("cut short")
/// }).unwrap().into_ref();
///
/// let refused = engine.submit(reply(OnBusy::Reject), async |_| Ok(())).unwrap_err();
/// assert_eq!(refused, SubmitError::LaneBusy { lane: "thread-1".into(), run: first.id() });
/// let joined = engine.submit(reply(OnBusy::JoinExisting), async |_| Ok(())).unwrap_err();
/// assert_eq!(joined, SubmitError::LaneJoined(first.id()));
///
/// let second = engine.submit(reply(OnBusy::CancelExisting), async |_| Ok("whole")).unwrap();
/// assert_eq!(second.superseded(), [first.clone()]);
/// assert_eq!(first.ended().await.cause.as_ref().unwrap().kind, CauseKind::Superseded);
/// assert_eq!(second.await.unwrap(), "whole");
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnBusy {
    /// It waits for its turn, the highest priority first, of equals first come, first served.
    #[default]
    Enqueue,
    /// It is refused with [`SubmitError::LaneBusy`](crate::SubmitError::LaneBusy), and nothing is
    /// made.
    Reject,
    /// It takes the place of the runs that the lane has. Those that wait never start. All of them
    /// are stopped, with cause [`Superseded`](quell_core::CauseKind::Superseded), by the time the
    /// submit returns, also if the new run is due later;
    /// [`RunHandle::superseded`](crate::RunHandle::superseded) names them. The new one starts when
    /// the one that runs has ended.
    ///
    /// A submit that is refused stops nothing, unless it is a store that refuses it, later. It is
    /// also refused, with
    /// [`SubmitError::LimitReached`](crate::SubmitError::LimitReached), if the lane has more than
    /// [`limits::SUPERSEDED_MAX`](crate::limits::SUPERSEDED_MAX) runs. Of two such submits one
    /// supersedes the other.
    CancelExisting,
    /// As [`CancelExisting`](Self::CancelExisting), and what those runs have saved is taken back:
    /// see [`CancelRequest::rollback`](quell_core::CancelRequest::rollback).
    RollbackExisting,
    /// It is refused with [`SubmitError::LaneJoined`](crate::SubmitError::LaneJoined), which names
    /// the newest run that the lane has and that is not stopping, and nothing is made: it claims no
    /// idempotency key either. If all of them are stopping, it waits for its turn.
    JoinExisting,
}

/// A moment in the life of an engine's lanes: the runs that have come by then. Of two moments the
/// later one is the greater.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// use quell::{Engine, OnBusy, RunSpec, SubmitError};
///
/// let engine = Engine::new();
/// let urgent = || RunSpec::agent("urgent").lane("thread-1", OnBusy::CancelExisting);
///
/// let mark = engine.lane_mark();
/// let may_go = engine.lane("thread-1").iter().all(|run| run.owner() == Some("ada"));
/// assert!(may_go, "so far");
/// let of_ben = RunSpec::agent("reply").owner("ben").lane("thread-1", OnBusy::Enqueue);
/// let of_ben = engine.submit(of_ben, async |_| Ok(())).unwrap();
/// let refused = engine.submit(urgent().lane_unchanged_since(mark), async |_| Ok(()));
/// let busy = SubmitError::LaneBusy { lane: "thread-1".into(), run: of_ben.id() };
/// assert_eq!(refused.unwrap_err(), busy);
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneMark(pub(crate) u64);

/// The lane of a run.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) key: Arc<str>,
    pub(crate) on_busy: OnBusy,
}

/// What a root asks of admission besides a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    pub(crate) lane: Option<Lane>,
    /// The lane has no run that came after it.
    pub(crate) unchanged_since: Option<LaneMark>,
    pub(crate) not_before: Option<Instant>,
    pub(crate) priority: i8,
    /// No limit concerns it.
    pub(crate) is_unlimited: bool,
    /// The queue that is full, and how many may wait in it: it may start, and not wait for another
    /// node. Set when admission takes it in.
    pub(crate) full: OnceLock<(Scope, usize)>,
}
