//! What a thread has when runs of it are deleted: the same wherever it is read, and of a run that
//! has started on what a deleted one left all that it left itself.

use std::sync::Arc;

use quell::store::{MemoryStore, Store};
use quell::testing::cluster::{Node, Nodes};
use quell::{EngineConfig, Failure, Payload, Recovery, RunContext, RunId};
use quell_flow::{Catalog, CommandStep, Component, Plan, Reducer, Runner};
use quell_test_support::{Valve, secs, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::nodes::{soon_paused, stored};
use crate::nodes_gone::take_over;
use crate::talk::{Server, id_of};
use crate::threads::delete;

/// Appends its name when it may.
pub(crate) fn graph(name: &str, go: &Arc<Semaphore>) -> Component {
    let go = Arc::clone(go);
    let body = move |_ctx: RunContext, input: Payload| {
        let go = Arc::clone(&go);
        async move {
            let input: Value = input.parse().unwrap();
            go.acquire().await.unwrap().forget();
            Ok(Payload::from(json!({ "said": [input["own"]], "by": input["own"] })))
        }
    };
    Component::workflow(name, body).reducer("said", Reducer::Append)
}

#[derive(Clone)]
struct Greet;

impl Runner for Greet {
    async fn run(&self, _ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        Ok(Payload::from(step.command.join(" ")))
    }
}

pub(crate) fn plan() -> Component {
    let plan = Plan::from_yaml("name: plan\nsteps: [{ name: greet, run: [hello] }]").unwrap();
    let plan = plan.link(&Catalog::new()).unwrap().into_component("plan", Greet);
    plan.reducer("said", Reducer::Append)
}

/// Asks, and says then what it got in that attempt.
fn asks() -> Component {
    let body = async |ctx: RunContext, input: Payload| {
        let input: Value = input.parse()?;
        match ctx.resumed_with() {
            Some(answer) => {
                let answer: Value = answer.parse()?;
                Ok(Payload::from(json!({ "said": [answer], "got": input["by"] })))
            }
            None => Err(ctx.pause("may I?")),
        }
    };
    Component::workflow("ask", body).reducer("said", Reducer::Append).resumable()
}

fn node(nodes: &Nodes, name: &str, go: &Arc<Semaphore>) -> Server {
    of_node(nodes.join(name), go)
}

fn of_node(node: Arc<Node>, go: &Arc<Semaphore>) -> Server {
    Server::serving_with(EngineConfig::new().node(node), [graph("say", go), plan(), asks()])
}

/// A server as the nth process has it that opened the store.
async fn nth(boot: u32, store: &Arc<MemoryStore>, go: &Arc<Semaphore>) -> Server {
    let store = Valve::reopened(store, boot) as Arc<dyn Store>;
    let server = Server::serving_with(EngineConfig::new().store(store), [graph("say", go), plan()]);
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    server
}

/// Makes runs one behind the other, each on the server of its turn, and lets them end.
async fn runs(thread: &str, of: &[&Server], go: &Semaphore) -> Vec<String> {
    let mut runs = Vec::new();
    for (nth, server) in of.iter().enumerate() {
        let body = json!({ "assistant_id": "say", "input": { "own": nth + 1 },
            "multitask_strategy": "enqueue" });
        let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
        assert_eq!(made.status, 200, "{made:?}");
        runs.push(made.header("content-location").to_owned());
    }
    go.add_permits(of.len());
    for (server, run) in of.iter().zip(&runs) {
        ended(server, run).await;
    }
    runs
}

async fn ended(server: &Server, run: &str) {
    within("it ends", async {
        while server.get(run).await.json()["status"] != "success" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn said(server: &Server, thread: &str) -> Value {
    let state = server.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state.status, 200, "{state:?}");
    let thread = server.get(&format!("/threads/{thread}")).await.json();
    let [said, of_row] = [state.json(), thread].map(|it| match &it["values"]["said"] {
        Value::Null => json!([]),
        said => said.clone(),
    });
    assert_eq!(said, of_row);
    said
}

const ORDERS: [[usize; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

/// What there is of three runs without the first of these.
fn left(order: [usize; 3], deleted: usize) -> Value {
    let last = (1..=3).rev().find(|nth| !order[..deleted].contains(nth)).unwrap_or(0);
    json!((1..=last).collect::<Vec<_>>())
}

#[tokio::test]
async fn runs_that_are_deleted_in_whatever_order_leave_what_the_last_one_left() {
    let go = Arc::new(Semaphore::new(0));
    let without = Server::serving([graph("say", &go)]);
    let with = nth(1, &Arc::new(MemoryStore::new()), &go).await;
    for (server, order) in [&without, &with].into_iter().flat_map(|it| ORDERS.map(|of| (it, of))) {
        let thread = server.thread().await;
        let runs = runs(&thread, &[server; 3], &go).await;
        for (nth, run) in order.iter().map(|nth| &runs[nth - 1]).enumerate() {
            assert_eq!(said(server, &thread).await, left(order, nth), "{order:?}");
            assert_eq!(delete(server, run).await.status, 204);
        }
        assert_eq!(said(server, &thread).await, json!([]), "{order:?}");
        self::runs(&thread, &[server], &go).await;
        assert_eq!(said(server, &thread).await, json!([1]), "{order:?}");
    }
}

#[tokio::test]
async fn a_deletion_that_was_answered_is_stored() {
    let (store, go) = (Arc::new(MemoryStore::new()), Arc::new(Semaphore::new(0)));
    let server = nth(1, &store, &go).await;
    let thread = server.thread().await;
    for run in runs(&thread, &[&server; 3], &go).await {
        stored(&server, &run).await;
        assert_eq!(delete(&server, &run).await.status, 204);
        let there = store.get(RunId::from_text(id_of(&run))).await.unwrap();
        assert!(there.is_none(), "the next process would have it");
    }
}

#[tokio::test]
async fn every_node_shows_the_same_of_runs_that_are_deleted_in_whatever_order() {
    let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
    let [a, b] = ["a", "b"].map(|name| node(&nodes, name, &go));
    let mut fresh = 0;
    for of in [[&a, &b, &a], [&a, &a, &b], [&b, &b, &b]] {
        for order in ORDERS {
            let thread = a.thread().await;
            let runs = runs(&thread, &of, &go).await;
            for deleted in 1..=3 {
                let by = if fresh % 2 == 0 { &a } else { &b };
                assert_eq!(delete(by, &runs[order[deleted - 1] - 1]).await.status, 204);
                fresh += 1;
                let late = node(&nodes, &format!("late {fresh}"), &go);
                for (name, reader) in [("a", &a), ("b", &b), ("late", &late)] {
                    let shown = said(reader, &thread).await;
                    assert_eq!(shown, left(order, deleted), "{name} {order:?} {deleted}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_a_run_has_started_on_is_there_after_a_restart_although_it_was_deleted() {
    let (store, go) = (Arc::new(MemoryStore::new()), Arc::new(Semaphore::new(0)));
    let before = nth(1, &store, &go).await;
    let thread = before.thread().await;
    let runs = runs(&thread, &[&before; 2], &go).await;
    assert_eq!(delete(&before, &runs[0]).await.status, 204);
    before.service.engine().shutdown(quell::Shutdown::default()).await;
    let after = nth(2, &store, &go).await;
    assert_eq!(said(&after, &thread).await, json!([1, 2]));
    assert_eq!(delete(&after, &runs[1]).await.status, 204);
    assert_eq!(said(&after, &thread).await, json!([]));
}

/// Makes a run that leaves much, and two behind it, and deletes the first one.
async fn behind_much(by: [&Server; 2], bytes: usize, go: &Semaphore) -> String {
    let thread = by[0].thread().await;
    let input = json!({ "own": 0, "much": "x".repeat(bytes) });
    go.add_permits(1);
    let asked = json!({ "assistant_id": "say", "input": input });
    let first = by[0].post(&format!("/threads/{thread}/runs/wait"), &asked).await;
    assert_eq!(first.status, 200);
    runs(&thread, &by, go).await;
    assert_eq!(delete(by[1], first.header("content-location")).await.status, 204);
    thread
}

async fn has_much(server: &Server, thread: &str, bytes: usize) {
    assert_eq!(said(server, thread).await, json!([0, 1, 2]), "{bytes}");
    let states = server.get(&format!("/threads/{thread}/history")).await.json();
    for state in states.as_array().unwrap() {
        let much = state["values"]["much"].as_str().map(str::len);
        assert_eq!(much, Some(bytes), "{}", state["values"]["said"]);
    }
}

/// In the bytes of a text. The second one is nearly all that a thread may have.
const MUCH: [usize; 2] = [1_100_000, (16 << 20) - 100];

#[tokio::test]
async fn every_node_shows_runs_on_large_values_on_these_when_the_run_that_left_them_is_deleted() {
    let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
    let [a, b] = ["a", "b"].map(|name| node(&nodes, name, &go));
    for bytes in MUCH {
        let thread = behind_much([&a, &b], bytes, &go).await;
        for reader in [&a, &b, &node(&nodes, &format!("late {bytes}"), &go)] {
            has_much(reader, &thread, bytes).await;
        }
    }
}

#[tokio::test]
async fn runs_on_large_values_are_shown_on_these_after_a_restart_although_they_were_deleted() {
    let (store, go) = (Arc::new(MemoryStore::new()), Arc::new(Semaphore::new(0)));
    let before = nth(1, &store, &go).await;
    let thread = behind_much([&before; 2], MUCH[0], &go).await;
    has_much(&before, &thread, MUCH[0]).await;
    before.service.engine().shutdown(quell::Shutdown::default()).await;
    has_much(&nth(2, &store, &go).await, &thread, MUCH[0]).await;
}

#[tokio::test]
async fn no_run_starts_on_a_state_of_more_than_a_thread_may_have() {
    let (store, go) = (Arc::new(MemoryStore::new()), Arc::new(Semaphore::new(3)));
    let server = nth(1, &store, &go).await;
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    for key in ["a", "b"] {
        let input = json!({ "own": key, key: "x".repeat(9 << 20) });
        let asked = json!({ "assistant_id": "say", "input": input });
        assert_eq!(server.post(&path, &asked).await.status, 200);
    }
    let state = server.get(&format!("/threads/{thread}/state")).await.json();
    let fork = json!({ "assistant_id": "say", "input": { "own": "c" },
        "checkpoint_id": state["checkpoint_id"] });
    let refused = server.post(&path, &fork).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("too large to start on"), "{refused:?}");
}

#[tokio::test]
async fn a_change_of_values_behind_a_run_that_is_deleted_stays_as_it_was_on_every_node() {
    let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
    let [a, b] = ["a", "b"].map(|name| node(&nodes, name, &go));
    for deleter in [&a, &b] {
        let thread = a.thread().await;
        let first = runs(&thread, &[&a], &go).await.remove(0);
        let values = json!({ "values": { "said": ["mine"] } });
        let changed = b.post(&format!("/threads/{thread}/state"), &values).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(delete(deleter, &first).await.status, 204);
        let late = node(&nodes, &format!("late of {first}"), &go);
        for reader in [&a, &b, &late] {
            assert_eq!(said(reader, &thread).await, json!([1, "mine"]));
        }
    }
}

/// Makes a run that is held, and one of a plan behind it, and lets both end.
async fn with_plan(of: [&Server; 2], go: &Semaphore) -> (String, [String; 2]) {
    let thread = of[0].thread().await;
    let mut runs = Vec::new();
    for (server, graph) in of.iter().zip(["say", "plan"]) {
        let body = json!({ "assistant_id": graph, "input": { "own": 1 },
            "multitask_strategy": "enqueue" });
        let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
        assert_eq!(made.status, 200, "{made:?}");
        runs.push(made.header("content-location").to_owned());
    }
    go.add_permits(1);
    for (server, run) in of.iter().zip(&runs) {
        ended(server, run).await;
    }
    (thread, runs.try_into().unwrap())
}

async fn shows(server: &Server, thread: &str) -> [Value; 2] {
    let state = server.get(&format!("/threads/{thread}/state")).await.json();
    ["said", "greet"].map(|key| state["values"][key].clone())
}

#[tokio::test]
async fn a_plan_behind_a_run_that_is_deleted_keeps_on_what_it_has_started() {
    let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
    let [a, b] = ["a", "b"].map(|name| node(&nodes, name, &go));
    let both = [json!([1]), json!("hello")];
    for of in [[&a, &b], [&a, &a]] {
        let (thread, runs) = with_plan(of, &go).await;
        assert_eq!(delete(&a, &runs[0]).await.status, 204);
        let late = node(&nodes, &format!("late of {thread}"), &go);
        for reader in [&a, &b, &late] {
            assert_eq!(shows(reader, &thread).await, both);
        }
    }
    let store = Arc::new(MemoryStore::new());
    let before = nth(1, &store, &go).await;
    let (thread, runs) = with_plan([&before; 2], &go).await;
    assert_eq!(delete(&before, &runs[0]).await.status, 204);
    before.service.engine().shutdown(quell::Shutdown::default()).await;
    assert_eq!(shows(&nth(2, &store, &go).await, &thread).await, both);
}

#[tokio::test]
async fn a_later_attempt_on_another_node_starts_on_what_the_first_one_has_started_on() {
    let go = Arc::new(Semaphore::new(0));
    for is_queued in [false, true] {
        let nodes = Nodes::new(secs(30));
        let (a, of_b) = (node(&nodes, "a", &go), nodes.join("b"));
        let b = of_node(Arc::clone(&of_b), &go);
        let thread = a.thread().await;
        let path = format!("/threads/{thread}/runs");
        let body = |graph: &str| {
            let input = if graph == "say" { json!({ "own": 2 }) } else { json!({}) };
            json!({ "assistant_id": graph, "input": input, "multitask_strategy": "enqueue" })
        };
        runs(&thread, &[&a], &go).await;
        let first = a.post(&path, &body("say")).await.header("content-location").to_owned();
        if !is_queued {
            go.add_permits(1);
            ended(&a, &first).await;
        }
        let asking = a.post(&path, &body("ask")).await;
        let asking = asking.header("content-location").to_owned();
        if is_queued {
            go.add_permits(1);
        }
        soon_paused(&b, &asking).await;
        stored(&a, &asking).await;
        assert_eq!(delete(&b, &first).await.status, 204);
        a.service.engine().shutdown(quell::Shutdown::default()).await;
        take_over(&b, &of_b).await;
        let answer = json!({ "assistant_id": "ask", "command": { "resume": "yes" } });
        let told = b.post(&format!("{path}/wait"), &answer).await;
        assert_eq!(told.status, 200, "{told:?}");
        let late = node(&nodes, "late", &go);
        for (name, reader) in [("b", &b), ("late", &late)] {
            let values = reader.get(&format!("/threads/{thread}/state")).await.json();
            let shown = ["said", "got"].map(|key| values["values"][key].clone());
            assert_eq!(shown, [json!([1, 2, "yes"]), json!(2)], "{name} {is_queued}");
        }
    }
}
