//! The shared state of one run.
//!
//! A node is a [`Lifecycle`] under a lock, with what the engine needs to carry its effects out.
//! Whoever brings an input applies it ([`Node::apply`]): there is no dispatcher, no mailbox and no
//! task per run besides the body.
//!
//! Invariants, all under the node's lock unless said otherwise:
//!
//! 1. Linking a child and reading the stop of its parent happen under one lock of the parent: a
//!    child is in the list that the cascade walks, or it is refused (I8, I2).
//! 2. An event is appended under the lock of its run: the order of the log is the order of
//!    decisions (I30).
//! 3. The value of a body is stored before the run is terminal: a handle that sees the end finds
//!    it.
//! 4. The flags mirror the state for readers that take no lock. Only `LISTENS` and `PARKED` are
//!    set without the lock, and never cleared; only `CASCADING` is cleared without it, by whoever
//!    has told all below. `STOPPING` is set by one atomic step that yields the other two: of a
//!    stop and the first question of a body about stops, one comes first, and both sides know
//!    which.
//! 5. Nothing foreign runs while a lock is held: wakers, tokens, hooks, values and subscribers of
//!    `tracing` are carried out in [`Deferred`](crate::node::deferred::Deferred) and used when
//!    every lock is released. On the control thread they are handed to a courier, and so is what a
//!    node holds when it is dropped there.
//!
//! Lock order: parent → child → ring of the tree → ring of the engine; parent → child → shard of
//! the registry → admission; node → timers; node or ring → ledger. Rings, admission, timers and
//! ledger are leaves but for that. A thread that holds a child's lock never takes its parent's:
//! news for the parent leave as [`Propagation`](crate::node::deferred::Propagation). So there is no
//! cycle.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use quell_core::lifecycle::{Lifecycle, Rules};
use quell_core::{Abandoned, Cause, Payload, RunId, RunKind, RunStatus, Stopped, Usage, Work};
use slab::Slab;
use tokio_util::sync::CancellationToken;

use crate::body::hooks::Hook;
use crate::body::tool::Inside;
use crate::engine::Shared;
use crate::engine::admission::Gate;
use crate::failure::Failure;
use crate::foreign;
use crate::log::Log;
use crate::node::children::Children;
use crate::node::flags;
use crate::spec::{Metadata, RunSpec, SpecRest};
use crate::sync::waiters::Waiters;
use crate::sync::{AbortHandle, AtomicU16, AtomicU32, Mutex, MutexGuard, Ordering};
use crate::time::clock::Ticks;
use crate::time::idle::IdleWatch;
use crate::time::timers::TimerKey;
use crate::time::times::Times;

/// One run.
pub(crate) struct Node {
    pub(crate) id: RunId,
    pub(crate) kind: RunKind,
    pub(crate) name: Arc<str>,
    /// How many siblings were started before it.
    pub(crate) ordinal: u64,
    pub(crate) about: Option<Box<Metadata>>,
    own: Option<Box<SpecRest>>,
    pub(crate) shared: Arc<Shared>,
    flags: AtomicU32,
    /// News of runs right below that are yet to be told to those who wait for them.
    pub(crate) untold: AtomicU16,
    state: Mutex<State>,
}

/// What a run is made of, under its lock.
pub(crate) struct State {
    pub(crate) life: Lifecycle,
    /// None as long as the events follow from the state.
    pub(crate) log: Option<Arc<Log>>,
    pub(crate) parent: Option<Weak<Node>>,
    pub(crate) parent_id: Option<RunId>,
    /// The run's place: steps down the tree, the root being at 1, and among its siblings.
    pub(crate) depth: u32,
    pub(crate) slot: u32,
    pub(crate) children: Children,
    pub(crate) idle: Option<Arc<IdleWatch>>,
    /// The earliest deadline of the run and its ancestors, as long as no stop was accepted.
    pub(crate) deadline: Option<Ticks>,
    pub(crate) cause: Option<Arc<Cause>>,
    pub(crate) body: Option<Waker>,
    pub(crate) waiters: Waiters,
    pub(crate) value: Option<Box<dyn Any + Send>>,
    /// Who may still ask for the value.
    pub(crate) reader: Reader,
    pub(crate) failure: Option<Failure>,
    pub(crate) output: Option<Payload>,
    pub(crate) times: Times,
    pub(crate) aborted: bool,
    pub(crate) has_emitted: bool,
    pub(crate) late: u32,
    pub(crate) armed: Option<TimerKey>,
    pub(crate) extra: Option<Box<RareState>>,
}

/// Who may still ask for the outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whoever holds the handle.
    Held,
    /// Nobody: it was read, or given up.
    Gone,
    /// Nobody, and nobody has: a failure would be silent (D5).
    GoneUnread,
}

/// What only some runs have.
#[derive(Default)]
pub(crate) struct RareState {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) hooks_made: u32,
    pub(crate) hooks_skipped: u32,
    pub(crate) runners: Vec<AbortHandle>,
    /// How often the runners that were there have been aborted.
    pub(crate) runners_aborted: u32,
    /// Work besides the body that executes now. In a slab, as the calls below are: a list in which
    /// each looked for a free place took 19.8 s for 80,000 holds where this takes 0.17 s (debug).
    pub(crate) works: Slab<(Work, Arc<str>)>,
    pub(crate) token: Option<CancellationToken>,
    pub(crate) link: Option<Link>,
    pub(crate) scheduled: Option<Arc<Cause>>,
    pub(crate) cleanup_errors: Vec<Arc<str>>,
    pub(crate) abandoned: Vec<Abandoned>,
    pub(crate) detached_from: Option<RunId>,
    /// Tool calls that have begun and not ended.
    pub(crate) calls: Slab<Arc<str>>,
    /// The tool call of the parent in which the run was spawned, until it is quiescent.
    pub(crate) inside: Option<Arc<Inside>>,
    /// What the run and its descendants used.
    pub(crate) used: Usage,
    /// What the children of a run that failed are told.
    pub(crate) failing: Option<Arc<Cause>>,
    /// How a run that decides over others came to its outcome.
    pub(crate) summary: Option<Payload>,
    /// What the body returned, if that is a payload and it had set no output.
    pub(crate) returned: Option<Payload>,
}

/// What ties a run to a token from outside.
pub(crate) struct Link {
    /// Ends the link.
    pub(crate) abort: futures::future::AbortHandle,
    pub(crate) token: CancellationToken,
}

impl Node {
    /// Makes the node of a root, or of a child under `parent` (its state is locked by the caller).
    pub(crate) fn new(
        shared: &Arc<Shared>,
        id: RunId,
        spec: RunSpec,
        parent: Option<(&Arc<Self>, &State)>,
        now: Instant,
    ) -> Arc<Self> {
        let (config, ticks) = (&shared.config, shared.clock.stamp(now));
        let mut rules = Rules::new(spec.grace.unwrap_or(config.grace), config.abort_wait);
        rules.stop_delivery = spec.stop_delivery;
        rules.timeout = spec.timeout;
        rules.start_within = spec.start_within;
        rules.idle = spec.idle;
        let above = parent.and_then(|(_, state)| state.idle.clone());
        let idle = match spec.idle {
            Some(_) => Some(Arc::new(IdleWatch::new(ticks, above))),
            None => above,
        };
        let own = SpecRest::of(spec.grace, spec.input, spec.gate);
        Arc::new(Self {
            id,
            kind: spec.kind,
            name: spec.name,
            ordinal: parent.map_or(0, |(_, state)| state.children.made()),
            about: spec.about,
            own,
            shared: Arc::clone(shared),
            flags: AtomicU32::new(match parent {
                Some(_) => flags::status_bits(RunStatus::Queued),
                None => flags::status_bits(RunStatus::Queued) | flags::ROOT,
            }),
            untold: AtomicU16::new(0),
            state: Mutex::new(State {
                life: Lifecycle::new(&rules, now),
                log: parent.and_then(|(_, state)| state.log.clone()),
                parent: parent.map(|(node, _)| Arc::downgrade(node)),
                parent_id: parent.map(|(node, _)| node.id),
                depth: parent.map_or(1, |(_, state)| state.depth + 1),
                slot: 0,
                children: Children::default(),
                idle,
                deadline: parent.and_then(|(_, state)| state.deadline),
                cause: None,
                body: None,
                waiters: Waiters::default(),
                value: None,
                reader: Reader::Held,
                failure: None,
                output: None,
                times: Times::queued(ticks),
                aborted: false,
                has_emitted: false,
                late: 0,
                armed: None,
                extra: None,
            }),
        })
    }

    pub(crate) fn own_grace(&self) -> Option<Duration> {
        self.own.as_ref()?.grace
    }

    pub(crate) fn input(&self) -> Option<&Payload> {
        self.own.as_ref()?.input.as_ref()
    }

    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.own.as_ref()?.gate.as_deref()
    }

    pub(crate) fn owner(&self) -> Option<&Arc<str>> {
        self.about.as_ref()?.owner.as_ref()
    }

    /// Yields who is charged for the bytes of the run's tree.
    pub(crate) fn account<'a>(&'a self, state: &'a State) -> Option<&'a Arc<str>> {
        match &state.log {
            Some(log) => log.account.as_ref(),
            None => self.owner(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn status(&self) -> RunStatus {
        flags::status(self.flags.load(Ordering::Acquire))
    }

    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Acquire)
    }

    /// Tells whether a stop was accepted, or the body has failed and what is left is to give way;
    /// remembers that the body asked.
    pub(crate) fn listen(&self) -> bool {
        let mut bits = self.flags.load(Ordering::Acquire);
        if bits & flags::LISTENS == 0 {
            bits = self.flags.fetch_or(flags::LISTENS, Ordering::AcqRel);
        }
        bits & (flags::STOPPING | flags::FAILING) != 0
    }

    /// Tells whether a checkpoint has anything to do, and remembers that the body asked.
    pub(crate) fn is_called_on(&self) -> bool {
        self.listen() || self.flags() & flags::SCHEDULED != 0
    }

    /// Tells whether the run is terminal and nothing of its subtree executes.
    pub(crate) fn is_over(&self) -> bool {
        self.flags() & flags::QUIESCENT != 0
    }

    /// Tells whether the run has no parent.
    pub(crate) fn is_root(&self) -> bool {
        self.flags() & flags::ROOT != 0
    }

    /// Tells whether the run was not quiescent when it became terminal.
    pub(crate) fn ended_non_quiescent(&self) -> bool {
        self.flags() & flags::ENDED_NON_QUIESCENT != 0
    }

    /// Sets flags that no decision of the lifecycle touches.
    pub(crate) fn set(&self, bits: u32) {
        self.flags.fetch_or(bits, Ordering::AcqRel);
    }

    /// Clears flags that no decision of the lifecycle touches.
    pub(crate) fn clear(&self, bits: u32) {
        self.flags.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Brings the flags in line with the state. Called under the lock, after the events are
    /// written.
    pub(crate) fn mirror(&self, state: &State, set: u32) {
        let mut bits = flags::status_bits(state.life.status()) | set;
        if state.life.is_stopping() {
            bits |= flags::STOPPING;
        }
        if state.life.is_quiescent() {
            bits |= flags::QUIESCENT;
        }
        // Another thread may set LISTENS or PARKED or clear CASCADING meanwhile, nothing else.
        let _ = self.flags.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |was| {
            let now = (was & !flags::STATUS) | bits;
            (now != was).then_some(now)
        });
    }

    /// Says that a stop was accepted, and learns by the same step whether the body listens: `None`
    /// if that is not known before its first poll has returned.
    pub(crate) fn latch_hearing(&self) -> Option<bool> {
        if self.flags() & flags::LISTENS != 0 {
            // It stays so.
            return Some(true);
        }
        let bits = self.flags.fetch_or(flags::STOPPING, Ordering::AcqRel);
        (bits & (flags::LISTENS | flags::PARKED) != 0).then_some(bits & flags::LISTENS != 0)
    }

    /// Says that the first poll of the body has returned. Yields whether the body listens if a
    /// stop was accepted meanwhile.
    pub(crate) fn park(&self) -> Option<bool> {
        let bits = self.flags.fetch_or(flags::PARKED, Ordering::AcqRel);
        (bits & flags::STOPPING != 0).then_some(bits & flags::LISTENS != 0)
    }

    /// Yields why something may not start now.
    pub(crate) fn refusal(&self, state: &State) -> Stopped {
        let late = || Arc::new(self.shared.cause_of_late(self.id));
        Stopped { cause: state.cause_to_give_way().unwrap_or_else(late) }
    }
}

impl State {
    pub(crate) fn extra(&mut self) -> &mut RareState {
        self.extra.get_or_insert_default()
    }

    /// Nothing of the run executes any more inside the tool call in which it was spawned.
    pub(crate) fn leave_call(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.inside = None;
        }
    }

    /// Yields why the run is to give way: it was stopped, or its body has failed.
    pub(crate) fn cause_to_give_way(&self) -> Option<Arc<Cause>> {
        let failing = || self.extra.as_ref().and_then(|extra| extra.failing.clone());
        self.cause.clone().or_else(failing)
    }

    /// Notes a sign of life.
    pub(crate) fn touch(&self, node: &Node, now: Instant) {
        if let Some(idle) = &self.idle {
            idle.touch(node.shared.clock.ticks(now));
        }
    }
}

impl Drop for Node {
    /// Drops the subtree with a stack of our own: a tree may be deeper than a thread's stack.
    fn drop(&mut self) {
        let mut stack = Vec::new();
        let state = self.state.get_mut();
        if foreign::is_barred() {
            let State { value, failure, output, extra, .. } = state;
            let held = (value.take(), failure.take(), output.take(), extra.take());
            if held.0.is_some() || held.1.is_some() || held.2.is_some() || held.3.is_some() {
                foreign::run(&self.shared, move || drop(held));
            }
        }
        state.children.take_into(&mut stack);
        while let Some(child) = stack.pop() {
            if let Some(mut child) = Arc::into_inner(child) {
                child.state.get_mut().children.take_into(&mut stack);
            }
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
