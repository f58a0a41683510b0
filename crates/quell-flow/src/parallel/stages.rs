//! [`Stages`]: where each branch of a parallel step stands, and how many places are taken.
//!
//! ```text
//!  Waiting ───► Running ───► Ended
//!     │            │ └─────► Lingering ───► Ended
//!     │            └───────► Detached
//!     └──► NotStarted
//! ```
//!
//! Nothing here starts, stops or waits for a run: the driver does, and says here what became of it.

use std::mem;
use std::sync::Arc;

use quell::{RunHandle, RunRef};

use super::branch::Body;
use super::needs::{GivenUp, Needs};
use crate::foreign::Foreign;

/// Where one branch stands. What it counts as is in its row.
pub(super) enum Stage<T> {
    /// It was not started, and may still be: it is among [`Stages::starts`].
    Waiting,
    /// It was started, and the driver has not heard of its end. It takes a place. The handle holds
    /// its outcome as soon as it has ended.
    Running(RunHandle<T>),
    /// It has ended, and something of it still executes: it keeps its place. A branch only lingers
    /// while others wait for a place.
    Lingering,
    /// It has ended, and takes no place.
    Ended,
    /// It left the step at the decision, and the step hears no more of it.
    Detached,
    /// It never starts: the step was decided first, or a branch that it needs did not complete.
    NotStarted,
}

/// What it takes to start a branch.
pub(super) struct Start<T> {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Its body.
    pub(super) body: Foreign<Body<T>>,
}

/// The stages of all branches, by place. The counts are those of `all`, so that no event has to
/// look at every branch.
pub(super) struct Stages<T> {
    /// The stage of each branch, in the order of declaration.
    all: Vec<Stage<T>>,
    /// What it takes to start each that is waiting. Beside the stages, not in them: that would make
    /// each larger for good (bench `parallel`).
    starts: Vec<Option<Start<T>>>,
    /// Which of those that are waiting may start, and in which order.
    needs: Needs,
    /// How many branches are `Waiting`.
    waiting: usize,
    /// How many branches are `Running`.
    running: usize,
    /// How many branches are `Lingering`.
    lingering: usize,
    /// How many places there are.
    limit: usize,
}

impl<T> Stages<T> {
    /// Takes the branches in the order of declaration. None is started.
    pub(super) fn new(starts: Vec<Start<T>>, needs: Needs, limit: usize) -> Self {
        let (all, waiting) = (starts.iter().map(|_| Stage::Waiting).collect(), starts.len());
        let starts = starts.into_iter().map(Some).collect();
        Self { all, starts, needs, waiting, running: 0, lingering: 0, limit }
    }

    /// Tells whether a branch waits.
    pub(super) fn any_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Tells whether a branch was started and has not ended, as far as the driver has heard.
    pub(super) fn any_running(&self) -> bool {
        self.running > 0
    }

    /// Tells whether a branch waits for nothing but the time to start it.
    pub(super) fn has_startable(&self) -> bool {
        self.needs.next().is_some() && self.running + self.lingering < self.limit
    }

    /// Yields the branches that wait.
    pub(super) fn waiting(&self) -> Vec<usize> {
        let all = if self.any_waiting() { &*self.all } else { &[] };
        let waits = |branch: &usize| matches!(all[*branch], Stage::Waiting);
        (0..all.len()).filter(waits).collect()
    }

    /// Yields the run of a branch that is running.
    pub(super) fn run(&self, branch: usize) -> Option<&RunRef> {
        match &self.all[branch] {
            Stage::Running(handle) => Some(handle.run()),
            _ => None,
        }
    }

    /// Yields the runs of the branches that are running, with their places.
    pub(super) fn runs(&self) -> impl Iterator<Item = (usize, &RunRef)> {
        let stages = if self.any_running() { &*self.all } else { &[] };
        let runs = stages.iter().enumerate();
        runs.filter_map(|(branch, stage)| match stage {
            Stage::Running(handle) => Some((branch, handle.run())),
            _ => None,
        })
    }

    /// Tells whether a run has ended and the driver has not heard of it.
    pub(super) fn any_unheard(&self) -> bool {
        self.runs().any(|(_, run)| run.status().is_terminal())
    }

    /// Yields the branches whose runs have ended unheard, in the order of their ends.
    pub(super) fn unheard(&self) -> Vec<usize> {
        let ended = self.runs().filter(|(_, run)| run.status().is_terminal());
        let mut ended: Vec<_> = ended.map(|(branch, run)| (run.row().ended_at, branch)).collect();
        ended.sort_by_key(|(at, _)| *at);
        ended.into_iter().map(|(_, branch)| branch).collect()
    }

    /// `Waiting` → `Running`: starts the next branch with `spawn`, if one may start. If `spawn`
    /// panics, as the destructor of a body that is refused may, the branch still counts as waiting.
    pub(super) fn start_next(
        &mut self,
        spawn: impl FnOnce(usize, Start<T>) -> RunHandle<T>,
    ) -> Option<(usize, RunRef)> {
        let branch = self.needs.next()?;
        let handle = spawn(branch, self.starts[branch].take()?);
        let run = handle.run().clone();
        self.needs.start(branch);
        self.waiting -= 1;
        self.all[branch] = Stage::Running(handle);
        self.running += 1;
        Some((branch, run))
    }

    /// Lets those start that waited for this branch alone.
    pub(super) fn meet_needs_of(&mut self, branch: usize) {
        self.needs.meet(branch);
    }

    /// `Waiting` → `NotStarted`: gives up the branches that need one that did not complete. The
    /// caller drops what it took to start them when all else is in order, since destructors may
    /// panic.
    pub(super) fn give_up_dependants(&mut self, branch: usize) -> Vec<(GivenUp, Option<Start<T>>)> {
        let given_up = self.needs.fail(branch);
        self.waiting -= given_up.len();
        let take = |lost: GivenUp| {
            self.all[lost.branch] = Stage::NotStarted;
            (lost, self.starts[lost.branch].take())
        };
        given_up.into_iter().map(take).collect()
    }

    /// `Running` → `Ended`. Yields the handle; none if the driver heard of the end before.
    pub(super) fn end(&mut self, branch: usize) -> Option<RunHandle<T>> {
        let handle = self.leave_running(branch, Stage::Ended)?;
        debug_assert!(handle.run().status().is_terminal(), "its run has not ended");
        Some(handle)
    }

    /// `Running` → `Detached`.
    pub(super) fn detach(&mut self, branch: usize) {
        // Its outcome is nobody's: dropping the handle stops nothing.
        drop(self.leave_running(branch, Stage::Detached).map(RunHandle::into_ref));
    }

    fn leave_running(&mut self, branch: usize, to: Stage<T>) -> Option<RunHandle<T>> {
        let stage = &mut self.all[branch];
        match mem::replace(stage, to) {
            Stage::Running(handle) => {
                self.running -= 1;
                Some(handle)
            }
            other => {
                *stage = other;
                None
            }
        }
    }

    /// `Ended` → `Lingering`.
    pub(super) fn linger(&mut self, branch: usize) {
        debug_assert!(matches!(self.all[branch], Stage::Ended), "only what ended lingers");
        self.all[branch] = Stage::Lingering;
        self.lingering += 1;
    }

    /// `Lingering` → `Ended`: gives the place back.
    pub(super) fn quiesce(&mut self, branch: usize) {
        if let Stage::Lingering = self.all[branch] {
            self.all[branch] = Stage::Ended;
            self.lingering -= 1;
        }
    }

    /// `Waiting` → `NotStarted`: gives up the branches that wait. The caller drops what it yields
    /// when all else is in order, since destructors may panic.
    pub(super) fn give_up_waiting(&mut self) -> Vec<Option<Start<T>>> {
        for branch in self.waiting() {
            self.all[branch] = Stage::NotStarted;
        }
        (self.waiting, self.needs) = (0, Needs::default());
        mem::take(&mut self.starts)
    }
}
