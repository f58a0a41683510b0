//! A naive admission, which looks at every run each time.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell_core::{RunId, RunKind, RunStatus};

use super::Candidate;
use crate::failure::SubmitError;
use crate::gate::{Gate, Lane, OnBusy};
use crate::queue::{QueuePosition, RunLimits, Scope, WaitsFor};
use crate::sync::{AtomicBool, Ordering};

/// A run of both admissions.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) kind: RunKind,
    pub(super) name: &'static str,
    pub(super) owner: Option<Arc<str>>,
    pub(super) gate: Option<Gate>,
    pub(super) wanted: AtomicBool,
    pub(super) released: AtomicBool,
}

impl Candidate for Run {
    fn kind(&self) -> RunKind {
        self.kind
    }

    fn id(&self) -> RunId {
        self.id
    }

    fn name(&self) -> &str {
        self.name
    }

    fn owner(&self) -> Option<&Arc<str>> {
        self.owner.as_ref()
    }

    fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    fn starts_when_due(&self) -> bool {
        false
    }

    fn status(&self) -> RunStatus {
        match (self.wanted.load(Ordering::SeqCst), self.released.load(Ordering::SeqCst)) {
            (false, _) => RunStatus::Stopping,
            (true, true) => RunStatus::Running,
            (true, false) => RunStatus::Queued,
        }
    }

    fn release(&self) {
        assert!(!self.released.swap(true, Ordering::SeqCst), "released twice");
    }
}

impl Run {
    pub(super) fn lane(&self) -> Option<&Arc<str>> {
        self.gate.as_ref()?.lane.as_ref().map(|lane| &lane.key)
    }

    fn passes_by(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_unlimited)
    }

    fn priority(&self) -> i8 {
        self.gate.as_ref().map_or(0, |gate| gate.priority)
    }
}

/// What the naive admission knows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Due(Instant),
    Waits {
        arrival: u64,
    },
    /// Another run has taken its place in their lane, and its stop is on the way.
    Superseded,
    Runs,
    /// It has ended, and something of it still executes.
    Lingers,
    Over,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) run: Arc<Run>,
    pub(super) phase: Phase,
    /// Admission knows it.
    pub(super) gated: bool,
}

/// The naive admission.
#[derive(Debug)]
pub(super) struct Naive {
    /// When it was made, which is the epoch.
    start: Instant,
    pub(super) runs: Vec<Entry>,
    pub(super) limits: Vec<(Scope, RunLimits)>,
    pub(super) arrivals: u64,
}

impl Naive {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, runs: Vec::new(), limits: Vec::new(), arrivals: 0 }
    }

    pub(super) fn wall(&self, at: Instant) -> SystemTime {
        SystemTime::UNIX_EPOCH + at.duration_since(self.start)
    }

    fn limit(&self, scope: &Scope) -> RunLimits {
        self.limits.iter().find(|(of, _)| of == scope).map(|(_, it)| *it).unwrap_or_default()
    }

    fn count(&self, scope: &Scope, of: &Run, meant: impl Fn(Phase) -> bool) -> usize {
        let within = |entry: &&Entry| {
            meant(entry.phase) && !entry.run.passes_by() && shares(scope, &entry.run, of)
        };
        self.runs.iter().filter(within).count()
    }

    fn is_full(&self, scope: &Scope, of: &Run) -> bool {
        let running = self.count(scope, of, |phase| matches!(phase, Phase::Runs | Phase::Lingers));
        self.limit(scope).running_max.is_some_and(|max| running >= max)
    }

    fn first_full(&self, of: &Run) -> Option<Scope> {
        let scopes = (!of.passes_by()).then(|| scopes(of));
        scopes.into_iter().flatten().find(|scope| self.is_full(scope, of))
    }

    fn full_queue(&self, of: &Run) -> Option<(Scope, usize)> {
        let scopes = (!of.passes_by()).then(|| scopes(of));
        scopes.into_iter().flatten().find_map(|scope| {
            let queued = self.count(&scope, of, is_queued);
            let max = self.limit(&scope).queued_max.filter(|max| queued >= *max)?;
            Some((scope, max))
        })
    }

    /// The runs that wait, though they are due, in their order.
    fn waiting(&self) -> Vec<(i16, u64, usize)> {
        let mut all: Vec<_> = self.runs.iter().enumerate().filter_map(rank_of).collect();
        all.sort_unstable();
        all
    }

    fn lane_before(&self, lane: &Arc<str>, rank: (i16, u64)) -> usize {
        let waiting = self.waiting();
        let before = waiting.iter().filter(|it| (it.0, it.1) < rank);
        before.filter(|it| self.runs[it.2].run.lane() == Some(lane)).count()
    }

    fn lane_runs(&self, lane: &Arc<str>) -> bool {
        self.runs.iter().any(|it| it.run.lane() == Some(lane) && it.phase == Phase::Runs)
    }

    fn is_ready(&self, rank: (i16, u64), run: &Run) -> bool {
        run.lane().is_none_or(|lane| !self.lane_runs(lane) && self.lane_before(lane, rank) == 0)
    }

    pub(super) fn submit(
        &mut self,
        run: &Arc<Run>,
        now: Instant,
        gated: bool,
    ) -> Result<Vec<RunId>, SubmitError> {
        let gate = run.gate.as_ref();
        let superseded = self.ask_lane(gate.and_then(|gate| gate.lane.as_ref()))?;
        let before: Vec<_> = superseded.iter().map(|index| self.runs[*index].phase).collect();
        for index in &superseded {
            let phase = &mut self.runs[*index].phase;
            *phase = if is_queued(*phase) { Phase::Superseded } else { *phase };
        }
        let due = gate.and_then(|gate| gate.not_before).filter(|due| *due > now);
        let rank = (-i16::from(run.priority()), self.arrivals + 1);
        let waits = due.is_some() || !self.is_ready(rank, run) || self.first_full(run).is_some();
        if let Some((scope, max)) = self.full_queue(run).filter(|_| waits && gated) {
            for (index, phase) in superseded.iter().zip(before) {
                self.runs[*index].phase = phase;
            }
            return Err(SubmitError::QueueFull { scope, max });
        }
        self.arrivals += 1;
        let phase = due.map_or(Phase::Waits { arrival: self.arrivals }, Phase::Due);
        self.runs.push(Entry { run: Arc::clone(run), phase, gated });
        Ok(superseded.into_iter().map(|index| self.runs[index].run.id).collect())
    }

    /// Yields the runs that a new one of the lane supersedes, the newest first.
    fn ask_lane(&self, lane: Option<&Lane>) -> Result<Vec<usize>, SubmitError> {
        let Some(Lane { key, on_busy }) = lane else { return Ok(Vec::new()) };
        let is_there = |phase| is_queued(phase) || phase == Phase::Runs;
        let runs = self.runs.iter().enumerate().rev();
        let runs = runs.filter(|(_, it)| it.run.lane() == Some(key) && is_there(it.phase));
        let runs: Vec<_> = runs.map(|(index, _)| index).collect();
        let mut ids = runs.iter().map(|index| &self.runs[*index].run);
        match on_busy {
            OnBusy::Enqueue => Ok(Vec::new()),
            OnBusy::Reject if runs.is_empty() => Ok(runs),
            OnBusy::Reject => {
                let (lane, run) = (Arc::clone(key), self.holder_of(key, &runs));
                Err(SubmitError::LaneBusy { lane, run })
            }
            OnBusy::CancelExisting | OnBusy::RollbackExisting => Ok(runs),
            OnBusy::JoinExisting => match ids.find(|run| run.wanted.load(Ordering::SeqCst)) {
                Some(run) => Err(SubmitError::LaneJoined(run.id)),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Yields the run that holds a lane with these runs, the newest first; if all of them are due
    /// later, that which came first.
    fn holder_of(&self, lane: &Arc<str>, runs: &[usize]) -> RunId {
        let runs_now = runs.iter().find(|index| self.runs[**index].phase == Phase::Runs);
        let waiting = self.waiting().into_iter().map(|it| it.2);
        let first = waiting.into_iter().find(|it| self.runs[*it].run.lane() == Some(lane));
        let holder = runs_now.copied().or(first).or(runs.last().copied()).unwrap_or_default();
        self.runs[holder].run.id
    }

    pub(super) fn release(&mut self, now: Instant) {
        let mut due: Vec<_> = self.runs.iter().enumerate().filter_map(due_of).collect();
        due.sort_unstable();
        for (_, index) in due.into_iter().filter(|(at, _)| *at <= now) {
            self.arrivals += 1;
            self.runs[index].phase = Phase::Waits { arrival: self.arrivals };
        }
        while let Some((_, _, index)) = self.waiting().into_iter().find(|it| {
            let run = &self.runs[it.2].run;
            self.is_ready((it.0, it.1), run) && self.first_full(run).is_none()
        }) {
            self.runs[index].phase = Phase::Runs;
        }
    }

    pub(super) fn position(&self, index: usize) -> Option<QueuePosition> {
        let run = &self.runs[index].run;
        if let Phase::Due(due) = self.runs[index].phase {
            return Some(QueuePosition::new(0, WaitsFor::DueTime(self.wall(due))));
        }
        let (priority, arrival, _) = rank_of((index, &self.runs[index]))?;
        let rank = (priority, arrival);
        if let Some(lane) = run.lane().filter(|_| !self.is_ready(rank, run)) {
            let ahead = self.lane_before(lane, rank);
            return Some(QueuePosition::new(ahead, WaitsFor::Lane(Arc::clone(lane))));
        }
        let scope = self.first_full(run)?;
        let waiting = self.waiting();
        let before = waiting.iter().filter(|it| (it.0, it.1) < rank);
        let parked = before.filter(|it| {
            let other = &self.runs[it.2].run;
            self.is_ready((it.0, it.1), other)
                && shares(&scope, other, run)
                && self.first_full(other).as_ref() == Some(&scope)
        });
        Some(QueuePosition::new(parked.count(), WaitsFor::Slot(scope)))
    }
}

pub(super) fn is_queued(phase: Phase) -> bool {
    matches!(phase, Phase::Due(_) | Phase::Waits { .. })
}

pub(super) fn rank_of((index, entry): (usize, &Entry)) -> Option<(i16, u64, usize)> {
    let Phase::Waits { arrival } = entry.phase else { return None };
    Some((-i16::from(entry.run.priority()), arrival, index))
}

pub(super) fn due_of((index, entry): (usize, &Entry)) -> Option<(Instant, usize)> {
    let Phase::Due(due) = entry.phase else { return None };
    Some((due, index))
}

/// The scopes of a run, in the order in which it waits for them.
pub(super) fn scopes(of: &Run) -> [Scope; 4] {
    let component = Scope::component(of.kind, of.name);
    [Scope::EachOwner, component, Scope::Kind(of.kind), Scope::All]
}

pub(super) fn shares(scope: &Scope, one: &Run, other: &Run) -> bool {
    match scope {
        Scope::All => true,
        Scope::Kind(_) => one.kind == other.kind,
        Scope::Component(..) => one.kind == other.kind && one.name == other.name,
        Scope::EachOwner => one.owner == other.owner,
    }
}
