//! [`Leaving`] is the lock of admission for a run that gives something back, and [`Free`] what is
//! to be done once it is released.

use std::sync::Arc;
use std::time::Instant;

use super::Candidate;
use super::quotas::Bell;
use super::state::State;
use crate::sync::MutexGuard;

/// The lock of admission, for a run that leaves or is paused. Under it the caller writes the event
/// that says so.
#[must_use]
pub(crate) struct Leaving<'a, R> {
    state: MutexGuard<'a, State<R>>,
    bell: Option<&'a Arc<Bell>>,
}

/// Runs that may start now, and whether the limits of all nodes are to be looked at. The caller
/// sees to both when it holds no lock.
#[must_use]
pub(crate) struct Free<R> {
    runs: Vec<Arc<R>>,
    bell: Option<Arc<Bell>>,
}

impl<R> Default for Free<R> {
    fn default() -> Self {
        Self { runs: Vec::new(), bell: None }
    }
}

impl<'a, R: Candidate> Leaving<'a, R> {
    pub(super) const fn new(state: MutexGuard<'a, State<R>>, bell: Option<&'a Arc<Bell>>) -> Self {
        Self { state, bell }
    }

    /// Takes out a run that was stopped before it started, or that has ended: it leaves its queue
    /// and hands its lane over. One that is quiescent gives back its `slots`, too. `publish`, which
    /// takes no lock, lets everybody see it meanwhile.
    pub(crate) fn leave(
        self,
        run: &Arc<R>,
        slots: bool,
        now: Instant,
        publish: impl FnOnce(),
    ) -> Free<R> {
        let Self { mut state, bell } = self;
        state.leave(run);
        if slots {
            state.vacate(run);
        }
        publish();
        Free::release(&mut state, bell, now).0
    }

    /// Takes a root out of its queue that was stopped while it waited to go on after a pause. Its
    /// lane it keeps until it has ended. `publish` as in [`Leaving::leave`].
    pub(crate) fn stand_down(self, run: &Arc<R>, now: Instant, publish: impl FnOnce()) -> Free<R> {
        let Self { mut state, bell } = self;
        state.stand_down(run);
        publish();
        Free::release(&mut state, bell, now).0
    }

    /// Takes the slots of a root that is paused. Its lane it keeps. `publish`, which takes no lock,
    /// lets everybody see it meanwhile.
    pub(crate) fn rest(self, run: &Arc<R>, now: Instant, publish: impl FnOnce()) -> Free<R> {
        let Self { mut state, bell } = self;
        state.vacate(run);
        publish();
        Free::release(&mut state, bell, now).0
    }
}

impl<R: Candidate> Free<R> {
    /// Takes out the runs that may start now, or a piece of them, and tells whether there may be
    /// more.
    pub(super) fn release(
        state: &mut State<R>,
        bell: Option<&Arc<Bell>>,
        now: Instant,
    ) -> (Self, bool) {
        let (runs, may_go_on) = state.release(now);
        let bell = bell.filter(|_| state.groups.judge_quotas()).map(Arc::clone);
        (Self { runs, bell }, may_go_on)
    }

    /// Tells whether there is nothing to be done.
    pub(crate) const fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.bell.is_none()
    }

    /// Takes in what another step has left to be done.
    pub(crate) fn add(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.bell = self.bell.take().or(other.bell);
    }

    /// Releases the runs. The caller holds no lock.
    pub(crate) fn start(self) {
        let Self { runs, bell } = self;
        for run in runs {
            run.release();
        }
        if let Some(bell) = bell {
            bell.ring();
        }
    }
}
