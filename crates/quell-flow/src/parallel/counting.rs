//! What a branch that ended counts as.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{Cause, Outcome, RunError, RunRef, RunStatus};

use super::options::{OnCancelled, OnTimeout};
use super::settled::CountedAs;
use super::step::PartialFrom;
use crate::failures::message_of;
use crate::join::End;

/// The words of a step for branches that are stopped, by place.
pub(super) struct Counting<T> {
    pub(super) on_timeout: Vec<OnTimeout<T>>,
    pub(super) on_cancelled: Vec<OnCancelled>,
    pub(super) partial_from: Box<PartialFrom<T>>,
}

impl<T> Counting<T> {
    /// Weighs how a branch ended before the decision. Nothing counts that ended because its step is
    /// stopping.
    pub(super) fn weigh(
        &mut self,
        branch: usize,
        run: &RunRef,
        outcome: Outcome<T>,
        is_stopping: bool,
    ) -> (CountedAs, Option<End<T>>) {
        let (cause, value) = match outcome {
            Outcome::Completed(value) => return (CountedAs::Ok, Some(End::Ok(value))),
            Outcome::Failed(error) => return failed(message_of(&error)),
            Outcome::Stopped { cause, partial } => (cause, partial),
        };
        if run.status() == RunStatus::TimedOut {
            return self.timed_out(branch, run, &cause, value);
        }
        if is_stopping {
            return (CountedAs::Ignored, None);
        }
        match self.on_cancelled[branch] {
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
        match mem::take(&mut self.on_timeout[branch]) {
            OnTimeout::Fail => failed(format!("timed out ({cause})")),
            OnTimeout::Skip => (CountedAs::Skipped, Some(End::Skipped)),
            OnTimeout::Partial => self.partial(run, value),
            OnTimeout::Default(value) => (CountedAs::Default, Some(End::Ok(value))),
        }
    }

    /// Takes what a stopped branch left.
    fn partial(&self, run: &RunRef, value: Option<T>) -> (CountedAs, Option<End<T>>) {
        match run.partial_output(value, &self.partial_from) {
            Some(value) => (CountedAs::Partial, Some(End::Ok(value))),
            None => (CountedAs::Skipped, Some(End::Skipped)),
        }
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

fn failed<T>(words: impl Into<Arc<str>>) -> (CountedAs, Option<End<T>>) {
    (CountedAs::Failed, Some(End::Failed(words.into())))
}
