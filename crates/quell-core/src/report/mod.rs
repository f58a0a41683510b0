//! What remains of a run.

mod display;
mod report;

pub use report::{Abandoned, Counts, RunReport, RunRow, Work};
