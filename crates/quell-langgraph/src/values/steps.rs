//! [`Step`]: what a run leaves after each step of its nodes.
//!
//! # Where checkpoints are
//!
//! In the log of the run. A component that declares nodes
//! ([`Component::nodes`](quell_flow::Component::nodes)) says after each step, in one event, what
//! the state is and what comes next ([`Emit::Step`](quell_flow::Emit::Step)); a checkpoint is what
//! the [`Fold`] of the log is at such an event, and its name is the id of the run with the number
//! of the event as its lower bits. So a checkpoint is stored, charged, shown on other nodes, taken
//! back by a rollback and deleted with its run, in the same commit and at the same instant as the
//! run, and there is no second thing that a crash could leave behind. What is said after a stop was
//! accepted is no checkpoint, as it is no value: the order of the log decides both.
//!
//! [`RunContext::save`](quell::RunContext::save) would keep them as well, per lane. But each save
//! waits for the store, so that a graph would go as fast as its disk; without a store there are
//! none; a lane has one history, in which states that bodies save for themselves would stand
//! between checkpoints; and who reads a thread would have to know which of them belong to runs that
//! are gone. What is given up: a step counts as stored with the next commit, not before the next
//! node begins. A crash may lose the last ones, and the nodes after them run again, as upstream
//! with `durability: "async"`.
//!
//! # How a run goes on
//!
//! The last step says which nodes come next. A run on null input, or with a `command`, starts on
//! the values of the thread and keeps these nodes ([`NodesAsked`](quell_flow::NodesAsked)); its
//! body begins there. If runs of the thread are live, both are known only when it starts: then a
//! stand-in of the graph looks, and calls the body. A run that forks keeps the values on which it
//! starts, and the name of their checkpoint.
//!
//! # What is held
//!
//! Of a run in memory the last step. All others are folded from its log when they are asked for, no
//! more at a time than are shown, and no more than 64 MiB of values. A log holds 4,096 events in
//! memory, and all of them in a store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{RunEvent, RunId, RunStatus, limits};
use uuid::Uuid;

use super::fold::{Fold, Values};
use super::overlay::{bytes_of, overlay};
use crate::wire::rows::About;

/// The node before the first ones, which takes in the input.
pub(crate) const START: &str = "__start__";

/// What a run has left after a step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The number of the event that says so.
    pub(crate) seq: u64,
    pub(crate) at: SystemTime,
    /// The nodes that come next.
    pub(crate) next: Vec<String>,
    pub(crate) values: Option<Arc<Values>>,
    /// Counts the steps of the run; -1 before the first one of a run with input.
    pub(crate) number: i64,
}

impl Step {
    /// Yields its name.
    pub(crate) fn id(&self, run: RunId) -> Uuid {
        state_id(run, low(self.seq))
    }

    /// Yields the number of the event that a name of a step of a run says; none if it names none of
    /// that run.
    pub(crate) fn seq_of(id: Uuid, run: RunId) -> Option<u64> {
        let seq = low(u64::try_from(id.as_u128() & u128::from(u32::MAX)).ok()?);
        (state_id(run, seq) == id).then_some(seq.into())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.next.iter().map(|name| name.len() + size_of::<String>()).sum()
    }
}

/// Yields the name of a state of a run besides that of its end, which has the run's own: clients
/// sort the states of a thread by their names, so that these are in the order of time, as ids of
/// runs are. The lower bits of an id of a run are random, and hardly ever below the number of an
/// event.
pub(crate) fn state_id(run: RunId, low: u32) -> Uuid {
    Uuid::from_u128(run.as_uuid().as_u128() & !u128::from(u32::MAX) | u128::from(low))
}

fn low(seq: u64) -> u32 {
    u32::try_from(seq & u64::from(u32::MAX)).unwrap_or_default()
}

/// Which steps are wanted: the newest ones, so many, at or before an event.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    until: Option<u64>,
    most: usize,
    /// The oldest first.
    steps: VecDeque<Arc<Step>>,
    /// What their values take.
    bytes: usize,
    /// They were more than may be held.
    is_over: bool,
}

impl Keep {
    pub(crate) const fn new(until: Option<u64>, most: usize) -> Self {
        Self { until, most, steps: VecDeque::new(), bytes: 0, is_over: false }
    }

    pub(super) fn take(&mut self, step: &Arc<Step>) {
        if self.until.is_some_and(|until| u64::from(low(step.seq)) > until) {
            return;
        }
        if self.most == 0 || self.is_over {
            return;
        }
        if self.steps.len() == self.most
            && let Some(oldest) = self.steps.pop_front()
        {
            self.bytes -= weight(&oldest);
        }
        self.bytes += weight(step);
        self.steps.push_back(Arc::clone(step));
        if self.bytes > KEPT_BYTES_MAX {
            (self.is_over, self.bytes) = (true, 0);
            self.steps.clear();
        }
    }
}

fn weight(step: &Step) -> usize {
    step.values.as_deref().map_or(0, bytes_of)
}

/// The values of the steps of one run that are held for one answer, in bytes.
const KEPT_BYTES_MAX: usize = 4 * limits::PAYLOAD_BYTES_MAX;

impl Fold {
    /// Makes one that keeps steps.
    pub(crate) fn keeping(keep: Option<Keep>) -> Self {
        Self { keep: keep.map(Box::new), ..Self::default() }
    }

    /// Takes over the steps that another fold of the same log has kept.
    pub(crate) fn keep_as(&mut self, other: Self) {
        self.keep = other.keep;
    }

    /// Yields the steps that were asked for, the oldest first; none if their values are too large
    /// to be held at once.
    pub(crate) fn kept(&mut self) -> Option<Vec<Arc<Step>>> {
        let keep = self.keep.take().unwrap_or_else(|| Box::new(Keep::new(None, 0)));
        (!keep.is_over).then(|| keep.steps.into())
    }

    /// Yields the last step.
    pub(crate) const fn step(&self) -> Option<&Arc<Step>> {
        self.step.as_ref()
    }

    /// Yields the values before the input of the run.
    pub(crate) fn at_start(&self, about: &About) -> Arc<Values> {
        Arc::new(overlay(&about.reducers, self.base.as_deref(), &Values::new()))
    }

    /// Tells whether the run has left something at its end that none of its steps has.
    pub(crate) fn has_own_end(&self) -> bool {
        self.step.as_ref().is_none_or(|step| self.is_step_old || step.values != self.current)
    }

    /// Yields what comes next behind a run with this status: the nodes that it has said, or itself
    /// if it was cut. None if nothing has changed: it was to go on, and was cut before it did.
    pub(crate) fn next(&self, status: RunStatus, about: &About) -> Option<Vec<String>> {
        let is_through = status == RunStatus::Completed;
        Some(match &self.step {
            Some(step) if !(is_through && self.is_step_old) => step.next.clone(),
            _ if is_through => Vec::new(),
            // There was nothing to go on from.
            _ if self.is_empty(about) => return None,
            // A graph of one step has none to go on at.
            _ if !about.has_nodes && about.goes_on => return None,
            _ if !about.has_nodes => vec![about.graph.clone()],
            _ if !about.nodes.next.is_empty() => about.nodes.next.clone(),
            _ if about.goes_on => return None,
            _ => vec![START.to_owned()],
        })
    }

    /// Yields the values that a run with this status has left: those on which it has started if it
    /// has changed nothing. None before the start, or once they were let go.
    pub(crate) fn left(&self, status: RunStatus, about: &About) -> Option<&Arc<Values>> {
        let has_changed = self.next(status, about).is_some();
        self.has_started().then(|| if has_changed { self.current() } else { self.base() })?
    }

    pub(super) fn take_step(&mut self, event: &RunEvent, next: Vec<String>, about: &About) {
        self.fill(about);
        let number = match (&self.step, about.goes_on, self.started) {
            (Some(last), ..) => last.number + 1,
            (None, false, Some((seq, at))) => {
                let (next, values) = (vec![START.to_owned()], Some(self.at_start(about)));
                self.keep_step(Step { seq, at, next, values, number: -1 });
                0
            }
            _ => 0,
        };
        let (seq, at, values) = (event.seq, event.at, self.current.clone());
        self.keep_step(Step { seq, at, next, values, number });
        self.is_step_old = false;
    }

    fn keep_step(&mut self, step: Step) {
        let step = Arc::new(step);
        self.keep.iter_mut().for_each(|keep| keep.take(&step));
        self.step = Some(step);
    }

    /// Of a run with nodes that is cut the last step counts: the node that was cut runs again.
    pub(super) fn fall_back(&mut self) {
        if let Some(step) = &self.step {
            self.current = step.values.clone();
        }
    }
}
