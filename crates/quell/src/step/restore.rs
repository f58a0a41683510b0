//! [`Shared::accept_paused`] takes in a root that was paused when its process ended, and
//! [`Shared::accept_again`] one that goes on, with the answer that it was given last.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::lifecycle::Input;
use quell_core::store::StoredSoFar;
use quell_core::{Abandoned, Payload, RunId};

use crate::failure::SubmitError;
use crate::node::earlier::Earlier;
use crate::node::kept_holds::KeptHolds;
use crate::node::outputs::bytes_of_lost;
use crate::node::pausing::Maker;
use crate::node::{Node, Shared, flags};
use crate::spec::{RunSpec, counted};
use crate::step::submit::{Charge, share_used_up};
use crate::step::{StopOrigin, cascade};
use crate::sync::Ordering;

/// What a run has of the pauses that an earlier process has stored.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// What it asks, if it is paused.
    pub(crate) request: Option<Payload>,
    /// The run whose body has asked; none if a client has.
    pub(crate) asked_by: Option<RunId>,
    /// When it was paused.
    pub(crate) since: Option<SystemTime>,
    /// For how long it waits from then on, if that has an end.
    pub(crate) expires_in: Option<Duration>,
    /// The answer to its last pause, if it goes on.
    pub(crate) answer: Option<Payload>,
    /// How long its timeout has stood still, that part of this pause included that is over.
    pub(crate) stood: Duration,
    /// How much of its timeout it has used.
    pub(crate) used: Duration,
    /// Starts its next attempt, if that is known.
    pub(crate) maker: Option<Maker>,
    /// When it was accepted, and when it started first.
    pub(crate) began: (Option<SystemTime>, Option<SystemTime>),
    /// Whether there may be more attempts after that.
    pub(crate) is_resumable: bool,
    /// What may still execute of the attempts before, and the last number that the store has of it.
    pub(crate) lost: (Vec<Abandoned>, Option<u32>),
    /// What it has of its earlier attempts.
    pub(crate) earlier: Earlier,
    /// What it had to show in its last pause.
    pub(crate) so_far: StoredSoFar,
}

impl Restored {
    /// Leaves out what it had to show. False if that was nothing.
    fn omit_shown(&mut self) -> bool {
        let emitted = std::mem::take(&mut self.earlier.emitted);
        let had_any = self.so_far.bytes() > 0 || !emitted.is_empty();
        (self.so_far.partial, self.so_far.summary) = (None, None);
        had_any
    }

    fn bytes(&self) -> usize {
        let StoredSoFar { partial, summary, used: _ } = &self.so_far;
        let payloads = [&self.request, &self.answer, partial, summary].into_iter().flatten();
        let payloads = payloads.map(|payload| counted(payload.bytes_max())).sum::<usize>();
        payloads + bytes_of_lost(&self.lost.0) + self.earlier.bytes()
    }

    fn put_into(self, node: &Node) {
        let Self { request, asked_by, since, expires_in, answer, stood, used, .. } = self;
        let (maker, is_resumable, began) = (self.maker, self.is_resumable, self.began);
        let used_before = self.earlier.used.at_least(self.so_far.used);
        let (mut state, now) = (node.lock(), node.shared.clock.now());
        let is_paused = state.life.is_paused();
        let pausing = state.extra().pausing();
        (pausing.request, pausing.asked_by, pausing.answer) = (request, asked_by, answer);
        (pausing.stood, pausing.used, pausing.maker) = (stood, used, maker);
        pausing.paused_at = is_paused.then_some(now);
        (pausing.since, pausing.expires_in, pausing.began) = (since, expires_in, began);
        let earlier = self.earlier;
        let has_emitted = !earlier.emitted.is_empty();
        pausing.earlier = earlier.has_any().then(|| Box::new(earlier));
        state.has_emitted |= has_emitted;
        if !used_before.is_zero() {
            state.extra().used = used_before;
        }
        state.output = self.so_far.partial;
        if self.so_far.summary.is_some() {
            state.extra().summary = self.so_far.summary;
        }
        let (lost, last_nr) = self.lost;
        if !lost.is_empty() {
            let extra = state.extra();
            extra.lost = lost;
            extra.kept_holds = Some(Box::new(KeptHolds::after(last_nr)));
        }
        if is_resumable {
            node.set(flags::RESUMABLE);
        }
    }
}

impl Shared {
    /// As [`accept_root`](Self::accept_root), for a further attempt of a run that an earlier
    /// process has left behind.
    pub(crate) fn accept_again(
        self: &Arc<Self>,
        spec: RunSpec,
        mut restored: Restored,
    ) -> Result<Arc<Node>, SubmitError> {
        let owner = spec.about.as_ref().and_then(|about| about.owner.clone());
        let charge = self.charge_restored(owner.as_ref(), 0, &mut restored)?;
        let (node, _) = self.accept_root(spec)?;
        // It is not spawned yet: nobody has asked for its answer.
        restored.put_into(&node);
        charge.keep();
        self.count_taken_in();
        Ok(node)
    }

    /// Takes in a root that is paused. It counts as every live one, and has its lane. What has
    /// happened to it is in its log already: nothing is written.
    pub(crate) fn accept_paused(
        self: &Arc<Self>,
        spec: RunSpec,
        mut restored: Restored,
    ) -> Result<Arc<Node>, SubmitError> {
        spec.check()?;
        let (now, bytes) = (self.clock.now(), spec.bytes());
        let node = Node::new(self, spec, None, now);
        // Its lock comes before that of the node, and is held until the run is in the registry.
        let mut key = node.key().map(|key| (key, self.claims.lock()));
        if let Some((key, keys)) = &mut key {
            keys.ask(node.owner(), key, now)?;
        }
        let charge = self.charge_restored(node.owner(), bytes, &mut restored)?;
        restored.put_into(&node);
        let mut state = node.lock();
        state.times.started = Some(state.times.queued);
        node.mirror(&state, 0);
        let admit = || {
            if self.closed.load(Ordering::SeqCst) {
                return Err(SubmitError::ShuttingDown);
            }
            if self.admission.concerns(&*node) {
                node.set(flags::GATED);
                if let Some(holder) = self.admission.enter_paused(&node) {
                    let lane = node.gate().and_then(|gate| gate.lane.as_ref());
                    let lane = lane.map_or_else(|| "".into(), |lane| Arc::clone(&lane.key));
                    return Err(SubmitError::LaneBusy { lane, run: holder });
                }
            }
            Ok(())
        };
        let counted = self.ledger.count_in(node.owner());
        counted.map_err(|max| share_used_up("live runs", node.owner(), max))?;
        let entered = self.registry.enter(node.id, &node, true, admit);
        entered.inspect_err(|_| self.ledger.count_out(node.owner()))?;
        if let Some((key, mut keys)) = key {
            keys.claim(node.owner(), key, node.id);
        }
        charge.keep();
        node.rearm(&mut state);
        let request = self.registry.take_stop(node.id, node.stop_scopes(), now);
        let request = request.and_then(|remembered| remembered.request());
        let stop = request.map(|request| {
            let input = Input::Stop(node.stop_input(&request, None));
            let why = StopOrigin { request: Some(&request), ..StopOrigin::default() };
            node.step_locked(&mut state, input, why, now, |_, _| {})
        });
        drop(state);
        if let Some(mut deferred) = stop {
            cascade::work_off(&mut deferred.propagations, now);
            node.finish(&mut deferred, now);
        }
        self.count_taken_in();
        Ok(node)
    }

    /// Charges for what a run brings, and for what it has of before. If there is no room for the
    /// rows of its earlier attempts, they are counted as omitted, and if that is not enough, what
    /// it had to show is left out: it goes on without them.
    fn charge_restored(
        &self,
        owner: Option<&Arc<str>>,
        bytes: usize,
        restored: &mut Restored,
    ) -> Result<Charge<'_>, SubmitError> {
        let mut charged = self.charge(owner, bytes + restored.bytes());
        if charged.is_err() && restored.earlier.omit_rows() {
            charged = self.charge(owner, bytes + restored.bytes());
        }
        if charged.is_err() && restored.omit_shown() {
            charged = self.charge(owner, bytes + restored.bytes());
        }
        charged
    }

    /// Counts a root that another process had before. It is in the registry: whoever reads the
    /// count finds it there.
    fn count_taken_in(&self) {
        self.taken_in.fetch_add(1, Ordering::SeqCst);
    }
}
