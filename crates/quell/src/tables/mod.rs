//! Tables of an engine that know of a run only what they are told: none locks a node while it is
//! locked itself. Only while limits are changed, a lock is held that nothing else takes.

pub(crate) mod admission;
pub(crate) mod aged;
pub(crate) mod claims;
pub(crate) mod coming;
pub(crate) mod ids;
pub(crate) mod lane_turns;
pub(crate) mod ledger;
pub(crate) mod registry;
pub(crate) mod reservations;
pub(crate) mod retention;
