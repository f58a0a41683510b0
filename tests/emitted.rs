//! I17, T13: what a run has emitted is its partial output also over restarts, as in one process.

use std::future::pending;
use std::sync::Arc;

use quell::store::{MemoryStore, RunRecord, Store};
use quell::{
    Engine, EventKind, Failure, Payload, Recovery, RunContext, RunId, RunSpec, RunStatus, Shutdown,
};

use crate::support::{Valve, clerk, durable, soon, stop, within};

/// Emits something, has a child emit as well, and waits for it or asks.
async fn emits(ctx: RunContext, words: [&'static str; 2], is_lost: bool) -> Result<(), Failure> {
    for word in words {
        let _ = ctx.emit(word);
    }
    let child = ctx.spawn(RunSpec::step("child"), async |ctx: RunContext| {
        let _ = ctx.emit("below");
        pending::<Result<(), Failure>>().await
    });
    if is_lost {
        return Ok(child.await?);
    }
    child.run().cancel(stop());
    child.run().ended().await;
    drop(child);
    Err(ctx.pause("go on?"))
}

fn words(said: &[&str]) -> Payload {
    Payload::json(&said).unwrap()
}

async fn has_emitted(store: &Valve, run: RunId, count: usize) {
    let emitted = async || {
        let events = store.events(run, 0, 99).await.unwrap().into_iter().flatten();
        events.filter(|event| matches!(event.kind, EventKind::Emitted(_))).count()
    };
    within("they are stored", async {
        while emitted().await < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn i17_what_runs_have_emitted_is_their_partial_output_if_a_later_process_ends_them() {
    let memory = Arc::new(MemoryStore::new());
    let store = Valve::reopened(&memory, 1);
    let engine = durable(&store);
    let body = async |ctx: RunContext| emits(ctx, ["a", "b"], true).await;
    let run = engine.submit(RunSpec::agent("talks"), body).unwrap().into_ref();
    has_emitted(&store, run.id(), 3).await;
    let id = run.id();
    let _: &'static mut Engine = Box::leak(Box::new(engine));
    let after = durable(&Valve::reopened(&memory, 2));
    after.recover(|_| Recovery::Fail).await.unwrap();
    let report = memory.get(id).await.unwrap().unwrap().report.unwrap();
    let partial = Some(words(&["a", "b"]));
    assert_eq!((report.status, &report.partial), (RunStatus::Failed, &partial));
    let child = report.rows.iter().find(|row| &*row.name == "child").unwrap();
    assert_eq!(child.partial, Some(words(&["below"])));
    let child = memory.get(child.run).await.unwrap().unwrap().report.unwrap();
    assert_eq!(child.own_row().partial, Some(words(&["below"])));
}

#[tokio::test]
async fn i17_what_was_emitted_before_a_restart_comes_before_what_is_emitted_after_it() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let body = async |ctx: RunContext| emits(ctx, ["a", "b"], false).await;
    let run = engine.submit_resumable(clerk(), body).unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    let id = run.id();
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    let recovers = async |boot| {
        let engine = durable(&Valve::reopened(&memory, boot));
        let goes_on = |_: &RunRecord| {
            let body = async |ctx: RunContext| emits(ctx, ["c", "d"], false).await;
            Recovery::resumable(clerk(), body)
        };
        let run = engine.recover(goes_on).await.unwrap().paused.remove(0);
        (engine, run)
    };
    let (engine, run) = recovers(2).await;
    assert_eq!(run.row().partial, None, "it has not ended");
    run.resume_durably("yes").await.unwrap();
    soon("it asks again", || run.row().status == RunStatus::Paused).await;
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    let (_engine, run) = recovers(3).await;
    run.cancel(stop());
    let report = within("it ends", run.ended()).await;
    assert_eq!(report.partial, Some(words(&["a", "b", "c", "d"])));
    let left = run.partial_output(None, Some);
    assert_eq!(left, report.partial, "as a handle has it");
    within("it is stored", run.stored()).await.unwrap();
    let stored = memory.get(id).await.unwrap().unwrap().report.unwrap();
    assert_eq!(stored.partial, report.partial);
}

#[tokio::test]
async fn i17_what_a_run_has_set_stays_before_what_it_has_emitted_also_after_a_restart() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let run = engine
        .submit_resumable(clerk(), async |ctx: RunContext| {
            let _ = ctx.emit("a");
            let _ = ctx.set_output("half of it".into());
            Err::<(), _>(ctx.pause("go on?"))
        })
        .unwrap()
        .into_ref();
    within("it asks", run.paused()).await.unwrap();
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    let after = durable(&Valve::reopened(&memory, 2));
    let run = after.recover(|_| Recovery::Fail).await.unwrap().paused.remove(0);
    run.cancel(stop());
    assert_eq!(within("it ends", run.ended()).await.partial, Some("half of it".into()));
}
