//! When a run may start: at its due time; a root, when its lane is free and there is a slot.
//!
//! A run that has to wait has its task already: the task holds the body and waits until the node
//! is no longer `AWAITS_ADMISSION`. So a stop before the start takes the usual path, and the
//! destructors of a body that never ran run on the body's runtime (I21).
//!
//! Invariants, all under the one lock:
//!
//! 1. A run is known here by its node, not by its id, and its node lives until it has left: one
//!    that is over may be forgotten, and its id used again, before it has.
//! 2. A lane has an entry exactly as long as a run holds it; the runs behind it wait in it, first
//!    come, first served. So no two runs of a lane are released at once (I36).
//! 3. A run in `running` was released and is not quiescent: abandoned work keeps its slot (I27).
//! 4. A run that was not released and has not ended stands in exactly one queue, and `places` says
//!    in which: `due`, `ready`, or behind the holder of its lane. One that ended stands in none.
//!
//! Lock order: node → shard of the registry → admission, and the lock is a leaf: runs are
//! released to start when it is free again.

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
    running_max: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the place that was given last.
    number: u64,
    places: HashMap<Who, Place>,
    due: BTreeMap<(Instant, u64), Arc<Node>>,
    ready: BTreeMap<u64, Arc<Node>>,
    lanes: HashMap<Arc<str>, Queue>,
    running: HashSet<Who>,
}

/// A run that is in here: where its node is.
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
    holder: Who,
    behind: BTreeMap<u64, Arc<Node>>,
}

/// What a root asks of admission besides a slot.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) lane: Option<Lane>,
    pub(crate) not_before: Option<Instant>,
}

/// Runs that may start now. The caller lets them go when it holds no lock.
#[derive(Default)]
#[must_use]
pub(crate) struct Free(Vec<Arc<Node>>);

impl Admission {
    pub(crate) fn new(running_max: Option<usize>) -> Self {
        Self { running_max, state: Mutex::default() }
    }

    /// Tells whether a root has to ask.
    pub(crate) fn concerns(&self, gate: Option<&Gate>) -> bool {
        self.running_max.is_some() || gate.is_some()
    }

    /// Takes a root in whose id is claimed. Called under its node's lock, with the node held.
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

    /// Takes a child in that has a due time, if that is still to come. It has no lane and takes no
    /// slot: its root has both. Called under its node's lock, with the node held.
    pub(crate) fn enter_child(&self, node: &Arc<Node>, due: Instant) {
        self.state.lock().await_due(node, due);
    }

    /// A run became terminal: it waits no more, and its lane goes to the next one.
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
        if let Some(lane) = lane {
            state.hand_over(&lane.key, Who::of(node));
        }
        self.release(&mut state, now)
    }

    /// A root became quiescent: its slot is free.
    pub(crate) fn quiesced(&self, node: &Node, now: Instant) -> Free {
        let mut state = self.state.lock();
        state.running.remove(&Who::of(node));
        self.release(&mut state, now)
    }

    /// Lets those go whose due time has come. The instant is when the next one's does.
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
            // One that was stopped is about to say that it has ended.
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

    /// A run whose due time has come takes its lane, or waits for it.
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

    /// The holder of a lane gives it to the first one behind it that still wants it.
    fn hand_over(&mut self, lane: &Arc<str>, holder: Who) {
        let Some(queue) = self.lanes.get_mut(lane).filter(|queue| queue.holder == holder) else {
            return;
        };
        while let Some((number, next)) = queue.behind.pop_first() {
            if next.is_wanted() {
                queue.holder = Who::of(&next);
                return self.make_ready(number, next);
            }
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
    /// Lets the runs go. The caller holds no lock.
    pub(crate) fn start(self) {
        self.0.into_iter().for_each(|node| node.release());
    }
}

impl Node {
    /// Makes a run wait for its turn. Called before its task is there.
    pub(crate) fn hold_back(&self) {
        self.set(flags::AWAITS_ADMISSION | flags::GATED);
    }

    /// Tells whether a run that waits for its turn would still start.
    pub(crate) fn is_wanted(&self) -> bool {
        self.status() == RunStatus::Queued
    }

    /// Ends the wait.
    pub(crate) fn release(&self) {
        let waker = {
            let state = self.lock();
            self.clear(flags::AWAITS_ADMISSION);
            state.body.clone()
        };
        // The waker of the run's own task, which is the engine's.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells whether the run's turn has come, or it is not to start any more.
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
