//! [`LaneTurns`] has what is to be asked of the other nodes for lanes: whose turn it is, and what
//! gives its place to a run of this node.
//!
//! The lock is a leaf. What is to be asked wakes the loop of the member, which takes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;

use quell_core::{CancelRequest, RunId};

use crate::sync::Mutex;

/// What is to be asked of the others.
#[derive(Debug, Default)]
pub(crate) struct LaneTurns(Mutex<Asks>);

#[derive(Debug, Default)]
struct Asks {
    /// Lanes in which it may be another one's turn.
    lanes: BTreeSet<Arc<str>>,
    /// Runs of other nodes in whose place one of this node is.
    stops: Vec<(RunId, CancelRequest)>,
    waker: Option<Waker>,
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
        asks.stops.extend(runs.iter().map(|run| (*run, request.clone())));
        asks.wake();
    }

    /// Takes what is to be asked, of lanes at most so many. What comes later wakes the loop.
    pub(crate) fn take(
        &self,
        lanes_max: usize,
        waker: &Waker,
    ) -> (Vec<Arc<str>>, Vec<(RunId, CancelRequest)>) {
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
    fn wake(&mut self) {
        // Not foreign code: the loop is ours.
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
