//! [`Node`] is the shared state of one run.
//!
//! A node is a [`Lifecycle`] under a lock, with what the engine needs to carry its effects out. The
//! thread that brings an input applies it ([`Node::apply`]): there is no dispatcher, no mailbox and
//! no task per run besides the body.
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
//!    set without the lock, and never cleared; only `CASCADING` is cleared without it, by the
//!    thread that has signalled all descendants. `STOPPING` is set by one atomic step that yields
//!    the other two: of a stop and the first question of a body about stops, one comes first, and
//!    both sides know which.
//! 5. Nothing foreign runs while a lock is held: wakers, tokens, hooks, values and subscribers of
//!    `tracing` are carried out in [`Deferred`](crate::step::deferred::Deferred) and used when
//!    every lock is released. On the control thread they are handed to a courier, and so is what a
//!    node holds when it is dropped there.
//!
//! Lock order: idempotency keys → moves of a log (`Log::moving`) → parent → child → log of the
//! tree → ring of the engine; child → remembered stops → shard of the registry → admission; node →
//! timers, or watch over signs of life (`IdleWatch`); node or log → ledger. Logs, admission,
//! timers, watches and ledger are leaves but for that. A thread that holds a child's lock never
//! takes its parent's: news for the parent leave as
//! [`Propagation`](crate::step::deferred::Propagation). So there is no cycle. Before all of them
//! comes the lock under which admission changes limits. Of two logs the older one's moves come
//! first.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::lifecycle::{Lifecycle, Rules};
use quell_core::{Payload, RunId, RunKind, RunStatus, Stopped};

use crate::config::EngineConfig;
use crate::foreign;
use crate::gate::Gate;
use crate::idempotency::IdempotencyKey;
use crate::metadata::Metadata;
use crate::node::children::Children;
use crate::node::{Reader, Shared, State, flags};
use crate::spec::{PauseEnd, RunSpec, SpecRest};
use crate::stop_scope::StopScope;
use crate::sync::waiters::Waiters;
use crate::sync::{AtomicBool, AtomicU16, AtomicU32, Mutex, MutexGuard, OnceLock, Ordering};
use crate::time::idle::IdleWatch;
use crate::time::times::Times;

/// One run.
pub(crate) struct Node {
    /// Its id. No other run has it (I36).
    pub(crate) id: RunId,
    /// What it stands for; nothing depends on it.
    pub(crate) kind: RunKind,
    /// Its name, as reports and events show it.
    pub(crate) name: Arc<str>,
    /// How many siblings were started before it.
    pub(crate) ordinal: u64,
    /// Owner, labels and annotations, where there are any. Its body may add the last.
    about: OnceLock<Box<Metadata>>,
    /// What only the run itself needs of its spec, where there is any.
    own: Option<Box<SpecRest>>,
    /// The engine that it belongs to.
    pub(crate) shared: Arc<Shared>,
    /// What readers want to know without the lock; see [`flags`].
    flags: AtomicU32,
    /// How many ends and stops of children have yet to be signalled to their waiters.
    pub(crate) untold: AtomicU16,
    /// How many entries of the run the store has not taken yet. Changed under the lock.
    pub(crate) unstored: AtomicU16,
    /// How many of these are stops. Changed under the lock.
    pub(crate) unstored_stops: AtomicU16,
    /// Nothing more of it is stored: see [`lose_id`](Self::lose_id). Set under the lock.
    pub(super) has_lost_id: AtomicBool,
    /// All the rest; see the invariants above.
    state: Mutex<State>,
}

impl Node {
    /// Makes the node of a root, or of a child under `parent` (its state is locked by the caller).
    /// A spec that brings no id is given a new one.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        spec: RunSpec,
        parent: Option<(&Arc<Self>, &State)>,
        now: Instant,
    ) -> Arc<Self> {
        let (config, ticks) = (&shared.config, shared.clock.stamp(now));
        let id = spec.id.unwrap_or_else(|| shared.registry.new_id(&shared.clock, ticks));
        let life = life_of(&spec, config, now);
        let above = parent.and_then(|(_, state)| state.idle.clone());
        let watch = spec.idle.map(|_| Arc::new(IdleWatch::new(id, ticks, above.as_ref())));
        let idle = watch.or(above);
        // A tree is written by one attempt of its root.
        let (attempt, log) = match (parent, &spec.again) {
            (Some((node, state)), _) => (node.attempt(), state.log.clone()),
            (None, None) => (1, None),
            (None, Some(again)) => {
                let account = spec.about.as_ref().and_then(|about| about.owner.clone());
                let stored_as = shared.journal.as_ref().map(|_| again.attempt);
                let log = shared.new_log(id, account, stored_as).beginning_at(again.first_seq);
                (again.attempt, Some(Arc::new(log)))
            }
        };
        let own = SpecRest::of(spec.grace, spec.input, spec.gate, attempt);
        Arc::new(Self {
            id,
            kind: spec.kind,
            name: spec.name,
            ordinal: parent.map_or(0, |(_, state)| state.children.made()),
            about: spec.about.map_or_else(OnceLock::new, OnceLock::from),
            own,
            shared: Arc::clone(shared),
            flags: AtomicU32::new(match parent {
                Some(_) => flags::status_bits(RunStatus::Queued),
                // An earlier attempt of it was accepted.
                None if spec.again.is_some() => {
                    flags::status_bits(RunStatus::Queued) | flags::ROOT | flags::ACCEPTANCE_STORED
                }
                None => flags::status_bits(RunStatus::Queued) | flags::ROOT,
            }),
            untold: AtomicU16::new(0),
            unstored: AtomicU16::new(0),
            unstored_stops: AtomicU16::new(0),
            has_lost_id: AtomicBool::new(parent.is_some_and(|(node, _)| node.has_lost_id())),
            state: Mutex::new(State {
                life,
                log,
                parent: parent.map(|(node, _)| Arc::downgrade(node)),
                parent_id: parent.map(|(node, _)| node.id),
                depth: parent.map_or(1, |(_, state)| state.depth + 1),
                slot: 0,
                children: Children::default(),
                idle,
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
                span: None,
                extra: None,
            }),
        })
    }

    pub(crate) fn own_grace(&self) -> Option<Duration> {
        self.own.as_ref()?.grace
    }

    /// Yields the earliest deadline of the run and its ancestors. Asked one after the other, since
    /// each of them may be changed: a deadline that is kept below would be that of an old timeout.
    /// That takes the lock of each ancestor once, and nothing asks often: a body, when a program
    /// starts, and a caller who has changed limits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ask = |node: &Self| {
            let state = node.lock();
            (state.life.timeout_at(), state.parent.clone())
        };
        let (mut earliest, mut above) = ask(self);
        while let Some(node) = above.and_then(|above| above.upgrade()) {
            let (deadline, next) = ask(&node);
            earliest = earliest.into_iter().chain(deadline).min();
            above = next;
        }
        earliest
    }

    /// Yields the number of its attempt.
    pub(crate) fn attempt(&self) -> u32 {
        self.own.as_ref().map_or(1, |own| own.attempt)
    }

    pub(crate) fn input(&self) -> Option<&Payload> {
        self.own.as_ref()?.input.as_ref()
    }

    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.own.as_ref()?.gate.as_deref()
    }

    pub(crate) fn about(&self) -> Option<&Metadata> {
        self.about.get().map(|about| &**about)
    }

    /// As [`about`](Self::about), of a run to which something is added.
    pub(crate) fn about_or_new(&self) -> &Metadata {
        self.about.get_or_init(Box::default)
    }

    pub(crate) fn owner(&self) -> Option<&Arc<str>> {
        self.about()?.owner.as_ref()
    }

    pub(crate) fn key(&self) -> Option<&IdempotencyKey> {
        self.about()?.key.as_ref()
    }

    pub(crate) fn stop_scopes(&self) -> &[StopScope] {
        self.about().map_or(&[], |about| &about.stop_scopes)
    }

    /// Yields the owner that is charged for the bytes of the run's tree.
    pub(crate) fn account<'a>(&'a self, state: &'a State) -> Option<&'a Arc<str>> {
        match &state.log {
            Some(log) => log.account.as_ref(),
            None => self.owner(),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    #[inline]
    pub(crate) fn status(&self) -> RunStatus {
        flags::status(self.flags.load(Ordering::Acquire))
    }

    #[inline]
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
        self.listen() || self.flags() & (flags::SCHEDULED | flags::PAUSE_ASKED) != 0
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

    /// Sets a flag. False if it was set before.
    pub(crate) fn mark(&self, flag: u32) -> bool {
        self.flags.fetch_or(flag, Ordering::AcqRel) & flag == 0
    }

    /// Clears flags that no decision of the lifecycle touches.
    pub(crate) fn clear(&self, bits: u32) {
        self.flags.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Brings the flags in line with the state. Called under the lock, after the events are
    /// written.
    pub(crate) fn mirror(&self, state: &State, set: u32) {
        let mut bits = flags::status_bits(self.told_status(state)) | set;
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
        let late = || {
            let ended = state.life.status().is_terminal();
            let why = match ended {
                true => "the run has ended",
                false if state.life.is_paused() => "the run is paused",
                false => "the hooks of its end run already",
            };
            Arc::new(self.shared.cause_of_late(self.id, why))
        };
        Stopped { cause: state.cause_to_give_way().unwrap_or_else(late) }
    }
}

/// Makes the lifecycle of a run that is accepted, or was paused by an earlier process.
fn life_of(spec: &RunSpec, config: &EngineConfig, now: Instant) -> Lifecycle {
    let mut rules = Rules::new(spec.grace.unwrap_or(config.grace), config.abort_wait);
    rules.stop_delivery = spec.stop_delivery;
    rules.timeout = spec.timeout;
    rules.start_within = spec.start_within;
    rules.idle = spec.idle;
    rules.timeout_stands = spec.timeout_stands;
    match spec.again.as_ref().and_then(|again| again.paused.as_ref()) {
        Some(PauseEnd(at)) => Lifecycle::paused(&rules, *at, now),
        None => Lifecycle::new(&rules, now),
    }
}

impl Drop for Node {
    /// Drops the subtree with a stack of our own: a tree may be deeper than a thread's stack.
    fn drop(&mut self) {
        let mut stack = Vec::new();
        let state = self.state.get_mut();
        if foreign::is_barred() {
            let State { value, failure, output, span, extra, .. } = state;
            let spoken = (output.take(), span.take(), extra.take());
            let is_held = spoken.0.is_some() || spoken.1.is_some() || spoken.2.is_some();
            let held = (value.take(), failure.take(), spoken);
            if held.0.is_some() || held.1.is_some() || is_held {
                foreign::run(&self.shared.couriers, move || drop(held));
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
