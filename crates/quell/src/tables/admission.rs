//! [`Admission`] decides when a run may start: at its due time, and a root when its lane is free
//! and there is a slot.
//!
//! A run that has to wait has its task already. The task holds the body, and waits until the run is
//! released ([`Candidate::release`]). So a stop before the start takes the usual path, and the
//! destructors of a body that never ran run on the body's runtime (I21).
//!
//! Invariants, all under the one lock:
//!
//! 1. A run is known here by its address, not by its id, and it lives until it has left: an ended
//!    run may be forgotten, and its id used again, before that.
//! 2. A lane has an entry exactly as long as a run holds it; the runs behind it wait in it, first
//!    come, first served. So no two runs of a lane are released at once (I36).
//! 3. A run in `running` was released and is not quiescent: abandoned work keeps its slot (I27).
//! 4. A run that was not released and has not ended stands in exactly one queue, and `places` says
//!    in which: `due`, `ready`, or behind the holder of its lane. One that ended stands in none.
//!
//! Lock order: node → shard of the registry → admission. The lock is a leaf: runs that may start
//! are collected in [`Free`], and released after it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::failure::SubmitError;
use crate::spec::{Gate, Lane, OnBusy};
use crate::sync::Mutex;

/// A run that waits for admission. It is asked under the lock of admission, and takes no lock to
/// answer: a node is locked before admission is.
pub(crate) trait Candidate {
    /// Yields what a root asks for besides a slot.
    fn gate(&self) -> Option<&Gate>;

    /// Tells whether the run starts as soon as it is due: it needs neither lane nor slot.
    fn starts_when_due(&self) -> bool;

    /// Tells whether the run would still start.
    fn is_wanted(&self) -> bool;

    /// Ends the wait. Called with no lock held.
    fn release(&self);
}

/// The runs that wait, and those that hold a lane or a slot; `R` is what a run is.
#[derive(Debug)]
pub(crate) struct Admission<R> {
    /// How many roots may run at once, if that is bounded.
    running_max: Option<usize>,
    state: Mutex<State<R>>,
}

#[derive(Debug)]
struct State<R> {
    /// The number of the place that was given last. Numbers order the queues below.
    number: u64,
    /// Where each waiting run stands, so that it can leave in the middle of a queue.
    places: HashMap<Who, Place>,
    /// Runs whose due time has not come, the earliest first.
    due: BTreeMap<(Instant, u64), Arc<R>>,
    /// Roots that hold their lane, or need none, and wait for a slot.
    ready: BTreeMap<u64, Arc<R>>,
    /// The lanes that a run holds, by their keys.
    lanes: HashMap<Arc<str>, Queue<R>>,
    /// Roots that have a slot. Empty if `running_max` is none.
    running: HashSet<Who>,
}

/// A run that waits, runs or holds a lane: its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Who(usize);

impl Who {
    fn of<R>(run: &Arc<R>) -> Self {
        Self(Arc::as_ptr(run).addr())
    }
}

/// Where a run waits.
#[derive(Clone, Copy, Debug)]
enum Place {
    Due(Instant, u64),
    Ready(u64),
    Behind(u64),
}

/// A lane that a run holds, and the runs behind it.
#[derive(Debug)]
struct Queue<R> {
    /// The run that holds the lane: it is ready, or has started and not ended.
    holder: Who,
    /// The runs that wait for the lane, in the order in which they came.
    behind: BTreeMap<u64, Arc<R>>,
}

/// Runs that may start now. The caller starts them when it holds no lock.
#[must_use]
pub(crate) struct Free<R>(Vec<Arc<R>>);

impl<R: Candidate> Admission<R> {
    pub(crate) fn new(running_max: Option<usize>) -> Self {
        Self { running_max, state: Mutex::new(State::new()) }
    }

    /// Tells whether a root needs admission.
    pub(crate) fn concerns(&self, gate: Option<&Gate>) -> bool {
        self.running_max.is_some() || gate.is_some()
    }

    /// Takes in a root whose id is claimed. Called under its node's lock, with the node held.
    pub(crate) fn enter(&self, run: &Arc<R>, now: Instant) -> Result<Free<R>, SubmitError> {
        let mut state = self.state.lock();
        let gate = run.gate();
        if let Some(Lane { key, on_busy: OnBusy::Reject }) =
            gate.and_then(|gate| gate.lane.as_ref())
            && state.lanes.contains_key(key)
        {
            return Err(SubmitError::LaneBusy(Arc::clone(key)));
        }
        match gate.and_then(|gate| gate.not_before).filter(|due| *due > now) {
            Some(due) => state.await_due(run, due),
            None => state.enqueue(Arc::clone(run)),
        }
        Ok(self.release(&mut state, now))
    }

    /// Takes in a child whose due time is still to come. It has no lane and takes no slot: its root
    /// has both. Called under its node's lock, with the node held.
    pub(crate) fn enter_child(&self, run: &Arc<R>, due: Instant) {
        self.state.lock().await_due(run, due);
    }

    /// Takes out a run that became terminal, and hands its lane over.
    pub(crate) fn ended(&self, run: &Arc<R>, now: Instant) -> Free<R> {
        let mut state = self.state.lock();
        let lane = run.gate().and_then(|gate| gate.lane.as_ref());
        let _left = match state.places.remove(&Who::of(run)) {
            Some(Place::Due(due, number)) => state.due.remove(&(due, number)),
            Some(Place::Ready(number)) => state.ready.remove(&number),
            Some(Place::Behind(number)) => lane
                .and_then(|lane| state.lanes.get_mut(&lane.key))
                .and_then(|queue| queue.behind.remove(&number)),
            None => None,
        };
        // `hand_over` does nothing for a run that waited behind the holder and never had the lane.
        if let Some(lane) = lane {
            state.hand_over(&lane.key, Who::of(run));
        }
        self.release(&mut state, now)
    }

    /// Frees the slot of a root that became quiescent.
    pub(crate) fn quiesced(&self, run: &Arc<R>, now: Instant) -> Free<R> {
        let mut state = self.state.lock();
        state.running.remove(&Who::of(run));
        self.release(&mut state, now)
    }

    /// Releases the runs whose due time has come. The instant is the next due time.
    pub(crate) fn turn(&self, now: Instant) -> (Free<R>, Option<Instant>) {
        let mut state = self.state.lock();
        let free = self.release(&mut state, now);
        (free, state.due.keys().next().map(|(due, _)| *due))
    }

    /// How many runs wait or hold a slot or a lane.
    #[cfg(feature = "test-util")]
    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        let behind = state.lanes.values().map(|queue| queue.behind.len()).sum::<usize>();
        debug_assert_eq!(state.places.len(), state.due.len() + state.ready.len() + behind);
        state.places.len() + state.lanes.len() + state.running.len()
    }

    fn release(&self, state: &mut State<R>, now: Instant) -> Free<R> {
        let mut free = Vec::new();
        while let Some(first) = state.due.first_entry() {
            if first.key().0 > now {
                break;
            }
            let run = first.remove();
            // A root goes on to its lane and a slot; a child starts at once.
            if !run.starts_when_due() {
                state.enqueue(run);
                continue;
            }
            state.places.remove(&Who::of(&run));
            if run.is_wanted() {
                free.push(run);
            }
        }
        while self.running_max.is_none_or(|max| state.running.len() < max) {
            let Some((_, run)) = state.ready.pop_first() else { break };
            state.places.remove(&Who::of(&run));
            // A run that was stopped takes no slot: its end is on the way to `ended`.
            if run.is_wanted() {
                state.running.extend(self.running_max.map(|_| Who::of(&run)));
                free.push(run);
            }
        }
        Free(free)
    }
}

impl<R: Candidate> State<R> {
    fn new() -> Self {
        Self {
            number: 0,
            places: HashMap::new(),
            due: BTreeMap::new(),
            ready: BTreeMap::new(),
            lanes: HashMap::new(),
            running: HashSet::new(),
        }
    }

    fn await_due(&mut self, run: &Arc<R>, due: Instant) {
        let number = self.next_number();
        self.places.insert(Who::of(run), Place::Due(due, number));
        self.due.insert((due, number), Arc::clone(run));
    }

    /// Gives a run whose due time has come its lane, or has it wait for that.
    fn enqueue(&mut self, run: Arc<R>) {
        let number = self.next_number();
        if let Some(lane) = run.gate().and_then(|gate| gate.lane.as_ref()) {
            if let Some(queue) = self.lanes.get_mut(&lane.key) {
                self.places.insert(Who::of(&run), Place::Behind(number));
                queue.behind.insert(number, run);
                return;
            }
            let queue = Queue { holder: Who::of(&run), behind: BTreeMap::new() };
            self.lanes.insert(Arc::clone(&lane.key), queue);
        }
        self.make_ready(number, run);
    }

    /// Hands a lane over from its holder to the first run behind it that would still start.
    fn hand_over(&mut self, lane: &Arc<str>, holder: Who) {
        let Some(queue) = self.lanes.get_mut(lane).filter(|queue| queue.holder == holder) else {
            return;
        };
        while let Some((number, next)) = queue.behind.pop_first() {
            if next.is_wanted() {
                queue.holder = Who::of(&next);
                return self.make_ready(number, next);
            }
            // Stopped while it waited: it does not get the lane.
            self.places.remove(&Who::of(&next));
        }
        self.lanes.remove(lane);
    }

    fn make_ready(&mut self, number: u64, run: Arc<R>) {
        self.places.insert(Who::of(&run), Place::Ready(number));
        self.ready.insert(number, run);
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl<R: Candidate> Free<R> {
    /// No run may start now.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Releases the runs. The caller holds no lock.
    pub(crate) fn start(self) {
        self.0.into_iter().for_each(|run| run.release());
    }
}
