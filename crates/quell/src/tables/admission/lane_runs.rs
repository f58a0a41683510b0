//! [`LaneRuns`] lists the roots of each lane, in the order in which they were accepted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quell_core::RunStatus;

use super::Candidate;
use super::state::Who;
use crate::failure::SubmitError;
use crate::gate::{Lane, OnBusy};

/// The roots of each lane: the one that holds it, those behind it, and those that are due later.
#[derive(Debug)]
pub(super) struct LaneRuns<R> {
    lanes: HashMap<Arc<str>, BTreeMap<u64, Arc<R>>>,
    /// The number under which each of them stands.
    numbers: HashMap<Who, u64>,
}

impl<R: Candidate> LaneRuns<R> {
    pub(super) fn new() -> Self {
        Self { lanes: HashMap::new(), numbers: HashMap::new() }
    }

    /// Adds a root that was accepted, with a number above those of all before it.
    pub(super) fn add(&mut self, lane: &Arc<str>, run: &Arc<R>, number: u64) {
        self.numbers.insert(Who::of(run), number);
        self.lanes.entry(Arc::clone(lane)).or_default().insert(number, Arc::clone(run));
    }

    /// Takes out a root that will not start any more, or has ended.
    pub(super) fn remove(&mut self, lane: &Arc<str>, run: &Arc<R>) {
        let Some(number) = self.numbers.remove(&Who::of(run)) else { return };
        let Some(runs) = self.lanes.get_mut(lane) else { return };
        runs.remove(&number);
        if runs.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// Lists the roots of a lane, the newest first.
    pub(super) fn newest_first(&self, lane: &str) -> impl Iterator<Item = &Arc<R>> {
        self.lanes.get(lane).into_iter().flat_map(|runs| runs.values().rev())
    }

    /// Asks for the place of a new root. Yields the roots that it supersedes, the newest first.
    pub(super) fn ask(&self, lane: Option<&Lane>) -> Result<Vec<Arc<R>>, SubmitError> {
        let Some(Lane { key, on_busy }) = lane else { return Ok(Vec::new()) };
        let mut runs = self.newest_first(key);
        match on_busy {
            OnBusy::Reject if runs.next().is_some() => Err(SubmitError::LaneBusy(Arc::clone(key))),
            OnBusy::Enqueue | OnBusy::Reject => Ok(Vec::new()),
            OnBusy::JoinExisting => match runs.find(|run| run.status() != RunStatus::Stopping) {
                Some(run) => Err(SubmitError::LaneJoined(run.id())),
                None => Ok(Vec::new()),
            },
            OnBusy::CancelExisting => Ok(runs.map(Arc::clone).collect()),
        }
    }

    /// How many there are.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.numbers.len(), self.lanes.values().map(BTreeMap::len).sum::<usize>());
        self.numbers.len()
    }
}
