//! [`Shared::accept_root`] and [`Shared::accept_child`] make a node from a spec: they ask bounds,
//! admission and the fence of the parent, and enter the node in the registry.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::Input;
use quell_core::{CancelRequest, CauseKind};
use tokio_util::sync::CancellationToken;

use crate::failure::SubmitError;
use crate::foreign;
use crate::gate::OnBusy;
use crate::marks::{call, shield};
use crate::node::{Node, Shared, State, TokenLink, by_token, flags};
use crate::spec::RunSpec;
use crate::step::deferred::Deferred;
use crate::step::{StopOrigin, cascade};
use crate::sync::Ordering;
use crate::sync::waiters::Wakers;
use crate::tables::admission::Entered;
use crate::tables::ledger::Full;
use crate::tables::reservations::Remembered;

impl Shared {
    /// Accepts a root. Yields the roots whose place it has taken too, which are stopped.
    pub(crate) fn accept_root(
        self: &Arc<Self>,
        mut spec: RunSpec,
    ) -> Result<(Arc<Node>, Option<Superseded>), SubmitError> {
        // Before any lock: an input may be written only now, by code of the caller.
        let checked = spec.check().map(|()| spec.bytes());
        let (now, token, mut wakers) = (self.clock.now(), spec.link.take(), Wakers::new());
        // It is held here, so that a refusal drops it after every lock.
        let node = Node::new(self, spec, None, now);
        if self.admission.concerns(&*node) {
            // Before the claim, whose locks are held meanwhile: who is due comes before this one.
            self.admission.catch_up(now);
        }
        let (entered, stop) = self.claim_root(&node, checked, now, &mut wakers)?;
        foreign::wake(&self.couriers, wakers);
        let superseded = entered.and_then(|entered| node.leave_gate(*entered));
        if token.is_some() || stop.is_some() {
            self.stop_at_once(&node, token, stop, now);
        }
        // The control thread may have stopped every root before this one was in the registry.
        if self.config.parent_token.as_ref().is_some_and(CancellationToken::is_cancelled) {
            node.cancel(&by_token());
        }
        Ok((node, superseded))
    }

    /// Claims what a root needs in one step, or nothing: its key, room within the bounds, its id,
    /// its lane, and the stop that was remembered for it.
    ///
    /// The key is asked for first, for a repeat is answered whatever else it would be refused for.
    /// Its lock is held to the end: a second submit with the key waits here, and then finds the
    /// run, or the key free because the first one was refused (I37).
    fn claim_root(
        &self,
        node: &Arc<Node>,
        checked: Result<usize, SubmitError>,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<Claimed, SubmitError> {
        let mut key = node.key().map(|key| (key, self.claims.lock()));
        if let Some((key, keys)) = &mut key {
            keys.ask(node.owner(), key, now)?;
            if node.flags() & flags::ACCEPTANCE_STORED == 0 {
                self.coming.ask_key(node.owner(), key)?;
            }
        }
        let bytes = checked?;
        self.check_live()?;
        if let Some(error) = self.journal.as_ref().and_then(|journal| journal.trouble()) {
            return Err(SubmitError::NotStored(error));
        }
        let charge = self.charge(node.owner(), bytes)?;
        let admit = || {
            // Ask under the lock of the shard: either this sees that the engine is closed, or
            // `close`, which lists the runs after that, sees this one.
            if self.closed.load(Ordering::SeqCst) {
                return Err(SubmitError::ShuttingDown);
            }
            if !self.admission.concerns(&**node) {
                return Ok(None);
            }
            node.hold_back();
            self.admission.enter(node, now).map(|entered| Some(Box::new(entered)))
        };
        let mut state = node.lock();
        let claimed = self.enter(node, &mut state, false, now, wakers, admit)?;
        if let (Some(entered), _) = &claimed
            && !entered.superseded.is_empty()
        {
            // Before a repeat finds the run, which waits for them as well, and before its body.
            state.extra().superseded = entered.superseded.iter().map(Arc::downgrade).collect();
        }
        drop(state);
        charge.keep();
        if let Some((key, keys)) = &mut key {
            keys.claim(node.owner(), key, node.id);
        }
        Ok(claimed)
    }

    /// Accepts a child, if the fence of its parent lets it pass.
    pub(crate) fn accept_child(
        self: &Arc<Self>,
        mut spec: RunSpec,
        parent: &Arc<Node>,
    ) -> Result<Arc<Node>, Refusal> {
        // A key is a root's.
        if let Some(about) = &mut spec.about {
            about.key = None;
        }
        spec.check()?;
        self.check_live()?;
        if let Some(error) = self.journal.as_ref().and_then(|journal| journal.refusal(0)) {
            return Err(SubmitError::NotStored(error).into());
        }
        let bytes = spec.bytes();
        let account = if bytes > 0 { parent.account(&parent.lock()).map(Arc::clone) } else { None };
        let charge = self.charge(account.as_ref(), bytes)?;
        let (now, token, mut wakers) = (self.clock.now(), spec.link.take(), Wakers::new());
        // A due time in the past is none. The lane is the root's.
        let due = spec.gate.take().and_then(|gate| gate.not_before).filter(|due| *due > now);
        let (node, stop) = self.link_child(spec, parent, (bytes, due), now, &mut wakers)?;
        charge.keep();
        if let Some(due) = due {
            self.control.nudge(self.clock.ticks(due));
        }
        foreign::wake(&self.couriers, wakers);
        self.stop_at_once(&node, token, stop, now);
        Ok(node)
    }

    /// Charges an owner for what live runs hold, until the charge is dropped or kept.
    pub(crate) fn charge(
        &self,
        owner: Option<&Arc<str>>,
        bytes: usize,
    ) -> Result<Charge<'_>, SubmitError> {
        const WHAT: &str = "bytes of live runs";
        self.ledger.charge(owner, bytes).map_err(|full| match full {
            Full::Share(max) => share_used_up(WHAT, owner, max),
            Full::All(max) => SubmitError::LimitReached { what: WHAT, max },
        })?;
        Ok(Charge { shared: self, owner: owner.map(Arc::clone), bytes })
    }

    fn check_live(&self) -> Result<(), SubmitError> {
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
        (bytes, due): (usize, Option<Instant>),
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<(Arc<Node>, Option<Box<Deferred>>), Refusal> {
        let limits = &self.config.limits;
        let shielded = shield::is_active(parent.id);
        let mut above = parent.lock();
        if above.life.is_fenced(shielded) {
            self.counters.start_refused();
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
        // The fence lets nothing else pass when the run winds down.
        let cleanup = above.life.hard_deadline().is_some();
        // The child shares the log from its first event on.
        parent.log_of(&mut above);
        let node = Node::new(self, spec, Some((parent, &above)), now);
        if cleanup {
            node.set(flags::CLEANUP);
        }
        if due.is_some() {
            node.hold_back();
            node.set(flags::UNDER);
        }
        let admit = || {
            if let Some(due) = due {
                self.admission.enter_child(&node, due);
            }
            Ok(())
        };
        // Held until the child is linked: a thread that finds it in the registry waits for that.
        let mut state = node.lock();
        let ((), stop) = self.enter(&node, &mut state, cleanup, now, wakers, admit)?;
        let added = above.life.on(Input::ChildAdded { shielded }, now);
        debug_assert!(!added.refused, "the fence was asked under the same lock");
        if let Some(inside) = call::inside() {
            state.extra().inside = Some(inside);
        }
        state.slot = above.children.link(Arc::clone(&node));
        parent.log_of(&mut above).count_charge(bytes, 0);
        drop(state);
        Ok((node, stop))
    }

    /// Enters a node in the registry, in admission and the log, under its lock: no other thread
    /// sees it half made. A stop that was remembered for its id comes before every other one (I6);
    /// what it leaves to be done is yielded.
    fn enter<A>(
        &self,
        node: &Arc<Node>,
        state: &mut State,
        shielded: bool,
        now: Instant,
        wakers: &mut Wakers,
        admit: impl FnOnce() -> Result<A, SubmitError>,
    ) -> Result<(A, Option<Box<Deferred>>), SubmitError> {
        let (is_root, account) = (state.parent_id.is_none(), node.account(state));
        let counted = self.ledger.count_in(account);
        counted.map_err(|max| share_used_up("live runs", account, max))?;
        let is_new = node.flags() & flags::ACCEPTANCE_STORED == 0;
        let ask = || if is_new { self.coming.ask(node.id) } else { Ok(()) };
        let entered = self.registry.enter(node.id, node, is_root, || ask().and_then(|()| admit()));
        let admitted = entered.inspect_err(|_| self.ledger.count_out(account))?;
        if self.journal.is_some() {
            node.journal_acceptance(state);
            node.note_lost_id(state);
        }
        let remembered = self.registry.take_stop(node.id, node.stop_scopes(), now);
        node.write_queued(state, shielded, now, wakers);
        if let Some(at) = state.life.next_wakeup() {
            state.armed = self.control.rearm(node, None, Some(self.clock.ticks(at)));
        }
        let request = remembered.as_ref().and_then(Remembered::request);
        if is_root && self.journal.is_some() && remembered.is_some() {
            // If the store refuses the run, the next one has them.
            state.extra().remembered = remembered.map(Box::new);
        }
        let stop = request.map(|request| {
            let input = Input::Stop(node.stop_input(&request, None));
            let why = StopOrigin { request: Some(&request), ..StopOrigin::default() };
            Box::new(node.step_locked(state, input, why, now, |_, _| {}))
        });
        Ok((admitted, stop))
    }

    /// Carries out the stop that was remembered for the run, and links its token, before its body
    /// can start.
    fn stop_at_once(
        &self,
        node: &Arc<Node>,
        token: Option<CancellationToken>,
        stop: Option<Box<Deferred>>,
        now: Instant,
    ) {
        if let Some(mut deferred) = stop {
            cascade::work_off(&mut deferred.propagations, now);
            node.finish(&mut deferred, now);
        }
        let Some(token) = token else { return };
        if token.is_cancelled() {
            node.cancel(&by_token());
        } else {
            let abort = self.control.link_run(node, token.clone());
            let mut state = node.lock();
            if state.times.ended.is_some() {
                // The end of the run found no link to take down.
                abort.abort();
            } else {
                state.extra().link = Some(TokenLink { abort, token });
                node.set(flags::LINKED);
            }
        }
    }
}

impl Node {
    /// Carries out, with no lock held, what the entry of this root into admission leaves to be
    /// done. Yields the roots whose place it has taken, if there are any.
    fn leave_gate(&self, entered: Entered<Self>) -> Option<Superseded> {
        let Entered { free, superseded } = entered;
        if let Some(due) = self.gate().and_then(|gate| gate.not_before) {
            self.shared.control.nudge(self.shared.clock.ticks(due));
        }
        let superseded = (!superseded.is_empty()).then(|| {
            // Before what is free starts: it may be this run.
            self.stop_superseded(&superseded);
            superseded.into()
        });
        free.start();
        superseded
    }

    /// Stops the roots whose place this run has taken.
    pub(super) fn stop_superseded(&self, superseded: &[Arc<Self>]) {
        // Most runs take nobody's place: no words are put together for that.
        if superseded.is_empty() {
            return;
        }
        let request = self.superseding();
        for run in superseded {
            run.cancel(&request);
        }
    }

    /// Makes what the runs are asked whose place this run has taken.
    pub(crate) fn superseding(&self) -> CancelRequest {
        let words = format!("`{}` took its place", self.name);
        let request = CancelRequest::because(words).by(self.id.to_string());
        let request = request.kind(CauseKind::Superseded);
        let lane = self.gate().and_then(|gate| gate.lane.as_ref());
        let rolls_back = lane.is_some_and(|lane| lane.on_busy == OnBusy::RollbackExisting);
        if rolls_back { request.rollback() } else { request }
    }

    /// Stops a run that is about to start although a token from outside was cancelled: the control
    /// thread may not have seen that yet.
    #[inline]
    pub(crate) fn ask_tokens(self: &Arc<Self>) {
        let bits = self.flags();
        if bits & (flags::LINKED | flags::GATED) == 0 {
            return;
        }
        let linked = || {
            let state = self.lock();
            let link = state.extra.as_ref().and_then(|extra| extra.link.as_ref());
            link.is_some_and(|link| link.token.is_cancelled())
        };
        let parent_token = self.shared.config.parent_token.as_ref();
        let has_waited = bits & flags::GATED != 0;
        if (bits & flags::LINKED != 0 && linked())
            || (has_waited && parent_token.is_some_and(CancellationToken::is_cancelled))
        {
            self.cancel(&by_token());
        }
    }
}

pub(super) fn share_used_up(
    what: &'static str,
    owner: Option<&Arc<str>>,
    max: usize,
) -> SubmitError {
    match owner {
        Some(owner) => SubmitError::ShareUsedUp { what, owner: Arc::clone(owner), max },
        None => SubmitError::LimitReached { what, max },
    }
}

/// What a root that was taken in leaves to be done: what admission says of it, if it asks for
/// admission at all, and the rest of the stop that was remembered for it, if there was one.
type Claimed = (Option<Box<Entered<Node>>>, Option<Box<Deferred>>);

/// The roots whose place another one has taken.
pub(crate) type Superseded = Box<[Arc<Node>]>;

/// What a run was charged for. Dropped, it is given back, unless it was kept.
pub(crate) struct Charge<'a> {
    /// The engine whose ledger was charged.
    shared: &'a Shared,
    /// Whom it was charged to.
    owner: Option<Arc<str>>,
    /// Zero once the charge is kept.
    bytes: usize,
}

impl Charge<'_> {
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.shared.ledger.release(self.owner.as_ref(), self.bytes);
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
