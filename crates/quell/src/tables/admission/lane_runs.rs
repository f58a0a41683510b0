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
    lanes: HashMap<Arc<str>, Row<R>>,
    /// The number under which each of them stands.
    numbers: HashMap<Who, u64>,
}

/// The roots of one lane by their numbers. Most lanes have one, which costs no map.
#[derive(Debug)]
struct Row<R> {
    /// The oldest, unless that has left.
    first: Option<(u64, Arc<R>)>,
    rest: BTreeMap<u64, Arc<R>>,
}

impl<R> Row<R> {
    const fn new() -> Self {
        Self { first: None, rest: BTreeMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Adds a root with a number above those of all before it.
    fn push(&mut self, number: u64, run: Arc<R>) {
        if self.is_empty() {
            self.first = Some((number, run));
        } else {
            self.rest.insert(number, run);
        }
    }

    fn remove(&mut self, number: u64) {
        if self.first.take_if(|(first, _)| *first == number).is_none() {
            self.rest.remove(&number);
        }
    }

    /// Lists the roots with a number below this one, the newest first.
    fn newest_first(&self, below: u64) -> impl Iterator<Item = (u64, &Arc<R>)> {
        let rest = self.rest.range(..below).rev().map(|(number, run)| (*number, run));
        let first = self.first.iter().filter(move |(number, _)| *number < below);
        rest.chain(first.map(|(number, run)| (*number, run)))
    }

    fn oldest(&self) -> Option<&Arc<R>> {
        self.first.as_ref().map(|(_, run)| run).or_else(|| self.rest.values().next())
    }
}

impl<R: Candidate> LaneRuns<R> {
    pub(super) fn new() -> Self {
        Self { lanes: HashMap::new(), numbers: HashMap::new() }
    }

    /// Adds a root that was accepted, with a number above those of all before it.
    pub(super) fn add(&mut self, lane: &Arc<str>, run: &Arc<R>, number: u64) {
        self.numbers.insert(Who::of(run), number);
        let row = self.lanes.entry(Arc::clone(lane)).or_insert_with(Row::new);
        row.push(number, Arc::clone(run));
    }

    /// Takes out a root that will not start any more, or has ended.
    pub(super) fn remove(&mut self, lane: &Arc<str>, run: &Arc<R>) {
        let Some(number) = self.numbers.remove(&Who::of(run)) else { return };
        let Some(runs) = self.lanes.get_mut(lane) else { return };
        runs.remove(number);
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
        runs.flat_map(move |runs| runs.newest_first(below))
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
        let Some(first) = holder.or_else(|| runs.oldest()) else { return Ok(Vec::new()) };
        let busy = || SubmitError::LaneBusy { lane: Arc::clone(key), run: first.id() };
        let newest = runs.newest_first(u64::MAX).next().map(|(number, _)| LaneMark(number));
        if unchanged_since.is_some_and(|mark| newest > Some(mark)) {
            return Err(busy());
        }
        let mut newest_first = runs.newest_first(u64::MAX).map(|(_, run)| run);
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
        debug_assert_eq!(self.numbers.len(), self.lanes.values().map(Row::len).sum::<usize>());
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
