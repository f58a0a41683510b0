//! Processor time of our server per request, by its threads; and of the same runs on an engine in
//! this process. The difference is what HTTP adds on the way to a node.

use std::collections::BTreeMap;
use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use quell::{
    CancelRequest, Disposition, Engine, EngineConfig, Payload, RunContext, RunRef, RunSpec,
};
use quell_benches::figures::{per, ratio, section};
use quell_benches::race::{Stopwatch, Took, median};
use quell_flow::Emit;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::agentos;
use crate::client::{Body, Http};
use crate::short::{self, Kind};
use crate::side::Side;
use crate::threads::Threads;

/// Short runs through `AgentOS`, and the same body on an engine.
pub(crate) async fn of_short(
    http: &Http,
    ours: &Side,
    before: Option<&Side>,
) -> Result<(), String> {
    let engine = Alone::new()?;
    let mut costs = Costs::new("short", "short-agent, stream=false");
    for round in 0..=ROUNDS {
        let spent = spent_on_short(http, ours).await?;
        let spent_before = match before {
            Some(before) => Some(spent_on_short(http, before).await?),
            None => None,
        };
        let alone = engine.short().await?;
        if round > 0 {
            costs.add(&spent, spent_before.as_ref(), alone);
        }
    }
    costs.print();
    Ok(())
}

async fn spent_on_short(http: &Http, side: &Side) -> Result<Threads, String> {
    let began = Threads::of_listener(&side.url)?;
    short::batch(http, Kind::Agent, side, RUNS).await?;
    Ok(settled(side).await?.since(&began))
}

/// Reads the server's threads when what was begun is through.
pub(crate) async fn settled(side: &Side) -> Result<Threads, String> {
    tokio::time::sleep(SETTLED_WITHIN).await;
    Threads::of_listener(&side.url)
}

/// Cancels of runs that sleep, and their ends. All of them sleep before the first is cancelled, so
/// that a profile of the server from then on shows nothing else.
pub(crate) async fn of_cancel(
    http: &Http,
    ours: &Side,
    before: Option<&Side>,
) -> Result<(), String> {
    let engine = Alone::new()?;
    let mut costs = Costs::new("cancel", "slow-agent in the background, asleep");
    let mut asleep = Vec::with_capacity(ROUNDS + 1);
    for _ in 0..=ROUNDS {
        let here = start_sleepers(http, ours).await?;
        let there = match before {
            Some(before) => Some((before, start_sleepers(http, before).await?)),
            None => None,
        };
        asleep.push((here, there));
    }
    println!("   all are asleep");
    for (round, (here, there)) in asleep.into_iter().enumerate() {
        let spent = spent_on_cancels(http, ours, here).await?;
        let spent_before = match there {
            Some((before, there)) => Some(spent_on_cancels(http, before, there).await?),
            None => None,
        };
        let alone = engine.cancel().await?;
        if round > 0 {
            costs.add(&spent, spent_before.as_ref(), alone);
        }
    }
    costs.print();
    Ok(())
}

async fn spent_on_cancels(
    http: &Http,
    side: &Side,
    cancels: Vec<String>,
) -> Result<Threads, String> {
    let began = settled(side).await?;
    let cancels = Mutex::new(cancels);
    let one_by_one = async || {
        while let Some(url) = pop(&cancels) {
            http.post(&url, &Body::Empty).await?;
        }
        Ok::<(), String>(())
    };
    try_join_all(iter::repeat_with(one_by_one).take(CONNECTIONS)).await?;
    Ok(settled(side).await?.since(&began))
}

/// Starts runs that sleep; yields where a POST cancels each.
async fn start_sleepers(http: &Http, ours: &Side) -> Result<Vec<String>, String> {
    let mut cancels = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        cancels.push(agentos::sleeper(http, &ours.url).await?);
    }
    Ok(cancels)
}

fn pop(cancels: &Mutex<Vec<String>>) -> Option<String> {
    cancels.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// What was measured so far.
struct Costs {
    name: &'static str,
    /// By kind of thread, one figure per round.
    server: BTreeMap<String, Vec<Duration>>,
    whole: Vec<Duration>,
    before: Vec<Duration>,
    alone: Vec<Duration>,
}

impl Costs {
    fn new(name: &'static str, what: &str) -> Self {
        let shape = format!(
            "{what}; {CONNECTIONS} connections, {ROUNDS} rounds of {RUNS} runs, by turns with an \
             engine alone; processor time per run"
        );
        section(&format!("http/cost/{name}: what HTTP adds"), &shape);
        let (server, whole, before) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { name, server, whole, before, alone: Vec::new() }
    }

    fn add(&mut self, server: &Threads, before: Option<&Threads>, alone: Took) {
        for (name, time) in &server.0 {
            self.server.entry(name.clone()).or_default().push(*time);
        }
        self.whole.push(server.0.values().sum());
        self.before.extend(before.map(|before| before.0.values().sum::<Duration>()));
        self.alone.push(alone.processor);
    }

    fn print(self) {
        let line = |name: &str, times: Vec<Duration>| {
            let nanos = per(median(times), RUNS);
            println!("   {name:<16} {nanos:>7.0} ns");
            nanos
        };
        for (name, times) in self.server {
            line(&name, times);
        }
        let whole = line("server", self.whole);
        let alone = line("engine alone", self.alone);
        println!("adds http/cost/{} {:.0} ns", self.name, whole - alone);
        if !self.before.is_empty() {
            let before = line("before", self.before);
            ratio(&format!("http/cost/{}", self.name), whole / before);
        }
    }
}

/// An engine without HTTP, its bodies on a runtime of their own.
struct Alone {
    engine: Engine,
    bodies: Option<Runtime>,
}

impl Alone {
    fn new() -> Result<Self, String> {
        let built = Builder::new_multi_thread().worker_threads(2).enable_time().build();
        let bodies = built.map_err(|error| error.to_string())?;
        let engine = Engine::with_config(EngineConfig::new().runtime(bodies.handle().clone()));
        Ok(Self { engine, bodies: Some(bodies) })
    }

    /// Starts as many runs, as many at once, and waits for the end of each.
    async fn short(&self) -> Result<Took, String> {
        let watch = Stopwatch::start();
        let mut workers = JoinSet::new();
        for engine in iter::repeat_n(self.engine.clone(), CONNECTIONS) {
            workers.spawn(async move {
                for _ in 0..RUNS / CONNECTIONS {
                    let run = engine.submit(spec(), talk).map_err(|error| error.to_string())?;
                    run.into_ref().ended().await;
                }
                Ok::<(), String>(())
            });
        }
        join(workers).await?;
        Ok(watch.stop())
    }

    /// Cancels as many runs that sleep, and waits until nothing of them is left.
    async fn cancel(&self) -> Result<Took, String> {
        let start = |_| -> Result<RunRef, String> {
            let run = self.engine.submit(spec(), sleep).map_err(|error| error.to_string())?;
            Ok(run.into_ref())
        };
        let runs = (0..RUNS).map(start).collect::<Result<Vec<_>, _>>()?;
        tokio::time::sleep(SETTLED_WITHIN).await;
        let watch = Stopwatch::start();
        for run in &runs {
            let answer = self.engine.cancel(run.id(), CancelRequest::because(""));
            if !matches!(answer, Disposition::Accepted { .. }) {
                return Err(format!("a cancel of a run that sleeps: {answer:?}"));
            }
            tokio::task::yield_now().await;
        }
        for run in runs {
            run.quiescent().await;
        }
        Ok(watch.stop())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(bodies) = self.bodies.take() {
            bodies.shutdown_background();
        }
    }
}

async fn join(mut workers: JoinSet<Result<(), String>>) -> Result<(), String> {
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// With as many labels as a request of the contract leaves on a run.
fn spec() -> RunSpec {
    let labels = [("component", "short-agent"), ("session", "a session"), ("id", "as its caller")];
    let spec = RunSpec::agent("short-agent").input(Payload::from("hi"));
    labels.into_iter().fold(spec, |spec, (key, value)| spec.label(key, value))
}

/// What `short-agent` does.
async fn talk(ctx: RunContext) -> Result<Payload, quell::Failure> {
    let (model, provider) = ("tick-model".to_owned(), "Fake".to_owned());
    Emit::ModelStarted { model: model.clone(), provider: provider.clone() }.send(&ctx);
    let mut said = String::new();
    for number in 0..3 {
        let text = format!("t{number} ");
        Emit::content(text.as_str()).send(&ctx);
        said.push_str(&text);
        ctx.set_output(said.as_str().into());
        tokio::task::yield_now().await;
    }
    Emit::ModelEnded { model, provider, input_tokens: 0, output_tokens: 0 }.send(&ctx);
    Ok(said.into())
}

/// What `slow-agent` does with a long time before its first word.
async fn sleep(ctx: RunContext) -> Result<Payload, quell::Failure> {
    let (model, provider) = ("tick-model".to_owned(), "Fake".to_owned());
    Emit::ModelStarted { model, provider }.send(&ctx);
    tokio::time::sleep(Duration::from_hours(1)).await;
    Ok(Payload::from(""))
}

const CONNECTIONS: usize = 16;

const RUNS: usize = 800;

const ROUNDS: usize = 15;

/// In which time what was begun before is through.
const SETTLED_WITHIN: Duration = Duration::from_millis(150);
