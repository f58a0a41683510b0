//! A rollback is one of the engine: it takes back what the run has saved, is in the store with the
//! stop, and outlives the process.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures::future::OptionFuture;
use quell::store::{MemoryStore, Page, Record, Store};
use quell::{
    CancelRequest, EngineConfig, Failure, Payload, Recovery, RunContext, RunFilter, RunId, Work,
};
use quell_flow::Component;
use quell_test_support::{Flow, Valve};
use serde_json::{Value, json};

use crate::talk::{Server, id_of};

/// The ways to ask for a rollback.
const WAYS: [&str; 3] = ["cancel", "bulk", "strategy"];

/// Blocks a thread until the other end is dropped.
type Gate = Arc<Mutex<mpsc::Receiver<()>>>;

/// Saves what its input says. It ends then, or listens and takes its time, or blocks a thread.
async fn save(ctx: RunContext, input: Payload, gate: Gate) -> Result<Payload, Failure> {
    let asked = input.parse::<Value>()?;
    // It listens from here on.
    let _ = ctx.is_stopping();
    let state = asked["saves"].as_str().unwrap_or_default().to_owned();
    if asked["then"] == "block" {
        let (begins, has_begun) = tokio::sync::oneshot::channel();
        let blocked = ctx.spawn_blocking(move |_| {
            let _ = begins.send(());
            gate.lock().is_ok_and(|gate| gate.recv().is_ok())
        });
        let saved = async {
            let _ = has_begun.await;
            ctx.save(state.into()).await
        };
        let (blocked, saved) = tokio::join!(blocked, saved);
        blocked?;
        saved?;
        return Ok(input);
    }
    let remote = asked["remote"].as_str().map(|name| ctx.hold_durably(Work::Remote, name));
    let _remote = OptionFuture::from(remote).await.transpose()?;
    ctx.save(state.into()).await?;
    match asked["then"].as_str() {
        Some("listen") => std::future::pending().await,
        Some("stop") => drop(ctx.stopped().await),
        _ => {}
    }
    Ok(input)
}

/// A server as the nth process has it that opened the store, before it has recovered anything.
fn opened(boot: u32, memory: &Arc<MemoryStore>) -> (Server, Arc<Valve>) {
    let (server, store, _) = opened_with_gate(boot, memory);
    (server, store)
}

fn opened_with_gate(
    boot: u32,
    memory: &Arc<MemoryStore>,
) -> (Server, Arc<Valve>, mpsc::Sender<()>) {
    let store = Valve::reopened(memory, boot);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let (end, gate) = mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let body = move |ctx, input| save(ctx, input, Arc::clone(&gate));
    (Server::serving_with(config, [Component::workflow("save", body)]), store, end)
}

/// Reads what the lane of a thread has, the newest first.
async fn states(store: &Valve, thread: &str) -> Vec<Value> {
    let read = store.checkpoints(thread.into(), Page::first(100)).await.unwrap();
    read.items.into_iter().map(|state| state.unwrap().state.parse().unwrap()).collect()
}

/// Starts a run that saves "gone", and yields its path when that is stored.
async fn saved(server: &Server, store: &Valve, thread: &str, then: &str) -> String {
    saved_with(server, store, thread, json!({ "saves": "gone", "then": then })).await
}

async fn saved_with(server: &Server, store: &Valve, thread: &str, input: Value) -> String {
    let grace_ms = if input["then"] == "block" { 1 } else { 60_000 };
    let body = json!({ "assistant_id": "save", "input": input,
        "metadata": { "quell_grace_ms": grace_ms } });
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = run.header("content-location").to_owned();
    while states(store, thread).await.first() != Some(&json!("gone")) {
        tokio::task::yield_now().await;
    }
    run
}

/// Has a run that completed and saved "kept"; yields its thread and the run.
async fn kept(server: &Server) -> (String, String) {
    let thread = server.thread().await;
    let run = server.start(&thread, "save", json!({ "saves": "kept" })).await;
    server.get(&format!("{run}/join")).await;
    (thread, run)
}

/// Asks for a rollback of a run in one of the ways; yields the path of the run that was made for
/// that, if one was.
async fn roll_back(server: &Server, way: &str, (thread, run): (&str, &str)) -> Option<String> {
    let (path, body) = match way {
        "cancel" => (format!("{run}/cancel?action=rollback"), Value::Null),
        "bulk" => {
            let body = json!({ "thread_id": thread, "run_ids": [id_of(run)] });
            ("/runs/cancel?action=rollback".to_owned(), body)
        }
        _ => {
            let body = json!({ "assistant_id": "echo", "multitask_strategy": "rollback",
                "input": { "text": "new" } });
            (format!("/threads/{thread}/runs"), body)
        }
    };
    let answer = server.post(&path, &body).await;
    assert!(answer.status.is_success(), "{way}: {answer:?}");
    (way == "strategy").then(|| answer.header("content-location").to_owned())
}

/// Asserts that nobody finds a run that was rolled back, and that these are the runs of its thread.
async fn assert_gone(server: &Server, (thread, run): (&str, &str), left: &[&str]) {
    assert_eq!(server.status(run).await, "gone");
    let joined = server.get(&format!("{run}/join")).await.json();
    assert_eq!(joined["__error__"]["message"], "404: Run not found", "{joined}");
    let listed = server.get(&format!("/threads/{thread}/runs?select=run_id")).await.json();
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|row| &row["run_id"]).collect();
    assert_eq!(ids, left.iter().map(|run| id_of(run)).collect::<Vec<_>>());
    let bulk = json!({ "thread_id": thread, "run_ids": [id_of(run)] });
    for cancel in ["/runs/cancel", "/runs/cancel?action=rollback"] {
        let answer = server.post(cancel, &bulk).await;
        assert_eq!((answer.status.as_u16(), answer.header("quell-disposition")), (404, "unknown"));
    }
    let cancel = server.post(&format!("{run}/cancel"), &Value::Null).await;
    assert_eq!((cancel.status.as_u16(), cancel.header("quell-disposition")), (404, "unknown"));
}

#[tokio::test]
async fn what_a_run_has_saved_is_taken_back_with_it_in_whatever_way_it_is_rolled_back() {
    let (server, store) = opened(1, &Arc::default());
    for way in WAYS {
        let (thread, _) = kept(&server).await;
        let row = server.get(&format!("/threads/{thread}")).await.json();
        let run = saved(&server, &store, &thread, "stop").await;
        let new = roll_back(&server, way, (&thread, &run)).await;
        server.get(&format!("{run}/join")).await;
        assert_eq!(server.status(&run).await, "gone", "{way}");
        if let Some(new) = new {
            server.get(&format!("{new}/join")).await;
        } else {
            assert_eq!(server.get(&format!("/threads/{thread}")).await.json(), row, "{way}");
        }
        let id = RunId::from_text(id_of(&run));
        while store.get(id).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(states(&store, &thread).await, ["kept"], "{way}");
    }
}

#[tokio::test]
async fn a_rollback_that_was_acknowledged_outlives_its_process() {
    for way in WAYS {
        let memory = Arc::default();
        let (server, store) = opened(1, &memory);
        let (thread, first) = kept(&server).await;
        let run = saved(&server, &store, &thread, "listen").await;
        let new = roll_back(&server, way, (&thread, &run)).await;
        assert_eq!(server.status(&run).await, "running", "{way}: it has its grace");
        // As the next process finds it that opens the store after a crash.
        let (server, store) = opened(2, &memory);
        server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
        let left: Vec<_> = new.as_deref().into_iter().chain([&*first]).collect();
        assert_gone(&server, (&thread, &run), &left).await;
        assert_eq!(states(&store, &thread).await, ["kept"], "{way}");
        assert_eq!(store.get(RunId::from_text(id_of(&run))).await, Ok(None), "{way}");
    }
}

#[tokio::test]
async fn what_was_rolled_back_and_blocked_a_thread_is_gone_after_its_process_and_nobody_sees_half()
{
    let memory = Arc::default();
    let (living, store, end) = opened_with_gate(1, &memory);
    let (thread, first) = kept(&living).await;
    let run = saved(&living, &store, &thread, "block").await;
    let cancel = format!("{run}/cancel?action=rollback&wait=1");
    assert_eq!(living.post(&cancel, &Value::Null).await.status, 200);
    assert_eq!(living.status(&run).await, "interrupted", "something of it executes");
    assert_eq!(states(&store, &thread).await, ["kept"]);
    // A process that dies before it has recovered anything leaves it to the next one.
    for (boot, recovers) in [(2, false), (3, true), (4, false)] {
        let (server, store) = opened(boot, &memory);
        if recovers {
            server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
        }
        let is_stored = store.get(RunId::from_text(id_of(&run))).await.unwrap().is_some();
        assert_eq!(is_stored, boot == 2);
        if is_stored {
            assert_eq!(server.status(&run).await, "interrupted", "nobody has decided about it");
            continue;
        }
        assert_gone(&server, (&thread, &run), &[&first]).await;
    }
    drop(end);
    living.service.engine().shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn what_was_rolled_back_is_shown_while_work_of_it_may_have_outlived_its_process() {
    let memory = Arc::default();
    let (server, store) = opened(1, &memory);
    let (thread, first) = kept(&server).await;
    let input = json!({ "saves": "gone", "then": "listen", "remote": "http://far" });
    let run = saved_with(&server, &store, &thread, input).await;
    let cancel = format!("{run}/cancel?action=rollback");
    assert_eq!(server.post(&cancel, &Value::Null).await.status, 202);
    // What stops in another process is shown as it is.
    let (other, _) = opened(2, &memory);
    assert_eq!(other.status(&run).await, "running");
    let (server, store) = opened(3, &memory);
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    let shown = server.get(&run).await.json();
    assert_eq!(
        (&shown["status"], &shown["quell"]["quiescent"]),
        (&json!("interrupted"), &json!(false))
    );
    assert_eq!(shown["quell"]["abandoned"], json!(["http://far"]), "{shown}");
    let listed = server.get(&format!("/threads/{thread}/runs?select=run_id")).await.json();
    assert_eq!(listed[0]["run_id"], id_of(&run));
    assert_eq!(states(&store, &thread).await, ["kept"], "what it saved is gone");
    server.service.engine().forget_stored(RunId::from_text(id_of(&run))).await.unwrap();
    assert_gone(&server, (&thread, &run), &[&first]).await;
}

#[tokio::test]
async fn a_run_whose_client_went_away_while_the_store_was_waited_for_is_one_of_its_thread() {
    for flow in [Flow::KeepingStops, Flow::Shut { stops: true }] {
        let (server, store) = opened(1, &Arc::default());
        let (thread, _) = kept(&server).await;
        let run = saved(&server, &store, &thread, "listen").await;
        store.set(flow.clone());
        let client = tokio::spawn({
            let (server, thread, run) = (server.clone(), thread.clone(), run.clone());
            async move { roll_back(&server, "strategy", (&thread, &run)).await }
        });
        let engine = server.service.engine();
        let made = || {
            let all = engine.runs(&RunFilter::new().live());
            all.into_iter().find(|it| it.id().to_string() != id_of(&run))
        };
        while made().is_none() {
            tokio::task::yield_now().await;
        }
        client.abort();
        assert!(client.await.is_err(), "it has had no answer");
        let new = format!("/threads/{thread}/runs/{}", made().unwrap().id());
        store.set(Flow::Open);
        engine.cancel(RunId::from_text(id_of(&run)), CancelRequest::because("enough").abort());
        let joined = server.get(&format!("{new}/join")).await.json();
        assert_eq!(joined["text"], "new", "{flow:?}: {joined}");
        let listed = server.get(&format!("/threads/{thread}/runs?select=run_id")).await.json();
        assert_eq!(listed[0]["run_id"], id_of(&new), "{flow:?}: {listed}");
        let row = server.get(&format!("/threads/{thread}")).await.json();
        assert_eq!(row["values"]["text"], "new", "{flow:?}: {row}");
    }
}

#[tokio::test]
async fn a_run_that_rolls_others_back_is_answered_when_that_is_stored() {
    let (server, store) = opened(1, &Arc::default());
    let (thread, _) = kept(&server).await;
    let run = saved(&server, &store, &thread, "listen").await;
    let id = RunId::from_text(id_of(&run));
    store.set(Flow::KeepingStops);
    let started = tokio::spawn({
        let server = server.clone();
        async move { roll_back(&server, "strategy", (&thread, &run)).await }
    });
    let accepted = |store: &Valve| {
        let is_new = |record: &Record| matches!(record, Record::Accepted(_));
        store.stored().iter().filter(|record| is_new(record)).count()
    };
    while accepted(&store) < 3 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!started.is_finished(), "the rollback is not stored yet");
    store.set(Flow::Open);
    assert!(started.await.unwrap().is_some());
    assert!(store.get(id).await.unwrap().unwrap().is_rolled_back());
}
