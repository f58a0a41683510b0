//! The [`Registry`] finds runs by id as long as they are live or kept, and holds the stops that are
//! remembered for ids to come. It asks nothing of a run.
//!
//! Invariants:
//!
//! 1. A look-up and an insert for one id happen under one shard lock: either the run that takes the
//!    id uses the remembered stop, or the stop finds the run (I22).
//! 2. No guard of the map leaves a function. A closure that is given to one is called under such a
//!    guard, and takes no lock.
//! 3. A live run is in the map; an ended one as long as its tree is kept and it has a row. An entry
//!    is removed for the run that it holds, never for its id alone: the id may be in use again.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use quell_core::lifecycle::later;
use quell_core::{CancelRequest, Disposition, RunId};

use crate::config::Limits;
use crate::failure::SubmitError;
use crate::foreign;
use crate::sync::waiters::{Key, Offer, Waiters, Wakers};
use crate::sync::{AtomicU64, DashMap, MapEntry, Mutex, Ordering};
use crate::tables::ids::{IdHash, Ids};
use crate::tables::reservations::{Reservations, Reserved};
use crate::time::clock::{Clock, Ticks};

/// The runs of an engine by id; `R` is what a run is.
#[derive(Debug)]
pub(crate) struct Registry<R> {
    /// The runs that are live or kept, and the stops remembered for ids that no run has yet.
    runs: DashMap<RunId, Entry<R>, IdHash>,
    /// The counts of live runs, and the source of ids.
    busy: Busy,
    /// Age, time and owner of the remembered stops.
    reserved: Reservations,
    /// The waiters for the end of the last live root.
    idle: Mutex<Waiters>,
}

#[derive(Debug)]
enum Entry<R> {
    Run(Arc<R>),
    /// Boxed: there are few, and inline they would make every entry of the map larger.
    Reserved(Box<Reserved>),
}

/// What every start and end of a run writes. It has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Busy {
    /// Live runs in the lower half, live roots in the upper, so that one write counts both.
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
    /// lock: a run that is refused has claimed nothing. Yields the stop that was remembered for the
    /// id. Called under the lock of the run's node.
    pub(crate) fn enter<A>(
        &self,
        id: RunId,
        run: &Arc<R>,
        is_root: bool,
        now: Instant,
        admit: impl FnOnce() -> Result<A, SubmitError>,
    ) -> Result<(A, Option<Box<CancelRequest>>), SubmitError> {
        // Count under the lock of the shard. A shutdown that then finds no live root has listed
        // this run, or `admit` sees the shutdown and refuses the run.
        let admit = || {
            let admitted = admit()?;
            self.busy.live.fetch_add(one_run(is_root), Ordering::SeqCst);
            Ok(admitted)
        };
        Ok(match self.runs.entry(id) {
            MapEntry::Vacant(free) => {
                let admitted = admit()?;
                free.insert(Entry::Run(Arc::clone(run)));
                (admitted, None)
            }
            MapEntry::Occupied(mut held) => match held.get() {
                Entry::Run(_) => return Err(SubmitError::IdInUse(id)),
                Entry::Reserved(_) => {
                    let admitted = admit()?;
                    let stop = match held.insert(Entry::Run(Arc::clone(run))) {
                        Entry::Reserved(stop) => {
                            // Used up, or its time is over: either way it is remembered no longer.
                            self.reserved.remove(stop.age);
                            (now < stop.until).then_some(stop.request)
                        }
                        Entry::Run(_) => None,
                    };
                    (admitted, stop)
                }
            },
        })
    }

    pub(crate) fn get(&self, id: RunId) -> Option<Arc<R>> {
        match &*self.runs.get(&id)? {
            Entry::Run(run) => Some(Arc::clone(run)),
            Entry::Reserved(_) => None,
        }
    }

    /// Finds a run, or remembers the stop for it if the request says so.
    pub(crate) fn find_or_reserve(
        &self,
        id: RunId,
        request: &CancelRequest,
        clock: &Clock,
    ) -> Result<Arc<R>, Disposition> {
        let keep = request.remembered_for();
        if keep.is_zero() || !self.reserved.is_on() {
            return self.get(id).ok_or(Disposition::Unknown);
        }
        let now = clock.now();
        let until = later(now, keep);
        let remember = || Entry::Reserved(Box::new(self.reserved.add(id, request, until)));
        // Look up and remember under one lock of the shard: a run that is submitted meanwhile uses
        // the stop, or is found here (I22).
        match self.runs.entry(id) {
            MapEntry::Occupied(mut held) => match held.get_mut() {
                Entry::Run(run) => return Ok(Arc::clone(run)),
                // The first cause stands (I6). It is remembered until the later of the two times.
                Entry::Reserved(stop) if now < stop.until => {
                    stop.until = until.max(stop.until);
                    self.reserved.renew(stop.age, stop.until);
                }
                // Its time is over: as if it were not there.
                Entry::Reserved(stop) => {
                    self.reserved.remove(stop.age);
                    held.insert(remember());
                }
            },
            MapEntry::Vacant(free) => drop(free.insert(remember())),
        }
        self.forget_reservations(request.asked_by(), now);
        Err(Disposition::Reserved)
    }

    /// Forgets the remembered stops that are beyond a bound, and the oldest whose time is over.
    fn forget_reservations(&self, by: Option<&str>, now: Instant) {
        while let Some((age, id)) = self.reserved.surplus(by, now) {
            // Look again under the lock of the shard: a run may have used the stop, or another
            // request renewed it, since `surplus` found it.
            self.runs.remove_if(&id, |_, entry| {
                let Entry::Reserved(stop) = entry else { return false };
                stop.age == age
                    && self.reserved.surplus(by, now) == Some((age, id))
                    && self.reserved.remove(age)
            });
        }
    }

    /// Lists the runs that are meant, in no order. What decides that takes no lock: a shard is
    /// locked meanwhile.
    pub(crate) fn list(&self, is_meant: impl Fn(&R) -> bool) -> Vec<Arc<R>> {
        let runs = self.runs.iter().filter_map(|entry| match entry.value() {
            Entry::Run(run) if is_meant(run) => Some(Arc::clone(run)),
            _ => None,
        });
        runs.collect()
    }

    /// Counts out a run that became terminal.
    pub(crate) fn count_end(&self, is_root: bool, wakers: &mut Wakers) {
        let one = one_run(is_root);
        let left = self.busy.live.fetch_sub(one, Ordering::SeqCst) - one;
        // Lock after the write: a waiter has registered before, and is woken here, or reads the new
        // count under this lock.
        if is_root && left < ONE_ROOT {
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
            // Read the count under the lock of the waiters: see `count_end`.
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

    /// Forgets a run, unless another run has its id by now.
    pub(crate) fn remove(&self, id: RunId, run: &Arc<R>) {
        let is_it = |entry: &Entry<R>| matches!(entry, Entry::Run(held) if Arc::ptr_eq(held, run));
        let removed = self.runs.remove_if(&id, |_, entry| is_it(entry));
        // After the guard of the shard: this may be the last reference to the run.
        drop(removed);
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }
}

/// What a run adds to the counts.
const fn one_run(is_root: bool) -> u64 {
    if is_root { ONE_ROOT + 1 } else { 1 }
}

/// One live root in the word of counts.
const ONE_ROOT: u64 = 1 << 32;
