//! The trace checker, a leak probe, and an engine for a paused clock.

use std::collections::HashMap;
use std::{iter, ptr};

use quell_core::{CauseKind, EventKind, RunEvent, RunId, RunStatus};

use crate::{Engine, EngineConfig};

/// What a checked trace showed.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec, testing};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::agent("one"), async |_| Ok(())).unwrap();
/// run.ended().await;
/// let trace = testing::trace(run.run()).await;
/// assert_eq!(testing::check_trace(&trace).unwrap().runs, 1);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Runs that it tells of.
    pub runs: usize,
    /// Those that were stopped.
    pub stopped: usize,
    /// Those that ended non-quiescent.
    pub non_quiescent: usize,
}

/// Makes an engine for a test with a paused clock: its control loop is a task of the test's
/// runtime, so that grace, deadlines and timers pass at once when everything else waits. A closure
/// of `spawn_blocking` stops the paused clock while it runs.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
/// # .block_on(async {
/// use quell::{CancelRequest, RunSpec, RunStatus, testing};
///
/// let engine = testing::engine();
/// let run = engine.submit(RunSpec::agent("patient"), async |_| {
///     tokio::time::sleep(std::time::Duration::from_hours(1)).await;
///     Ok(())
/// })?;
/// tokio::time::sleep(std::time::Duration::from_mins(1)).await;
/// run.cancel(CancelRequest::because("enough"));
/// assert_eq!(run.ended().await.status, RunStatus::Cancelled);
/// # Ok::<(), quell::SubmitError>(())
/// # }).unwrap();
/// ```
pub fn engine() -> Engine {
    Engine::with_config(EngineConfig::new().control_on_runtime())
}

/// Reads the whole log of a tree whose root is terminal and quiescent.
///
/// # Cancel safety
///
/// Cancel safe: it only reads.
pub async fn trace(root: &crate::RunRef) -> Vec<RunEvent> {
    let mut events = root.events();
    let mut trace = Vec::new();
    while let Some(event) = events.next().await {
        trace.push(event);
    }
    trace
}

/// Checks the whole log of a tree against the promises: dense numbers (I30), legal transitions
/// only, one terminal event per run and nothing after it but `Quiesced` (I3), children before
/// parents (I1), no start after an accepted stop outside a shield (I8), stops that end `Cancelled`
/// or `TimedOut` (I9, I11), no outcome that is known after a stop or twice, and causes that lead to
/// one origin.
///
/// # Errors
///
/// Fails with the first contradiction, in words.
pub fn check_trace(trace: &[RunEvent]) -> Result<Checked, String> {
    let mut checker = Checker::default();
    let mut last = std::time::SystemTime::UNIX_EPOCH;
    for (event, seq) in trace.iter().zip(1..) {
        if event.seq != seq {
            return Err(format!("event {seq} has seq {}: {event:?}", event.seq));
        }
        if event.at < std::mem::replace(&mut last, event.at) {
            return Err(format!("time runs backwards: {event:?}"));
        }
        checker.see(event).map_err(|what| format!("{what}: {event:?}"))?;
    }
    checker.finish()
}

/// What an engine still holds. After every run has ended and nothing is kept, all of it is zero.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let engine = quell::Engine::new();
/// assert_eq!(quell::testing::held(&engine), quell::testing::Held::default());
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Live runs.
    pub live: usize,
    /// Entries of the registry: live runs, kept runs, remembered stops.
    pub entries: usize,
    /// Idempotency keys: of those runs, and of runs that were forgotten.
    pub keys: usize,
    /// Armed timers.
    pub timers: usize,
    /// Runs that wait for a lane or a slot, and lanes and slots that are held.
    pub admission: usize,
    /// Bytes that live runs are charged for.
    pub bytes: usize,
}

/// Yields the time of engines: tokio's, or that of the schedule under `--cfg quell_shuttle`.
pub fn now() -> std::time::Instant {
    crate::sync::now()
}

/// Has an engine append now what it would append some milliseconds later: for tests that stop the
/// clock. Without a store it does nothing.
pub fn hurry_store(engine: &Engine) {
    if let Some(journal) = &engine.shared().journal {
        journal.hurry();
    }
}

/// Counts what an engine still holds (I39).
pub fn held(engine: &Engine) -> Held {
    let shared = engine.shared();
    Held {
        live: shared.registry.live(),
        entries: shared.registry.len(),
        keys: shared.claims.lock().len(),
        timers: shared.control.timers(),
        admission: shared.admission.len(),
        bytes: shared.ledger.total(),
    }
}

#[derive(Default)]
struct Checker {
    runs: HashMap<RunId, Seen>,
    root: Option<RunId>,
    detached_log: bool,
    /// A run was detached from this log.
    lost_sight: bool,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one run")]
pub(super) struct Seen {
    parent: Option<RunId>,
    pub(super) live_children: usize,
    pub(super) started: bool,
    pub(super) paused: bool,
    pub(super) stopping: Option<(CauseKind, RunId)>,
    ended: Option<RunStatus>,
    failing: bool,
    decided: bool,
    settled: bool,
    abandoned: bool,
    quiesced: bool,
    /// It was accepted, and perhaps started, stopped or ended, before its tree had this log.
    pub(super) has_past: bool,
    /// It followed a run that was detached: the rest of its story is in another log.
    left: bool,
}

impl Checker {
    fn see(&mut self, event: &RunEvent) -> Result<(), &'static str> {
        if self.root.is_none() {
            self.root = Some(event.root);
            self.detached_log = matches!(event.kind, EventKind::Detached { .. });
        }
        if Some(event.root) != self.root {
            return Err("another root");
        }
        if let EventKind::Queued { parent, shielded, .. } = &event.kind {
            return self.queued(event.run, *parent, *shielded);
        }
        if !self.runs.contains_key(&event.run) {
            if !self.detached_log {
                return Err("first event of a run is not Queued");
            }
            let known = Seen { has_past: true, ..Seen::default() };
            self.runs.insert(event.run, known);
        }
        if self
            .root
            .is_some_and(|root| self.runs.get(&root).is_some_and(|root| root.ended.is_some()))
            && !matches!(event.kind, EventKind::Quiesced)
        {
            return Err("an event after the root's end");
        }
        self.seen(event)
    }

    fn queued(
        &mut self,
        run: RunId,
        parent: Option<RunId>,
        shielded: bool,
    ) -> Result<(), &'static str> {
        if self.runs.contains_key(&run) {
            return Err("a run was accepted twice");
        }
        let mut left = false;
        if let Some(parent) = parent {
            let past = Seen { has_past: self.detached_log, ..Seen::default() };
            let above = self.runs.entry(parent).or_insert(past);
            if above.ended.is_some() {
                return Err("a child starts after its parent's end (I1)");
            }
            if above.stopping.is_some() && !shielded {
                return Err("a child starts after its parent's stop, outside a shield (I8)");
            }
            above.live_children += 1;
            // Accepted before its parent has moved: it will follow, too.
            left = above.left;
        }
        self.runs.insert(run, Seen { parent, left, ..Seen::default() });
        Ok(())
    }

    fn seen(&mut self, event: &RunEvent) -> Result<(), &'static str> {
        let Some(run) = self.runs.get_mut(&event.run) else { return Err("unknown run") };
        if run.ended.is_some() && !matches!(event.kind, EventKind::Quiesced) {
            return Err("an event after the terminal event of its run (I3)");
        }
        match &event.kind {
            EventKind::Started if run.started => return Err("a run starts twice"),
            EventKind::Started if run.stopping.is_some() => {
                return Err("a run starts after its stop was accepted (I21)");
            }
            EventKind::Started => run.started = true,
            EventKind::Paused { .. } => return run.pause(self.root == Some(event.run)),
            EventKind::Resumed { .. } => return run.resume(),
            EventKind::Emitted(_) | EventKind::Progress(_) | EventKind::Used(_)
                if run.paused || (!run.started && !run.has_past) =>
            {
                return Err("a run emits before it starts, or while it is paused");
            }
            EventKind::Stopping(_) if run.stopping.is_some() => {
                return Err("a run stops twice (I6)");
            }
            EventKind::Stopping(cause) => {
                if cause.kind == CauseKind::ParentStopped && cause.origin == event.run {
                    return Err("a run inherits a stop from itself");
                }
                run.stopping = Some((cause.kind, cause.origin));
                run.paused = false;
            }
            EventKind::Decided { .. } if run.stopping.is_some() => {
                return Err("an outcome is known after the stop that beats it (I9)");
            }
            EventKind::Decided { .. } if run.decided || run.settled => {
                return Err("an outcome is known twice, or after all was settled");
            }
            EventKind::Decided { .. } => run.decided = true,
            EventKind::Settled { .. } if run.settled => return Err("a run is settled twice"),
            EventKind::Settled { .. } => run.settled = true,
            EventKind::Aborted if run.stopping.is_none() && !run.has_past => {
                return Err("abort without a stop");
            }
            EventKind::Abandoned { .. } => run.abandoned = true,
            EventKind::Ended(status) => return self.ended(event.run, *status),
            EventKind::Quiesced if run.ended.is_none() && !run.has_past => {
                return Err("Quiesced before the end");
            }
            EventKind::Quiesced if run.quiesced => return Err("Quiesced twice (I30)"),
            EventKind::Quiesced => run.quiesced = true,
            EventKind::Detached { .. } if self.root != Some(event.run) => {
                let parent = run.parent;
                self.runs.remove(&event.run);
                self.leave(parent);
                self.follow(event.run);
            }
            EventKind::Lagged { .. } => return Err("the trace is not whole"),
            _ => {}
        }
        Ok(())
    }

    fn ended(&mut self, id: RunId, status: RunStatus) -> Result<(), &'static str> {
        let Some(run) = self.runs.get_mut(&id) else { return Err("unknown run") };
        if run.live_children > 0 {
            return Err("a parent ends before its child (I1)");
        }
        let own = run.stopping.is_some_and(|(kind, origin)| {
            origin == id && matches!(kind, CauseKind::Deadline | CauseKind::IdleTimeout)
        });
        if run.paused {
            return Err("a paused run ends without a stop (T7)");
        }
        match (status, run.stopping.is_some()) {
            (RunStatus::Completed | RunStatus::Failed, true) => {
                return Err("an accepted stop did not end Cancelled or TimedOut (I9)");
            }
            (RunStatus::Cancelled | RunStatus::TimedOut, false) if !run.has_past => {
                return Err("stopped without a stop");
            }
            (RunStatus::TimedOut, true) if !own => {
                return Err("timed out by somebody else's deadline (I11)");
            }
            (RunStatus::Completed, false) if !run.started && !run.has_past => {
                return Err("completed unstarted");
            }
            (status, _) if !status.is_terminal() => {
                return Err("ended in a status that is not terminal");
            }
            _ => {}
        }
        run.failing = status == RunStatus::Failed;
        run.ended = Some(status);
        let parent = run.parent;
        self.leave(parent);
        Ok(())
    }

    fn leave(&mut self, parent: Option<RunId>) {
        if let Some(above) = parent.and_then(|parent| self.runs.get_mut(&parent)) {
            above.live_children = above.live_children.saturating_sub(1);
        }
    }

    /// The descendants of a run that was detached go with it, one by one.
    fn follow(&mut self, detached: RunId) {
        self.lost_sight = true;
        let mut left = vec![detached];
        while let Some(above) = left.pop() {
            for (id, run) in self.runs.iter_mut().filter(|(_, run)| run.parent == Some(above)) {
                run.left = true;
                left.push(*id);
            }
        }
    }

    /// Whether a run is below one whose parent this log does not tell, perhaps one that was
    /// detached. The root went nowhere.
    fn may_have_followed(&self, run: &Seen) -> bool {
        let above = |run: &&Seen| run.parent.and_then(|parent| self.runs.get(&parent));
        let top = iter::successors(Some(run), above).last();
        let root = self.root.and_then(|root| self.runs.get(&root));
        let is_root = |top: &Seen| root.is_some_and(|root| ptr::eq(root, top));
        self.lost_sight && top.is_some_and(|top| top.has_past && !is_root(top))
    }

    fn finish(self) -> Result<Checked, String> {
        let mut checked = Checked { runs: self.runs.len(), ..Checked::default() };
        for (id, run) in &self.runs {
            if run.left || (run.has_past && run.quiesced) {
                continue;
            }
            let missing = match run.ended {
                None => Some("has no terminal event"),
                Some(_) if run.abandoned && !run.quiesced => {
                    Some("abandoned work and never quiesced")
                }
                Some(_) => None,
            };
            match missing {
                Some(_) if self.may_have_followed(run) => continue,
                Some(what) => return Err(format!("run {id} {what}")),
                None => {}
            }
            checked.non_quiescent += usize::from(run.quiesced);
            checked.stopped += usize::from(run.stopping.is_some());
            let Some((_, origin)) = run.stopping else { continue };
            // A log that began at a detach may have lost sight of an origin; no other may.
            match self.runs.get(&origin) {
                Some(origin) if origin.stopping.is_some() || origin.failing => {}
                Some(origin) if origin.has_past => {}
                Some(_) => return Err(format!("run {id} has an origin that was not stopped")),
                // The origin was detached later, from a log that began at a detach.
                None if self.may_have_followed(run) => {}
                None => return Err(format!("run {id} has an origin outside its tree")),
            }
        }
        Ok(checked)
    }
}
