//! [`Elsewhere`] and [`Left`]: what the store says of the runs of a thread that other nodes have,
//! or had.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{Engine, RunId, RunRow};
use quell_http::whole_millis;

use crate::threads::thread::Thread;
use crate::threads::tracked::{GraphKeys, Tracked};
use crate::values::{Fold, Values};
use crate::wire::interrupt::Interrupt;

/// What the runs of a thread that other nodes have do.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// One is queued, running or stopping.
    pub(crate) is_live: bool,
    /// What a paused one asks.
    pub(crate) interrupt: Option<Interrupt>,
    /// The values of the paused one.
    pub(crate) so_far: Option<Arc<Values>>,
    /// When the newest of them was made.
    pub(crate) since: Option<SystemTime>,
    /// The graph of the newest of them.
    pub(crate) graph: Option<GraphKeys>,
}

/// What a run left that has ended, as the store has it.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) row: RunRow,
    pub(crate) fold: Fold,
}

/// The place of an ended run among those of its thread. Stores keep whole milliseconds, and clocks
/// of hosts may differ; ids are in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(SystemTime, RunId);

impl Mark {
    pub(crate) fn new(at: SystemTime, run: RunId) -> Self {
        Self(whole_millis(at), run)
    }

    pub(crate) const fn at(self) -> SystemTime {
        self.0
    }

    pub(crate) const fn run(self) -> RunId {
        self.1
    }

    /// Yields the first time at which a run of this id would stand behind this one.
    pub(crate) fn behind(self, run: RunId) -> SystemTime {
        if run > self.1 { self.0 } else { self.0 + Duration::from_millis(1) }
    }

    /// Makes that of a run that has ended.
    pub(crate) fn of(row: &RunRow) -> Self {
        Self::new(row.ended_at.unwrap_or(SystemTime::UNIX_EPOCH), row.run)
    }
}

impl Thread {
    /// Yields the last ended run that is taken in, and the last one of these that has started.
    pub(crate) fn marks(&self, engine: &Engine) -> [Option<Mark>; 2] {
        let mut state = self.state.lock();
        state.settle(engine);
        [state.left, state.wrote]
    }

    /// Tells whether what an ended run left is taken in, or one behind it that counts in its place.
    pub(crate) fn has(&self, engine: &Engine, row: &RunRow) -> bool {
        let ([left, wrote], mark) = (self.marks(engine), Some(Mark::of(row)));
        left >= mark && (wrote >= mark || row.started_at.is_none())
    }

    /// Yields the last ended run that is taken in and has started, if there is one, and the values
    /// that there are since.
    pub(crate) fn left_values(&self, engine: &Engine) -> (Option<Mark>, Option<Arc<Values>>) {
        let mut state = self.state.lock();
        state.settle(engine);
        (state.wrote, state.values.clone())
    }

    /// Lists the runs that have started and of which it is not known yet what they start on, in
    /// their order; each with its place if it has ended.
    pub(crate) fn awaiting(&self, engine: &Engine) -> Vec<(Arc<Tracked>, Option<Mark>)> {
        let state = self.state.lock();
        let awaiting = state.live.iter().filter(|tracked| tracked.awaits_base());
        let started = awaiting.filter_map(|tracked| {
            let row = tracked.run(engine)?.row();
            row.started_at?;
            Some((Arc::clone(tracked), row.ended_at.is_some().then(|| Mark::of(&row))))
        });
        let mut started: Vec<_> = started.collect();
        // One that goes on comes last.
        started.sort_by_key(|(_, mark)| (mark.is_none(), *mark));
        started
    }

    /// Takes in what a run left that has ended elsewhere, if that is news, unless a deletion came
    /// since it was read; tells whether none did.
    pub(crate) fn take_left(&self, engine: &Engine, left: &Left, undone: u64) -> bool {
        let has = self.has(engine, &left.row);
        let mut state = self.state.lock();
        if state.undone != undone {
            return false;
        }
        if !has {
            state.leave((&left.tracked, &left.row), &left.fold, false);
        }
        true
    }

    /// Notes what its runs on other nodes do, as the store says.
    pub(crate) fn see(&self, elsewhere: Elsewhere) {
        self.state.lock().elsewhere = Some(Box::new(elsewhere));
    }

    /// Tells whether a run of it is live on another node, as the store had it last.
    pub(crate) fn is_live_elsewhere(&self) -> bool {
        let state = self.state.lock();
        state.elsewhere.as_ref().is_some_and(|far| far.is_live || far.interrupt.is_some())
    }

    /// Tells whether a run of it waits for an answer on another node, and none else is live there,
    /// as the store had it last.
    pub(crate) fn waits_elsewhere(&self) -> bool {
        let state = self.state.lock();
        state.elsewhere.as_ref().is_some_and(|far| !far.is_live && far.interrupt.is_some())
    }
}
