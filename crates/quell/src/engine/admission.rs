//! [`Admission`] decides when a run may start: at its due time, and a root when its lane is free
//! and there is a slot.
//!
//! A run that has to wait has its task already. The task holds the body, and waits until the node
//! is no longer `AWAITS_ADMISSION`. So a stop before the start takes the usual path, and the
//! destructors of a body that never ran run on the body's runtime (I21).
//!
//! Invariants, all under the one lock:
//!
//! 1. A run is known here by the address of its node, not by its id, and the node lives until the
//!    run has left: an ended run may be forgotten, and its id used again, before that.
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
use std::task::Waker;
use std::time::Instant;

use quell_core::RunStatus;

use crate::failure::SubmitError;
use crate::node::Node;
use crate::node::flags;
use crate::spec::{Lane, OnBusy};
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Admission {
    /// How many roots may run at once, if that is bounded.
    running_max: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the place that was given last. Numbers order the queues below.
    number: u64,
    /// Where each waiting run stands, so that it can leave in the middle of a queue.
    places: HashMap<Who, Place>,
    /// Runs whose due time has not come, the earliest first.
    due: BTreeMap<(Instant, u64), Arc<Node>>,
    /// Roots that hold their lane, or need none, and wait for a slot.
    ready: BTreeMap<u64, Arc<Node>>,
    /// The lanes that a run holds, by their keys.
    lanes: HashMap<Arc<str>, Queue>,
    /// Roots that have a slot. Empty if `running_max` is none.
    running: HashSet<Who>,
}

/// A run that waits, runs or holds a lane: the address of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Who(usize);

impl Who {
    fn of(node: &Node) -> Self {
        Self(std::ptr::from_ref(node).addr())
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
struct Queue {
    /// The run that holds the lane: it is ready, or has started and not ended.
    holder: Who,
    /// The runs that wait for the lane, in the order in which they came.
    behind: BTreeMap<u64, Arc<Node>>,
}

/// What a root asks of admission besides a slot.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) lane: Option<Lane>,
    pub(crate) not_before: Option<Instant>,
}

/// Runs that may start now. The caller starts them when it holds no lock.
#[derive(Default)]
#[must_use]
pub(crate) struct Free(Vec<Arc<Node>>);

impl Admission {
    pub(crate) fn new(running_max: Option<usize>) -> Self {
        Self { running_max, state: Mutex::default() }
    }

    /// Tells whether a root needs admission.
    pub(crate) fn concerns(&self, gate: Option<&Gate>) -> bool {
        self.running_max.is_some() || gate.is_some()
    }

    /// Takes in a root whose id is claimed. Called under its node's lock, with the node held.
    pub(crate) fn enter(&self, node: &Arc<Node>, now: Instant) -> Result<Free, SubmitError> {
        let mut state = self.state.lock();
        let gate = node.gate();
        if let Some(Lane { key, on_busy: OnBusy::Reject }) =
            gate.and_then(|gate| gate.lane.as_ref())
            && state.lanes.contains_key(key)
        {
            return Err(SubmitError::LaneBusy(Arc::clone(key)));
        }
        match gate.and_then(|gate| gate.not_before).filter(|due| *due > now) {
            Some(due) => state.await_due(node, due),
            None => state.enqueue(Arc::clone(node)),
        }
        Ok(self.release(&mut state, now))
    }

    /// Takes in a child whose due time is still to come. It has no lane and takes no slot: its root
    /// has both. Called under its node's lock, with the node held.
    pub(crate) fn enter_child(&self, node: &Arc<Node>, due: Instant) {
        self.state.lock().await_due(node, due);
    }

    /// Takes out a run that became terminal, and hands its lane over.
    pub(crate) fn ended(&self, node: &Node, now: Instant) -> Free {
        let mut state = self.state.lock();
        let lane = node.gate().and_then(|gate| gate.lane.as_ref());
        let _left = match state.places.remove(&Who::of(node)) {
            Some(Place::Due(due, number)) => state.due.remove(&(due, number)),
            Some(Place::Ready(number)) => state.ready.remove(&number),
            Some(Place::Behind(number)) => lane
                .and_then(|lane| state.lanes.get_mut(&lane.key))
                .and_then(|queue| queue.behind.remove(&number)),
            None => None,
        };
        // `hand_over` does nothing for a run that waited behind the holder and never had the lane.
        if let Some(lane) = lane {
            state.hand_over(&lane.key, Who::of(node));
        }
        self.release(&mut state, now)
    }

    /// Frees the slot of a root that became quiescent.
    pub(crate) fn quiesced(&self, node: &Node, now: Instant) -> Free {
        let mut state = self.state.lock();
        state.running.remove(&Who::of(node));
        self.release(&mut state, now)
    }

    /// Releases the runs whose due time has come. The instant is the next due time.
    pub(crate) fn turn(&self, now: Instant) -> (Free, Option<Instant>) {
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

    fn release(&self, state: &mut State, now: Instant) -> Free {
        let mut free = Vec::new();
        while let Some(first) = state.due.first_entry() {
            if first.key().0 > now {
                break;
            }
            let node = first.remove();
            // A root goes on to its lane and a slot; a child starts at once.
            if node.flags() & flags::UNDER == 0 {
                state.enqueue(node);
                continue;
            }
            state.places.remove(&Who::of(&node));
            if node.is_wanted() {
                free.push(node);
            }
        }
        while self.running_max.is_none_or(|max| state.running.len() < max) {
            let Some((_, node)) = state.ready.pop_first() else { break };
            state.places.remove(&Who::of(&node));
            // A run that was stopped takes no slot: its end is on the way to `ended`.
            if node.is_wanted() {
                state.running.extend(self.running_max.map(|_| Who::of(&node)));
                free.push(node);
            }
        }
        Free(free)
    }
}

impl State {
    fn await_due(&mut self, node: &Arc<Node>, due: Instant) {
        let number = self.next_number();
        self.places.insert(Who::of(node), Place::Due(due, number));
        self.due.insert((due, number), Arc::clone(node));
    }

    /// Gives a run whose due time has come its lane, or has it wait for that.
    fn enqueue(&mut self, node: Arc<Node>) {
        let number = self.next_number();
        if let Some(lane) = node.gate().and_then(|gate| gate.lane.as_ref()) {
            if let Some(queue) = self.lanes.get_mut(&lane.key) {
                self.places.insert(Who::of(&node), Place::Behind(number));
                queue.behind.insert(number, node);
                return;
            }
            let queue = Queue { holder: Who::of(&node), behind: BTreeMap::new() };
            self.lanes.insert(Arc::clone(&lane.key), queue);
        }
        self.make_ready(number, node);
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

    fn make_ready(&mut self, number: u64, node: Arc<Node>) {
        self.places.insert(Who::of(&node), Place::Ready(number));
        self.ready.insert(number, node);
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Free {
    /// Releases the runs. The caller holds no lock.
    pub(crate) fn start(self) {
        self.0.into_iter().for_each(|node| node.release());
    }
}

impl Node {
    /// Makes a run wait for its admission. Called before its task is spawned.
    pub(crate) fn hold_back(&self) {
        self.set(flags::AWAITS_ADMISSION | flags::GATED);
    }

    /// Tells whether a run that waits for its admission would still start.
    pub(crate) fn is_wanted(&self) -> bool {
        self.status() == RunStatus::Queued
    }

    /// Ends the wait: the task of the run may start the body.
    pub(crate) fn release(&self) {
        let waker = {
            // Cleared under the lock under which `poll_turn` stores the waker: no wake-up is lost.
            let state = self.lock();
            self.clear(flags::AWAITS_ADMISSION);
            state.body.clone()
        };
        // Not foreign code: the task of the run is the engine's.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells whether the run was admitted, or is not to start any more.
    pub(crate) fn poll_turn(&self, waker: &Waker) -> bool {
        if self.flags() & flags::AWAITS_ADMISSION == 0 {
            return true;
        }
        let mut state = self.lock();
        let bits = self.flags();
        if bits & flags::AWAITS_ADMISSION == 0 || bits & flags::DROP != 0 {
            return true;
        }
        state.body = Some(waker.clone());
        false
    }
}
