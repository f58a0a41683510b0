//! A child that runs an engine on the store: what it says is what it was told is durable, and
//! which bodies begin.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use quell::store::{Store, StoreError};
use quell::{
    CancelRequest, Engine, EngineConfig, Failure, Limits, OnBusy, Recovery, RunContext, RunId,
    RunRef, RunSpec,
};
use quell_sqlite::SqliteStore;

use crate::child::say;
use crate::dying::{self, Death, Dying};

/// Runs of a child at once.
const DRIVERS: usize = 8;

/// Lanes of its runs.
pub(crate) const LANES: [&str; 2] = ["lane-0", "lane-1"];

/// Decides what the child before has left, and then lets runs begin, be stopped and end, until it
/// is killed, or kills itself as it is told to.
pub(crate) fn runs(file: &Path, how: &str) {
    let (seed, death) = how.split_once(' ').unwrap_or(("0", ""));
    SEED.store(seed.parse().unwrap(), Ordering::Relaxed);
    Death::order(death);
    let store = Arc::new(Dying(SqliteStore::open(file).unwrap()));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    // What has ended leaves memory, so that it is forgotten where it is stored.
    let config = config.limits(Limits::default().ended_trees_max(0));
    let engine = Engine::with_config(config.runtime(runtime.handle().clone()));
    runtime.block_on(async {
        let recovered = engine.recover(|record| match &*record.accepted.name {
            // Each run is killed more often than a run that ends its process may be.
            "goes on" => Recovery::resume(RunSpec::agent("goes on"), works).despite_losses(),
            "asks" => Recovery::resumable(RunSpec::agent("asks"), asks).despite_losses(),
            "talks" => {
                let lane =
                    LANES.into_iter().find(|it| record.accepted.lane.as_deref() == Some(*it));
                let talks = async move |ctx| talks(ctx, lane.unwrap()).await;
                Recovery::resume(RunSpec::agent("talks"), talks).despite_losses()
            }
            _ => Recovery::Fail,
        });
        let recovered = recovered.await.unwrap();
        for run in recovered.resumed {
            tokio::spawn(async move { until_ended(&run).await });
        }
        for run in recovered.paused {
            told(&format!("p {}", run.id()));
            // Some wait for a later process.
            if draw().bool() {
                tokio::spawn(async move { answer(&run).await });
            }
        }
        say("up");
        let drivers = (0..DRIVERS).map(|_| async {
            loop {
                one(&engine).await;
            }
        });
        futures::future::join_all(drivers).await;
    });
}

/// Where the next draw begins.
static SEED: AtomicU64 = AtomicU64::new(0);

fn draw() -> Rng {
    Rng::with_seed(SEED.fetch_add(1, Ordering::Relaxed))
}

/// Says what was acknowledged.
fn told(what: &str) {
    say(what);
    dying::said(what);
}

/// One run, from its acceptance to its end.
async fn one(engine: &Engine) {
    let mut rng = draw();
    let name = ["short", "goes on", "waits", "asks", "talks", "talks once"][rng.usize(0..6)];
    let key = quell::IdempotencyKey::new(format!("key {}", rng.u64(..)), ["payload"]);
    let spec =
        RunSpec::agent(name).idempotency_key(key).input("x".repeat(rng.usize(0..300)).into());
    let handle = match name {
        "asks" => return ask(&engine.submit_resumable(spec, asks).unwrap().into_ref()).await,
        "waits" => engine.submit_durably(spec, waits).await,
        "talks" | "talks once" => {
            let on_busy = if rng.bool() { OnBusy::Enqueue } else { OnBusy::CancelExisting };
            let lane = LANES[rng.usize(0..LANES.len())];
            let talks = async move |ctx| talks(ctx, lane).await;
            engine.submit_durably(spec.lane(lane, on_busy), talks).await
        }
        _ => engine.submit_durably(spec, works).await,
    };
    let handle = handle.unwrap();
    told(&format!("a {}", handle.id()));
    for before in handle.superseded() {
        say(&format!("c {}", before.id()));
    }
    let run = handle.into_ref();
    if name == "waits" || rng.bool() {
        tokio::time::sleep(Duration::from_micros(rng.u64(0..3_000))).await;
        let request = CancelRequest::because("enough");
        let request = if rng.bool() { request } else { request.abort() };
        if rng.bool() {
            return take_back(&run, request).await;
        }
        let (disposition, stored) = run.cancel_durably(request).await;
        stored.unwrap();
        if matches!(disposition, quell::Disposition::Accepted { .. }) {
            told(&format!("s {}", run.id()));
        }
    }
    until_ended(&run).await;
    if rng.bool() {
        forget(engine, run.id()).await;
    }
}

/// Stops a run, and takes back what it has saved.
async fn take_back(run: &RunRef, request: CancelRequest) {
    say(&format!("u? {}", run.id()));
    let (disposition, stored) = run.cancel_durably(request.rollback()).await;
    stored.unwrap();
    if !matches!(disposition, quell::Disposition::Accepted { .. }) {
        return until_ended(run).await;
    }
    told(&format!("s {}", run.id()));
    run.ended().await;
    run.stored().await.unwrap();
    told(&format!("u {}", run.id()));
}

/// Forgets a run when it has left memory.
async fn forget(engine: &Engine, run: RunId) {
    say(&format!("f? {run}"));
    loop {
        match engine.forget_stored(run).await {
            Ok(()) => return told(&format!("f {run}")),
            Err(StoreError::Live { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A run that is paused: it is answered, stopped, or left so.
async fn ask(run: &RunRef) {
    run.accepted().await.unwrap();
    told(&format!("a {}", run.id()));
    run.paused().await.unwrap();
    run.stored().await.unwrap();
    told(&format!("p {}", run.id()));
    match draw().usize(0..4) {
        0 => {}
        1 => {
            let (_, stored) = run.cancel_durably(CancelRequest::because("enough")).await;
            stored.unwrap();
            told(&format!("s {}", run.id()));
            until_ended(run).await;
        }
        _ => answer(run).await,
    }
}

async fn answer(run: &RunRef) {
    run.resume_durably("yes").await.unwrap();
    told(&format!("r {}", run.id()));
    until_ended(run).await;
}

/// Says that it asks, or that it has its answer.
async fn asks(ctx: RunContext) -> Result<(), Failure> {
    let run = ctx.run().id();
    match ctx.resumed_with() {
        None => {
            say(&format!("q {run}"));
            save(&ctx, 0).await?;
            Err(ctx.pause("may I?"))
        }
        Some(answer) => {
            assert_eq!(answer.as_text().as_deref(), Some("yes"));
            begins(run);
            takes_its_time().await;
            Ok(())
        }
    }
}

async fn until_ended(run: &RunRef) {
    let report = run.ended().await;
    run.stored().await.unwrap();
    told(&format!("e {} {}", run.id(), report.status));
}

/// Says that it begins, and has work below it that says so too.
async fn works(ctx: RunContext) -> Result<(), Failure> {
    begins(ctx.run().id());
    let below = ctx.spawn(RunSpec::step("below"), async |ctx: RunContext| {
        begins(ctx.run().id());
        let _ = ctx.emit("a token");
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    });
    below.await?;
    if ctx.run_until_stopped(tokio::time::sleep(Duration::from_millis(2))).await.is_err() {
        takes_its_time().await;
    }
    Ok(())
}

async fn waits(ctx: RunContext) -> Result<(), Failure> {
    begins(ctx.run().id());
    ctx.stopped().await;
    takes_its_time().await;
    Ok(())
}

/// Is in its lane, and saves states there.
async fn talks(ctx: RunContext, lane: &'static str) -> Result<(), Failure> {
    let run = ctx.run().id();
    begins(run);
    let _inside = Inside::of(run, lane);
    for nth in 0..draw().usize(1..4) {
        save(&ctx, nth).await?;
        let pause = Duration::from_micros(draw().u64(0..2_000));
        if ctx.run_until_stopped(tokio::time::sleep(pause)).await.is_err() {
            takes_its_time().await;
            break;
        }
    }
    Ok(())
}

async fn save(ctx: &RunContext, nth: usize) -> Result<(), Failure> {
    let (run, state) = (ctx.run().id(), format!("{}.{nth}", ctx.attempt()));
    ctx.save(state.clone().into()).await?;
    told(&format!("k {run} {state}"));
    Ok(())
}

/// A body in its lane; says so until it is dropped.
struct Inside(RunId, &'static str);

impl Inside {
    fn of(run: RunId, lane: &'static str) -> Self {
        say(&format!("in {run} {lane}"));
        Self(run, lane)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        say(&format!("out {} {}", self.0, self.1));
    }
}

/// Between a stop and its end a process may be killed as well.
async fn takes_its_time() {
    tokio::time::sleep(Duration::from_micros(draw().u64(0..20_000))).await;
}

fn begins(run: RunId) {
    say(&format!("b {run}"));
}
