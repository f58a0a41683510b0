//! Plays a plan on the engine, under a paused clock, and collects what there is to know.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use quell::testing::{self, Held};
use quell::{
    CancelRequest, DetachError, Disposition, Engine, EngineConfig, EventKind, EventStream, Limits,
    RunEvent, RunRef, RunReport, RunRow, RunStatus, StopMode,
};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use super::bodies::{Books, Stage};
use super::oracle::{Said, Story, Told};
use super::plan::{Command, Plan, Request};

/// What a play has left.
pub(crate) struct Played {
    pub(crate) story: Story,
    pub(crate) books: Vec<Books>,
    pub(crate) rows: Vec<Option<RunRow>>,
    /// The whole log of every tree, by its root.
    pub(crate) logs: BTreeMap<usize, Vec<RunEvent>>,
    pub(crate) watched: Vec<Watched>,
    /// The hard deadlines that were promised: to whom, and to those who were live below.
    pub(crate) promised: Vec<(usize, u64)>,
    pub(crate) held: Held,
    pub(crate) contradictions: Vec<String>,
}

/// What somebody saw who waited for a run.
pub(crate) struct Watched {
    pub(crate) run: usize,
    pub(crate) since: u64,
    pub(crate) after: u64,
    pub(crate) ended: u64,
    pub(crate) quiescent: u64,
    pub(crate) events: Vec<RunEvent>,
}

struct Play {
    engine: Engine,
    stage: Arc<Stage>,
    watchers: Vec<JoinHandle<Watched>>,
    promised: Vec<(usize, u64)>,
    seen: HashMap<usize, RunStatus>,
}

/// Plays a plan to its end.
pub(crate) fn play(plan: &Plan) -> Result<Played, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(on_stage(plan))
}

async fn on_stage(plan: &Plan) -> Result<Played, String> {
    let mut limits = Limits::default();
    if !plan.keeps {
        limits.ended_trees_max = 0;
    }
    let millis = Duration::from_millis;
    let config = EngineConfig::new()
        .grace(millis(plan.grace))
        .abort_wait(millis(plan.wait))
        .limits(limits)
        .control_on_runtime();
    let stage = Arc::new(Stage::new(plan.clone()));
    let (watchers, promised) = (Vec::new(), Vec::new());
    let engine = Engine::with_config(config);
    let mut show = Play { engine, stage, watchers, promised, seen: HashMap::new() };
    let mut said = Vec::new();
    for (at, command) in &plan.commands {
        tokio::time::sleep_until(show.stage.began + millis(*at)).await;
        said.push(show.obey(*command)?);
        show.look_at_all();
    }
    show.wait_for_quiet().await?;
    show.collect(said).await
}

impl Play {
    fn obey(&mut self, command: Command) -> Result<Said, String> {
        let id = |run| Plan::id(run);
        Ok(match command {
            Command::Submit(run) => {
                let spec = Stage::spec(run, &self.stage.plan);
                let handle = self.engine.submit(spec, self.stage.body(run));
                let handle = handle.map_err(|error| format!("submit of {run}: {error}"))?;
                self.stage.books()[run].run = Some(handle.run().clone());
                Said::Nothing
            }
            Command::Cancel(run, request) => {
                let answer = self.engine.cancel(id(run), request_of(request));
                self.check_signals(run, &answer);
                self.said_of(&answer)
            }
            Command::Detach(run) => match self.engine.get(id(run)).map(|run| run.detach()) {
                None => Said::Unknown,
                Some(Ok(())) => Said::Detached,
                Some(Err(DetachError::IsRoot)) => Said::IsRoot,
                Some(Err(DetachError::Stopping)) => Said::IsStopping,
                Some(Err(DetachError::Ended)) => Said::HasEnded,
                Some(Err(error)) => return Err(format!("detach of {run}: {error}")),
            },
            Command::Read(run) => match self.engine.get(id(run)) {
                None => Said::Unknown,
                Some(found) => {
                    let (status, report) = (found.status(), found.report());
                    if report.status != status || report.own_row().status != status {
                        self.stage.contradict(&format!("I40: run {run} is {status}: {report:?}"));
                    }
                    Said::Status(status)
                }
            },
            Command::Watch(run, after) => {
                self.watch(run, after);
                Said::Nothing
            }
        })
    }

    fn watch(&mut self, run: usize, after: u64) {
        let Some(found) = self.stage.run(run) else { return };
        // Nobody can have read an event that is not written yet.
        let after = after.min(last_seq(&found));
        let stage = Arc::clone(&self.stage);
        self.watchers.push(tokio::spawn(async move {
            let since = stage.now();
            let at = async |waits: &mut (dyn Future<Output = Arc<RunReport>> + Send + Unpin)| {
                waits.await;
                stage.now()
            };
            let (mut ended, mut quiet) = (Box::pin(found.ended()), Box::pin(found.quiescent()));
            let (ended, quiescent, events) =
                tokio::join!(at(&mut ended), at(&mut quiet), read(found.events_since(after)));
            Watched { run, since, after, ended, quiescent, events }
        }));
    }

    /// I2 and I32: when a stop was accepted, the run and every live descendant is stopping at once.
    fn check_signals(&mut self, run: usize, answer: &Disposition) {
        let told = matches!(
            answer,
            Disposition::Accepted { .. }
                | Disposition::AlreadyStopping { .. }
                | Disposition::Escalated { .. }
        );
        let Some(found) = self.stage.run(run).filter(|_| told) else { return };
        let mut stack = vec![found];
        while let Some(member) = stack.pop() {
            let Some(number) = self.stage.plan.find(member.id()) else { continue };
            let status = member.status();
            let is_cleanup = self.stage.books()[number].is_cleanup;
            if is_cleanup && number != run {
                continue;
            }
            if !status.is_terminal() && status != RunStatus::Stopping {
                self.stage.contradict(&format!("I2: run {number} is {status} under {run}"));
            }
            if let Disposition::Accepted { hard_deadline } = answer
                && !status.is_terminal()
            {
                let hard = self.millis(*hard_deadline);
                self.promised.push((number, hard));
            }
            stack.extend(member.children());
        }
    }

    /// Statuses only move on.
    fn look_at_all(&mut self) {
        for number in 0..self.stage.plan.runs.len() {
            let Some(run) = self.stage.run(number) else { continue };
            let status = run.status();
            let before = self.seen.insert(number, status).unwrap_or(RunStatus::Queued);
            let same = before == status;
            let legal = match before {
                RunStatus::Queued => true,
                RunStatus::Running => status != RunStatus::Queued,
                RunStatus::Stopping => {
                    matches!(status, RunStatus::Cancelled | RunStatus::TimedOut)
                }
                _ => false,
            };
            if !same && !legal {
                self.stage.contradict(&format!("run {number} went from {before} to {status}"));
            }
        }
    }

    /// Waits until every run is quiescent: with every body stopped that takes bounded time.
    async fn wait_for_quiet(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.look_at_all();
            let runs = self.stage.books().clone();
            let mut runs = runs.into_iter().filter_map(|books| books.run);
            if runs.all(|run| run.report().quiescent) {
                return Ok(());
            }
        }
        let runs = self.stage.books().clone();
        let runs = runs.into_iter().filter_map(|books| books.run);
        let left = runs.filter(|run| !run.report().quiescent).collect::<Vec<_>>();
        Err(format!("I12: still not quiescent: {left:?}"))
    }

    async fn collect(self, said: Vec<Said>) -> Result<Played, String> {
        let within = Duration::from_hours(1);
        let mut watched = Vec::new();
        for watcher in self.watchers {
            let seen = tokio::time::timeout(within, watcher).await;
            let seen = seen.map_err(|_| "I33: a waiter was never told".to_owned())?;
            watched.push(seen.map_err(|error| error.to_string())?);
        }
        let books = self.stage.books().clone();
        let mut logs = BTreeMap::new();
        for (number, books) in books.iter().enumerate() {
            if let Some(root) = books.run.as_ref().filter(|run| run.parent().is_none()) {
                let log = tokio::time::timeout(within, testing::trace(root)).await;
                let log = log.map_err(|_| format!("I30: the log of {number} never ends"))?;
                logs.insert(number, log);
            }
        }
        let held = testing::held(&self.engine);
        let row_of = |run: &RunRef| run.report().own_row().clone();
        let rows: Vec<_> = books.iter().map(|books| books.run.as_ref().map(row_of)).collect();
        let runs = told_of_all(&self.stage.plan, &rows, &logs);
        let contradictions = self.stage.contradictions();
        let (story, promised) = (Story { runs, said }, self.promised);
        Ok(Played { story, books, rows, logs, watched, promised, held, contradictions })
    }

    fn said_of(&self, answer: &Disposition) -> Said {
        match answer {
            Disposition::Accepted { hard_deadline } => Said::Accepted(self.millis(*hard_deadline)),
            Disposition::Scheduled { escalate_at } => Said::Scheduled(self.millis(*escalate_at)),
            Disposition::AlreadyStopping { cause, hard_deadline } => {
                Said::AlreadyStopping(self.millis(*hard_deadline), cause.kind)
            }
            Disposition::Escalated { .. } => Said::Escalated,
            Disposition::AlreadyTerminal { status } => Said::Terminal(*status),
            Disposition::Unknown => Said::Unknown,
            Disposition::Reserved => Said::Reserved,
            // One engine asks no other.
            Disposition::Recorded { .. } | Disposition::Forbidden => Said::Nothing,
        }
    }

    fn millis(&self, at: std::time::Instant) -> u64 {
        let since = at.saturating_duration_since(self.stage.began.into_std());
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The number of the last event that was written in the tree of a run.
fn last_seq(run: &RunRef) -> u64 {
    let (mut events, mut seq) = (run.root().events(), 0);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(event)) = pin!(events.next()).poll(&mut cx) {
        seq = event.seq;
    }
    seq
}

async fn read(mut stream: EventStream) -> Vec<RunEvent> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event);
    }
    events
}

fn request_of(request: Request) -> CancelRequest {
    let mut made = CancelRequest::because("asked by the plan");
    if let Some(grace) = request.grace {
        made = made.grace(Duration::from_millis(grace));
    }
    if request.remembered {
        made = made.remember_for(Duration::from_hours(1));
    }
    match request.mode {
        StopMode::AfterStep => made.after_step(Some(Duration::from_millis(request.escalate))),
        StopMode::Abort => made.abort(),
        _ => made,
    }
}

/// Puts together what the engine tells of every run: from its report and the logs.
fn told_of_all(
    plan: &Plan,
    rows: &[Option<RunRow>],
    logs: &BTreeMap<usize, Vec<RunEvent>>,
) -> Vec<Option<Told>> {
    // The first run is submitted at the very beginning, at zero.
    let Some(zero) = rows.iter().flatten().map(|row| row.queued_at).min() else {
        return vec![None; rows.len()];
    };
    let millis = |at: SystemTime| {
        u64::try_from(at.duration_since(zero).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    };
    let mut told: Vec<Option<Told>> =
        rows.iter().map(|row| Some(told_of(plan, row.as_ref()?, millis))).collect();
    // A run that has left its tree has events in two logs; those of the tree come first.
    for event in logs.values().flatten() {
        let told = plan.find(event.run).and_then(|run| told[run].as_mut());
        let Some(told) = told else { continue };
        match event.kind {
            EventKind::Emitted(_) => told.emitted += 1,
            EventKind::HookEnded { hook, outcome } => told.hooks.push((hook, outcome)),
            _ => {}
        }
    }
    told
}

fn told_of(plan: &Plan, row: &RunRow, millis: impl Fn(SystemTime) -> u64) -> Told {
    let origin = |id| plan.find(id).unwrap_or(usize::MAX);
    let output = row.output.as_ref().or(row.partial.as_ref());
    let output = output.and_then(|output| output.parse::<String>().ok()?.parse().ok());
    Told {
        status: row.ended_at.map(|_| row.status),
        queued: millis(row.queued_at),
        started: row.started_at.map(&millis),
        stopped: row.stopped_at.map(&millis),
        ended: row.ended_at.map(&millis),
        quiesced: row.quiesced_at.map(&millis),
        cause: row.cause.as_ref().map(|cause| (cause.kind, origin(cause.origin))),
        abandoned: row.abandoned.len(),
        emitted: 0,
        late: row.late_output,
        output,
        hooks: Vec::new(),
        hooks_skipped: row.hooks_skipped,
        detached: row.detached_from.is_some(),
    }
}
