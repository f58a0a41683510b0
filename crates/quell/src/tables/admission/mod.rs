//! Which run may start when: due times, lanes, and slots of groups that have limits.

mod admission;
mod change;
mod group;
mod groups;
mod held;
mod lane_runs;
mod lanes;
mod leaving;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod pieces;
mod quotas;
mod rank;
mod state;
#[cfg(test)]
mod tests;
mod turns;

pub(crate) use admission::{Admission, Candidate, Entered};
pub(crate) use leaving::{Free, Leaving};
pub(crate) use quotas::{Allowance, Need, SlotKey};
