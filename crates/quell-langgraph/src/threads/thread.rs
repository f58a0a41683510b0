//! [`Thread`]: a thread in memory, its values, and the runs that belong to it.
//!
//! Invariants:
//!
//! 1. A lane of the engine keeps the runs of a thread apart, so that the values on which a run
//!    starts are those that the run before it left: when a run has started, every ended run of
//!    its thread is settled before its own values are looked at.
//! 2. A run is settled once, when it is terminal; one that is rolled back leaves nothing.
//! 3. Every reader first applies the events in the logs, so that no answer is behind the log.
//!
//! Of several nodes each has the thread in memory. What runs on others left, and whether they are
//! live, whoever reads it takes in from the store. So it is before a run is looked at that started.
//!
//! Lock order: table, thread, fold of a run; never across an await. What a thread is charged for
//! its values is locked within none of them but the table.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;
use quell::{Engine, EventKind, RunEvent, RunId, RunRef, RunStatus};
use quell_http::Charge;
use serde_json::Value;
use uuid::Uuid;

use crate::threads::card::Card;
use crate::threads::elsewhere::{Elsewhere, Mark};
use crate::threads::tracked::{GraphKeys, Tracked};
use crate::values::{Fold, Values};
use crate::wire::asked::Asked;
use crate::wire::exact::Keys;

/// A thread: values that its runs share, one after the other.
pub(crate) struct Thread {
    pub(crate) id: Uuid,
    pub(crate) owner: Option<String>,
    /// Made up for one stateless run, and deleted with it.
    pub(crate) is_temporary: bool,
    pub(super) created_at: SystemTime,
    /// Held while a run of the thread is made: whether it starts on the values of the thread is
    /// decided in the order in which runs enter the lane.
    pub(crate) creating: tokio::sync::Mutex<()>,
    /// Held while it is found out on what one of its runs has started.
    pub(crate) looking: tokio::sync::Mutex<()>,
    pub(super) state: Mutex<State>,
    /// When that was made of which the store has a record, in microseconds since 1970: one that is
    /// made anew under the same id is another one. Zero if it has no record that is known.
    pub(super) record_us: AtomicU64,
    /// What the store says of it is taken in: nothing has to be read again, unless others share
    /// the store.
    pub(crate) is_whole: AtomicBool,
    /// Held while what callers said of it is changed.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// A task waits until its time is over.
    pub(crate) is_timed: AtomicBool,
    /// What its metadata takes.
    pub(super) charge: Mutex<Option<Charge>>,
    /// What its values take, and those of its ended runs.
    pub(super) values_charge: Mutex<Option<Charge>>,
}

/// What there is of a thread. Runs end, are taken out ([`Thread::undo`]), make room
/// ([`Thread::evict`]) and are read from the store in any order. Whenever its lock is free:
///
/// 1. `values` and `next` are what the run `wrote` has left, or with what the thread was made.
/// 2. What a run that has started goes back to is what there was then: what the run `back.last` has
///    left. So all of them are chains, along which the runs of the lane have followed each other.
/// 3. No `back.last`, nor `wrote`, names a run that was taken out here: of each chain it leaves the
///    middle, whichever run is in memory still, also of one that has left the lists while somebody
///    deletes it (`leaving`). One that has made room takes along what it went
///    back to: without it those behind it go back to the begin.
/// 4. A run that is rolled back is the `last` of none, since it leaves nothing: whether it is gone
///    (`remove`) before it is taken out, or behind that, changes nothing.
/// 5. Who is meant is told by ids alone: a thread that has come into memory again has other entries
///    of the same runs.
/// 6. What was read of the store before a run was taken out is not taken in behind that (`undone`).
///    What is left then is looked for again, if the last run was taken out (`is_whole`).
#[derive(Debug)]
pub(super) struct State {
    /// What callers said of the thread itself.
    pub(super) card: Card,
    pub(super) values: Option<Arc<Values>>,
    /// What they are in bytes of JSON.
    pub(super) values_bytes: usize,
    pub(super) updated_at: SystemTime,
    pub(super) values_updated_at: SystemTime,
    /// The graph of the last run that left something: these keys are shown with the metadata.
    pub(super) graph: Option<GraphKeys>,
    /// A caller was told of the thread, or has changed it: it stays, also without a run.
    pub(super) is_told: bool,
    /// Requests that are making a run in it, of which the first one has made it: it leaves with the
    /// last of them, if nothing has come of any.
    pub(super) making: usize,
    /// It was read from a record that was about to leave, as nothing had come of it.
    is_unused: bool,
    /// Set when the thread leaves the table. No run of it is made any more.
    pub(super) is_deleted: bool,
    pub(super) live: Vec<Arc<Tracked>>,
    pub(super) ended: VecDeque<Arc<Tracked>>,
    /// Those that are in neither list any more, and that somebody still has.
    pub(super) leaving: Vec<Weak<Tracked>>,
    pub(super) last: Option<RunStatus>,
    pub(super) error: Value,
    /// What comes next in it.
    pub(super) next: Vec<String>,
    /// The last ended run that is taken in.
    pub(super) left: Option<Mark>,
    /// The last one of them that has started: the values are those that it left.
    pub(super) wrote: Option<Mark>,
    /// How often a deletion has taken a run out.
    pub(super) undone: u64,
    /// What runs of it on other nodes do, as the store had them last. On the heap: of most threads
    /// there are none.
    pub(super) elsewhere: Option<Box<Elsewhere>>,
}

impl Thread {
    pub(crate) fn new(id: Uuid, owner: Option<&str>, metadata: &Keys, is_temporary: bool) -> Self {
        let now = SystemTime::now();
        let state = State {
            card: Card::new(metadata),
            values: None,
            values_bytes: 0,
            updated_at: now,
            values_updated_at: now,
            graph: None,
            is_told: false,
            making: 0,
            is_unused: false,
            is_deleted: false,
            live: Vec::new(),
            ended: VecDeque::new(),
            leaving: Vec::new(),
            last: None,
            error: Value::Null,
            next: Vec::new(),
            left: None,
            wrote: None,
            undone: 0,
            elsewhere: None,
        };
        Self {
            id,
            owner: owner.map(str::to_owned),
            is_temporary,
            created_at: now,
            creating: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            record_us: AtomicU64::new(0),
            is_whole: AtomicBool::new(true),
            changing: tokio::sync::Mutex::default(),
            is_timed: AtomicBool::new(false),
            charge: Mutex::default(),
            values_charge: Mutex::default(),
        }
    }

    /// Holds the charge of its metadata for as long as it is there.
    pub(crate) fn charged(self, charge: Charge) -> Self {
        Self { charge: Mutex::new(Some(charge)), ..self }
    }

    /// Makes the thread of a run that was made before this service was.
    pub(crate) fn of(id: Uuid, run: &RunRef, asked: &Asked) -> Self {
        let thread = Self::new(id, run.owner(), &Keys::new(), asked.is_temporary);
        let record_us = asked.record_us.unwrap_or_default().into();
        Self { record_us, ..thread.since(run.queued_at()).in_part() }
    }

    /// Makes it one that was made before.
    pub(crate) fn since(mut self, at: SystemTime) -> Self {
        let state = self.state.get_mut();
        (state.updated_at, state.values_updated_at) = (at, at);
        Self { created_at: at, ..self }
    }

    pub(crate) const fn made_at(&self) -> SystemTime {
        self.created_at
    }

    /// Declares that the store may say more of it.
    pub(crate) fn in_part(self) -> Self {
        Self { is_whole: AtomicBool::new(false), ..self }
    }

    /// Adds a run that is about to be made; false if the thread takes none any more.
    #[must_use]
    pub(crate) fn add(&self, tracked: &Arc<Tracked>) -> bool {
        self.add_unless_undone(tracked, None)
    }

    /// Takes a run out: it was not made after all, or is deleted. Nothing of it is left.
    pub(crate) fn remove(&self, id: RunId) {
        let mut state = self.state.lock();
        if let Some(tracked) = state.unlist(id) {
            state.let_go(&tracked);
        }
    }

    /// Takes no runs from here on, if none is live or about to be; tells whether that is so.
    pub(crate) fn leave_if_idle(&self, engine: &Engine) -> bool {
        let mut state = self.state.lock();
        state.settle(engine);
        state.is_deleted |= state.live.is_empty();
        state.is_deleted
    }

    /// Takes no runs from here on, whatever is live.
    pub(crate) fn leave(&self) {
        self.state.lock().is_deleted = true;
    }

    /// Declares that its record was about to leave when it was read: nothing had come of it.
    pub(crate) fn unused(self) -> Self {
        self.state.lock().is_unused = true;
        self
    }

    /// Counts a request in that makes a run in it, and has made it for that.
    pub(crate) fn begin_making(&self) {
        self.state.lock().making += 1;
    }

    /// As [`Thread::begin_making`], of a request that has found it: tells whether another one has
    /// made it for its run, and nothing has come of that yet, or came of it.
    pub(crate) fn join_making(&self) -> bool {
        let mut state = self.state.lock();
        let is_new = (state.making > 0 || state.is_unused) && !state.is_told;
        state.making += usize::from(is_new);
        is_new
    }

    /// Counts such a request out, of which nothing has come. The last one has it leave, as
    /// [`Thread::leave_if_idle`], if it never had a run either, and nobody was told of it.
    pub(crate) fn leave_if_unused(&self) -> bool {
        let mut state = self.state.lock();
        state.making = state.making.saturating_sub(1);
        let has_runs = !state.live.is_empty() || !state.ended.is_empty() || state.last.is_some();
        state.is_deleted |= !has_runs && !state.is_told && state.making == 0;
        state.is_deleted
    }

    /// Has it stay, whatever becomes of the run for which it was made, as a caller is told of it;
    /// false if it has left.
    #[must_use]
    pub(crate) fn keep(&self) -> bool {
        let mut state = self.state.lock();
        state.is_told |= !state.is_deleted;
        !state.is_deleted
    }

    /// Finds a run of the thread, also one that is still being made: a reader may know its id from
    /// the engine before `has_begun` is set.
    pub(crate) fn find(&self, id: RunId) -> Option<Arc<Tracked>> {
        let state = self.state.lock();
        let mut all = state.live.iter().chain(&state.ended);
        all.find(|tracked| tracked.id == id).map(Arc::clone)
    }

    /// Lists the runs that the engine has.
    pub(crate) fn runs(&self) -> Vec<Arc<Tracked>> {
        let state = self.state.lock();
        let all = state.live.iter().chain(&state.ended);
        all.filter(|tracked| tracked.has_begun()).map(Arc::clone).collect()
    }

    /// Lists the runs that are not terminal.
    pub(crate) fn live(&self, engine: &Engine) -> Vec<Arc<Tracked>> {
        let mut state = self.state.lock();
        state.settle(engine);
        state.live.iter().filter(|tracked| tracked.has_begun()).map(Arc::clone).collect()
    }

    /// Yields the run that waits for an answer, if one does. Others may wait behind it.
    pub(crate) fn paused(&self, engine: &Engine) -> Option<(Arc<Tracked>, RunRef)> {
        self.live(engine).into_iter().find_map(|tracked| {
            let run = engine.get(tracked.id).filter(|run| run.status() == RunStatus::Paused)?;
            Some((tracked, run))
        })
    }

    /// Lists the runs that have ended.
    pub(crate) fn ended(&self, engine: &Engine) -> Vec<Arc<Tracked>> {
        let mut state = self.state.lock();
        state.settle(engine);
        state.ended.iter().map(Arc::clone).collect()
    }

    /// Yields the values that the ended runs left.
    pub(crate) fn values(&self, engine: &Engine) -> Option<Arc<Values>> {
        let mut state = self.state.lock();
        state.settle(engine);
        state.values.clone()
    }

    /// Yields what its values and its metadata take as text.
    pub(crate) fn weight(&self) -> usize {
        let state = self.state.lock();
        state.values_bytes + state.card.metadata.len()
    }

    /// Takes in an event of a run.
    pub(crate) fn take(&self, engine: &Engine, tracked: &Tracked, run: &RunRef, event: &RunEvent) {
        let mut state = self.state.lock();
        let is_start = event.run == tracked.id && event.kind == EventKind::Started;
        if is_start || matches!(event.kind, EventKind::Lagged { .. }) {
            state.settle(engine);
        }
        if tracked.is_behind {
            // Events may have been passed by until it was known what it starts on.
            return tracked.catch_up(run, state.here());
        }
        let view = run.into();
        let base = || tracked.start_on(&view, state.here()).values.clone();
        let mut fold = tracked.fold.lock();
        fold.take(&view, event, &tracked.about, base);
        fold.thin();
    }

    /// Yields the values of a run as they are now, and where its log is.
    pub(crate) fn look(&self, engine: &Engine, tracked: &Tracked, run: &RunRef) -> Fold {
        let mut state = self.state.lock();
        state.settle(engine);
        tracked.catch_up(run, state.here());
        let fold = tracked.fold.lock();
        fold.clone()
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("id", &self.id).finish_non_exhaustive()
    }
}
