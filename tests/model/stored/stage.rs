//! [`Stage`]: an engine on a store, which is played step by step.

use std::cell::Cell;
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::{FutureExt as _, poll};
use quell::store::Store;
use quell::testing;
use quell::{
    CancelRequest, Disposition, Engine, EngineConfig, ResumeError, RunLimits, RunRef, RunSpec,
    Scope, Shutdown, StopMode, SubmitError,
};
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::actors::{Actors, Seen};
use super::compare::{self, id, lane_key, number};
use super::met::Met;
use super::queue::Refused;
use super::rules::{ABORT_WAIT, CLIENT, GRACE, Rules, Said};
use super::script::{Bounds, Command, Gate, Rollback, Script};
use super::stores::{Cut, Kept};

/// What is played on.
pub(super) struct Stage {
    pub(super) kept: Kept,
    pub(super) store: Arc<Cut>,
    pub(super) engine: Engine,
    pub(super) actors: Arc<Actors>,
    /// What the present process has of each run.
    pub(super) runs: Vec<Option<RunRef>>,
    /// Runs with a log that the present process has written alone.
    pub(super) whole: Vec<bool>,
    /// The engines of processes that are gone.
    pub(super) gone: Vec<Engine>,
}

/// How a story was played.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// What has happened until the engine and the rules were compared last.
    pub(super) met: Met,
    /// What was done, and what was said to that.
    pub(super) steps: Vec<(Command, Said)>,
    /// It was not played to its end: two things would have met at one instant.
    pub(super) is_vague: bool,
}

/// Plays a story.
pub(super) fn play(script: &Script, kept: Kept) -> Result<Played, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    // As long as a blocking closure runs, the clock does not move by itself.
    let (ends, waits) = mpsc::channel::<()>();
    drop(runtime.spawn_blocking(move || waits.recv()));
    let mut played = Played::default();
    let result = runtime.block_on(on_stage(script, kept, &mut played));
    drop(ends);
    match result {
        Ok(()) => Ok(played),
        Err(what) => {
            PATIENCE.set(IMPATIENCE);
            let mut steps = String::new();
            for (command, said) in &played.steps {
                let _ = writeln!(steps, "  {command:?}: {said:?}");
            }
            Err(format!("{what}\nafter\n{steps}"))
        }
    }
}

async fn on_stage(script: &Script, kept: Kept, played: &mut Played) -> Result<(), String> {
    let mut rules = Rules::new(script);
    let mut stage = Stage::new(kept, script.bounds)?;
    for draw in &script.draws {
        let Some(command) = draw.command(&rules) else { continue };
        let needs_rest = rules.needs_rest(command);
        if needs_rest {
            stage.rest(&mut rules).await?;
        }
        stage.step(command, &mut rules, played).await?;
        if !rules.is_vague && (needs_rest || draw.settles()) {
            stage.rest(&mut rules).await?;
            stage.pass(&mut rules, 1).await?;
        }
        if rules.is_vague {
            played.is_vague = true;
            return Ok(());
        }
        played.met.clone_from(&rules.met);
    }
    stage.rest(&mut rules).await?;
    played.met.clone_from(&rules.met);
    stage.finish(&mut rules, played).await
}

impl Stage {
    fn new(mut kept: Kept, bounds: Bounds) -> Result<Self, String> {
        let store = kept.open()?;
        let engine = engine(&store, bounds);
        let actors = Arc::default();
        let (runs, whole, gone) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { kept, store, engine, actors, runs, whole, gone })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn run(&self, run: usize) -> Option<RunRef> {
        self.runs.get(run)?.clone()
    }

    pub(super) fn seen(&self, run: usize) -> Seen {
        self.actors.seen(run)
    }

    pub(super) fn has_whole_log(&self, run: usize) -> bool {
        self.whole[run]
    }

    async fn step(
        &mut self,
        command: Command,
        rules: &mut Rules,
        played: &mut Played,
    ) -> Result<(), String> {
        played.steps.push((command, Said::Nothing));
        rules.met.command(command);
        match command {
            Command::Pass => {
                let due = rules.next_due().map_or(0, |due| due - rules.now);
                return self.pass(rules, due).await;
            }
            Command::Crash { known, lost } => return self.crash(known, lost, rules).await,
            _ => {}
        }
        let said = self.obey(command, rules)?;
        let before = rules.of(command);
        let expected = rules.obey(command);
        rules.met.answer(before, command, &expected);
        if said != expected {
            return Err(format!("{command:?}: {said:?}, not {expected:?}"));
        }
        if let Some(step) = played.steps.last_mut() {
            step.1 = said;
        }
        Ok(())
    }

    /// Lets time go on.
    async fn pass(&self, rules: &mut Rules, millis: u64) -> Result<(), String> {
        tokio::time::advance(Duration::from_millis(millis)).await;
        rules.pass(rules.now + millis);
        if rules.is_vague { Ok(()) } else { self.rest(rules).await }
    }

    /// Does what is asked. The engine's tasks do not go on meanwhile.
    fn obey(&mut self, command: Command, rules: &Rules) -> Result<Said, String> {
        let run_of = |run| self.run(run).ok_or_else(|| format!("{run} is not there"));
        match command {
            Command::Submit { gate, stubborn } => return self.submit(gate, stubborn, rules),
            Command::Limit(bounds) => self.engine.set_limit(Scope::All, limits(bounds)),
            Command::Order(run, order) => self.actors.order(run, order),
            Command::EndChild(run) => self.actors.end_child(run),
            Command::EndWork(run) => self.actors.end_work(run),
            Command::Pause(run) => match run_of(run)?.pause(CLIENT) {
                Ok(()) => {}
                Err(error) => return Err(format!("pause of {run}: {error}")),
            },
            Command::Resume(run) => {
                return Ok(match run_of(run)?.resume(rules.next_answer()) {
                    Ok(()) => Said::Resumed,
                    Err(ResumeError::NotPaused(_)) => Said::NotPaused,
                    Err(ResumeError::QueueFull { .. }) => Said::QueueFull,
                    Err(ResumeError::NoBody) => Said::NoBody,
                    Err(error) => return Err(format!("resume of {run}: {error}")),
                });
            }
            Command::Cancel(run, mode, rollback) => {
                return said_of(&run_of(run)?.cancel(request(mode, rollback)));
            }
            Command::Pass | Command::Crash { .. } => {}
        }
        Ok(Said::Nothing)
    }

    fn submit(&mut self, gate: Gate, stubborn: bool, rules: &Rules) -> Result<Said, String> {
        let run = rules.runs.len();
        self.actors.grow(run + 1);
        let body = body(&self.actors, run, stubborn);
        let handle = match self.engine.submit_resumable(spec(run, gate), body) {
            Ok(handle) => handle,
            Err(SubmitError::LaneBusy { .. }) => return Ok(Said::Refused(Refused::LaneBusy)),
            Err(SubmitError::QueueFull { .. }) => return Ok(Said::Refused(Refused::QueueFull)),
            Err(SubmitError::LaneJoined(other)) => {
                let other = number(rules, other).ok_or("it joins nobody")?;
                return Ok(Said::Refused(Refused::Joined(other)));
            }
            Err(error) => return Err(format!("submit of {run}: {error}")),
        };
        let superseded = handle.superseded().iter();
        let mut superseded: Vec<_> = superseded.filter_map(|run| number(rules, run.id())).collect();
        superseded.sort_unstable();
        self.runs.push(Some(handle.into_ref()));
        self.whole.push(true);
        Ok(Said::Submitted(superseded))
    }

    /// Waits until the engine has come to rest where the rules say, and all of it is stored.
    pub(super) async fn rest(&self, rules: &mut Rules) -> Result<(), String> {
        rules.settle();
        let (mut tries, mut idle) = (0, 0);
        loop {
            for _ in 0..YIELDS {
                yield_now().await;
            }
            let Err(differences) = compare::seen_now(self, rules) else { break };
            // What the store has is waited for longer than for tasks that may go on.
            let is_idle = self.is_stored();
            (tries, idle) = (tries + 1, if is_idle { idle + 1 } else { 0 });
            if tries >= patience() || idle >= patience().min(IDLE) {
                return Err(differences);
            }
            nap();
        }
        for run in self.runs.iter().flatten() {
            let stored = wait("it is stored", run.stored()).await?;
            stored.map_err(|error| format!("{run:?}: {error}"))?;
        }
        // What was not to come would come now. A clock that goes on meanwhile calls a store slow.
        for _ in 0..patience() {
            for _ in 0..YIELDS {
                yield_now().await;
            }
            if self.store.is_idle() {
                break;
            }
            nap();
        }
        compare::seen_now(self, rules)
    }

    /// Tells whether all that was decided so far is stored.
    fn is_stored(&self) -> bool {
        let runs = self.runs.iter().flatten();
        runs.map(|run| run.stored().now_or_never()).all(|stored| stored.is_some())
    }

    /// Ends all that is there, and compares what is left.
    async fn finish(&mut self, rules: &mut Rules, played: &mut Played) -> Result<(), String> {
        for run in 0..rules.runs.len() {
            if rules.runs[run].here && !rules.status(run).is_terminal() {
                let cancel = Command::Cancel(run, StopMode::Abort, Rollback::No);
                self.step(cancel, rules, played).await?;
                self.rest(rules).await?;
            }
            while rules.runs[run].here && rules.work(run) > 0 {
                self.step(Command::EndWork(run), rules, played).await?;
                self.rest(rules).await?;
            }
        }
        self.eventually_stored(rules).await?;
        let report = wait("it shuts down", self.engine.shutdown(Shutdown::default())).await?;
        if report.unstored > 0 || !report.abandoned.is_empty() {
            return Err(format!("I38: {report:?}"));
        }
        compare::logs_at_the_end(self, rules).await?;
        let held = testing::held(&self.engine);
        if (held.live, held.timers, held.admission) != (0, 0, 0) {
            return Err(format!("I39: {held:?}"));
        }
        Ok(())
    }

    /// What is forgotten is gone from the store a little later, and nobody tells of that.
    pub(super) async fn eventually_stored(&self, rules: &Rules) -> Result<(), String> {
        for _ in 0..patience() {
            // The clock stands still.
            testing::hurry_store(&self.engine);
            if wait("a read", compare::stored_now(self, rules)).await?.is_ok() {
                return Ok(());
            }
            yield_now().await;
            nap();
        }
        wait("a read", compare::stored_now(self, rules)).await?
    }
}

/// Makes the engine of a process.
pub(super) fn engine(store: &Arc<Cut>, bounds: Bounds) -> Engine {
    let config = EngineConfig::new()
        .grace(Duration::from_millis(GRACE))
        .abort_wait(Duration::from_millis(ABORT_WAIT))
        .control_on_runtime()
        .limit(Scope::All, limits(bounds))
        .store(Arc::clone(store) as Arc<dyn Store>);
    Engine::with_config(config)
}

fn limits(bounds: Bounds) -> RunLimits {
    let limits = RunLimits::new();
    let limits = bounds.running.map_or(limits, |max| limits.running_max(max));
    bounds.queued.map_or(limits, |max| limits.queued_max(max))
}

pub(super) fn spec(run: usize, gate: Gate) -> RunSpec {
    let spec = RunSpec::agent(format!("run {run}")).id(id(run)).priority(gate.priority);
    match gate.lane {
        Some((lane, on_busy)) => spec.lane(lane_key(lane), on_busy),
        None => spec,
    }
}

type BoxedBody = futures::future::BoxFuture<'static, Result<(), quell::Failure>>;

pub(super) fn body(
    actors: &Arc<Actors>,
    run: usize,
    stubborn: bool,
) -> impl Fn(quell::RunContext) -> BoxedBody + Send + Sync + use<> {
    let actors = Arc::clone(actors);
    move |ctx| Box::pin(Arc::clone(&actors).body(run, stubborn, ctx))
}

pub(super) fn request(mode: StopMode, rollback: Rollback) -> CancelRequest {
    let request = CancelRequest::because("asked by the story");
    let request = if rollback == Rollback::Yes { request.rollback() } else { request };
    match mode {
        StopMode::AfterStep => request.after_step(None),
        StopMode::Abort => request.abort(),
        _ => request,
    }
}

fn said_of(answer: &Disposition) -> Result<Said, String> {
    Ok(match answer {
        Disposition::Accepted { .. } => Said::Accepted,
        Disposition::Scheduled { .. } => Said::Scheduled,
        Disposition::AlreadyStopping { .. } => Said::AlreadyStopping,
        Disposition::Escalated { .. } => Said::Escalated,
        Disposition::AlreadyTerminal { status } => Said::Terminal(*status),
        answer => return Err(format!("it is known: {answer:?}")),
    })
}

/// Waits for what a thread of a store brings about: the clock stands still.
pub(super) async fn wait<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    for _ in 0..patience() {
        if let std::task::Poll::Ready(output) = poll!(future.as_mut()) {
            return Ok(output);
        }
        yield_now().await;
        nap();
    }
    Err(format!("{what}: it does not happen"))
}

/// Lets other threads go on.
fn nap() {
    std::thread::sleep(Duration::from_micros(200));
}

fn patience() -> u32 {
    PATIENCE.get()
}

thread_local! {
    /// How often is looked for what must happen.
    static PATIENCE: Cell<u32> = const { Cell::new(50_000) };
}

/// How often is looked for what nothing but the engine's tasks could bring about.
const IDLE: u32 = 2_000;

/// After a failure cases only become smaller.
const IMPATIENCE: u32 = 250;

/// As often all tasks go on.
const YIELDS: usize = 16;
