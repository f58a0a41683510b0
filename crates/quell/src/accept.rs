//! From a spec to a node that is known: bounds, admission, the fence of the parent, the registry.

use std::sync::Arc;
use std::time::Instant;

use quell_core::RunId;
use quell_core::lifecycle::Input;
use tokio_util::sync::CancellationToken;

use crate::admission::Free;
use crate::control;
use crate::engine::Shared;
use crate::failure::SubmitError;
use crate::faults;
use crate::node::{After, Node, State};
use crate::registry::Entered;
use crate::shield;
use crate::spec::RunSpec;
use crate::step::Note;
use crate::sync::Ordering;
use crate::waiters::Wakers;
use crate::word;

impl Shared {
    /// Makes a root known.
    pub(crate) fn accept_root(
        self: &Arc<Self>,
        mut spec: RunSpec,
    ) -> Result<Arc<Node>, SubmitError> {
        if self.closed.load(Ordering::SeqCst) && !faults::on("admit-after-shutdown") {
            return Err(SubmitError::ShuttingDown);
        }
        self.check(&spec)?;
        let (now, token, mut wakers) = (self.clock.now(), spec.link.take(), Wakers::new());
        let node = Node::new(self, self.id_of(&spec, now), spec, None, now);
        let free = self.admit(&node, now)?;
        let entered = self.enter(&node, &mut node.lock(), false, now, &mut wakers);
        free.start();
        let stop = entered.inspect_err(|_| self.give_back(&node, now))?;
        crate::foreign::wake(wakers);
        self.stop_at_once(&node, token, stop, now);
        if self.config.parent_token.as_ref().is_some_and(CancellationToken::is_cancelled) {
            node.cancel(&control::by_token());
        }
        self.stop_if_closed(&node);
        Ok(node)
    }

    /// Makes a child known, if the fence of its parent lets it pass.
    pub(crate) fn accept_child(
        self: &Arc<Self>,
        mut spec: RunSpec,
        parent: &Arc<Node>,
    ) -> Result<Arc<Node>, Refusal> {
        self.check(&spec)?;
        let (now, token, mut wakers) = (self.clock.now(), spec.link.take(), Wakers::new());
        let (node, stop) = self.link_child(spec, parent, now, &mut wakers)?;
        crate::foreign::wake(wakers);
        self.stop_at_once(&node, token, stop, now);
        Ok(node)
    }

    /// Asks for the lane and the slot of a root that nobody else knows yet.
    fn admit(&self, node: &Arc<Node>, now: Instant) -> Result<Free, SubmitError> {
        if !self.admission.concerns(node.gate()) {
            return Ok(Free::default());
        }
        node.hold_back();
        let free = self.admission.enter(node, now)?;
        if let Some(due) = node.gate().and_then(|gate| gate.not_before) {
            self.control.nudge(self.clock.ticks(due));
        }
        Ok(free)
    }

    /// Gives back what a root had of admission: it was refused after all.
    fn give_back(&self, node: &Arc<Node>, now: Instant) {
        {
            let mut state = node.lock();
            state.life.refuse(true);
            node.mirror(&state, 0);
        }
        self.admission.ended(node, now).start();
        self.admission.quiesced(node.id, now).start();
    }

    /// Yields the id that a run brings, or a new one.
    fn id_of(&self, spec: &RunSpec, now: Instant) -> RunId {
        spec.id.unwrap_or_else(|| self.registry.new_id(&self.clock, now))
    }

    fn check(&self, spec: &RunSpec) -> Result<(), SubmitError> {
        spec.check()?;
        let max = self.config.limits.runs_max;
        if self.registry.live() >= max {
            return Err(SubmitError::LimitReached { what: "live runs", max });
        }
        Ok(())
    }

    /// Links a child and reads the stop of its parent under one lock (I8).
    fn link_child(
        self: &Arc<Self>,
        spec: RunSpec,
        parent: &Arc<Node>,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<(Arc<Node>, Option<Box<After>>), Refusal> {
        let limits = &self.config.limits;
        let shielded = shield::is_active(parent.id);
        let mut above = parent.lock();
        if above.life.is_fenced(shielded) && !faults::on("skip-fence") {
            return Err(Refusal::Stopped(parent.refusal(&above)));
        }
        if above.depth >= limits.depth_max {
            let max = limits.depth_max as usize;
            return Err(SubmitError::LimitReached { what: "depth", max }.into());
        }
        if above.life.live_children() >= limits.children_max {
            let max = limits.children_max as usize;
            return Err(SubmitError::LimitReached { what: "live children", max }.into());
        }
        let cleanup = above.life.is_stopping();
        // The child shares it from its first event on.
        parent.log_of(&mut above);
        let id = self.id_of(&spec, now);
        let node = Node::new(self, id, spec, Some((parent, &above)), now);
        if cleanup {
            node.set(word::CLEANUP);
        }
        let mut state = node.lock();
        let stop = self.enter(&node, &mut state, cleanup, now, wakers)?;
        let added = above.life.on(Input::ChildAdded { shielded }, now);
        debug_assert!(
            !added.refused || faults::on("skip-fence"),
            "the fence was asked under the same lock"
        );
        if faults::on("forget-child") {
            above.life.on(Input::ChildLeft, now);
        }
        state.slot = above.kids.link(Arc::clone(&node));
        drop(state);
        Ok((node, stop))
    }

    /// Enters a node in the registry and the log, under its lock: nobody sees it half made. A stop
    /// that was waiting for it is the first, whoever finds it now (I6); what that leaves to be done
    /// is yielded.
    fn enter(
        &self,
        node: &Arc<Node>,
        state: &mut State,
        shielded: bool,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<Option<Box<After>>, SubmitError> {
        let request = match self.registry.enter(node, state.parent_id.is_none(), now) {
            Entered::InUse => return Err(SubmitError::IdInUse(node.id)),
            Entered::Stopped(request) => Some(request),
            Entered::Yes => None,
        };
        node.write_queued(state, shielded, now, wakers);
        if let Some(at) = state.life.next_wakeup() {
            state.armed = self.control.rearm(node, None, Some(self.clock.ticks(at)));
        }
        Ok(request.map(|request| {
            let input = Input::Stop(node.stop_input(&request, None));
            let why = Note { request: Some(&request), ..Note::default() };
            Box::new(node.step_locked(state, input, why, now, |_, _| {}))
        }))
    }

    /// Carries out the stop that was waiting for the run, and links its token, before its body can
    /// start.
    fn stop_at_once(
        &self,
        node: &Arc<Node>,
        token: Option<CancellationToken>,
        stop: Option<Box<After>>,
        now: Instant,
    ) {
        if let Some(mut after) = stop {
            crate::cascade::work_off(std::mem::take(&mut after.todo), now);
            node.finish(&mut after, now);
        }
        let Some(token) = token else { return };
        if token.is_cancelled() {
            node.cancel(&control::by_token());
        } else {
            let link = self.control.link_run(node, token);
            let mut state = node.lock();
            if state.times.ended.is_some() {
                link.abort();
            } else {
                state.extra().link = Some(link);
            }
        }
    }
}

/// Why a child was not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    Stopped(quell_core::Stopped),
    Submit(SubmitError),
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        Self::Submit(error)
    }
}
