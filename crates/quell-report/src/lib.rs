//! [`render`]: the report of a run as a tree of text, as `quell run` prints it.
//!
//! A line per run, with its status and how long it took; below it why it was stopped, how, what it
//! left and what became of the branches of a parallel step; at the end what the stop did, and
//! whether anything still executes. `Display` of a [`RunReport`](quell::RunReport) is the short
//! form.
//!
//! Everything that comes from a run is printable: it cannot steer a terminal.
//!
//! # Examples
//!
//! ```
//! use quell::{Counts, RunId, RunKind, RunReport, RunRow, RunStatus};
//! use std::time::SystemTime;
//!
//! let now = SystemTime::now();
//! let id = RunId::from_text("search");
//! let row = RunRow::new(id, RunKind::Agent, "search".into(), RunStatus::Completed, now);
//! let report = RunReport::new(vec![row], Counts::default());
//! assert!(quell_report::render(&report).starts_with("search  completed"));
//! ```

mod parallel;
mod render;
pub mod text;

pub use render::render;
