//! What a paused run has to show, in the process that paused it and in others.

use std::sync::Arc;

use axum::Router;
use quell::store::{MemoryStore, Store, StoreError};
use quell::{
    Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunSpec, ToolCall, Usage,
};
use quell_flow::{Catalog, Component, Emit};
use quell_http::{Access, NATIVE, Principal, Service, parse_id, router};
use quell_test_support::{Valve, ms, within};
use serde_json::{Value, json};

use crate::support::{get, post};

/// Says and uses something, and asks.
async fn clerk(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    if let Some(answer) = ctx.resumed_with() {
        return Ok(answer);
    }
    Emit::content("half of it").send(&ctx);
    let call = ToolCall::new("c1", "look", Payload::from("there"));
    ctx.tool(call, async { Ok(Payload::from("seen")) }).await?;
    let _ = ctx.set_output(json!({ "half": "of it" }).into());
    ctx.set_summary("one of two".into());
    ctx.usage(Usage { input_tokens: 12, output_tokens: 3, cost_micros: 40 });
    Err(ctx.pause("go on?"))
}

/// A process on a store, the nth one, which takes in what is left there, or only reads it.
async fn nth(boot: u32, store: &Arc<MemoryStore>, takes_in: bool) -> (Service, Arc<Valve>) {
    let valve = Valve::reopened(store, boot);
    let config = EngineConfig::new().store(Arc::clone(&valve) as Arc<dyn Store>);
    let engine = Engine::with_config(config);
    if takes_in {
        let body = |ctx| clerk(ctx, Payload::from(""));
        let goes_on = |_: &_| Recovery::resumable(RunSpec::agent("clerk"), body);
        engine.recover(goes_on).await.unwrap();
    }
    let catalog = Catalog::new().with(Component::agent("clerk", clerk).resumable());
    (Service::new(engine, catalog).access(Access::open()), valve)
}

async fn run(app: &Router) -> Value {
    get(app, "/v1/runs/r").await.json()
}

/// Waits until the run is in a status, and yields it.
async fn has(app: &Router, status: &str) -> Value {
    loop {
        let run = run(app).await;
        if run["status"] == status {
            return run;
        }
        tokio::time::sleep(ms(2)).await;
    }
}

#[tokio::test]
async fn a_paused_run_shows_what_it_has_so_far_in_whatever_process() {
    let store = Arc::new(MemoryStore::new());
    let (service, _) = nth(1, &store, true).await;
    let app = router(service);
    let body = json!({ "component": "agent/clerk", "id": "r", "input": "x" });
    assert_eq!(post(&app, "/v1/runs", &body).await.status, 201);
    let shown = within("it asks", has(&app, "paused")).await;
    assert_eq!(shown["partial"], json!({ "half": "of it" }), "{shown}");
    assert_eq!(shown["rows"][0]["summary"], "one of two", "{shown}");
    assert_eq!(shown["usage"]["input_tokens"], 12, "{shown}");
    assert_eq!((&shown["text"], &shown["truncated"]), (&json!("half of it"), &Value::Null));
    for (boot, takes_in) in [(2, false), (3, true)] {
        let (service, valve) = nth(boot, &store, takes_in).await;
        let other = router(service);
        if takes_in {
            valve.fail_reads(StoreError::Io { what: "no disk".into() });
            let here = run(&other).await;
            assert_eq!((&here["text"], &here["truncated"]), (&json!(""), &json!(true)), "{here}");
            valve.fail_reads(None);
        }
        let there = within("the store has it", has(&other, "paused")).await;
        for what in ["status", "partial", "usage", "rows", "text", "tools", "truncated"] {
            assert_eq!(there[what], shown[what], "{what}, taken in: {takes_in}: {there}");
        }
        if takes_in {
            let answer = json!({ "answer": "yes" });
            assert_eq!(post(&other, "/v1/runs/r/resume", &answer).await.status, 200);
            let ended = within("it ends", has(&other, "completed")).await;
            for what in ["usage", "text", "tools", "truncated"] {
                assert_eq!(ended[what], shown[what], "{what}: {ended}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_run_had_said_is_known_as_soon_as_it_has_its_answer() {
    let store = Arc::new(MemoryStore::new());
    let (service, _) = nth(1, &store, true).await;
    let app = router(service.clone());
    let body = json!({ "component": "agent/clerk", "id": "r", "input": "x" });
    assert_eq!(post(&app, "/v1/runs", &body).await.status, 201);
    within("it asks", has(&app, "paused")).await;
    let id = parse_id("r").unwrap();
    service.engine().get(id).unwrap().stored().await.unwrap();
    let (service, _) = nth(2, &store, true).await;
    let (view, run) = (service.view(NATIVE, Principal::anonymous()), service.engine().get(id));
    let run = run.unwrap();
    view.resume(&run, "yes").await.unwrap();
    let said = view.transcript(&run);
    assert_eq!((&*said.text, said.is_cut), ("half of it", false));
    assert_eq!(view.tree_transcripts(&run).len(), 1);
}
