//! Clients of web sockets that come back: after a cut, to an ended run, late, through another node,
//! and to a server that ends.

use quell::{Engine, EngineConfig, Limits, Payload, RunContext, RunSpec};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component, Part};
use quell_http::{Access, Key, parse_id};
use quell_test_support::{Gate, soon};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::nodes::{soon_running, two};
use crate::support::http::read;
use crate::support::ws::Frame;
use crate::support::{Site, fresh};
use crate::web_sockets::error;

/// Tells of as many steps as its message asks for; then of one more when the gate is open.
fn stepper(gate: &Gate) -> Component {
    let gate = gate.clone();
    let body = move |ctx: RunContext, input: Payload| {
        let gate = gate.clone();
        async move {
            let steps: usize = input.parse::<String>()?.parse()?;
            let step = async |ctx: RunContext| {
                ctx.set_output("ok".into());
                Ok(Payload::from("ok"))
            };
            for _ in 0..steps {
                ctx.spawn(RunSpec::step("one"), step).await?;
            }
            while !gate.is_open() {
                yield_now().await;
            }
            ctx.spawn(RunSpec::step("last"), step).await?;
            Ok(Payload::from(Value::Null))
        }
    };
    Component::workflow("stepper", body).steps([Part::function("one"), Part::function("last")])
}

#[tokio::test]
async fn a_client_that_comes_back_has_every_event_once_whatever_it_had() {
    let gate = Gate::new();
    let (site, run) = (Site::of(stepper(&gate)), fresh("run"));
    let served = site.served();
    let mut first = served.open().await;
    let mut all = vec![first.start("stepper", "2", &run).await];
    while all.len() < 7 {
        let Frame::Event(event) = first.frame().await else { panic!("{all:?}") };
        all.push(event);
    }
    // The cut: it has so many, and the run goes on.
    drop(first);
    let mut clients = Vec::new();
    for last in -1..8 {
        let mut client = served.open().await;
        let asked = json!({
            "action": "reconnect", "run_id": run, "last_event_index": last,
            "workflow_id": "stepper", "session_id": "s",
        });
        let said = client.asked(&asked).await;
        let subscribed = json!({
            "event": "subscribed", "run_id": run, "status": "running", "current_event_count": 7,
            "message": "Subscribed to workflow run. You will receive new events as they occur.",
        });
        let from = usize::try_from(last + 1).unwrap();
        if from < 7 {
            let missed = 7 - from;
            let catch_up = json!({
                "event": "catch_up", "run_id": run, "status": "running", "missed_events": missed,
                "current_event_count": 7,
                "message": format!("Catching up on {missed} missed events."),
            });
            assert_eq!(said, catch_up);
            let mut told = client.until("subscribed", true).await;
            assert_eq!(told.pop(), Some(subscribed));
            assert_eq!(told, all[from..], "{last}");
        } else {
            assert_eq!(said, subscribed, "{last}");
        }
        clients.push((from, client));
    }
    gate.open();
    let rest = clients[0].1.until("WorkflowCompleted", true).await;
    all.extend(rest.clone());
    assert_eq!(rest[0]["event_index"], 7);
    for (from, client) in &mut clients[1..] {
        let told = client.until("WorkflowCompleted", true).await;
        assert_eq!(told, rest[from.saturating_sub(7)..], "{from}");
    }
    // It has ended: what it lacks is told.
    let mut client = served.open().await;
    for last in [-5, -1, 0, 5, i64::try_from(all.len()).unwrap() - 1, i64::MAX] {
        let from = usize::try_from(last.max(-1).saturating_add(1)).unwrap().min(all.len());
        let asked = json!({ "action": "reconnect", "run_id": run, "last_event_index": last });
        let said = client.asked(&asked).await;
        assert_eq!((&said["event"], &said["status"]), (&json!("replay"), &json!("COMPLETED")));
        assert_eq!(said["total_events"], all.len() - from, "{last}");
        if from < all.len() {
            let told = client.until("WorkflowCompleted", true).await;
            assert_eq!(told, all[from..], "{last}");
        }
    }
    for (key, value) in [("session_id", "other"), ("workflow_id", "short-workflow")] {
        let asked = json!({ "action": "reconnect", "run_id": run, key: value });
        let unknown = error(&format!("Run {run} not found in buffer or database"));
        assert_eq!(client.asked(&asked).await, unknown, "{key}");
    }
}

#[tokio::test]
async fn who_takes_over_a_socket_is_told_nothing_of_the_runs_of_the_former_caller() {
    let gate = Gate::new();
    let access = Access::open().key(Key::new("ada", "ada")).key(Key::new("ben", "ben"));
    let catalog = Catalog::new().with(stepper(&gate));
    let engine = Engine::new();
    let site = Site::made_of(Witness::default(), catalog, engine, Options::default(), access);
    let (served, mut sockets) = (site.served(), Vec::new());
    for next in ["ada", "ben"] {
        let (mut socket, run) = (served.open_as("ada").await, fresh("run"));
        socket.start("stepper", "0", &run).await;
        let asked = json!({ "action": "authenticate", "token": next });
        assert_eq!(socket.asked(&asked).await["event"], "authenticated");
        sockets.push((socket, site.service.engine().get(parse_id(&run).unwrap()).unwrap()));
    }
    gate.open();
    let [(mut same, _), (mut other, run)] = sockets.try_into().ok().unwrap();
    same.until("WorkflowCompleted", false).await;
    run.quiescent().await;
    let own = fresh("run");
    let mut all = vec![other.start("short-workflow", "m", &own).await];
    all.extend(other.until("WorkflowCompleted", false).await);
    assert!(all.iter().all(|event| event["run_id"] == own), "{all:?}");
}

#[tokio::test]
async fn a_run_without_a_stream_says_so_and_one_of_an_agent_is_none() {
    let site = Site::open();
    let waited = crate::support::http::start(&site, "/workflows/short-workflow", "m", "s").await;
    let agent = fresh("run");
    let fields = [("message", "m"), ("background", "true"), ("run_id", &*agent)];
    site.create("/agents/short-agent/runs", &fields).await;
    while read(&site, "/workflows/short-workflow", &waited, "s").await["status"] != "COMPLETED" {
        yield_now().await;
    }
    let mut client = site.served().open().await;
    let said = client.asked(&json!({ "action": "reconnect", "run_id": waited })).await;
    assert_eq!((&said["event"], &said["total_events"]), (&json!("replay"), &json!(0)));
    assert!(said["message"].as_str().unwrap().contains("without stream=true"), "{said}");
    let said = client.asked(&json!({ "action": "reconnect", "run_id": agent })).await;
    assert_eq!(said, error(&format!("Run {agent} not found in buffer or database")));
}

#[tokio::test]
async fn a_reader_that_is_slow_is_told_what_it_missed() {
    let gate = Gate::new();
    gate.open();
    let engine =
        Engine::with_config(EngineConfig::new().limits(Limits::default().events_per_root_max(64)));
    let catalog = Catalog::new().with(stepper(&gate));
    let site =
        Site::made_of(Witness::default(), catalog, engine, Options::default(), Access::open());
    // Nothing is read until the run has ended; so much is on its way.
    let mut client = site.served().ask(&[], 1 << 10).await.unwrap();
    let run = fresh("run");
    let asked = json!({
        "action": "start-workflow", "workflow_id": "stepper", "message": "500", "run_id": run,
    });
    client.json().await;
    client.say(&asked).await;
    let id = parse_id(&run).unwrap();
    let engine = site.service.engine();
    soon("it has ended", || engine.get(id).is_some_and(|run| run.status().is_terminal())).await;
    let told = client.until("WorkflowCompleted", false).await;
    let lagged: Vec<_> = told.iter().filter(|event| event["event"] == "lagged").collect();
    assert!(!lagged.is_empty() && lagged[0].get("event_index").is_none(), "{told:?}");
    let indices: Vec<_> = told.iter().filter_map(|event| event["event_index"].as_u64()).collect();
    assert!(indices.is_sorted_by(|a, b| a < b) && indices.len() < 500, "{}", indices.len());
    assert_eq!(indices.last(), Some(&(3 * 501 + 1)));
}

#[tokio::test]
async fn another_node_goes_on_with_the_events_and_a_server_that_ends_leaves_them() {
    let (a, b) = two();
    let (run, path) = (fresh("run"), "/workflows/slow-workflow");
    let mut first = a.served().open().await;
    let begun = first.start("slow-workflow", "ticks=30 tick_ms=3", &run).await;
    soon_running(&b, path, &run).await;
    let mut other = b.served().open().await;
    let asked = json!({ "action": "reconnect", "run_id": run, "last_event_index": 0 });
    other.say(&asked).await;
    let told = other.until("WorkflowCompleted", true).await;
    let mut all = vec![begun];
    all.extend(first.until("WorkflowCompleted", false).await);
    let numbered: Vec<_> = told.iter().filter(|event| !event["event_index"].is_null()).collect();
    assert_eq!(numbered, all[1..].iter().collect::<Vec<_>>());
    let run = fresh("run");
    first.start("slow-workflow", "ticks=1000000 tick_ms=3", &run).await;
    soon_running(&b, path, &run).await;
    other.say(&json!({ "action": "reconnect", "run_id": run, "last_event_index": 0 })).await;
    other.until("subscribed", true).await;
    b.service.drain();
    // The run is that of the other server.
    let mut last = other.frame().await;
    while let Frame::Bare(_) = last {
        last = other.frame().await;
    }
    assert_eq!(last, Frame::End(Some(1012)));
    a.post(&format!("{path}/runs/{run}/cancel")).await;
    first.until("WorkflowCancelled", false).await;
}

#[tokio::test]
async fn a_server_that_ends_lets_runs_end_and_says_good_bye() {
    let gate = Gate::new();
    let site = Site::of(stepper(&gate));
    let served = site.served();
    let (mut idle, mut busy) = (served.open().await, served.open().await);
    let run = fresh("run");
    busy.start("stepper", "0", &run).await;
    site.service.drain();
    assert_eq!(idle.frame().await, Frame::End(Some(1012)));
    let asked = json!({ "action": "start-workflow", "workflow_id": "stepper", "message": "0" });
    assert_eq!(busy.asked(&asked).await, error("Server is shutting down"));
    gate.open();
    busy.until("WorkflowCompleted", false).await;
    assert_eq!(busy.frame().await, Frame::End(Some(1012)));
    let (status, _) = crate::support::ws::refusal(served.ask(&[], 1 << 16).await);
    assert_eq!(status, 503);
}
