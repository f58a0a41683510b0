//! The [`Registry`] finds runs by id as long as they are live or kept, and holds the stops that are
//! remembered for ids to come. It asks nothing of a run but what it is told to ask.
//!
//! Invariants:
//!
//! 1. An id is looked up and taken under one lock of its shard, together with admission: a run that
//!    is refused has claimed nothing, and two runs never have one id.
//! 2. No guard of the map leaves a function. A closure that is given to one is called under such a
//!    guard, and takes no lock but that of admission.
//! 3. A live run is in the map; an ended one as long as its tree is kept and it has a row. An entry
//!    is removed for the run that it holds, never for its id alone: the id may be in use again.
//! 4. A run that enters uses the stop that was remembered for it, or the stop finds the run
//!    ([`crate::tables::reservations`]).

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use quell_core::lifecycle::later;
use quell_core::{CancelRequest, Disposition, RunId};

use crate::config::Limits;
use crate::failure::SubmitError;
use crate::foreign;
use crate::stop_scope::StopScope;
use crate::sync::waiters::{Key, Offer, Waiters, Wakers};
use crate::sync::{AtomicU64, DashMap, MapEntry, Mutex, Ordering};
use crate::tables::ids::{IdHash, Ids};
use crate::tables::reservations::{Remembered, Reservations};
use crate::time::clock::Clock;
use crate::time::ticks::Ticks;

/// The runs of an engine by id; `R` is what a run is.
#[derive(Debug)]
pub(crate) struct Registry<R> {
    /// The runs that are live or kept.
    runs: DashMap<RunId, Arc<R>, IdHash>,
    /// The counts of live runs, and the source of ids.
    busy: Busy,
    /// The stops that are remembered for runs to come.
    reserved: Reservations,
    /// The waiters for the end of the last live root.
    idle: Mutex<Waiters>,
}

/// What every start and end of a run writes. It has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Busy {
    /// Live runs in the lower half, live roots in the upper, so that one write counts both in.
    live: AtomicU64,
    /// Makes ids for runs that bring none.
    ids: Ids,
}

impl<R> Registry<R> {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            runs: DashMap::default(),
            busy: Busy::default(),
            reserved: Reservations::new(limits),
            idle: Mutex::default(),
        }
    }

    /// Makes an id for a run that brings none.
    pub(crate) fn new_id(&self, clock: &Clock, now: Ticks) -> RunId {
        self.busy.ids.next(clock.wall_nanos(now))
    }

    /// Enters a run under its id, if that is free and `admit` lets it in. Both happen under one
    /// lock: a run that is refused has claimed nothing. Called under the lock of the run's node.
    pub(crate) fn enter<A>(
        &self,
        id: RunId,
        run: &Arc<R>,
        is_root: bool,
        admit: impl FnOnce() -> Result<A, SubmitError>,
    ) -> Result<A, SubmitError> {
        let MapEntry::Vacant(free) = self.runs.entry(id) else {
            return Err(SubmitError::IdInUse(id));
        };
        let admitted = admit()?;
        // Count under the lock of the shard. A shutdown that then finds no live root has listed
        // this run, or `admit` sees the shutdown and refuses the run.
        self.busy.live.fetch_add(one_run(is_root), Ordering::SeqCst);
        drop(free.insert(Arc::clone(run)));
        Ok(admitted)
    }

    /// Takes the stop that was remembered for a run that has entered. Called under the lock of the
    /// run's node, so that no later stop comes before it (I6).
    #[inline]
    pub(crate) fn take_stop(
        &self,
        id: RunId,
        scopes: &[StopScope],
        now: Instant,
    ) -> Option<Remembered> {
        self.reserved.take(id, scopes, now)
    }

    /// Gives back the stops that were remembered for a run that was refused after it had entered,
    /// and has its id still: the next one is to find them. So they are there before it has left.
    pub(crate) fn give_back_stop(
        &self,
        run: &Arc<R>,
        id: RunId,
        remembered: Remembered,
        now: Instant,
    ) {
        if self.get(id).is_some_and(|held| Arc::ptr_eq(&held, run)) {
            self.reserved.give_back(remembered, now);
        }
    }

    pub(crate) fn get(&self, id: RunId) -> Option<Arc<R>> {
        self.find(id, |_| true)
    }

    /// Finds a run if it is meant. What decides that takes no lock: the shard is locked meanwhile.
    fn find(&self, id: RunId, is_meant: impl FnOnce(&R) -> bool) -> Option<Arc<R>> {
        let run = self.runs.get(&id)?;
        is_meant(&run).then(|| Arc::clone(&run))
    }

    /// Finds a run that is meant, or remembers the stop for it if the request says so.
    pub(crate) fn find_or_reserve(
        &self,
        (id, scope): (RunId, Option<StopScope>),
        request: &CancelRequest,
        clock: &Clock,
        is_meant: impl FnOnce(&R) -> bool,
    ) -> Result<Arc<R>, Disposition> {
        let keep = request.remembered_for();
        let find = || self.find(id, is_meant);
        if keep.is_zero() || !self.reserved.is_on() {
            return find().ok_or(Disposition::Unknown);
        }
        let now = clock.now();
        let found = self.reserved.remember((id, scope), request, (now, later(now, keep)), find);
        found.ok_or(Disposition::Reserved)
    }

    /// Lists the runs that are meant, in no order. What decides that takes no lock: a shard is
    /// locked meanwhile.
    pub(crate) fn list(&self, is_meant: impl Fn(&R) -> bool) -> Vec<Arc<R>> {
        let runs = self.runs.iter().filter(|entry| is_meant(entry.value()));
        runs.map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Counts out a run that becomes terminal: there is room for another one.
    pub(crate) fn count_out(&self) {
        self.busy.live.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts out a root that became terminal as one that the end of the engine waits for: when its
    /// last event is written.
    pub(crate) fn count_root_out(&self, wakers: &mut Wakers) {
        let left = self.busy.live.fetch_sub(ONE_ROOT, Ordering::SeqCst) - ONE_ROOT;
        // Lock after the write: a waiter has registered before, and is woken here, or reads the new
        // count under this lock.
        if left < ONE_ROOT {
            self.idle.lock().drain_into(wakers);
        }
    }

    /// Counts a child that was detached as a root.
    pub(crate) fn count_root(&self) {
        self.busy.live.fetch_add(ONE_ROOT, Ordering::SeqCst);
    }

    pub(crate) fn live(&self) -> usize {
        usize::try_from(self.busy.live.load(Ordering::SeqCst) % ONE_ROOT).unwrap_or(usize::MAX)
    }

    /// Tells whether no root is live.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.live.load(Ordering::SeqCst) < ONE_ROOT
    }

    /// Waits until no root is live.
    pub(crate) fn poll_idle(&self, key: &mut Key, waker: &Waker) -> Poll<()> {
        let mut offer = Offer::new(waker, key, false);
        loop {
            // Read the count under the lock of the waiters: see `count_root_out`.
            let mut idle = self.idle.lock();
            if self.is_idle() {
                let removed = idle.remove(key);
                drop(idle);
                drop(removed);
                return Poll::Ready(());
            }
            if idle.register(key, &mut offer) {
                return Poll::Pending;
            }
            drop(idle);
            offer.renew();
        }
    }

    pub(crate) fn forget_waiter(&self, key: &mut Key) {
        let removed = self.idle.lock().remove(key);
        foreign::release(removed);
    }

    /// Forgets a run, unless another run has its id by now. Tells whether it was there. The caller
    /// holds the run, so that nothing of it is dropped here.
    pub(crate) fn remove(&self, id: RunId, run: &Arc<R>) -> bool {
        self.runs.remove_if(&id, |_, held| Arc::ptr_eq(held, run)).is_some()
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn len(&self) -> usize {
        self.runs.len() + self.reserved.len()
    }
}

/// What a run adds to the counts.
const fn one_run(is_root: bool) -> u64 {
    if is_root { ONE_ROOT + 1 } else { 1 }
}

/// One live root in the word of counts.
const ONE_ROOT: u64 = 1 << 32;
