//! [`Counting`]: what a branch that ended counts as, and [`Ends`]: what the policy sees of it.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{Cause, Outcome, RunError, RunRef, RunStatus};

use super::options::{OnCancelled, OnTimeout};
use super::settled::CountedAs;
use super::step::PartialFrom;
use super::terms::Terms;
use crate::failures::message_of;
use crate::foreign::{Foreign, ForeignVec};
use crate::join::{Decision, End, Ended, Policy, SoFar};

/// Says what ends count as, by what the step and its branches declare.
pub(super) struct Counting<T> {
    /// What a stop of one branch alone means.
    pub(super) terms: Terms<T>,
    /// Makes a value of what a stopped branch left.
    pub(super) partial_from: Foreign<Box<PartialFrom<T>>>,
}

/// How far the step is when a branch ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Ends count.
    Open,
    /// The step is being stopped. What that stop ended does not count.
    Stopping,
    /// The policy has decided: nothing counts any more.
    Decided,
}

/// What one end counts as.
pub(super) struct Counted<T> {
    /// As what in the report.
    pub(super) in_report: CountedAs,
    /// As what for the policy; none if the policy does not see it.
    pub(super) end: Option<End<T>>,
    /// Whether the branch left a value that is not used.
    pub(super) late_success: bool,
}

impl<T> Counting<T> {
    /// Says what the end of a branch counts as.
    pub(super) fn count(
        &mut self,
        branch: usize,
        run: &RunRef,
        outcome: Outcome<T>,
        phase: Phase,
    ) -> Counted<T> {
        let has_value =
            matches!(outcome, Outcome::Completed(_) | Outcome::Stopped { partial: Some(_), .. });
        let (counted_as, end) = match phase {
            Phase::Open | Phase::Stopping => self.weigh(branch, run, outcome, phase),
            Phase::Decided => (CountedAs::Ignored, None),
        };
        // The value of a default is not the branch's.
        let is_used = matches!(end, Some(End::Ok(_))) && counted_as != CountedAs::Default;
        Counted { in_report: counted_as, end, late_success: has_value && !is_used }
    }

    fn weigh(
        &mut self,
        branch: usize,
        run: &RunRef,
        outcome: Outcome<T>,
        phase: Phase,
    ) -> (CountedAs, Option<End<T>>) {
        let (cause, value) = match outcome {
            Outcome::Completed(value) => return (CountedAs::Ok, Some(End::Ok(value))),
            Outcome::Failed(error) => return failed(message_of(&error)),
            Outcome::Stopped { cause, partial } => (cause, partial),
        };
        // Its own deadline came first: the stop of the step had no part in it.
        if run.status() == RunStatus::TimedOut {
            return self.timed_out(branch, run, &cause, value);
        }
        if phase == Phase::Stopping {
            return (CountedAs::Ignored, None);
        }
        match self.terms.on_cancelled(branch) {
            OnCancelled::Fail => failed(format!("cancelled ({cause})")),
            OnCancelled::Skip => (CountedAs::Skipped, Some(End::Skipped)),
            OnCancelled::Partial => self.partial(run, value),
        }
    }

    fn timed_out(
        &mut self,
        branch: usize,
        run: &RunRef,
        cause: &Arc<Cause>,
        value: Option<T>,
    ) -> (CountedAs, Option<End<T>>) {
        match self.terms.take_on_timeout(branch) {
            OnTimeout::Fail => failed(format!("timed out ({cause})")),
            OnTimeout::Skip => (CountedAs::Skipped, Some(End::Skipped)),
            OnTimeout::Partial => self.partial(run, value),
            OnTimeout::Default(value) => (CountedAs::Default, Some(End::Ok(value))),
        }
    }

    /// Takes what a stopped branch left.
    fn partial(&self, run: &RunRef, value: Option<T>) -> (CountedAs, Option<End<T>>) {
        match run.partial_output(value, &**self.partial_from) {
            Some(value) => (CountedAs::Partial, Some(End::Ok(value))),
            None => (CountedAs::Skipped, Some(End::Skipped)),
        }
    }
}

/// What ended before the decision, and counts.
pub(super) struct Ends<T> {
    /// In the order of the ends.
    ended: ForeignVec<Ended<T>>,
    /// How many of these are Ok.
    ok: usize,
    /// How many of these failed.
    failed: usize,
}

impl<T: 'static> Ends<T> {
    pub(super) fn with_capacity(branches: usize) -> Self {
        Self { ended: ForeignVec::new(Vec::with_capacity(branches)), ok: 0, failed: 0 }
    }

    /// Adds an end, which is the latest.
    pub(super) fn note(&mut self, branch: usize, name: &Arc<str>, end: End<T>) {
        match end {
            End::Ok(_) => self.ok += 1,
            End::Failed(_) => self.failed += 1,
            End::Skipped => {}
        }
        self.ended.push(Ended { branch, name: Arc::clone(name), end });
    }

    /// Asks a policy whether that is enough. The last end decides by itself against the step.
    pub(super) fn ask(
        &self,
        policy: &Policy<T>,
        branches: usize,
        is_over: bool,
    ) -> Option<Decision> {
        let Self { ended, ok, failed } = self;
        let so_far = SoFar { branches, ended, ok: *ok, failed: *failed, is_over };
        let decision = policy.decide(&so_far);
        decision.or_else(|| so_far.all_ended().then(|| Decision::undecided(policy.name())))
    }

    /// Takes the values, in the order of declaration.
    pub(super) fn take_values(&mut self, branches: usize) -> ForeignVec<Option<T>> {
        let mut values = ForeignVec::new((0..branches).map(|_| None).collect::<Vec<Option<T>>>());
        for Ended { branch, end, .. } in mem::take(&mut *self.ended) {
            if let End::Ok(value) = end {
                values[branch] = Some(value);
            }
        }
        values
    }
}

/// Tells whether the engine never accepted the run of a branch; then no log knows its id.
///
/// A refused run ended at the instant at which it was made. Only if that is so too of one that was
/// stopped, the list of children has to tell: it may be long.
pub(super) fn was_refused<T>(
    step: &RunRef,
    run: &RunRef,
    ended_at: Option<SystemTime>,
    outcome: &Outcome<T>,
) -> bool {
    let is_over_at_once = || ended_at == Some(run.queued_at());
    match outcome {
        Outcome::Completed(_) => false,
        Outcome::Failed(error) => matches!(error, RunError::Refused(_)),
        Outcome::Stopped { .. } => is_over_at_once() && !step.children().contains(run),
    }
}

fn failed<T>(message: impl Into<Arc<str>>) -> (CountedAs, Option<End<T>>) {
    (CountedAs::Failed, Some(End::Failed(message.into())))
}
