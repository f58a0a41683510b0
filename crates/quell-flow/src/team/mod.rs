//! [`Team`] is a run whose children are its members.
//!
//! Each member has an id of its own, can be cancelled alone, and is stopped with the team. Each
//! delegation of a task to members is recorded as a tool call of the team, as in the frameworks
//! whose contracts have teams. [`Team::on_member_failed`] and [`Team::on_member_stopped`] set, for
//! all modes, what happens to the team when a member fails or is stopped alone.

mod builder;
mod delegate;
mod lead;
mod member;
mod rounds;

pub use builder::{OnMember, Team};
pub use delegate::{Delegated, Members};
pub use member::Member;
pub(crate) use rounds::{Tasks, rounds, tasks};
