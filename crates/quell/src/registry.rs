//! Which runs are known: by id, as long as they are live or kept, and stops for ids to come.
//!
//! Invariants:
//!
//! 1. A look-up and an insert for one id happen under one shard lock: a stop that was remembered is
//!    used by the run that takes the id, or the run is found (I22).
//! 2. No guard of the map leaves a function, and no node is locked while one is held.
//! 3. A live run is in the map; an ended one as long as its tree is kept and it has a row.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use quell_core::lifecycle::later;
use quell_core::{CancelRequest, Disposition, RunId};

use crate::clock::Clock;
use crate::config::Limits;
use crate::faults;
use crate::filter::RunFilter;
use crate::foreign;
use crate::ids::{IdHash, Ids};
use crate::node::Node;
use crate::sync::{AtomicBool, AtomicU64, DashMap, MapEntry, Mutex, Ordering};
use crate::waiters::{Key, Waiters, Wakers};
use crate::word;

#[derive(Debug)]
pub(crate) struct Registry {
    runs: DashMap<RunId, Entry, IdHash>,
    busy: Busy,
    /// The remembered stops by age, and how long they are. Locked under a shard, or alone.
    reserved: Mutex<BTreeMap<u64, (RunId, Instant)>>,
    reserved_ever: AtomicU64,
    /// Ended trees, oldest first.
    ended: Mutex<VecDeque<(Instant, Arc<Node>)>>,
    /// Those who wait for the last live root.
    idle: Mutex<Waiters>,
    trees_max: usize,
    trees_for: Duration,
    /// The engine's owner is gone: nobody can ask for an ended tree.
    keeps_nothing: AtomicBool,
    reservations_max: usize,
}

#[derive(Debug)]
enum Entry {
    Run(Arc<Node>),
    /// Boxed: there are few of them, and it would widen every place of the map.
    Reserved(Box<Reserved>),
}

/// A stop that waits for its run.
#[derive(Debug)]
struct Reserved {
    request: Box<CancelRequest>,
    until: Instant,
    age: u64,
}

/// What every thread writes that starts or ends a run: it has a line of the cache to itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Busy {
    /// Live runs in the lower half, live roots in the upper: one write for both.
    live: AtomicU64,
    ids: Ids,
}

/// What came of entering a run.
pub(crate) enum Entered {
    /// It is known now.
    Yes,
    /// It is known now, and this stop was waiting for it.
    Stopped(Box<CancelRequest>),
    /// Another run has the id.
    InUse,
}

impl Registry {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            runs: DashMap::default(),
            busy: Busy::default(),
            reserved: Mutex::default(),
            reserved_ever: AtomicU64::new(0),
            ended: Mutex::default(),
            idle: Mutex::default(),
            trees_max: limits.ended_trees_max,
            trees_for: limits.ended_trees_for,
            keeps_nothing: AtomicBool::new(false),
            reservations_max: limits.reservations_max,
        }
    }

    /// Makes an id for a run that brings none.
    pub(crate) fn new_id(&self, clock: &Clock, now: Instant) -> RunId {
        self.busy.ids.next(clock.wall_nanos(now))
    }

    /// Enters a run under its id. Called under the lock of the run's node.
    pub(crate) fn enter(&self, node: &Arc<Node>, is_root: bool, now: Instant) -> Entered {
        let entered = match self.runs.entry(node.id) {
            MapEntry::Vacant(free) => {
                free.insert(Entry::Run(Arc::clone(node)));
                Entered::Yes
            }
            MapEntry::Occupied(mut held) => match held.get() {
                Entry::Run(_) => return Entered::InUse,
                Entry::Reserved(_) => match held.insert(Entry::Run(Arc::clone(node))) {
                    Entry::Reserved(stop) => {
                        self.reserved.lock().remove(&stop.age);
                        if now < stop.until { Entered::Stopped(stop.request) } else { Entered::Yes }
                    }
                    Entry::Run(_) => Entered::Yes,
                },
            },
        };
        self.busy.live.fetch_add(one_run(is_root), Ordering::SeqCst);
        entered
    }

    pub(crate) fn get(&self, id: RunId) -> Option<Arc<Node>> {
        match &*self.runs.get(&id)? {
            Entry::Run(node) => Some(Arc::clone(node)),
            Entry::Reserved(_) => None,
        }
    }

    /// Finds a run, or remembers the stop for it if the request says so.
    pub(crate) fn find_or_reserve(
        &self,
        id: RunId,
        request: &CancelRequest,
        clock: &Clock,
    ) -> Result<Arc<Node>, Disposition> {
        let mut keep = request.remembered_for();
        if faults::on("remember-everything") {
            keep = Duration::from_mins(1);
        }
        if keep.is_zero() || self.reservations_max == 0 {
            return self.get(id).ok_or(Disposition::Unknown);
        }
        let now = clock.now();
        let until = later(now, keep);
        let remember = || {
            let age = self.reserved_ever.fetch_add(1, Ordering::Relaxed);
            self.reserved.lock().insert(age, (id, until));
            Entry::Reserved(Box::new(Reserved { request: Box::new(request.clone()), until, age }))
        };
        match self.runs.entry(id) {
            MapEntry::Occupied(mut held) => match held.get_mut() {
                Entry::Run(node) => return Ok(Arc::clone(node)),
                // The first cause stands (I6); it is remembered for as long as the longer asks.
                Entry::Reserved(stop) if now < stop.until => {
                    stop.until = until.max(stop.until);
                    self.reserved.lock().insert(stop.age, (id, stop.until));
                }
                Entry::Reserved(stop) => {
                    self.reserved.lock().remove(&stop.age);
                    held.insert(remember());
                }
            },
            MapEntry::Vacant(free) => drop(free.insert(remember())),
        }
        self.forget_reservations(now);
        Err(Disposition::Reserved)
    }

    /// Forgets the oldest stops that are remembered: those beyond the bound, and those whose time
    /// is over.
    fn forget_reservations(&self, now: Instant) {
        loop {
            let oldest = self.reserved.lock().first_key_value().map(|(age, held)| (*age, *held));
            let Some((age, (id, until))) = oldest else { return };
            let is_kept = |until, len| now < until && len <= self.reservations_max;
            if is_kept(until, self.reserved.lock().len()) {
                return;
            }
            // Looked at again under the shard: it may have been used or renewed meanwhile.
            self.runs.remove_if(&id, |_, entry| {
                let Entry::Reserved(stop) = entry else { return false };
                let mut reserved = self.reserved.lock();
                let over = stop.age == age && !is_kept(stop.until, reserved.len());
                over && reserved.remove(&age).is_some()
            });
        }
    }

    /// As [`list`](Self::list), in the order in which all of them are to be stopped: those that
    /// wait for their turn first, the last one first. None of them is to start because another one
    /// has ended.
    pub(crate) fn list_for_stop(&self, filter: &RunFilter) -> Vec<Arc<Node>> {
        let mut nodes = self.list(filter);
        nodes.sort_by_cached_key(|node| (node.word() & word::HELD == 0, Reverse(node.id)));
        nodes
    }

    /// Lists the runs that a filter lets through, in no order.
    pub(crate) fn list(&self, filter: &RunFilter) -> Vec<Arc<Node>> {
        let runs = self.runs.iter().filter_map(|entry| match entry.value() {
            Entry::Run(node) if filter.matches(node) => Some(Arc::clone(node)),
            _ => None,
        });
        runs.collect()
    }

    /// Counts a run out that became terminal.
    pub(crate) fn count_end(&self, is_root: bool, wakers: &mut Wakers) {
        let one = one_run(is_root);
        let left = self.busy.live.fetch_sub(one, Ordering::SeqCst) - one;
        if is_root && left < ONE_ROOT {
            self.idle.lock().drain_into(wakers);
        }
    }

    /// A child became a root.
    pub(crate) fn count_root(&self) {
        self.busy.live.fetch_add(ONE_ROOT, Ordering::SeqCst);
    }

    pub(crate) fn live(&self) -> usize {
        usize::try_from(self.busy.live.load(Ordering::SeqCst) % ONE_ROOT).unwrap_or(usize::MAX)
    }

    /// Tells whether no root is live; registers the waker otherwise.
    pub(crate) fn poll_idle(&self, key: &mut Key, waker: &Waker) -> bool {
        let mut idle = self.idle.lock();
        if self.busy.live.load(Ordering::SeqCst) < ONE_ROOT {
            idle.remove(key);
            return true;
        }
        idle.register(key, waker);
        false
    }

    pub(crate) fn forget_waiter(&self, key: &mut Key) {
        self.idle.lock().remove(key);
    }

    pub(crate) fn remove(&self, id: RunId) {
        if faults::on("keep-everything") {
            return;
        }
        let removed = self.runs.remove(&id);
        drop(removed);
    }

    /// Forgets ended trees as soon as they are asked to expire.
    pub(crate) fn keep_nothing(&self) {
        self.keeps_nothing.store(true, Ordering::SeqCst);
    }

    /// Keeps an ended and quiescent tree for a while. Yields when its time is over if nobody waits
    /// for an earlier one.
    pub(crate) fn retire(&self, root: &Arc<Node>, now: Instant) -> Option<Instant> {
        if self.trees_max == 0 || self.trees_for.is_zero() {
            drop(foreign::call(|| self.forget_tree(root)));
            return None;
        }
        let mut ended = self.ended.lock();
        ended.push_back((now, Arc::clone(root)));
        (ended.len() == 1).then(|| later(now, self.trees_for))
    }

    /// Forgets the trees whose time is over. Yields when the next one is.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        loop {
            let root = {
                let mut ended = self.ended.lock();
                let (at, _) = ended.front()?;
                let over = later(*at, self.trees_for);
                let kept = !self.keeps_nothing.load(Ordering::SeqCst);
                if kept && ended.len() <= self.trees_max && over > now {
                    return Some(over);
                }
                ended.pop_front()?.1
            };
            // With the last reference, values and errors go that are not ours.
            drop(foreign::call(|| {
                self.forget_tree(&root);
                drop(root);
            }));
        }
    }

    fn forget_tree(&self, root: &Arc<Node>) {
        self.remove(root.id);
        let mut stack: Vec<_> = root.lock().kids.iter().map(Arc::clone).collect();
        while let Some(node) = stack.pop() {
            self.remove(node.id);
            stack.extend(node.lock().kids.iter().map(Arc::clone));
        }
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
