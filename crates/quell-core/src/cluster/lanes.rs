//! What members decide together of lanes: whose turn it is.

use std::sync::Arc;

use crate::RunId;
#[cfg(doc)]
use crate::cluster::Cluster;
#[cfg(doc)]
use crate::store::LaneRule;

/// What an append has decided of a root with a lane, as [`Cluster::take_placed`] yields it.
///
/// # Examples
///
/// ```
/// use quell_core::RunId;
/// use quell_core::cluster::Placed;
///
/// let run = RunId::from_text("order-7");
/// let placed = Placed { run, lane: "thread-1".into(), has_turn: true, replaced: Vec::new() };
/// assert!(placed.has_turn);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whose turn it is, and whose it was")]
pub struct Placed {
    /// The root.
    pub run: RunId,
    /// Its lane.
    pub lane: Arc<str>,
    /// Whether it has the lane from now on. If not, it waits for its turn.
    pub has_turn: bool,
    /// The roots of other members in whose place it is, and that its member has stopped
    /// ([`LaneRule::Replace`]).
    pub replaced: Vec<RunId>,
}

/// A member asks whose turn it is in a lane, as [`Cluster::turns`] takes it.
///
/// # Examples
///
/// ```
/// use quell_core::RunId;
/// use quell_core::cluster::TurnAsk;
///
/// let next = Some(RunId::from_text("order-7"));
/// let ask = TurnAsk { lane: "thread-1".into(), next };
/// assert_eq!(&*ask.lane, "thread-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a lane, and who would be next")]
pub struct TurnAsk {
    /// The lane.
    pub lane: Arc<str>,
    /// The root of this member that is to have it next; none if no root of it waits.
    pub next: Option<RunId>,
}
