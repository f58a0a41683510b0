//! [`passes_on`]: runs that have ended because one below them asks for an answer.
//!
//! Only a root is paused. The runs between it and the one that asks end with the failure that
//! passes the question on; nothing of them has failed, and the next attempt begins them anew.

use quell::{RunRow, RunStatus};

/// Tells whether a run has ended because it, or one below it, asks for an answer.
pub(crate) fn passes_on(row: &RunRow) -> bool {
    let is_it = |error: &str| error.starts_with(BEGIN) && error.ends_with(END);
    row.status == RunStatus::Failed && row.error.as_deref().is_some_and(is_it)
}

/// Yields the word for how a run stands.
pub(crate) fn status(row: &RunRow) -> &'static str {
    if passes_on(row) { RunStatus::Paused.as_str() } else { row.status.as_str() }
}

/// What is around the name of the run that asks, in the words of [`quell::PauseAsked`].
const BEGIN: &str = "run `";
const END: &str = "` waits for an answer";
