//! [`render`]: the report of a run as a tree of text, as `quell run` prints it.
//!
//! A line per run, with its status and how long it took; below it why it was stopped, how, what it
//! left, what became of the branches of a parallel step and which steps of a plan were not started;
//! at the end what the stop did, and whether anything still executes. `Display` of a
//! [`RunReport`](quell::RunReport) is the short form.
//!
//! Of a program that failed the report shows what it wrote: all of it, or of each stream the end,
//! at most 200 lines and 32 KiB. Errors above it do not repeat those lines.
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

mod closing;
mod output;
mod parallel;
mod render;
mod skipped;
pub mod text;
mod waiting;

pub use render::render;
