//! [`LaneRuns`] lists the roots of each lane, in the order in which they were accepted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quell_core::{RunStatus, limits};

use super::state::Who;
use super::{Admission, Candidate};
use crate::failure::SubmitError;
use crate::gate::{Lane, LaneMark, OnBusy};

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

    /// Lists the roots of a lane with a number below this one, and their numbers, the newest first.
    pub(super) fn newest_first(
        &self,
        lane: &str,
        below: u64,
    ) -> impl Iterator<Item = (u64, &Arc<R>)> {
        let runs = self.lanes.get(lane).into_iter();
        runs.flat_map(move |runs| runs.range(..below).rev().map(|(number, run)| (*number, run)))
    }

    /// Asks for the place of a new root, in a lane that a root holds, or none. Yields the roots
    /// that it supersedes, the newest first.
    pub(super) fn ask(
        &self,
        Lane { key, on_busy }: &Lane,
        unchanged_since: Option<LaneMark>,
        holder: Option<&Arc<R>>,
    ) -> Result<Vec<Arc<R>>, SubmitError> {
        let Some(runs) = self.lanes.get(key) else { return Ok(Vec::new()) };
        let Some(first) = holder.or_else(|| runs.values().next()) else { return Ok(Vec::new()) };
        let busy = || SubmitError::LaneBusy { lane: Arc::clone(key), run: first.id() };
        let newest = runs.last_key_value().map(|(number, _)| LaneMark(*number));
        if unchanged_since.is_some_and(|mark| newest > Some(mark)) {
            return Err(busy());
        }
        let mut newest_first = runs.values().rev();
        match on_busy {
            OnBusy::Enqueue => Ok(Vec::new()),
            OnBusy::Reject => Err(busy()),
            OnBusy::JoinExisting => {
                match newest_first.find(|run| run.status() != RunStatus::Stopping) {
                    Some(run) => Err(SubmitError::LaneJoined(run.id())),
                    None => Ok(Vec::new()),
                }
            }
            OnBusy::CancelExisting | OnBusy::RollbackExisting
                if runs.len() > limits::SUPERSEDED_MAX =>
            {
                let (what, max) = ("runs of a superseded lane", limits::SUPERSEDED_MAX);
                Err(SubmitError::LimitReached { what, max })
            }
            OnBusy::CancelExisting | OnBusy::RollbackExisting => {
                Ok(newest_first.map(Arc::clone).collect())
            }
        }
    }

    /// How many there are.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.numbers.len(), self.lanes.values().map(BTreeMap::len).sum::<usize>());
        self.numbers.len()
    }
}

impl<R: Candidate> Admission<R> {
    /// Lists the roots of a lane that have not ended, the newest first.
    pub(crate) fn runs_of(&self, lane: &str) -> Vec<Arc<R>> {
        let (mut runs, mut below) = (Vec::new(), u64::MAX);
        // Numbers fall: what comes meanwhile is not looked for, and the walk ends.
        while let Some(next) = self.state().list(lane, below, &mut runs) {
            below = next;
        }
        runs
    }
}
