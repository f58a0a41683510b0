//! Which run may start when: due times, lanes, and slots of groups that have limits.

mod admission;
mod group;
mod groups;
#[cfg(test)]
mod naive;
mod rank;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use admission::{Admission, Candidate, Free};
