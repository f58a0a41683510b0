//! [`LaneRule`]: what an append asks of the lane of a root that it accepts.

/// What an append asks of the lane of a root, in one step with the acceptance. The lane is busy if
/// another root of it was accepted with a rule, and has not ended or is not quiescent. One that
/// nobody can see, because it was on a node that is lost
/// ([`Work::Node`](crate::Work::Node)), counts until it has ended.
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use quell_core::store::{Accepted, Epoch, LaneRule};
/// use quell_core::{RunId, RunKind};
///
/// let (run, at) = (RunId::from_text("order-7"), SystemTime::now());
/// let mut accepted = Accepted::new(run, RunKind::Agent, "order".into(), Epoch::new(1, 1), at);
/// (accepted.lane, accepted.lane_rule) = (Some("thread-1".into()), Some(LaneRule::Refuse));
/// assert_ne!(accepted.lane_rule, Some(LaneRule::Wait));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "every store of several nodes must know each")]
pub enum LaneRule {
    /// It is stored, and waits if the lane is busy.
    Wait,
    /// It is refused if another node has a run of the lane. One of the own node is none: the engine
    /// has decided about those, unless it has ended and is not quiescent.
    Refuse,
    /// It is refused if it had to wait: if another node has a run of the lane, but for those that
    /// are due later and do not have it. One of the own node counts as for
    /// [`Refuse`](Self::Refuse).
    NoWait,
    /// It takes the place of what other nodes have, which are stopped, and waits until none of them
    /// has the lane: those that wait do not get it any more. It is refused if one of those is of
    /// another owner.
    Replace,
    /// It is refused if another node has a run of the lane that is not stopping, and waits if all
    /// of them are.
    Join,
}
