//! [`LaneTurns`] has what is to be asked of the other nodes for lanes: whose turn it is, and what
//! gives its place to a run of this node.
//!
//! Invariant: `untried` has the number of each stop of which the loop has not heard yet what came
//! of it, so that whoever waits for those that there are waits for nothing that comes later.
//!
//! The lock is a leaf. What is to be asked wakes the loop of the member, which takes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;

use quell_core::{CancelRequest, RunId};

use crate::foreign;
use crate::sync::Mutex;
use crate::sync::waiters::{Waiters, Wakers};

/// What is to be asked of the others.
#[derive(Debug, Default)]
pub(crate) struct LaneTurns(Mutex<Asks>);

#[derive(Debug, Default)]
struct Asks {
    /// Lanes in which it may be another one's turn.
    lanes: BTreeSet<Arc<str>>,
    /// Runs of other nodes in whose place one of this node is.
    stops: Vec<FarStop>,
    /// The number of the last one, ever.
    last: u64,
    /// Those that were not tried yet.
    untried: BTreeSet<u64>,
    /// Who waits until some are.
    waiting: Waiters,
    /// Nothing is asked any more.
    is_over: bool,
    waker: Option<Waker>,
}

/// A stop of a run of another node.
#[derive(Clone, Debug)]
pub(crate) struct FarStop {
    /// Its number among those of this node.
    pub(crate) nr: u64,
    pub(crate) run: RunId,
    pub(crate) request: CancelRequest,
}

impl LaneTurns {
    /// Has it be asked whose turn it is in several lanes.
    pub(crate) fn ask_all(&self, lanes: &[Arc<str>]) {
        for lane in lanes {
            self.ask(lane);
        }
    }

    /// Has it be asked whose turn it is.
    pub(crate) fn ask(&self, lane: &Arc<str>) {
        let mut asks = self.0.lock();
        asks.lanes.insert(Arc::clone(lane));
        asks.wake();
    }

    /// Has runs of other nodes be stopped.
    pub(crate) fn stop(&self, runs: &[RunId], request: &CancelRequest) {
        let mut asks = self.0.lock();
        let runs = if asks.is_over { &[] } else { runs };
        for run in runs {
            asks.last += 1;
            let (nr, run, request) = (asks.last, *run, request.clone());
            asks.untried.insert(nr);
            asks.stops.push(FarStop { nr, run, request });
        }
        asks.wake();
    }

    /// Notes that a stop was asked for: it is stored, or it could not be, and is tried again.
    /// Yields who waits for that.
    #[must_use]
    pub(crate) fn tried(&self, nr: u64) -> Wakers {
        let mut asks = self.0.lock();
        asks.untried.remove(&nr);
        asks.take_waiting()
    }

    /// Asks nothing any more. Yields who waits for that.
    #[must_use]
    pub(crate) fn end(&self) -> Wakers {
        let mut asks = self.0.lock();
        asks.is_over = true;
        asks.untried.clear();
        asks.take_waiting()
    }

    /// Waits until all stops that there are were asked for once.
    pub(crate) async fn stops_tried(&self) {
        let last = self.0.lock().last;
        let are_tried =
            |asks: &Asks| asks.untried.first().is_none_or(|first| *first > last).then_some(());
        foreign::until(&self.0, |asks| &mut asks.waiting, are_tried).await;
    }

    /// Takes what is to be asked, of lanes at most so many. What comes later wakes the loop.
    pub(crate) fn take(&self, lanes_max: usize, waker: &Waker) -> (Vec<Arc<str>>, Vec<FarStop>) {
        let mut asks = self.0.lock();
        asks.waker = Some(waker.clone());
        let mut lanes = Vec::new();
        while lanes.len() < lanes_max
            && let Some(lane) = asks.lanes.pop_first()
        {
            lanes.push(lane);
        }
        (lanes, std::mem::take(&mut asks.stops))
    }
}

impl Asks {
    fn take_waiting(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        self.waiting.drain_into(&mut wakers);
        wakers
    }

    fn wake(&mut self) {
        // Not foreign code: the loop is ours.
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
