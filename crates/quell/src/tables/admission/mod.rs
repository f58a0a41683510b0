//! Which run may start when: due times, lanes, and slots of groups that have limits.

mod admission;
mod change;
mod group;
mod groups;
mod held;
mod lane_runs;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod pieces;
mod rank;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use admission::{Admission, Candidate, Entered, Free, Leaving};
