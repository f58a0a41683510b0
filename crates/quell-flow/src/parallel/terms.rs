//! [`Terms`]: the times of branches, and what a stop of one alone means, by what they declare and
//! what the step does.

use std::sync::Arc;
use std::time::Duration;

use quell::RunSpec;

use super::branch::Own;
use super::options::{OnCancelled, OnTimeout};
use crate::foreign::Foreign;
use crate::times::timed;

/// What the branches of a step have of their own, and what they leave to the step.
pub(super) struct Terms<T> {
    /// What each branch has of its own, by place.
    pub(super) own: Vec<Option<Box<Own<T>>>>,
    /// The defaults of the step.
    pub(super) shared: Shared<T>,
}

/// The terms of the branches that name none.
pub(super) struct Shared<T> {
    /// The timeout.
    pub(super) timeout: Option<Duration>,
    /// The grace.
    pub(super) grace: Option<Duration>,
    /// The idle limit.
    pub(super) idle: Option<Duration>,
    /// Makes the `on_timeout`. A function, since a `T` need not be `Clone`.
    pub(super) on_timeout: Foreign<Box<dyn Fn() -> OnTimeout<T> + Send>>,
    /// The `on_cancelled`.
    pub(super) on_cancelled: OnCancelled,
}

impl<T> Terms<T> {
    /// Makes the spec of the run of a branch.
    pub(super) fn spec(&self, branch: usize, name: Arc<str>) -> RunSpec {
        let Shared { timeout, grace, idle, .. } = self.shared;
        let spec = RunSpec::branch(name);
        match &self.own[branch] {
            Some(own) => {
                timed(spec, own.timeout.or(timeout), own.grace.or(grace), own.idle.or(idle))
            }
            None => timed(spec, timeout, grace, idle),
        }
    }

    /// Takes what a branch counts as if it reaches its timeout or idle limit, which it does once.
    pub(super) fn take_on_timeout(&mut self, branch: usize) -> OnTimeout<T> {
        let own = self.own[branch].as_mut().and_then(|own| own.on_timeout.take());
        own.map_or_else(|| (self.shared.on_timeout)(), Foreign::into_inner)
    }

    /// Yields what a branch counts as if a caller cancels it alone.
    pub(super) fn on_cancelled(&self, branch: usize) -> OnCancelled {
        let own = self.own[branch].as_ref().and_then(|own| own.on_cancelled);
        own.unwrap_or(self.shared.on_cancelled)
    }
}
