//! With a store: what is acknowledged is stored, and what is not stored is not acknowledged.

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::StatusCode;
use futures::StreamExt as _;
use quell::store::{Accepted, Epoch, Record, Store, StoreError};
use quell::{
    CauseKind, Counts, Engine, EngineConfig, EventKind, Failure, IdempotencyKey, Limits, Payload,
    RunContext, RunEvent, RunId, RunKind, RunReport, RunRow, RunStatus,
};
use quell_flow::{COMPONENT, Catalog, Component};
use quell_http::{Access, NATIVE, OnDisconnect, Principal, Service, ServiceLimits, Start, router};
use quell_test_support::{Flow, Gate, Valve, Witness, within};
use serde_json::json;

use crate::support::{get, post, service_with, soon};

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let (store, witness) = (Valve::new(Flow::Open), Witness::default());
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &witness);
    let app = router(service.clone());
    let body = |id: &str| json!({ "component": "agent/sleeper", "id": id });
    let created = post(&app, "/v1/runs", &body("a")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let id = quell_http::parse_id("a").unwrap();
    assert!(store.get(id).await.unwrap().is_some(), "it is stored when it is acknowledged");
    soon("it works", || witness.inside() == 1).await;

    store.set(Flow::Failing(StoreError::Full { what: "secret-path".into() }));
    let refused = post(&app, "/v1/runs", &body("b")).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.json()["type"].as_str().unwrap().ends_with("not-stored"), "{refused:?}");
    assert!(!refused.text.contains("secret-path"), "the log says why");
    assert_eq!(get(&app, "/v1/runs/b").await.status, StatusCode::NOT_FOUND);
    let stopped = post(&app, "/v1/runs/a/cancel", &json!({})).await;
    assert_eq!(stopped.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(stopped.json()["type"].as_str().unwrap().ends_with("stop-not-stored"));
    soon("it is in effect all the same", || witness.inside() == 0).await;

    store.set(Flow::Open);
    let again = || async { post(&app, "/v1/runs/a/cancel", &json!({})).await.status };
    while again().await != StatusCode::OK {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(store.get(id).await.unwrap().unwrap().stop.is_some());
}

#[tokio::test]
async fn what_the_runs_of_a_stored_tree_were_given_counts_while_it_is_read() {
    let (root, epoch, at) = (RunId::from_text("w"), Epoch::new(1, 1), SystemTime::now());
    let store = Valve::new(Flow::Open);
    let mut accepted = Accepted::new(root, RunKind::Agent, "echo".into(), epoch, at);
    accepted.labels.insert(COMPONENT.into(), "echo".into());
    let mut rows = vec![RunRow::new(root, RunKind::Agent, "echo".into(), RunStatus::Completed, at)];
    let mut batch = vec![Record::Accepted(accepted.into())];
    for nth in 0..8 {
        let run = RunId::from_text(&nth.to_string());
        let mut accepted = Accepted::new(run, RunKind::Step, "step".into(), epoch, at);
        (accepted.root, accepted.parent) = (root, Some(root));
        accepted.input = Some(Payload::from("x".repeat(1 << 20)));
        batch.push(Record::Accepted(accepted.into()));
        rows.push(RunRow::new(run, RunKind::Step, "step".into(), RunStatus::Completed, at));
    }
    let report = RunReport::new(rows, Counts::default()).into();
    batch.push(Record::Ended { run: root, epoch, report, rollback: false });
    store.append(batch).await.unwrap();
    for (requests_mib, is_cut) in [(64, false), (5, true)] {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = requests_mib << 20;
        let service = service_with(config, &Witness::default()).access(Access::open());
        let view = service.limits(limits).view(NATIVE, Principal::anonymous());
        let run = view.find_by_id(root).await.unwrap().unwrap();
        let reading = view.read_tree(run).await.unwrap();
        let known = (0..8).filter_map(|nth| reading.input_of(RunId::from_text(&nth.to_string())));
        let known: usize = known.map(|input| input.len()).sum();
        assert!(known <= requests_mib << 20, "{known} bytes");
        assert_eq!((reading.state().truncated, known < 8 << 20), (is_cut, is_cut));
        assert!(reading.weight() >= known);
    }
}

#[tokio::test]
async fn a_stored_tree_that_has_not_ended_is_shown_with_the_runs_that_its_events_tell_of() {
    let (root, epoch, at) = (RunId::from_text("w"), Epoch::new(1, 1), SystemTime::now());
    let store = Valve::new(Flow::Open);
    let (step, agent, next) =
        (RunId::from_text("step"), RunId::from_text("agent"), RunId::from_text("next"));
    let tree = [
        (root, None, RunKind::Agent, "echo"),
        (step, Some(root), RunKind::Step, "step"),
        (next, Some(root), RunKind::Step, "next"),
        (agent, Some(step), RunKind::Agent, "agent"),
    ];
    let mut batch = Vec::new();
    for (nth, (run, parent, kind, name)) in tree.into_iter().enumerate() {
        let mut accepted = Accepted::new(run, kind, name.into(), epoch, at);
        (accepted.root, accepted.parent) = (root, parent);
        batch.push(Record::Accepted(accepted.into()));
        let queued = EventKind::Queued { parent, kind, name: name.into(), shielded: false };
        let event = RunEvent::new(nth as u64 + 1, root, run, at, queued);
        batch.push(Record::Event { epoch, event });
    }
    for run in [agent, step] {
        let row = RunRow::new(run, RunKind::Step, "it".into(), RunStatus::Completed, at);
        let report = RunReport::new(vec![row], Counts::default()).into();
        batch.push(Record::Ended { run, epoch, report, rollback: false });
    }
    store.append(batch).await.unwrap();
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &Witness::default()).access(Access::open());
    let view = service.view(NATIVE, Principal::anonymous());
    let of = |run| {
        let view = view.clone();
        async move {
            let found = view.find_by_id(run).await.unwrap().unwrap();
            let reading = view.read(found).await.unwrap();
            let rows = reading.report().rows.iter();
            rows.map(|row| (row.run, row.depth, row.status.is_terminal())).collect::<Vec<_>>()
        }
    };
    let whole = [(root, 0, false), (step, 1, true), (agent, 2, true), (next, 1, false)];
    assert_eq!(of(root).await, whole, "in pre-order");
    assert_eq!(of(step).await, [(step, 0, true), (agent, 1, true)]);
}

#[tokio::test]
async fn a_run_whose_caller_leaves_before_it_is_stored_goes_on_and_is_followed_unless_it_is_tied() {
    for (policy, causes) in [(OnDisconnect::Continue, 0), (OnDisconnect::Cancel, 1)] {
        let store = Valve::new(Flow::Shut { stops: false });
        let mut limits = Limits::default();
        limits.events_per_root_max = 32;
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let service = service_with(config.limits(limits), &Witness::default());
        let view = service.view(NATIVE, Principal::anonymous());
        let talker = view.find_component("talker").unwrap();
        let start = || Start::new(talker, json!(500).into()).id("r").on_disconnect(policy);
        let key = || IdempotencyKey::new("k", ["r"]);
        let mut first = Box::pin(view.start(start().once(key())));
        let mut second = Box::pin(view.start(start().once(key())));
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
        drop(first);
        assert!(run.row().cause.is_none(), "another one asks for it");
        drop(second);
        store.set(Flow::Open);
        run.accepted().await.unwrap();
        let report = run.ended().await;
        let cause = report.cause.as_ref().map(|cause| cause.kind);
        assert_eq!(cause, [None, Some(CauseKind::Disconnected)][causes]);
        let transcript = view.transcript(&run);
        assert!(!transcript.is_cut, "{policy:?}: it is followed from its begin");
        let whole: Vec<_> = (0..500).map(|word| format!("{word} ")).collect();
        assert_eq!(transcript.text, ["", &whole.concat()][1 - causes], "{policy:?}");
    }
}

#[tokio::test]
async fn what_clients_come_back_behind_is_told_when_the_store_has_it() {
    let (gate, store) = (Gate::new(), Valve::new(Flow::Open));
    let _open = gate.at_end();
    let says = gate.clone();
    let body = move |ctx: RunContext, _input: Payload| {
        let says = says.clone();
        async move {
            while !says.is_open() {
                tokio::task::yield_now().await;
            }
            ctx.emit("a word");
            std::future::pending::<Result<Payload, Failure>>().await
        }
    };
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let catalog = Catalog::new().with(Component::agent("says", body));
    let service = Service::new(Engine::with_config(config), catalog);
    let view = service.view(NATIVE, Principal::anonymous());
    let start = Start::new(view.find_component("says").unwrap(), Payload::from("x"));
    let run = view.start(start).await.unwrap().run;
    let mut told = Box::pin(view.events(&(&run).into(), 0).await.unwrap());
    let mut kept = Box::pin(view.kept_events(&(&run).into(), 0).await.unwrap());
    for _ in 0..2 {
        within("it has started", async { (told.next().await, kept.next().await) }).await;
    }
    store.set(Flow::Shut { stops: true });
    gate.open();
    let word = within("it is told", told.next()).await.unwrap();
    assert!(matches!(word.kind, EventKind::Emitted(_)), "{word:?}");
    for _ in 0..100 {
        assert!(futures::poll!(kept.next()).is_pending(), "another process would not know it");
        tokio::task::yield_now().await;
    }
    store.set(Flow::Open);
    assert_eq!(within("it is kept", kept.next()).await, Some(word.clone()));
    let stored = service.engine().stored_events(run.id(), word.seq - 1, 1).await.unwrap();
    assert_eq!(stored, [Ok(word)]);
}
