//! [`Summary`]: what is known of a parallel step, and written into the report whatever happens.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{CancelRequest, Cause, CauseKind, RunContext, RunStatus, Written};

use super::needs::GivenUp;
use super::settled::{BranchRow, CountedAs, Settled, StepSummary};
use super::stages::{Stages, Start};
use crate::foreign::ForeignVec;
use crate::skipped;

/// The rows and the stages of the branches of a step. When it is dropped, in whatever way, it
/// writes the summary into the report, as far as known, and into the log that the step was settled,
/// if it was.
///
/// The body of a parallel step does not listen: on a stop it is polled once after its last branch
/// ended, and on an abort not even that. A destructor runs in all cases.
pub(super) struct Summary<T> {
    /// The step, whose row gets the summary.
    ctx: RunContext,
    /// The name of the policy.
    policy: Arc<str>,
    /// When the policy decided; none before.
    pub(super) decided_at: Option<SystemTime>,
    /// The branch that decided, if one did.
    pub(super) decided_by: Option<usize>,
    /// What the summary says of each branch. Behind while the branch runs, until a `refresh`.
    pub(super) rows: Vec<BranchRow>,
    /// Where each branch stands.
    pub(super) stages: Stages<T>,
    /// Whether the summary was written, so that dropping this writes nothing.
    is_written: bool,
}

impl<T> Summary<T> {
    pub(super) fn new(
        ctx: RunContext,
        policy: Arc<str>,
        rows: Vec<BranchRow>,
        stages: Stages<T>,
    ) -> Self {
        Self { ctx, policy, decided_at: None, decided_by: None, rows, stages, is_written: false }
    }

    /// Notes the decision and writes it into the log, unless a stop of the step came first: then
    /// that is the outcome, and nothing is decided any more.
    pub(super) fn decide(&mut self, decided_at: SystemTime, decided_by: Option<usize>) -> bool {
        let name = decided_by.map(|by| Arc::clone(&self.rows[by].name));
        let is_decided = self.ctx.emit_decided(decided_at, name).is_ok();
        if is_decided {
            (self.decided_at, self.decided_by) = (Some(decided_at), decided_by);
        }
        is_decided
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

    /// Marks the branches that need one that did not complete, and yields them with what it took to
    /// start them. The caller drops that when all else is in order.
    pub(super) fn give_up_dependants(
        &mut self,
        need: usize,
        at: SystemTime,
    ) -> Vec<(usize, Option<Start<T>>)> {
        let given_up = self.stages.give_up_dependants(need);
        let mark = |(GivenUp { branch, need }, start)| {
            let need = Arc::clone(&self.rows[need].name);
            let words = format!("needs `{need}`, which did not complete");
            let request = CancelRequest::because(&words).kind(CauseKind::SiblingFailed);
            let cause = request.to_cause(at, self.ctx.id());
            self.give_up(branch, CountedAs::Skipped, Some(Arc::new(cause)));
            self.ctx.emit_skipped(Arc::clone(&self.rows[branch].name), Arc::clone(&need));
            self.rows[branch].unmet = Some(need);
            (branch, start)
        };
        given_up.into_iter().map(mark).collect()
    }

    /// Brings the rows of the branches that run up to date.
    pub(super) fn refresh(&mut self) {
        for (branch, run) in self.stages.runs() {
            self.rows[branch].copy_from(run);
        }
    }

    /// Writes the summary of a step that is settled, and yields what remains of it.
    pub(super) fn close(&mut self, values: ForeignVec<Option<T>>) -> Settled<T> {
        self.give_up_waiting();
        let record = self.take_record();
        let (rows, settled_at) = (Arc::clone(&record.branches), record.settled_at);
        self.is_written = true;
        self.write(record);
        self.settle(values, rows, settled_at)
    }

    pub(super) fn to_settled(&self, values: ForeignVec<Option<T>>) -> Settled<T> {
        self.settle(values, self.rows.as_slice().into(), self.settled_at())
    }

    fn settle(
        &self,
        values: ForeignVec<Option<T>>,
        rows: Arc<[BranchRow]>,
        settled_at: Option<SystemTime>,
    ) -> Settled<T> {
        let decided_at = self.decided_at.unwrap_or(SystemTime::UNIX_EPOCH);
        let (policy, decided_by) = (Arc::clone(&self.policy), self.decided_by);
        Settled { values: values.into_inner(), policy, decided_at, settled_at, decided_by, rows }
    }

    /// Yields when the last branch ended, or the decision if that came later; if all have ended.
    fn settled_at(&self) -> Option<SystemTime> {
        if self.stages.any_running() {
            return None;
        }
        self.rows.iter().filter_map(|row| row.ended_at).chain(self.decided_at).max()
    }

    /// Makes the record of a step that was not closed.
    fn take_record_as_it_stands(&mut self) -> StepSummary {
        self.refresh();
        for (branch, _) in self.stages.runs() {
            let row = &mut self.rows[branch];
            if row.status.is_terminal() {
                // The step was stopped before it could look at the branch.
                row.counted_as = CountedAs::Ignored;
            }
        }
        self.give_up_waiting();
        self.take_record()
    }

    /// Writes the summary, and into the log when the step was settled. Each attempt says less: all
    /// of it, without what branches handed over, without rows.
    fn write(&self, mut record: StepSummary) {
        let settled_at = record.settled_at;
        let mut written = self.try_write(record.clone());
        if written == Written::TooLarge {
            for row in Arc::make_mut(&mut record.branches) {
                (row.output, row.partial) = (None, None);
            }
            written = self.try_write(record.clone());
        }
        if written == Written::TooLarge {
            record.branches_omitted = record.branches.len();
            record.branches = Arc::default();
            written = self.try_write(record);
        }
        // Last: who hears of the event finds the summary.
        if written != Written::Late
            && let Some(settled_at) = settled_at
        {
            self.ctx.emit_settled(settled_at);
        }
    }

    /// Marks what still waits: the step was stopped, or its policy panicked, and nothing starts any
    /// more. The bodies are dropped later: a destructor may panic, and the summary comes first.
    fn give_up_waiting(&mut self) {
        if !self.stages.any_waiting() {
            return;
        }
        let cause = self.ctx.run().row().cause;
        let cause = cause.map(|cause| Arc::new(cause.inherited(CauseKind::ParentStopped)));
        for branch in self.stages.waiting() {
            self.give_up(branch, CountedAs::Ignored, cause.clone());
        }
    }

    /// Makes the record of the rows, which are part of it then.
    fn take_record(&mut self) -> StepSummary {
        let decided_by = self.decided_by.and_then(|by| self.rows.get(by));
        StepSummary {
            policy: Arc::clone(&self.policy),
            decided_at: self.decided_at,
            settled_at: self.settled_at(),
            decided_by: decided_by.map(|row| Arc::clone(&row.name)),
            branches: mem::take(&mut self.rows).into(),
            branches_omitted: 0,
        }
    }

    fn try_write(&self, record: StepSummary) -> Written {
        let summary = record.into_payload();
        summary.map_or(Written::TooLarge, |summary| skipped::write_beside(&self.ctx, &summary))
    }
}

impl<T> Drop for Summary<T> {
    fn drop(&mut self) {
        if !self.is_written {
            let record = self.take_record_as_it_stands();
            self.write(record);
        }
    }
}
