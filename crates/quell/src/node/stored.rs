//! What of a run is stored, and what becomes of it: stored, refused, or not yet.

use std::sync::Arc;

use quell_core::store::{Record, StopAccepted, StoreError};
use quell_core::{Cause, RunId, RunStatus, StopMode};

use crate::foreign;
use crate::journal::{Doubted, Entry, Journal, Recorded};
use crate::node::there::is_there;
use crate::node::{Node, Rollback, Shared, State, flags, records};
use crate::sync::waiters::Wakers;
use crate::sync::{AtomicU16, Ordering};
use crate::tables::admission::Free;

impl Recorded for Node {
    fn id(&self) -> RunId {
        self.id
    }

    fn records(entry: &Entry<Self>, journal: &Journal<Self>) -> (Record, Option<Record>) {
        records::of(entry, journal)
    }

    fn doubted(entry: &Entry<Self>) -> Option<(Doubted, RunId)> {
        let Entry::TakenBack(node, _) = entry else { return None };
        let Shared { clock, registry, .. } = &*node.shared;
        node.is_refused().then(|| {
            let at = clock.wall_at(node.lock().times.queued);
            (Doubted { run: node.id, at }, registry.new_id(clock, clock.stamp(clock.now())))
        })
    }

    fn is_withdrawn(entry: &Entry<Self>) -> bool {
        matches!(entry, Entry::Started { run, is_awaited: true, .. } if run.is_left_to_next())
    }

    fn stored(entry: Entry<Self>, wakers: &mut Wakers) {
        match entry {
            Entry::Accepted { run, .. }
            | Entry::Started { run, is_awaited: true, .. }
            | Entry::Resumed(run, _) => {
                run.settle_entry_for(wakers, flags::ACCEPTANCE_STORED, State::use_up_remembered);
            }
            Entry::Ended(node, _) => node.settle_last(wakers, false),
            Entry::Quiesced(node, _) => node.settle_last(wakers, true),
            Entry::Stop(node, _) => node.settle_entry_for(wakers, 0, |_| node.settle_stop()),
            Entry::Saved { run: node, .. }
            | Entry::Started { run: node, .. }
            | Entry::Annotated(node, _)
            | Entry::HoldBegan(node, _)
            | Entry::HoldEnded(node, _)
            | Entry::Paused(node, _) => node.settle_entry_for(wakers, 0, |_| {}),
            Entry::Forgotten(node, ..) => {
                node.has_left();
                node.settle_entry_for(wakers, 0, |_| {});
            }
            Entry::TakenBack(node, _) => node.settle_taken_back(),
            Entry::Event(..) => {}
        }
    }

    /// A root that waits for its acceptance does not start.
    fn refused(entry: Entry<Self>, error: &StoreError) -> bool {
        let Some(node) = entry.run().cloned() else { return !is_there(&entry, error) };
        let is_awaited = entry.is_awaited();
        if is_awaited {
            node.refuse(error);
        }
        if let Entry::TakenBack(..) = entry {
            node.taken_back_refused(error);
            // That the store has nothing of it is what was to be stored.
            return !matches!(error, StoreError::Unknown { .. });
        }
        let is_unaccepted = is_awaited || node.flags() & flags::REFUSED != 0;
        let is_told = is_unaccepted || is_there(&entry, error);
        let set = match entry {
            _ if is_awaited => flags::REFUSED,
            // It goes on here, as it would end here; one that waits for its start ends.
            Entry::Resumed(..) | Entry::Started { is_awaited: true, .. } => {
                flags::ACCEPTANCE_STORED
            }
            _ => 0,
        };
        let mut is_first = false;
        node.settle_entry(set, |state| {
            if matches!(entry, Entry::Stop(..)) {
                node.settle_stop();
            }
            if !is_told {
                let not_stored = &mut state.extra().not_stored;
                is_first = not_stored.is_none();
                not_stored.get_or_insert_with(|| error.clone());
            }
        });
        if is_first {
            node.trace_not_stored(error);
        }
        match entry {
            Entry::Ended(..) => node.leave_memory(false),
            Entry::Quiesced(..) => node.leave_memory(true),
            // Also if the store keeps it: then it is found again, as it is there.
            Entry::Forgotten(..) => node.has_left(),
            _ => {}
        }
        // The trouble of a store leaves open what became of the entry. Of a root that was refused
        // for it the entry that comes last says so: `refuse` has it taken out of the store.
        !(is_unaccepted || is_told && error.is_refusal())
    }

    fn tell_waiters(&self) {
        let mut wakers = Wakers::new();
        self.lock().waiters.drain_into(&mut wakers);
        foreign::wake(&self.shared.couriers, wakers);
    }
}

impl Node {
    /// Yields the attempt as which its records are stored, if there is a store.
    pub(crate) fn stored_attempt(&self) -> Option<u32> {
        self.shared.journal.as_ref().map(|_| self.attempt())
    }

    /// Marks a root as refused, takes it out of the store if that may have it, and frees its id,
    /// its key, its lane, its slots, what it was charged and the stop that was remembered for it,
    /// all before anybody is told: its body may wait long for a worker that drops it.
    ///
    /// Invariant: when the id is free, all entries of this run are in the queue, and no further one
    /// comes. So whatever another run with this id leaves is stored behind them. Nobody else frees
    /// it, and whoever waits until the run [is accepted](crate::RunRef::is_accepted) finds it free.
    fn refuse(self: &Arc<Self>, error: &StoreError) {
        let (shared, Some(journal)) = (&self.shared, &self.shared.journal) else { return };
        let now = shared.clock.now();
        let free = {
            let mut state = self.lock();
            state.extra().not_stored.get_or_insert_with(|| error.clone());
            // After trouble nobody knows whether the store has it.
            if !error.is_refusal() {
                self.unstored.fetch_add(1, Ordering::Relaxed);
                journal.push(Entry::TakenBack(Arc::clone(self), state.times.queued));
            }
            journal.note_refused(self.id);
            if let Some(remembered) = state.extra().remembered.take() {
                shared.registry.give_back_stop(self, self.id, *remembered, now);
            }
            self.set(flags::REFUSED);
            self.release_bytes(&state);
            let leaving = (self.flags() & flags::GATED != 0).then(|| shared.admission.hold());
            leaving.map(|leaving| leaving.leave(self, true, now, || {}))
        };
        shared.undo(self);
        free.into_iter().for_each(Free::start);
        // One that has ended is not told again that it leaves.
        if self.is_over() {
            shared.retire(self, now);
        }
    }

    /// Notes that the store has the run no longer, which was taken back.
    fn settle_taken_back(self: &Arc<Self>) {
        self.has_left();
        self.ask_for_next();
        if self.flags() & flags::REFUSED != 0 {
            return self.settle_entry(0, |_| {});
        }
        self.settle_entry(0, |state| self.release_bytes(state));
        self.shared.forget_taken_back(self);
    }

    /// Ends what could not be taken back, and tries to forget it after that.
    fn taken_back_refused(self: &Arc<Self>, error: &StoreError) {
        if matches!(error, StoreError::Unknown { .. }) {
            // An append that has failed had stored it, or there was nothing to take back.
            return self.settle_taken_back();
        }
        self.has_left();
        let is_refused = self.flags() & flags::REFUSED != 0;
        if error.is_refusal() && !is_refused {
            let _state = self.lock();
            self.journal(|node| Entry::Ended(node, true));
        } else {
            self.trace_not_stored(error);
        }
        self.settle_entry(0, |state| {
            if !error.is_refusal() {
                state.extra().not_stored.get_or_insert_with(|| error.clone());
            }
        });
        if !error.is_refusal() && !is_refused {
            self.leave_memory(false);
        }
    }

    fn has_left(&self) {
        if let Some(journal) = &self.shared.journal {
            journal.has_left(self.id);
        }
    }

    /// Leaves the acceptance of the run for the store, which there is. A root does not start
    /// before it is stored. Called under the lock.
    pub(crate) fn journal_acceptance(self: &Arc<Self>, state: &State) {
        let parent = state.parent_id;
        if parent.is_none() {
            // An earlier attempt of it was accepted.
            if self.flags() & flags::ACCEPTANCE_STORED != 0 {
                return;
            }
            self.set(flags::AWAITS_STORE);
        }
        let root = state.log.as_ref().map_or(self.id, |log| log.root);
        let at = state.times.queued;
        self.journal(|run| Entry::Accepted { run, root, parent, at });
    }

    /// Leaves an entry for the store, if there is one. Called under the lock.
    pub(crate) fn journal(self: &Arc<Self>, make: impl FnOnce(Arc<Self>) -> Entry<Self>) {
        let Some(journal) = &self.shared.journal else { return };
        if self.flags() & (flags::REFUSED | flags::LEFT_TO_NEXT) == 0 && !self.has_lost_id() {
            // At most some for each state that a run may be in.
            self.unstored.fetch_add(1, Ordering::Relaxed);
            journal.push(make(Arc::clone(self)));
        }
    }

    /// Leaves a stop for the store, if there is one. Called under the lock.
    pub(crate) fn journal_stop(
        self: &Arc<Self>,
        state: &State,
        mode: StopMode,
        cause: &Arc<Cause>,
    ) {
        let Some(journal) = &self.shared.journal else { return };
        let bits = self.flags();
        if bits & (flags::REFUSED | flags::LEFT_TO_NEXT) != 0 || self.has_lost_id() {
            return;
        }
        let epoch = journal.epoch(self.attempt());
        let mut stop = StopAccepted::new(self.id, epoch, mode, Arc::clone(cause));
        let hard = state.life.hard_deadline();
        stop.hard_deadline = hard.map(|at| self.shared.clock.wall(at));
        stop.rollback = state.rollback() != Rollback::No;
        self.unstored.fetch_add(1, Ordering::Relaxed);
        self.unstored_stops.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::Stop(Arc::clone(self), Box::new(stop));
        if bits & flags::ACCEPTANCE_STORED == 0 {
            journal.push(entry);
        } else {
            journal.push_stop(entry);
        }
    }

    /// Notes what became of an entry, and wakes who waits for that.
    fn settle_entry(&self, set: u32, edit: impl FnOnce(&mut State)) {
        let mut wakers = Wakers::new();
        self.settle_entry_for(&mut wakers, set, edit);
        foreign::wake(&self.shared.couriers, wakers);
    }

    /// As [`settle_entry`](Self::settle_entry), and yields whom to wake.
    fn settle_entry_for(&self, wakers: &mut Wakers, set: u32, edit: impl FnOnce(&mut State)) {
        let task = {
            let mut state = self.lock();
            let had_stops = self.has_unstored_stops();
            edit(&mut state);
            self.set(set);
            let was_held = self.flags() & flags::AWAITS_STORE != 0
                && set & (flags::ACCEPTANCE_STORED | flags::REFUSED) != 0;
            if was_held {
                self.clear(flags::AWAITS_STORE);
            }
            let left = self.unstored.fetch_sub(1, Ordering::Relaxed) - 1;
            if left == 0 || was_held || (had_stops && !self.has_unstored_stops()) {
                state.waiters.drain_into(wakers);
            }
            // Under the lock under which `poll_turn` stores the waker: no wake-up is lost.
            if was_held { state.body.clone() } else { None }
        };
        // Not foreign code: the task of the run is the engine's.
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Notes that the end of the run is stored, or that it has quiesced. If that was the last of a
    /// root, its bytes are free before anybody is woken.
    fn settle_last(self: &Arc<Self>, wakers: &mut Wakers, has_quiesced: bool) {
        let is_last = self.is_root() && self.ended_non_quiescent() == has_quiesced;
        self.settle_entry_for(wakers, 0, |state| {
            if is_last {
                self.release_bytes(state);
            }
        });
        self.ask_for_next();
        self.leave_memory(has_quiesced);
    }

    /// Tells what became of all that was decided about the run so far: none while that is not
    /// known, which it hurries then. Called under the lock.
    pub(crate) fn stored(&self, state: &State) -> Option<Result<(), StoreError>> {
        self.became(state, &self.unstored)
    }

    /// As [`stored`](Self::stored), of the stops alone: what the run does meanwhile, its end too,
    /// is not waited for.
    pub(crate) fn stops_stored(&self, state: &State) -> Option<Result<(), StoreError>> {
        self.became(state, &self.unstored_stops)
    }

    fn became(&self, state: &State, left: &AtomicU16) -> Option<Result<(), StoreError>> {
        let Some(journal) = &self.shared.journal else { return Some(Ok(())) };
        let refused = state.extra.as_ref().and_then(|extra| extra.not_stored.clone());
        if let Some(error) = refused {
            return Some(Err(error));
        }
        if left.load(Ordering::Relaxed) == 0 {
            return Some(Ok(()));
        }
        // Whoever asks waits for it.
        journal.hurry();
        journal.trouble().map(Err)
    }

    fn has_unstored_stops(&self) -> bool {
        self.unstored_stops.load(Ordering::Relaxed) > 0
    }

    /// Notes what became of a stop. Called under the lock.
    fn settle_stop(&self) {
        self.unstored_stops.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells subscribers of `tracing` that the store has refused something of the run for good.
    /// That the lease was lost is told once, and not of each run that another node may have by now.
    fn trace_not_stored(self: &Arc<Self>, error: &StoreError) {
        if let StoreError::LeaseLost { .. } = error {
            return;
        }
        let (node, error) = (Arc::clone(self), error.to_string());
        self.shared.couriers.send_words(Box::new(move || {
            let Self { id, name, .. } = &*node;
            tracing::error!(run.uuid = %id, run.name = %name, error, "run was not stored");
        }));
    }

    /// Tells whether nothing more of the run is stored. Without a store no flag is read.
    pub(crate) fn is_unkept(&self) -> bool {
        let unkept = flags::REFUSED | flags::LEFT_TO_NEXT;
        self.shared.journal.is_some() && self.flags() & unkept != 0
    }

    /// Tells whether something of the run is on its way into the store.
    pub(crate) fn has_unstored(&self) -> bool {
        self.unstored.load(Ordering::Relaxed) > 0
    }

    /// Tells whether a successor may have the run by now, which numbers its events.
    pub(crate) fn is_left(&self) -> bool {
        let journal = self.shared.journal.as_ref();
        journal
            .is_some_and(|journal| self.flags() & flags::LEFT_TO_NEXT != 0 || journal.is_revoked())
    }

    /// Tells whether the run was left to the next process, paused, or before it started. Without a
    /// store no flag is read.
    pub(crate) fn is_left_to_next(&self) -> bool {
        self.shared.journal.is_some() && self.flags() & flags::LEFT_TO_NEXT != 0
    }

    /// Yields the status as it is told: a run that was left to the next process stays as it was.
    /// Called under the lock.
    pub(crate) fn told_status(&self, state: &State) -> RunStatus {
        match self.is_left_to_next() {
            false => state.life.status(),
            true if self.began(state).1.is_some() => RunStatus::Paused,
            true => RunStatus::Queued,
        }
    }

    /// Notes that a stop came too late for the store: the run was left to the next process. Called
    /// under the lock.
    pub(crate) fn refuse_stop_of_left(state: &mut State) {
        state.extra().not_stored.get_or_insert(StoreError::Closed);
    }

    /// Tells whether the store has refused the run. Without a store no flag is read.
    pub(crate) fn is_refused(&self) -> bool {
        self.shared.journal.is_some() && self.flags() & flags::REFUSED != 0
    }
}

/// Entries of one run that may wait for the store when it saves, or when further work begins.
pub(crate) const UNSTORED_MAX: u16 = 1_000;
