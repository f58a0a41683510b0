//! A child that runs an engine on the store: what it says is what it was told is durable, and
//! which bodies begin.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use quell::store::Store;
use quell::{
    CancelRequest, Engine, EngineConfig, Failure, Recovery, RunContext, RunId, RunRef, RunSpec,
};
use quell_sqlite::SqliteStore;

use crate::child::say;

/// Runs of a child at once.
const DRIVERS: usize = 8;

/// Decides what the child before has left, and then lets runs begin, be stopped and end, until it
/// is killed.
pub(crate) fn runs(file: &Path) {
    let store = Arc::new(SqliteStore::open(file).unwrap());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config.runtime(runtime.handle().clone()));
    runtime.block_on(async {
        let recovered = engine.recover(|record| match &*record.accepted.name {
            // Each run is killed more often than a run that ends its process may be.
            "goes on" => Recovery::resume(RunSpec::agent("goes on"), works).despite_losses(),
            "asks" => Recovery::resumable(RunSpec::agent("asks"), asks).despite_losses(),
            _ => Recovery::Fail,
        });
        let recovered = recovered.await.unwrap();
        for run in recovered.resumed {
            tokio::spawn(async move { until_ended(&run).await });
        }
        for run in recovered.paused {
            say(&format!("p {}", run.id()));
            // Some wait for a later process.
            if Rng::new().bool() {
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

/// One run, from its acceptance to its end.
async fn one(engine: &Engine) {
    let mut rng = Rng::new();
    let name = ["short", "goes on", "waits", "asks"][rng.usize(0..4)];
    let key = quell::IdempotencyKey::new(format!("key {}", rng.u64(..)), ["payload"]);
    let spec =
        RunSpec::agent(name).idempotency_key(key).input("x".repeat(rng.usize(0..300)).into());
    if name == "asks" {
        return ask(&engine.submit_resumable(spec, asks).unwrap().into_ref()).await;
    }
    let handle = match name {
        "waits" => engine.submit_durably(spec, waits).await,
        _ => engine.submit_durably(spec, works).await,
    };
    let run = handle.unwrap().into_ref();
    say(&format!("a {}", run.id()));
    if name == "waits" || rng.bool() {
        tokio::time::sleep(Duration::from_micros(rng.u64(0..3_000))).await;
        let request = CancelRequest::because("enough");
        let request = if rng.bool() { request } else { request.abort() };
        let (disposition, stored) = run.cancel_durably(request).await;
        stored.unwrap();
        if matches!(disposition, quell::Disposition::Accepted { .. }) {
            say(&format!("s {}", run.id()));
        }
    }
    until_ended(&run).await;
}

/// A run that is paused: it is answered, stopped, or left so.
async fn ask(run: &RunRef) {
    run.accepted().await.unwrap();
    say(&format!("a {}", run.id()));
    run.paused().await.unwrap();
    run.stored().await.unwrap();
    say(&format!("p {}", run.id()));
    match Rng::new().usize(0..4) {
        0 => {}
        1 => {
            let (_, stored) = run.cancel_durably(CancelRequest::because("enough")).await;
            stored.unwrap();
            say(&format!("s {}", run.id()));
            until_ended(run).await;
        }
        _ => answer(run).await,
    }
}

async fn answer(run: &RunRef) {
    run.resume_durably("yes").await.unwrap();
    say(&format!("r {}", run.id()));
    until_ended(run).await;
}

/// Says that it asks, or that it has its answer.
async fn asks(ctx: RunContext) -> Result<(), Failure> {
    let run = ctx.run().id();
    match ctx.resumed_with() {
        None => {
            say(&format!("q {run}"));
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
    say(&format!("e {} {}", run.id(), report.status));
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

/// Between a stop and its end a process may be killed as well.
async fn takes_its_time() {
    tokio::time::sleep(Duration::from_micros(Rng::new().u64(0..20_000))).await;
}

fn begins(run: RunId) {
    say(&format!("b {run}"));
}
