//! What remains of a run.

mod display;
mod nodes;
mod report;

pub use report::{Abandoned, Counts, RunReport, RunRow, Work};
