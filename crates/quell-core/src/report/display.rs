//! Reports and their rows as short text.

use std::fmt;

use crate::{RunReport, RunRow};

/// A line per run, two columns further to the right than its parent. `quell-report` draws it with
/// all details.
///
/// # Examples
///
/// ```
/// use quell_core::{Counts, RunId, RunKind, RunReport, RunRow, RunStatus};
/// use std::time::SystemTime;
///
/// let now = SystemTime::now();
/// let id = RunId::from_text("tour");
/// let mut tour = RunRow::new(id, RunKind::Workflow, "tour".into(), RunStatus::Completed, now);
/// tour.quiescent = true;
/// let mut hotel = tour.clone();
/// (hotel.depth, hotel.name, hotel.status) = (1, "hotel".into(), RunStatus::TimedOut);
/// hotel.aborted = true;
/// let report = RunReport::new(vec![tour, hotel], Counts::default());
/// assert_eq!(report.to_string(), "\"tour\": completed\n  \"hotel\": timed-out, aborted");
/// ```
impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, row) in self.rows.iter().enumerate() {
            let margin = 2 * usize::try_from(row.depth).unwrap_or(usize::MAX).min(DEPTH_SHOWN_MAX);
            let line_end = if nth == 0 { "" } else { "\n" };
            write!(f, "{line_end}{:margin$}{row}", "")?;
        }
        match self.omitted.total() {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more"),
        }
    }
}

/// Name, status, cause and error in one line, whatever they contain, and whether it executes.
impl fmt::Display for RunRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In quotes: a name may contain what steers a terminal.
        write!(f, "{:?}: {}", self.name, self.status)?;
        if let Some(cause) = &self.cause {
            write!(f, ", {}", cause.kind)?;
        }
        if self.aborted {
            f.write_str(", aborted")?;
        }
        if !self.abandoned.is_empty() {
            write!(f, ", {} abandoned", self.abandoned.len())?;
        }
        if !self.quiescent && self.status.is_terminal() {
            f.write_str(", not quiescent")?;
        }
        match &self.error {
            Some(error) => write!(f, ", {error:?}"),
            None => Ok(()),
        }
    }
}

/// Deeper runs are shown at this depth.
const DEPTH_SHOWN_MAX: usize = 32;
