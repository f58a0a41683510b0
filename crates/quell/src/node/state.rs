//! [`State`] is what a run is made of, under the lock of its node.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Instant;

use quell_core::lifecycle::Lifecycle;
use quell_core::store::StoreError;
use quell_core::{Abandoned, Cause, Payload, RunId, Usage, Work};
use slab::Slab;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::foreign::RunSpan;
use crate::log::Log;
use crate::marks::call::Inside;
use crate::node::Node;
use crate::node::children::Children;
use crate::node::hook::{Batch, Hook, Unrun};
use crate::node::kept_holds::KeptHolds;
use crate::node::outputs::SummarySets;
use crate::node::pausing::Pausing;
use crate::sync::waiters::Waiters;
use crate::tables::reservations::Remembered;
use crate::time::idle::IdleWatch;
use crate::time::ticks::Ticks;
use crate::time::timers::TimerKey;
use crate::time::times::Times;

/// What a run is made of, under its lock.
pub(crate) struct State {
    /// What is decided about the run: the one state machine.
    pub(crate) life: Lifecycle,
    /// None as long as the events follow from the state.
    pub(crate) log: Option<Arc<Log>>,
    /// Its parent; none for a root, or if the parent is gone. Set anew by `detach`.
    pub(crate) parent: Option<Weak<Node>>,
    /// The id of its parent, which outlives it.
    pub(crate) parent_id: Option<RunId>,
    /// The run's place: steps down the tree, the root being at 1, and among its siblings.
    pub(crate) depth: u32,
    /// Its place in the list of its parent.
    pub(crate) slot: u32,
    /// Its attached children, ended ones that have a row included.
    pub(crate) children: Children,
    /// The watch over signs of life that it belongs to: its own, or that of an ancestor.
    pub(crate) idle: Option<Arc<IdleWatch>>,
    /// Why it stops; set once, when the stop is accepted (I6).
    pub(crate) cause: Option<Arc<Cause>>,
    /// The waker of the task that drives the body, while that is parked.
    pub(crate) body: Option<Waker>,
    /// The wakers of the tasks that wait for a change of its status.
    pub(crate) waiters: Waiters,
    /// What the body returned, until the handle takes it.
    pub(crate) value: Option<Box<dyn Any + Send>>,
    /// Who may still ask for the value.
    pub(crate) reader: Reader,
    /// Why it failed, for as long as a caller may ask.
    pub(crate) failure: Option<Failure>,
    /// What the body set as its output last.
    pub(crate) output: Option<Payload>,
    /// When things happened to it.
    pub(crate) times: Times,
    /// Its body was dropped at the hard deadline.
    pub(crate) aborted: bool,
    /// Its log may hold an emitted event: then a report looks for it.
    pub(crate) has_emitted: bool,
    /// Writes after the end, which were refused (I27).
    pub(crate) late: u32,
    /// Its timer, if it has one.
    pub(crate) armed: Option<TimerKey>,
    /// Its span, if a subscriber of `tracing` wants it, from its submission to its end or pause.
    pub(crate) span: Option<RunSpan>,
    /// What only some runs have, made when first needed.
    pub(crate) extra: Option<Box<RareState>>,
}

/// Who may still ask for the outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The holder of the handle.
    Held,
    /// Nobody: it was read, or given up.
    Gone,
    /// Nobody, and nobody has: a failure would be silent (D5).
    GoneUnread,
}

/// What only some runs have.
#[derive(Default)]
pub(crate) struct RareState {
    /// Hooks that wait for their turn.
    pub(crate) hooks: Vec<Hook>,
    /// How many were registered: the number of the next one.
    pub(crate) hooks_made: u32,
    /// How many were not started.
    pub(crate) hooks_skipped: u32,
    /// Hooks of a stop that are not going to run, and need not, unless a stop comes.
    pub(crate) hooks_unneeded: Vec<Unrun>,
    /// Hooks that were handed out, by the number of their batch.
    pub(crate) batches: BTreeMap<u32, Batch>,
    /// How many batches there were: the number of the next one.
    pub(crate) batches_made: u32,
    /// Work besides the body that executes now. In a slab, as the calls below are: a list in which
    /// each looked for a free place took 19.8 s for 80,000 holds where this takes 0.17 s (debug).
    pub(crate) works: Slab<Piece>,
    /// The token that the body asked for, cancelled with the run.
    pub(crate) token: Option<CancellationToken>,
    /// What ties the run to a token from outside.
    pub(crate) link: Option<TokenLink>,
    /// Why it is to stop at its next checkpoint.
    pub(crate) scheduled: Option<Arc<Cause>>,
    /// Errors and panics after the stop, bounded in number.
    pub(crate) cleanup_errors: Vec<Arc<str>>,
    /// What was still executing when the run became terminal.
    pub(crate) abandoned: Vec<Abandoned>,
    /// What may still execute of earlier attempts, whose process is gone.
    pub(crate) lost: Vec<Abandoned>,
    /// When it is to have started for the first time, while it waits until the store has that.
    pub(crate) start: Option<Ticks>,
    /// The end of the run is stored, or refused, and it stays in memory because it is not
    /// quiescent.
    pub(crate) stays: bool,
    /// What the store keeps of its work, made when first needed.
    pub(crate) kept_holds: Option<Box<KeptHolds>>,
    /// The root of the tree that it left.
    pub(crate) detached_from: Option<RunId>,
    /// Tool calls that have begun and not ended.
    pub(crate) calls: Slab<Arc<str>>,
    /// The tool call of the parent in which the run was spawned, until it is quiescent.
    pub(crate) inside: Option<Arc<Inside>>,
    /// What the run and its descendants used.
    pub(crate) used: Usage,
    /// The cause with which a run that failed stops its children.
    pub(crate) failing: Option<Arc<Cause>>,
    /// How a run that decides over others came to its outcome.
    pub(crate) summary: Option<Payload>,
    /// When its outcome was known, if it decides over others and not all of them have ended.
    pub(crate) decided: Option<Ticks>,
    /// Who has set the summary, for those that change it meanwhile.
    pub(crate) summary_sets: SummarySets,
    /// What the body returned, if that is a payload and it had set no output.
    pub(crate) returned: Option<Payload>,
    /// What the stops of the run say of what it has saved.
    pub(crate) rollback: Rollback,
    /// Its key is free when it is forgotten after a rollback.
    pub(crate) frees_key: bool,
    /// Why something of the run is not in the store and never will be.
    pub(crate) not_stored: Option<StoreError>,
    /// The stops that were remembered for it, until its acceptance is stored.
    pub(crate) remembered: Option<Box<Remembered>>,
    /// The runs whose place it has taken in its lane. None of them is held by that.
    pub(crate) superseded: Box<[Weak<Node>]>,
    /// What it has because it may be paused, or has asked its parent to be.
    pub(crate) pausing: Option<Box<Pausing>>,
}

/// Whether a stop takes back what a run has saved. Of several it is the most.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rollback {
    #[default]
    No,
    Asked,
    /// The run is deleted.
    Deletion,
}

/// What ties a run to a token from outside.
pub(crate) struct TokenLink {
    /// Ends the link.
    pub(crate) abort: futures::future::AbortHandle,
    /// The token from outside.
    pub(crate) token: CancellationToken,
}

impl State {
    pub(crate) fn extra(&mut self) -> &mut RareState {
        self.extra.get_or_insert_default()
    }

    /// Tells whether the first start of the run is stored, or on its way into the store, and it has
    /// not started.
    pub(crate) fn is_starting(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.start.is_some())
    }

    /// Notes that nobody is to have the stops that were remembered for the run: it is stored.
    pub(crate) fn use_up_remembered(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.remembered = None;
        }
    }

    /// Tells whether something may execute still that earlier attempts of the run have left, or
    /// runs below those.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| !extra.lost.is_empty())
    }

    /// Tells whether what the run has saved is taken back at its end: it was stopped so.
    pub(crate) fn is_rollback(&self) -> bool {
        self.life.is_stopping() && self.rollback() != Rollback::No
    }

    /// Yields what the stops that were asked for by now say of what the run has saved.
    pub(crate) fn rollback(&self) -> Rollback {
        self.extra.as_ref().map_or(Rollback::No, |extra| extra.rollback)
    }

    /// Tells whether its key is free as soon as it is forgotten.
    pub(crate) fn frees_key(&self) -> bool {
        self.is_rollback() && self.extra.as_ref().is_some_and(|extra| extra.frees_key)
    }

    /// Nothing of the run executes any more inside the tool call in which it was spawned.
    pub(crate) fn leave_call(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.inside = None;
        }
    }

    /// Yields why the run is to give way: it was stopped, or its body has failed.
    pub(crate) fn cause_to_give_way(&self) -> Option<Arc<Cause>> {
        let failing = || self.extra.as_ref().and_then(|extra| extra.failing.clone());
        self.cause.clone().or_else(failing)
    }

    /// Yields the failure, and keeps its words for reports: the caller is the last one that may
    /// ask for the error that it was made from, which may hold anything, its own run too.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        match self.failure.as_ref()?.without_error() {
            Some(words) => self.failure.replace(words),
            None => self.failure.clone(),
        }
    }

    /// Notes a sign of life.
    #[inline]
    pub(crate) fn touch(&self, node: &Node, now: Instant) {
        if let Some(idle) = &self.idle {
            idle.touch(node.shared.clock.ticks(now));
        }
    }
}

impl RareState {
    /// Notes work, in the same step in which it is counted. Yields its place.
    pub(crate) fn note_work(&mut self, piece: Piece) -> usize {
        self.works.insert(piece)
    }

    /// Yields the number of a hook that is registered.
    pub(crate) fn number_hook(&mut self) -> u32 {
        let number = self.hooks_made;
        self.hooks_made = number.saturating_add(1);
        number
    }

    /// Keeps hooks that are handed out. Yields the number of their batch, which no other one gets.
    pub(crate) fn add_batch(&mut self, batch: Batch) -> u32 {
        let number = self.batches_made;
        self.batches_made += 1;
        self.batches.insert(number, batch);
        number
    }
}

/// A piece of work: what the report names if it is abandoned.
#[derive(Debug)]
pub(crate) struct Piece {
    /// What sort of work it is.
    pub(crate) what: Work,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Where it was started, if the engine notes that.
    pub(crate) site: Option<Site>,
}

/// A place in the code of a user.
pub(crate) type Site = &'static Location<'static>;
