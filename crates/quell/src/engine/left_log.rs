//! [`LeftLog`] is the log of a tree whose process is gone: what it tells, and what it lacks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{ImpliedEvents, RunRecord, Store, StoreError};
use quell_core::{Cause, EventKind, RunEvent, RunId, RunStatus, ToolOutcome, Usage, limits};

/// What the log of a root tells of the runs of its tree.
#[derive(Debug)]
pub(super) struct LeftLog {
    root: RunId,
    /// The number and the time of its last event.
    last_seq: u64,
    last_at: SystemTime,
    runs: HashMap<RunId, Told>,
    /// Whether something of it is missing: who has left work may be unsaid.
    has_gap: bool,
    /// Runs that have quiesced after their ends.
    quiesced: HashSet<RunId>,
    /// What the tree has used since its root was paused last. None if nothing of that is sure: the
    /// root was never paused, or something is missing behind that.
    since_pause: Option<Usage>,
}

/// What the log tells of one run.
#[derive(Debug)]
struct Told {
    /// How many runs came before it.
    place: usize,
    implied: ImpliedEvents,
    /// Tool calls that have begun and not ended.
    calls: Vec<Arc<str>>,
    /// Why it stops, if it does.
    stopped: Option<Arc<Cause>>,
    ended: Option<RunStatus>,
    /// The run above it.
    parent: Option<RunId>,
    /// Whether it has named work as abandoned, and has not quiesced since.
    has_left: bool,
    /// Whether it has ever started, and whether it waits for an answer, as far as the log tells.
    has_started: bool,
    is_paused: bool,
    /// How many of its attempts have started since it was paused last, as far as the log tells.
    started: u32,
    /// What it has used itself.
    used: Usage,
    /// The number of the first event that its body has emitted.
    first_emitted: Option<u64>,
}

/// What the log lacks of one run.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// How it began.
    pub(super) beginning: Vec<(SystemTime, EventKind)>,
    /// That it stops.
    pub(super) stop: Vec<(SystemTime, EventKind)>,
    /// The end, with tool calls whose outcome nobody knows.
    pub(super) end: Vec<(SystemTime, EventKind)>,
}

impl LeftLog {
    /// Reads the log of a root to its end, of which nothing was written since its record was read.
    /// Most roots have none, and a look for it takes longer than all else of them.
    pub(super) async fn of(store: &dyn Store, root: &RunRecord) -> Result<Self, StoreError> {
        if root.has_events {
            Self::read(store, root.run()).await
        } else {
            Ok(Self::empty(root.run()))
        }
    }

    fn empty(root: RunId) -> Self {
        let (runs, quiesced) = (HashMap::new(), HashSet::new());
        let last_at = SystemTime::UNIX_EPOCH;
        Self { root, last_seq: 0, last_at, runs, has_gap: false, quiesced, since_pause: None }
    }

    /// Reads the log of a root to its end.
    pub(super) async fn read(store: &dyn Store, root: RunId) -> Result<Self, StoreError> {
        let mut log = Self::empty(root);
        loop {
            let before = log.last_seq;
            for event in store.events(root, before, limits::STORE_PAGE_MAX).await? {
                match event {
                    Ok(event) => log.saw(&event),
                    Err(lost) => {
                        log.last_seq = log.last_seq.max(lost.seq.unwrap_or_default());
                        (log.has_gap, log.since_pause) = (true, None);
                    }
                }
            }
            if log.last_seq == before {
                return Ok(log);
            }
        }
    }

    fn saw(&mut self, event: &RunEvent) {
        if event.seq > self.last_seq.saturating_add(1) {
            self.since_pause = None;
        }
        self.last_seq = self.last_seq.max(event.last_seq());
        self.last_at = self.last_at.max(event.at);
        let place = self.runs.len();
        let told = self.runs.entry(event.run).or_insert_with(|| Told::new(event.run, place));
        told.implied.saw(event);
        match &event.kind {
            EventKind::ToolStarted { call, .. } => told.calls.push(Arc::clone(call)),
            EventKind::ToolEnded { call, .. } => told.calls.retain(|open| open != call),
            EventKind::Stopping(cause) => told.stopped = Some(Arc::clone(cause)),
            EventKind::Ended(status) => told.ended = Some(*status),
            EventKind::Queued { parent, .. } => told.parent = *parent,
            EventKind::Abandoned { .. } => told.has_left = true,
            EventKind::Quiesced => {
                told.has_left = false;
                self.quiesced.insert(event.run);
            }
            EventKind::Lagged { .. } => (self.has_gap, self.since_pause) = (true, None),
            EventKind::Paused { .. } => {
                (told.is_paused, told.started) = (true, 0);
                self.since_pause = Some(Usage::default());
            }
            EventKind::Started => {
                (told.has_started, told.is_paused) = (true, false);
                told.started = told.started.saturating_add(1);
            }
            EventKind::Resumed { .. } => told.is_paused = false,
            EventKind::Emitted(_) => {
                told.first_emitted.get_or_insert(event.seq);
            }
            EventKind::Used(used) => {
                told.used.add(*used);
                self.since_pause.iter_mut().for_each(|since| since.add(*used));
            }
            _ => {}
        }
    }

    /// Tells whether it has any event.
    pub(super) const fn has_any(&self) -> bool {
        self.last_seq > 0
    }

    /// Yields the number of its last event.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Yields when its last event was; if it has none, the epoch.
    pub(super) const fn last_at(&self) -> SystemTime {
        self.last_at
    }

    /// Yields how many runs came before one, as far as it tells.
    pub(super) fn place(&self, run: RunId) -> usize {
        self.runs.get(&run).map_or(usize::MAX, |told| told.place)
    }

    /// Yields the runs below the root, with how they ended as far as it tells: those that completed
    /// last, of the others those first that came first.
    pub(super) fn below(&self) -> Vec<(RunId, Option<RunStatus>)> {
        let below = self.runs.iter().filter(|(run, _)| **run != self.root);
        let mut below: Vec<_> = below.map(|(run, told)| (told.place, *run, told.ended)).collect();
        below.sort_by_key(|(place, _, ended)| (*ended == Some(RunStatus::Completed), *place));
        below.into_iter().map(|(_, run, ended)| (run, ended)).collect()
    }

    /// Yields what runs have used, each with those below it, as far as it tells. What one has used
    /// of which it does not tell where it was counts for the root.
    pub(super) fn used(&self) -> HashMap<RunId, Usage> {
        let mut sums = HashMap::new();
        if self.runs.values().all(|told| told.used.is_zero()) {
            return sums;
        }
        let mut runs: Vec<_> = self.runs.iter().collect();
        // A parent comes before its children.
        runs.sort_by_key(|(_, told)| std::cmp::Reverse(told.place));
        for (run, told) in runs {
            let sum: &mut Usage = sums.entry(*run).or_default();
            sum.add(told.used);
            let sum = *sum;
            if *run != self.root {
                let above = told.parent.filter(|above| self.runs.contains_key(above));
                sums.entry(above.unwrap_or(self.root)).or_default().add(sum);
            }
        }
        sums
    }

    /// Yields what a root has used at least, with those below it: what it had in its last pause,
    /// and since, as far as it tells.
    pub(super) fn least_used(&self, root: &RunRecord) -> Usage {
        let mut least = root.so_far().used;
        // Nothing is used while it is paused; its event may not have come to the store.
        if root.paused.is_none() {
            least.add(self.since_pause.unwrap_or_default());
        }
        least
    }

    /// Yields the number of the first event that the body of a run has emitted, if it tells of one.
    pub(super) fn first_emitted(&self, run: RunId) -> Option<u64> {
        self.runs.get(&run)?.first_emitted
    }

    /// Tells whether a run that has ended may have left work that outlives its process.
    pub(super) fn may_have_left(&self, run: RunId) -> bool {
        self.has_gap || self.runs.get(&run).is_none_or(|told| told.has_left)
    }

    /// Tells whether a run that had ended non-quiescent has quiesced.
    pub(super) fn has_quiesced(&self, run: RunId) -> bool {
        self.quiesced.contains(&run)
    }

    /// Yields the run above one, if it tells of that.
    pub(super) fn parent_of(&self, run: RunId) -> Option<RunId> {
        self.runs.get(&run)?.parent
    }

    /// Yields why a run stops, if it tells that it does.
    pub(super) fn cause_of(&self, run: RunId) -> Option<&Arc<Cause>> {
        self.runs.get(&run)?.stopped.as_ref()
    }

    /// Yields what it lacks of a run that ends as its record says, or goes on.
    pub(super) fn lacks(&self, record: &RunRecord) -> Lacks {
        let told = self.runs.get(&record.run());
        let unseen = ImpliedEvents::new(record.run());
        let missing = told.map_or(&unseen, |told| &told.implied).missing(record);
        let mut lacks = Lacks::default();
        for RunEvent { at, kind, .. } in missing {
            match kind {
                EventKind::Ended(_) => {
                    let calls = told.map_or(&[][..], |told| &told.calls);
                    lacks.end.extend(calls.iter().map(|call| {
                        let (call, outcome) = (Arc::clone(call), ToolOutcome::Unknown);
                        (at, EventKind::ToolEnded { call, outcome })
                    }));
                    let left = record.report.iter().flat_map(|report| &report.own_row().abandoned);
                    // What those below have left is told of them.
                    let left = left.filter(|left| left.run == record.run());
                    lacks.end.extend(left.map(|left| {
                        let (what, name) = (left.what, Arc::clone(&left.name));
                        (at, EventKind::Abandoned { what, name })
                    }));
                    lacks.end.push((at, kind));
                }
                // One that goes on was not stopped, whatever its record says of a lease.
                EventKind::Stopping(_) if record.report.is_none() => {}
                EventKind::Stopping(_) => lacks.stop.push((at, kind)),
                _ => lacks.beginning.push((at, kind)),
            }
        }
        lacks
    }

    /// Yields what it lacks of a run that is paused, or had its answer: the process may have ended
    /// between the record and the event.
    pub(super) fn lacks_of_pause(&self, record: &RunRecord) -> Vec<(SystemTime, EventKind)> {
        let told = self.runs.get(&record.run());
        let is_paused = told.is_some_and(|told| told.is_paused);
        let mut lacks = Vec::new();
        match &record.paused {
            Some(pause) if !is_paused => {
                if told.is_some_and(|told| !told.has_started) {
                    lacks.push((record.started_at.unwrap_or(pause.at), EventKind::Started));
                }
                let request = pause.request.clone();
                lacks.push((pause.at, EventKind::Paused { request }));
            }
            None if is_paused => {
                lacks.push((self.last_at, EventKind::Resumed { attempt: record.attempt }));
            }
            _ => {}
        }
        lacks
    }

    /// Yields how many attempts of the root were lost one after another: those that have started
    /// since it was paused last. One that waited for its lane when its process ended is none.
    pub(super) fn lost_attempts(&self) -> u32 {
        self.runs.get(&self.root).map_or(0, |told| told.started)
    }

    /// Makes its next event. Times never run backwards.
    pub(super) fn next(&mut self, run: RunId, (at, kind): (SystemTime, EventKind)) -> RunEvent {
        self.last_seq = self.last_seq.saturating_add(1);
        self.last_at = self.last_at.max(at);
        RunEvent::new(self.last_seq, self.root, run, self.last_at, kind)
    }
}

impl Told {
    fn new(run: RunId, place: usize) -> Self {
        Self {
            place,
            implied: ImpliedEvents::new(run),
            calls: Vec::new(),
            stopped: None,
            ended: None,
            parent: None,
            has_left: false,
            has_started: false,
            is_paused: false,
            started: 0,
            used: Usage::default(),
            first_emitted: None,
        }
    }
}
