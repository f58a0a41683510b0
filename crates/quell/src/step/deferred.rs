//! [`Deferred`] is what a step at a node leaves to be done when its lock is released: here, and at
//! other nodes.

use std::sync::{Arc, Weak};
use std::task::Waker;

use quell_core::lifecycle::{Cascade, Effects, Stage};
use quell_core::{Cause, Counts, RunStatus};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::few::Few;
use crate::node::{Node, State, TokenLink};
use crate::step::hooks::HookFate;
use crate::step::pause::UnusedMaker;
use crate::step::trace::EndedSpan;
use crate::sync::AbortHandle;
use crate::sync::waiters::Wakers;
use crate::tables::admission::Free;

/// What a step leaves to be done when its lock is released.
#[derive(Default)]
pub(crate) struct Deferred {
    /// The waker of the run's own task, if the body is to be polled.
    pub(crate) task: Option<Waker>,
    /// Those of everybody else: foreign code.
    pub(crate) wakers: Wakers,
    /// What is to be done at other nodes.
    pub(crate) propagations: Propagations,
    /// Why the run stops, if the step accepted a stop.
    pub(crate) cause: Option<Arc<Cause>>,
    /// What the lifecycle asks for.
    pub(crate) fx: Effects,
    /// The run is a root, terminal and quiescent.
    pub(crate) retire: bool,
    /// It was stopped so that what it has saved is taken back.
    pub(crate) rolled_back: bool,
    /// What few steps leave to be done.
    pub(crate) rare: Option<Box<DeferredRare>>,
    /// The run above, if its last poll waits until the wakers are woken.
    pub(crate) above: Option<Arc<Node>>,
}

/// What few steps leave to be done.
#[derive(Default)]
pub(crate) struct DeferredRare {
    /// The token of the run, to be cancelled.
    pub(crate) token: Option<CancellationToken>,
    /// The watch over a token from outside, which the run no longer needs.
    pub(crate) link: Option<TokenLink>,
    /// Runners of hooks, to be aborted.
    pub(crate) runners: Vec<AbortHandle>,
    /// Hooks that were handed out.
    pub(crate) hooks: Option<HookFate>,
    /// What would have made the next body, to be dropped.
    pub(crate) maker: Option<UnusedMaker>,
    /// What the body failed with, if no caller can ask for more than its words.
    pub(crate) failure: Option<Failure>,
    /// The span of the run, which has ended or is paused.
    pub(crate) span: Option<EndedSpan>,
    /// The runs that may start because of what the run has given back to admission.
    pub(crate) free: Free<Node>,
}

impl Deferred {
    /// Has the last poll of the run above wait until the wakers are woken: by a courier, in place
    /// of the control thread, or here, when all that spreads from the step is through. If
    /// `is_counted`, the caller of the step has it wait already. Called under the lock.
    pub(crate) fn count_news(&mut self, state: &State, is_counted: bool) {
        // A listener waits with the waker of its own task: that is not foreign.
        self.keep_own(state.body.as_ref());
        if !self.wakers.is_empty() && !is_counted {
            let above = state.parent.as_ref().and_then(Weak::upgrade);
            self.above = above.filter(|above| above.add_untold());
        }
    }

    /// Takes the waker of the run's own task out of those of everybody else, however often it is
    /// there: a body may wait in many ways at once.
    fn keep_own(&mut self, task: Option<&Waker>) {
        let Some(task) = task else { return };
        if let Some(own) = self.wakers.take_all(|waker| waker.will_wake(task)) {
            self.task = Some(own);
        }
    }

    /// Has the token of a run cancelled and its waiters woken: the run is to give way.
    pub(crate) fn tell(&mut self, state: &mut State) {
        if let Some(token) = state.extra.as_ref().and_then(|extra| extra.token.as_ref()) {
            self.rare().token = Some(token.clone());
        }
        state.waiters.drain_into(&mut self.wakers);
    }

    pub(crate) fn rare(&mut self) -> &mut DeferredRare {
        self.rare.get_or_insert_default()
    }
}

/// Hardly ever more than one.
pub(crate) type Propagations = Few<Propagation>;

/// What a step leaves to be done at other nodes.
pub(crate) enum Propagation {
    /// Tell the children of a run that it stops or fails.
    Cascade(Arc<Node>, Cascade, Arc<Cause>),
    /// Take the subtree of a run to a stage of the ladder.
    Ladder(Arc<Node>, Stage),
    /// Tell the parent that a child became terminal.
    ChildEnded {
        /// Who is told.
        parent: Arc<Node>,
        /// Who became terminal.
        child: Arc<Node>,
        /// How it ended.
        gone: ChildEnd,
    },
    /// Tell the parent that a child that had ended non-quiescent became quiescent.
    ChildQuiesced(Arc<Node>),
}

impl Propagation {
    pub(crate) const fn is_cascade(&self) -> bool {
        matches!(self, Self::Cascade(..))
    }
}

/// What a parent has to know of a child that became terminal.
#[derive(Debug)]
pub(crate) struct ChildEnd {
    /// How it ended.
    pub(crate) status: RunStatus,
    /// Its place in the list of its parent.
    pub(crate) slot: u32,
    /// It failed, and no caller holds its handle (D5).
    pub(crate) unseen_failure: bool,
    /// Something of it still executes.
    pub(crate) non_quiescent: bool,
    /// It is in the list of its parent for as long as the tree is kept.
    pub(crate) stays: bool,
    /// Bytes that its tree was charged for.
    pub(crate) charged: usize,
    /// Runs below it that have no row, by status.
    pub(crate) omitted: Option<Box<Counts>>,
}
