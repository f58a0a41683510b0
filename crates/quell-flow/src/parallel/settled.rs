//! [`Settled`]: what remains of a parallel step, with a [`BranchRow`] per branch.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{
    Abandoned, Cause, Payload, PayloadError, RunId, RunKind, RunRef, RunReport, RunRow, RunStatus,
    Usage, limits,
};
use serde::{Deserialize, Serialize};

use super::texts::{millis, wall};

/// A parallel step that was decided for values. Every branch has ended, unless the next step
/// started at the decision.
///
/// # Examples
///
/// ```
/// use quell_flow::Settled;
///
/// fn best(settled: &Settled<u32>) -> Option<u32> {
///     settled.values.iter().flatten().copied().max()
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settled<T> {
    /// The value of each branch that was Ok at the decision, in the order of declaration; `None`
    /// for every other branch.
    pub values: Vec<Option<T>>,
    /// The name of the policy.
    pub policy: Arc<str>,
    /// When the outcome was known: the end of the branch that decided it, or the policy's deadline.
    pub decided_at: SystemTime,
    /// When the last branch ended; none if some still run, which needs
    /// [`StartNext::Decided`](crate::StartNext::Decided).
    pub settled_at: Option<SystemTime>,
    /// The place of the branch that decided it, if one did.
    pub decided_by: Option<usize>,
    /// Every branch, once, in the order of declaration, as it stood when this was made. Shared
    /// with the output of the step.
    pub rows: Arc<[BranchRow]>,
}

impl<T> Settled<T> {
    /// Yields the values alone, in the order of declaration.
    pub fn into_values(self) -> Vec<T> {
        self.values.into_iter().flatten().collect()
    }

    /// Yields the first value in the order of declaration: of a race, the only one.
    pub fn into_first(self) -> Option<T> {
        self.values.into_iter().flatten().next()
    }

    /// Finds the first row of that name.
    pub fn row(&self, name: &str) -> Option<&BranchRow> {
        self.rows.iter().find(|row| &*row.name == name)
    }
}

/// One branch of a parallel step, as its report shows it.
///
/// # Examples
///
/// ```
/// use quell_flow::{BranchRow, CountedAs};
///
/// fn was_late(row: &BranchRow) -> bool {
///     row.counted_as == CountedAs::Ignored && row.late_success
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BranchRow {
    /// Its name.
    pub name: Arc<str>,
    /// Its run; none if it was not started.
    pub run: Option<RunId>,
    /// How it stands. A branch that was not started is `Queued` until the step is decided.
    pub status: RunStatus,
    /// What it counted as.
    pub counted_as: CountedAs,
    /// How often its body was started: once, or as often as it was tried; zero if never.
    pub attempts: u32,
    /// Whether it left the step when that was decided; the rest of the row is as of then.
    pub detached: bool,
    /// Why it was stopped, or not started.
    pub cause: Option<Arc<Cause>>,
    /// The branch that it [needs](crate::Branch::needs) and that did not complete, if it was not
    /// started because of that. Left out of its text if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmet: Option<Arc<str>>,
    /// When its body was first polled.
    #[serde(with = "wall")]
    pub started_at: Option<SystemTime>,
    /// When its stop was accepted.
    #[serde(with = "wall")]
    pub stopped_at: Option<SystemTime>,
    /// When it ended.
    #[serde(with = "wall")]
    pub ended_at: Option<SystemTime>,
    /// How long its stop took from acceptance to the end.
    #[serde(rename = "grace_used_ms", with = "millis")]
    pub grace_used: Option<Duration>,
    /// What it used. Left out of its text if that is nothing.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
    /// What its body set as its output, if it completed.
    pub output: Option<Payload>,
    /// What it left when it was stopped or failed; see [`RunRow::partial`].
    pub partial: Option<Payload>,
    /// Why it failed, if it did.
    pub error: Option<Arc<str>>,
    /// What of it was abandoned and still executed when it ended.
    pub abandoned: Vec<Abandoned>,
    /// Whether it came to a value that was not used: it was too late, or its stop does not count
    /// as Ok.
    pub late_success: bool,
    /// Errors that changed nothing: its failure after the decision, and errors of its cleanup.
    pub suppressed_errors: Vec<Arc<str>>,
}

impl BranchRow {
    pub(crate) fn waiting(name: Arc<str>) -> Self {
        Self {
            name,
            run: None,
            status: RunStatus::Queued,
            counted_as: CountedAs::Pending,
            attempts: 0,
            detached: false,
            cause: None,
            unmet: None,
            started_at: None,
            stopped_at: None,
            ended_at: None,
            grace_used: None,
            usage: Usage::default(),
            output: None,
            partial: None,
            error: None,
            abandoned: Vec::new(),
            late_success: false,
            suppressed_errors: Vec::new(),
        }
    }

    /// Copies what the run reports of itself, and tells whether it is quiescent. The driver fills
    /// in the rest.
    pub(crate) fn copy_from(&mut self, run: &RunRef) -> bool {
        // Most branches have no children, and their own row is all there is: a report of the whole
        // tree costs several times as much.
        if run.children().is_empty() {
            let row = run.row();
            self.attempts = u32::from(row.started_at.is_some());
            return self.take(row);
        }
        let report = run.report();
        let is_quiescent = self.take(report.own_row().clone());
        self.attempts = attempts(&report);
        self.abandoned.clone_from(&report.abandoned);
        is_quiescent
    }

    fn take(&mut self, row: RunRow) -> bool {
        let stop_took = row.stop_took();
        self.run = Some(row.run);
        self.status = row.status;
        self.cause = row.cause;
        self.started_at = row.started_at;
        self.stopped_at = row.stopped_at;
        self.ended_at = row.ended_at;
        self.grace_used = stop_took;
        self.usage = row.usage;
        self.output = row.output;
        self.partial = row.partial;
        self.error = row.error;
        self.abandoned = row.abandoned;
        self.suppressed_errors = row.cleanup_errors;
        row.quiescent
    }

    /// Yields a length that its JSON text does not exceed.
    fn bytes_max(&self) -> usize {
        let cause = self.cause.as_deref().map_or(0, |cause| {
            let words = [&cause.message, &cause.by].into_iter().flatten();
            FIXED_BYTES_MAX + words.map(|words| text(words)).sum::<usize>()
        });
        let unmet = self.unmet.as_deref().map_or(0, text);
        let set = [&self.output, &self.partial].into_iter().flatten();
        let errors = self.error.iter().chain(&self.suppressed_errors);
        let abandoned = self.abandoned.iter().map(|work| {
            FIXED_BYTES_MAX + text(&work.name) + work.site.as_ref().map_or(0, |site| text(site))
        });
        FIXED_BYTES_MAX
            + text(&self.name)
            + cause
            + unmet
            + set.map(Payload::bytes_max).sum::<usize>()
            + errors.map(|error| text(error)).sum::<usize>()
            + abandoned.sum::<usize>()
    }
}

/// Yields a length that a text does not exceed as JSON: each byte may have to be escaped in six.
const fn text(text: &str) -> usize {
    text.len().saturating_mul(6).saturating_add("\"\",".len())
}

/// Keys, ids, instants, numbers and punctuation of a row, of a cause, of abandoned work.
const FIXED_BYTES_MAX: usize = 1_000;

/// Counts the attempts that a run made, or the run itself if it makes none.
fn attempts(report: &RunReport) -> u32 {
    let started = u32::from(report.own_row().started_at.is_some());
    let is_attempt = |row: &&RunRow| row.parent == Some(report.run) && row.kind == RunKind::Attempt;
    let made = report.rows.iter().filter(is_attempt).count();
    u32::try_from(made).unwrap_or(u32::MAX).max(started)
}

/// What a branch counted as for the policy.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_flow::CountedAs::Ok, quell_flow::CountedAs::Partial);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CountedAs {
    /// Nothing was decided yet, and it had not ended.
    Pending,
    /// It completed: its value.
    Ok,
    /// It was stopped alone: its partial value.
    Partial,
    /// It timed out: the default value.
    Default,
    /// It was stopped alone, or not started by the time of the decision, or a branch that it needs
    /// did not complete: as if it had not been there.
    Skipped,
    /// It failed, or its stop counts as a failure.
    Failed,
    /// Nothing: it ended after the decision, or the step was stopped with it or before looking at
    /// it. Reports say `noise`.
    #[serde(rename = "noise")]
    Ignored,
}

impl CountedAs {
    /// Yields the name on the wire: kebab-case, and `noise` for [`CountedAs::Ignored`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Default => "default",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Ignored => "noise",
        }
    }
}

/// What the row of a parallel step in a report says of it, whatever became of the step.
///
/// Times are those of the report's text, in milliseconds, and an output that is null counts as
/// none.
///
/// # Examples
///
/// ```
/// use quell::{CancelRequest, Engine, RunSpec, RunStatus};
/// use quell_flow::{Parallel, StepSummary};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::workflow("flow"), async |ctx| {
///     let step = Parallel::new("step").branch("slow", async |_| std::future::pending().await);
///     step.run(&ctx).await.map(|settled| settled.into_values())
/// });
/// let run: quell::RunHandle<Vec<u32>> = run.unwrap();
/// tokio::task::yield_now().await;
/// run.cancel(CancelRequest::because("enough"));
/// let report = run.ended().await;
/// let summary = report.rows.iter().find_map(StepSummary::of).unwrap();
/// assert_eq!(summary.decided_at, None);
/// assert_eq!(summary.row("slow").unwrap().status, RunStatus::Cancelled);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepSummary {
    /// The name of the policy.
    pub policy: Arc<str>,
    /// When the policy decided, if it did.
    #[serde(with = "wall")]
    pub decided_at: Option<SystemTime>,
    /// When the last branch ended, if all have.
    #[serde(with = "wall")]
    pub settled_at: Option<SystemTime>,
    /// The name of the branch that decided, if one did.
    pub decided_by: Option<Arc<str>>,
    /// Every branch, in the order of declaration.
    pub branches: Arc<[BranchRow]>,
    /// Rows that were left out, because the summary would have been over its bound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub branches_omitted: usize,
}

impl StepSummary {
    /// Reads the summary in the row of a parallel step; none if the row has no such summary.
    pub fn of(row: &RunRow) -> Option<Self> {
        row.summary.as_ref()?.parse().ok()
    }

    /// Finds the first row of that name.
    pub fn row(&self, name: &str) -> Option<&BranchRow> {
        self.branches.iter().find(|row| &*row.name == name)
    }

    /// Makes the payload. Its text is written for the first reader, since few read it and to write
    /// a row takes as long as to run an empty branch; at once only if the estimate is over the
    /// bound, so that the text itself has to show whether it fits.
    pub(crate) fn into_payload(self) -> Result<Payload, PayloadError> {
        let bytes_max = self.bytes_max();
        if bytes_max <= limits::PAYLOAD_BYTES_MAX {
            return Ok(Payload::json_later(self, bytes_max));
        }
        Payload::json(&self)
    }

    /// Yields a length that its text does not exceed.
    fn bytes_max(&self) -> usize {
        let own = FIXED_BYTES_MAX + text(&self.policy) + self.decided_by.as_deref().map_or(0, text);
        self.branches.iter().map(BranchRow::bytes_max).fold(own, usize::saturating_add)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_branch_counts_as_has_the_name_that_reports_show() {
        for (counted_as, name) in [
            (CountedAs::Pending, "pending"),
            (CountedAs::Ok, "ok"),
            (CountedAs::Partial, "partial"),
            (CountedAs::Default, "default"),
            (CountedAs::Skipped, "skipped"),
            (CountedAs::Failed, "failed"),
            (CountedAs::Ignored, "noise"),
        ] {
            assert_eq!(counted_as.as_str(), name);
            assert_eq!(serde_json::json!(counted_as), name);
        }
    }
}
