//! The values of a thread, how a run changes them, and the steps in which it does.

mod fold;
mod overlay;
mod steps;

pub(crate) use fold::{Fold, Values, change_said};
pub(crate) use overlay::{bytes_of, fitting_input, keyed, merged_input};
pub(crate) use steps::{Keep, START, Step, state_id};
