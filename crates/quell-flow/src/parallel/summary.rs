//! What is known of a parallel step, and the summary of it that survives whatever happens.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{Cause, CauseKind, RunContext, RunRef, RunStatus, Written};

use super::settled::{BranchRow, CountedAs, Settled, SummaryRecord};

/// The rows of a step. When it is dropped, in whatever way, it writes the summary into the
/// report, as far as known.
///
/// The body of a parallel step does not listen: on a stop it is polled once after its last branch
/// ended, and on an abort not even that. A destructor runs in all cases.
pub(super) struct Summary {
    ctx: RunContext,
    policy: Arc<str>,
    pub(super) decided_at: Option<SystemTime>,
    pub(super) decided_by: Option<usize>,
    pub(super) rows: Vec<BranchRow>,
    /// The runs of the branches that were started and have not ended.
    pub(super) live: Vec<Option<RunRef>>,
    is_written: bool,
}

impl Summary {
    pub(super) fn new(ctx: RunContext, policy: Arc<str>, rows: Vec<BranchRow>) -> Self {
        let live = rows.iter().map(|_| None).collect();
        Self { ctx, policy, decided_at: None, decided_by: None, rows, live, is_written: false }
    }

    /// Marks a branch that will not be started.
    pub(super) fn give_up(
        &mut self,
        branch: usize,
        counted_as: CountedAs,
        cause: Option<Arc<Cause>>,
    ) {
        let row = &mut self.rows[branch];
        row.status = RunStatus::Cancelled;
        row.counted_as = counted_as;
        row.cause = cause;
    }

    /// Brings the rows of the branches that run up to date.
    pub(super) fn refresh(&mut self) {
        for (row, run) in self.rows.iter_mut().zip(&self.live) {
            if let Some(run) = run {
                row.copy_from(run);
            }
        }
    }

    /// Writes the summary of a step that is settled, and yields what remains of it.
    pub(super) fn close<T>(&mut self, values: Vec<Option<T>>) -> Settled<T> {
        self.give_up_waiting();
        let summary = self.take_summary();
        let (rows, settled_at) = (Arc::clone(&summary.branches), summary.settled_at);
        self.is_written = self.try_write(summary);
        if !self.is_written {
            // The summary has to say less than what is yielded.
            self.rows = rows.to_vec();
        }
        self.settle(values, rows, settled_at)
    }

    pub(super) fn to_settled<T>(&self, values: Vec<Option<T>>) -> Settled<T> {
        self.settle(values, self.rows.as_slice().into(), self.settled_at())
    }

    fn settle<T>(
        &self,
        values: Vec<Option<T>>,
        rows: Arc<[BranchRow]>,
        settled_at: Option<SystemTime>,
    ) -> Settled<T> {
        let decided_at = self.decided_at.unwrap_or(SystemTime::UNIX_EPOCH);
        let (policy, decided_by) = (Arc::clone(&self.policy), self.decided_by);
        Settled { values, policy, decided_at, settled_at, decided_by, rows }
    }

    /// Yields when the last branch ended, or the decision if that came later; if all have ended.
    fn settled_at(&self) -> Option<SystemTime> {
        if self.live.iter().any(Option::is_some) {
            return None;
        }
        self.rows.iter().filter_map(|row| row.ended_at).chain(self.decided_at).max()
    }

    /// Writes the summary. Each attempt says less: all of it, without what branches handed over,
    /// without rows.
    fn write(&mut self) {
        self.refresh();
        for (row, run) in self.rows.iter_mut().zip(&self.live) {
            if run.is_some() && row.status.is_terminal() {
                // The step was stopped before it could look at the branch.
                row.counted_as = CountedAs::Ignored;
            }
        }
        self.give_up_waiting();
        let mut summary = self.take_summary();
        if self.try_write(summary.clone()) {
            return;
        }
        for row in Arc::make_mut(&mut summary.branches) {
            (row.output, row.partial) = (None, None);
        }
        if !self.try_write(summary.clone()) {
            summary.branches_omitted = summary.branches.len();
            summary.branches = Arc::default();
            self.try_write(summary);
        }
    }

    /// What was not started by now never is: the step was stopped, or its policy panicked.
    fn give_up_waiting(&mut self) {
        let is_waiting = |row: &BranchRow| row.run.is_none() && row.status == RunStatus::Queued;
        if !self.rows.iter().any(is_waiting) {
            return;
        }
        let cause = self.ctx.run().row().cause;
        let cause = cause.map(|cause| Arc::new(cause.inherited(CauseKind::ParentStopped)));
        for branch in 0..self.rows.len() {
            if is_waiting(&self.rows[branch]) {
                self.give_up(branch, CountedAs::Ignored, cause.clone());
            }
        }
    }

    /// Makes the summary of the rows, which are part of it then.
    fn take_summary(&mut self) -> SummaryRecord {
        let decided_by = self.decided_by.and_then(|by| self.rows.get(by));
        SummaryRecord {
            policy: Arc::clone(&self.policy),
            decided_at: self.decided_at,
            settled_at: self.settled_at(),
            decided_by: decided_by.map(|row| Arc::clone(&row.name)),
            branches: mem::take(&mut self.rows).into(),
            branches_omitted: 0,
        }
    }

    fn try_write(&self, summary: SummaryRecord) -> bool {
        let summary = summary.into_payload();
        summary.is_ok_and(|summary| self.ctx.set_summary(summary) != Written::TooLarge)
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        if !self.is_written {
            self.write();
        }
    }
}
