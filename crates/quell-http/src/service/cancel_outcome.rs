//! [`CancelOutcome`]: what came of a request to cancel.

use std::sync::Arc;

use axum::http::HeaderMap;
use quell::{Cause, Disposition, RunRef, RunRow};

use crate::lookup_error::LookupError;
use crate::run_state::write_headers;
use crate::run_view::StoredRun;
use crate::service::for_stop::SlowStop;
use crate::wait::Wait;

/// The result of a request to cancel, and of the wait after it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CancelOutcome {
    /// The engine's answer.
    pub disposition: Disposition,
    /// Why the run stops, or stopped; `None` if it was not stopped.
    pub cause: Option<Arc<Cause>>,
    /// Whether the run reached what was waited for. True without a wait; false if no permit for a
    /// wait was left, and of a run that can never be known to be quiescent, if that was waited for.
    pub is_reached: bool,
    /// Whether nothing of the run executes; `None` without a wait.
    pub quiescent: Option<bool>,
    /// The row of the run after the wait; `None` if there is no run.
    pub row: Option<RunRow>,
    /// Whether the stop outlives the process, where a store is to see to that.
    pub stored: Result<(), StopNotStored>,
}

/// The store has not taken a stop, which may be in effect: an adapter does not acknowledge it. The
/// log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stop could not be stored, and a restart may forget it; ask again")]
#[non_exhaustive]
pub struct StopNotStored;

impl CancelOutcome {
    /// Makes the outcome where there is no run: it is unknown, or the stop is remembered.
    pub const fn without_run(disposition: Disposition) -> Self {
        Self {
            disposition,
            cause: None,
            is_reached: true,
            quiescent: None,
            row: None,
            stored: Ok(()),
        }
    }

    /// Makes the outcome where the store could not be asked: nothing is known of the stop.
    pub(crate) const fn not_stored() -> Self {
        let mut outcome = Self::without_run(Disposition::Unknown);
        outcome.stored = Err(StopNotStored);
        outcome
    }

    /// Writes the headers `quell-disposition`, `quell-cause` and `quell-quiescent`.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        write_headers(headers, &self.disposition, self.cause.as_deref(), self.quiescent);
    }

    /// Makes the outcome of a run that is only in the store. One that has not ended is another
    /// process's, or was left to the next one: no stop of it is stored here.
    pub(super) fn of_stored(run: &StoredRun, wait: Wait) -> Self {
        let row = run.report().own_row().clone();
        if !row.status.is_terminal() {
            let unknown = Self::without_run(Disposition::Unknown);
            return Self { stored: Err(StopNotStored), ..unknown };
        }
        Self {
            disposition: Disposition::AlreadyTerminal { status: row.status },
            cause: row.cause.clone(),
            is_reached: wait.is_reached_by(row.quiescent),
            quiescent: (!wait.is_none()).then_some(row.quiescent),
            row: Some(row),
            stored: Ok(()),
        }
    }

    pub(super) async fn after(
        slow: &SlowStop<'_>,
        disposition: Disposition,
        run: &RunRef,
        wait: Wait,
    ) -> Self {
        // A report covers the whole tree. Without a wait the row is enough: a cancel must not cost
        // more for a larger tree.
        let (is_reached, row) = if wait.is_none() {
            (true, run.row())
        } else {
            let waited = wait.of(run).await;
            (waited.is_reached, waited.report.own_row().clone())
        };
        let quiescent = (!wait.is_none()).then_some(row.quiescent);
        // An end that is told of is stored.
        let stored = async {
            let is_over = row.status.is_terminal();
            let stored = if is_over { run.stored().await } else { run.stops_stored().await };
            stored.map_err(|_| LookupError::Unavailable)
        };
        let stored = slow.wait(stored).await.map_err(|_: LookupError| StopNotStored);
        Self {
            disposition,
            cause: row.cause.clone(),
            is_reached,
            quiescent,
            row: Some(row),
            stored,
        }
    }
}
