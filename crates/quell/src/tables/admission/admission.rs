//! [`Admission`] decides when a run may start: at its due time, and a root when its lane is free
//! and there is a slot in each of its groups.
//!
//! A run that has to wait has its task already. The task holds the body, and waits until the run is
//! released ([`Candidate::release`]). So a stop before the start takes the usual path, and the
//! destructors of a body that never ran run on the body's runtime (I21).
//!
//! A run first waits for its due time, then for its lane, then for slots. Of those that wait for
//! the same, the one of the highest priority comes first, then the one that came first; a run comes
//! when it is due. What changes a queue under the lock also takes out the runs that may start, so
//! nothing is ever polled, and no waiting root could start when the lock is free. Only of many that
//! may start at once, because a limit was raised or they were due together, each change takes out a
//! piece; whoever raised the limit, or the control thread, comes again for the others.
//!
//! Invariants, all under the one lock:
//!
//! 1. A run is known here by its address, not by its id, and it lives until it has left: an ended
//!    run may be forgotten, and its id used again, before that.
//! 2. A lane has an entry exactly as long as a run holds it; the runs behind it wait in it. So no
//!    two runs of a lane run at once (I36). Its holder is before all of them, unless it was
//!    released: a holder that waits for a slot gives way to a run that comes before it. One that is
//!    stopped before it has started hands the lane on with the stop.
//! 3. A root that is counted as running was released and is neither paused nor quiescent: abandoned
//!    work keeps its slots (I27).
//! 4. A run that was not released, stopped, superseded or refused by the store stands in exactly
//!    one queue, and `places` says in which: `due`, a class of `groups`, `passing`, or behind the
//!    holder of its lane. One that was released or has ended stands in none.
//! 5. A root counts as queued in its groups exactly as long as it is in `places`, and from its
//!    release on as running. A child counts in none, and neither does a paused root, which keeps
//!    its lane, nor one that no limit concerns: where others wait for slots it stands in `passing`,
//!    and is taken out with the next piece.
//! 6. Of a kind that `counted` names, every root that limits concern, that was submitted, is live,
//!    not paused, and was released counts as running. A scope that had no limits is being counted
//!    first, and its limits apply only when all its roots count: until then nobody is refused or
//!    held for it.
//! 7. The event that says that a run leaves is written under this lock, and its flags are published
//!    under it: a caller that sees by either that a run is over finds its lane and its slots free,
//!    and no other run has them before.
//! 8. Under one lock no more is looked at than a piece, however many roots there are: the control
//!    thread takes the lock in its turns, and no deadline waits for a limit that changes (I14).
//!    Only a root that takes the place of what its lane has looks at more, at each root of that
//!    lane: which these are is one decision. It is refused if they are more than `SUPERSEDED_MAX`.
//! 9. The lists of lanes have exactly the roots with a lane that were taken in and have not left,
//!    which a superseded run does when it waits. So of two roots that supersede what their lane
//!    has, the second one supersedes the first (I36).
//! 10. With several nodes the holder of a lane waits for its turn among all of them before it waits
//!     for a slot (see [`super::turns`]).
//!
//! Lock order: `counted` → node → shard of the registry → state of admission → what an event is
//! written to. Runs that may start are collected in [`Free`], and released after it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell_core::{RunId, RunKind, RunStatus};

use super::change::Rest;
use super::leaving::{Free, Leaving};
use super::quotas::{Allowance, Bell, Need, SlotKey};
use super::state::State;
use super::turns::refuse_to_wait;
use crate::failure::SubmitError;
use crate::gate::{Gate, LaneMark};
use crate::queue::{QueuePosition, RunLimits, Scope};
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering};

/// A run that waits for admission. It is asked under the lock of admission, and takes no lock to
/// answer: a node is locked before admission is.
pub(crate) trait Candidate {
    /// Yields what it stands for.
    fn kind(&self) -> RunKind;

    /// Yields its id.
    fn id(&self) -> RunId;

    /// Yields its name.
    fn name(&self) -> &str;

    /// Yields its owner.
    fn owner(&self) -> Option<&Arc<str>>;

    /// Yields what a root asks for besides a slot.
    fn gate(&self) -> Option<&Gate>;

    /// Tells whether the run starts as soon as it is due: it needs neither lane nor slot.
    fn starts_when_due(&self) -> bool;

    /// Yields how it stands.
    fn status(&self) -> RunStatus;

    /// Tells whether the run has its lane from an attempt before a pause: it gives way to none.
    fn keeps_lane(&self) -> bool {
        false
    }

    /// Tells whether the run would still start.
    fn is_wanted(&self) -> bool {
        self.status() == RunStatus::Queued
    }

    /// Tells whether its acceptance is stored. Until it is, its lane is asked for by that alone.
    fn is_stored(&self) -> bool {
        false
    }

    /// Ends the wait. Called with no lock held.
    fn release(&self);
}

/// The runs that wait, and those that hold a lane or a slot; `R` is what a run is.
#[derive(Debug)]
pub(crate) struct Admission<R> {
    /// The kinds of which some roots have limits, as bits.
    limited: AtomicU32,
    state: Mutex<State<R>>,
    /// Wakes the loop that has the accounts of limits of all nodes, if there are any.
    bell: Option<Arc<Bell>>,
    /// The kinds of which all live roots are known here, as bits. Held while limits are changed.
    counted: Mutex<u32>,
}

/// What came of the entry of a root.
#[must_use]
pub(crate) struct Entered<R> {
    pub(crate) free: Free<R>,
    /// The roots of its lane in whose place it is, in the order in which the caller stops them when
    /// it holds no lock. Those of them that waited have left.
    pub(crate) superseded: Vec<Arc<R>>,
}

impl<R: Candidate> Admission<R> {
    /// Makes an admission with limits. The last ones for a scope count. Of limits of all nodes
    /// nothing may be used at first.
    pub(crate) fn new<'a>(
        limits: impl IntoIterator<Item = &'a (Scope, RunLimits)>,
        all_nodes: &[(Scope, usize)],
    ) -> Self {
        let mut state = State::new();
        // Each limit of all nodes has a group of its own, whatever the other limits are.
        let bounded = RunLimits::new().running_max(usize::MAX);
        for (scope, _) in all_nodes {
            state.groups.change_whole(scope, bounded);
        }
        state.groups.set_quotas(all_nodes);
        let unbounded = all_nodes.iter().map(|(scope, _)| (scope, RunLimits::new()));
        let limits = limits.into_iter().map(|(scope, limits)| (scope, *limits));
        let mut limited = 0;
        for (scope, limits) in unbounded.chain(limits) {
            state.groups.change_whole(scope, limits);
            limited |= kinds_of(scope);
        }
        let (counted, state) = (Mutex::new(limited), Mutex::new(state));
        let bell = (!all_nodes.is_empty()).then(Arc::default);
        Self { limited: AtomicU32::new(limited), state, bell, counted }
    }

    /// Yields what wakes the loop that has the accounts of limits of all nodes.
    pub(crate) const fn bell(&self) -> Option<&Arc<Bell>> {
        self.bell.as_ref()
    }

    /// Takes the limits of all nodes that are to be looked at.
    pub(crate) fn take_looks(&self) -> Vec<SlotKey> {
        self.state().groups.take_looks()
    }

    /// Changes what may be used of a limit of all nodes, by what is needed of it: no run starts
    /// between the two. `decide` takes no lock.
    pub(crate) fn allow(
        &self,
        key: &SlotKey,
        now: Instant,
        decide: impl FnOnce(Need) -> Allowance,
    ) {
        self.state().groups.allow(key, decide);
        self.release_all(now);
    }

    /// Releases the runs that may start now, a piece after the other. Called with no lock held.
    fn release_all(&self, now: Instant) {
        loop {
            let (free, may_go_on) = self.released(self.state(), now);
            free.start();
            if !may_go_on {
                return;
            }
        }
    }

    /// Takes out the runs that may start now, or a piece of them, and tells whether there may be
    /// more.
    pub(super) fn released(
        &self,
        mut state: MutexGuard<'_, State<R>>,
        now: Instant,
    ) -> (Free<R>, bool) {
        Free::release(&mut state, self.bell.as_ref(), now)
    }

    /// Tells whether a root needs admission. Called under the lock of its shard: see
    /// [`set_limit`](Self::set_limit).
    pub(crate) fn concerns(&self, run: &R) -> bool {
        let is_limited = self.limited.load(Ordering::SeqCst) & bit_of(run.kind()) != 0;
        run.gate().map_or(is_limited, |gate| {
            is_limited && !gate.is_unlimited || gate.lane.is_some() || gate.not_before.is_some()
        })
    }

    /// Releases the runs whose due time has come, before one comes that would be behind them.
    /// Called with no lock held.
    pub(crate) fn catch_up(&self, now: Instant) {
        while self.state().next_due().is_some_and(|due| due <= now) {
            self.turn(now).0.start();
        }
    }

    /// Takes in a root whose id is claimed. Called under its node's lock, with the node held, after
    /// [`catch_up`](Self::catch_up).
    pub(crate) fn enter(&self, run: &Arc<R>, now: Instant) -> Result<Entered<R>, SubmitError> {
        let mut state = self.state();
        let mut superseded = state.ask_lane(&**run)?;
        let due = run.gate().and_then(|gate| gate.not_before).filter(|due| *due > now);
        let waits = due.is_some() || state.has_to_wait(&**run, &superseded);
        if (waits || state.may_await_turn(&**run))
            && let Some((scope, max)) = state.full_queue(&**run, &superseded)
        {
            if waits {
                return Err(SubmitError::QueueFull { scope, max });
            }
            refuse_to_wait(&**run, scope, max);
        }
        state.supersede(&mut superseded);
        state.enter(run, due);
        Ok(Entered { free: self.released(state, now).0, superseded })
    }

    /// Takes in a root that was paused and goes on: it waits for a slot, and has its lane. It is
    /// refused if its queue is full: with the scope, and how many may wait. `queue`, which takes
    /// no lock, has it wait and lets everybody see that. Called under its node's lock, with the
    /// node held, after [`catch_up`](Self::catch_up).
    pub(crate) fn enter_again(
        &self,
        run: &Arc<R>,
        now: Instant,
        queue: impl FnOnce(),
    ) -> Result<Free<R>, (Scope, usize)> {
        let mut state = self.state();
        if !state.has_room(&**run)
            && let Some(full) = state.full_queue(&**run, &[])
        {
            return Err(full);
        }
        queue();
        state.enter_again(run);
        Ok(self.released(state, now).0)
    }

    /// Takes in a root that was paused when its process ended: it has its lane, and no slot. If
    /// another root has the lane it is not taken in, and that one is yielded. Called under its
    /// node's lock.
    pub(crate) fn enter_paused(&self, run: &Arc<R>) -> Option<RunId> {
        self.state().enter_paused(run)
    }

    /// Takes in a child whose due time is still to come. It has no lane and takes no slot: its root
    /// has both. Called under its node's lock, with the node held.
    pub(crate) fn enter_child(&self, run: &Arc<R>, due: Instant) {
        self.state().await_due(run, due);
    }

    /// Locks admission for a run that is about to leave. Called under the lock of the run's node.
    pub(crate) fn hold(&self) -> Leaving<'_, R> {
        Leaving::new(self.state(), self.bell.as_ref())
    }

    /// Releases the runs whose due time has come, or a piece of them. The instant is the next due
    /// time.
    pub(crate) fn turn(&self, now: Instant) -> (Free<R>, Option<Instant>) {
        let mut state = self.state();
        let (free, _) = Free::release(&mut state, self.bell.as_ref(), now);
        (free, state.next_due())
    }

    /// Changes the limits of a scope, and starts what may start then. A scope that had none counts
    /// the roots that are live: `live` lists them, and `count_in`, which is called for each with no
    /// lock of admission held, calls [`count_in`](Self::count_in) under the root's lock. Should one
    /// of the two panic, nothing has changed but that some roots are known here.
    ///
    /// `live` sees every root of which [`concerns`](Self::concerns) did not see the limit: it looks
    /// into a shard after the lock under which that was asked.
    pub(crate) fn set_limit(
        &self,
        scope: &Scope,
        limits: RunLimits,
        now: Instant,
        live: impl FnOnce() -> Vec<Arc<R>>,
        count_in: impl Fn(&Arc<R>),
    ) {
        // Dropped after the lock: it may have the last reference to a run by then.
        let mut uncounted = Vec::new();
        let mut counted = self.counted.lock();
        let kinds = kinds_of(scope);
        if *counted & kinds != kinds {
            self.limited.fetch_or(kinds, Ordering::SeqCst);
            uncounted.extend(live());
            uncounted.iter().for_each(count_in);
            *counted |= kinds;
        }
        let mut rest = self.piece(|state| state.change(scope, limits));
        while let Some(next) = rest {
            rest = self.piece(|state| state.go_on(scope, limits, next));
        }
        drop(counted);
        self.release_all(now);
    }

    /// Makes a piece of a change under a lock of its own, and looks there at the limits of all
    /// nodes that it has touched: else these would be as many as all pieces have roots.
    fn piece(&self, go_on: impl FnOnce(&mut State<R>) -> Option<Rest>) -> Option<Rest> {
        let (rest, rings) = {
            let mut state = self.state();
            (go_on(&mut state), state.groups.judge_quotas())
        };
        if let Some(bell) = self.bell.as_ref().filter(|_| rings) {
            bell.ring();
        }
        rest
    }

    /// Counts a live root that was admitted before its kind had a limit. Called under its node's
    /// lock, for a root that is not quiescent and whose end will be told.
    pub(crate) fn count_in(&self, run: &Arc<R>) {
        self.state().count_in(run);
    }

    /// Yields the limits of a scope, if they were ever set.
    pub(crate) fn limits(&self, scope: &Scope) -> Option<RunLimits> {
        self.state().limits(scope)
    }

    /// Tells where a run waits. The walk is bounded: see [`QueuePosition::ahead`].
    pub(crate) fn position(
        &self,
        run: &Arc<R>,
        wall: impl FnOnce(Instant) -> SystemTime,
    ) -> Option<QueuePosition> {
        self.state().position(run, wall)
    }

    /// Yields a mark that is after every root that has come, and before every one that comes.
    pub(crate) fn mark(&self) -> LaneMark {
        self.state().mark()
    }

    /// Tells whether a run waits behind the holder of its lane.
    pub(crate) fn is_behind(&self, run: &Arc<R>) -> bool {
        self.state().is_behind(run)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<R>> {
        #[cfg_attr(not(test), expect(unused_mut, reason = "only tests count"))]
        let mut state = self.state.lock();
        #[cfg(test)]
        state.groups.begin_piece();
        state
    }

    /// The most that was looked at under one lock.
    #[cfg(test)]
    pub(super) fn largest_piece(&self) -> usize {
        self.state().groups.largest_piece
    }

    /// How many groups there are.
    #[cfg(test)]
    pub(super) fn groups(&self) -> usize {
        self.state().groups.arena.len()
    }

    /// How many runs wait or hold a slot or a lane.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn len(&self) -> usize {
        self.state().len()
    }
}

/// Yields the kinds that a scope concerns, as bits.
fn kinds_of(scope: &Scope) -> u32 {
    match scope {
        Scope::All | Scope::EachOwner => u32::MAX,
        Scope::Kind(kind) | Scope::Component(kind, _) => bit_of(*kind),
    }
}

const fn bit_of(kind: RunKind) -> u32 {
    1 << kind as u32
}
