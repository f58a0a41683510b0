//! Teams: members that are runs of their own under one roof.
//!
//! A team is a run whose children are its members: each has an id of its own, can be cancelled
//! alone, and is stopped with the team. Handing a task to members is recorded as a tool call of the
//! team, as the frameworks do whose contracts show teams. What becomes of a team whose member
//! failed or was stopped alone is said once for all modes, by [`Team::on_member_failed`] and
//! [`Team::on_member_stopped`].

mod builder;
mod delegate;
mod lead;
mod member;

pub use builder::{OnMember, Team};
pub use delegate::{Delegated, Members};
pub use member::Member;
