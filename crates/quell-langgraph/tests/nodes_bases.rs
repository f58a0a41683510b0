//! A run of a thread that several nodes serve starts on what is there when it starts, whatever was
//! there when it was made.

use std::sync::Arc;

use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Payload, RunContext, RunFilter};
use quell_flow::{Component, Reducer};
use quell_test_support::{Counted, secs, soon, within};
use serde_json::{Value, json};

use crate::talk::Server;
use crate::threads::delete;

/// Yields what it was given, and appends that it was there.
fn graph() -> Component {
    let body = async |_ctx: RunContext, input: Payload| {
        let mut input: Value = input.parse().unwrap();
        let own = input["own"].take();
        input["said"] = json!([own]);
        Ok(Payload::from(input))
    };
    Component::workflow("see", body).reducer("said", Reducer::Append)
}

/// A node whose appends wait for as long as the test says, and its reads are counted.
fn held(nodes: &Nodes, name: &str) -> (Server, Arc<Counted>) {
    let of = nodes.join(name);
    let store = Counted::of(Arc::clone(&of) as _);
    let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(of as _);
    (Server::serving_with(config, [graph()]), store)
}

fn input(own: &str) -> Value {
    json!({ "assistant_id": "see", "input": { "own": own } })
}

async fn wait(on: &Server, thread: &str, own: &str) {
    let ended = on.post(&format!("/threads/{thread}/runs/wait"), &input(own)).await;
    assert_eq!(ended.json()["own"], Value::Null, "{ended:?}");
}

/// Asks for a run on a node that stores nothing for now, and yields when the node has looked at the
/// thread.
async fn looks(
    (on, store): &(Server, Arc<Counted>),
    thread: &str,
    body: &Value,
) -> tokio::task::JoinHandle<String> {
    store.hold(true);
    let before = on.service.engine().runs(&RunFilter::new()).len();
    let (path, asked, body) = (format!("/threads/{thread}/runs"), on.clone(), body.clone());
    let task = tokio::spawn(async move {
        let made = asked.post(&path, &body).await;
        assert_eq!(made.status, 200, "{made:?}");
        made.header("content-location").to_owned()
    });
    soon("it is to be stored", || on.service.engine().runs(&RunFilter::new()).len() > before).await;
    task
}

async fn ends(on: &Server, store: &Counted, task: tokio::task::JoinHandle<String>) {
    store.hold(false);
    let run = within("it is made", task).await.unwrap();
    within("it ends", async {
        while on.get(&run).await.json()["status"] != "success" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn said(on: &Server, thread: &str) -> Value {
    on.get(&format!("/threads/{thread}/state")).await.json()["values"]["said"].clone()
}

#[tokio::test]
async fn a_run_starts_on_what_another_node_has_left_between_the_look_at_its_thread_and_it() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (held(&nodes, "a"), held(&nodes, "b"));
    let null = json!({ "assistant_id": "see", "input": null });
    let update = json!({ "values": { "said": ["last"] } });
    for (nth, last) in [input("last"), null, update].into_iter().enumerate() {
        let is_update = last.get("values").is_some();
        let thread = a.0.thread().await;
        wait(&a.0, &thread, "first").await;
        if is_update {
            a.1.hold(true);
            let (on, path) = (a.0.clone(), format!("/threads/{thread}/state"));
            let before = on.service.engine().runs(&RunFilter::new()).len();
            let task = tokio::spawn(async move { on.post(&path, &last).await });
            let engine = a.0.service.engine();
            soon("it is to be stored", || engine.runs(&RunFilter::new()).len() > before).await;
            wait(&b.0, &thread, "between").await;
            a.1.hold(false);
            let changed = within("it is made", task).await.unwrap();
            assert_eq!(changed.status, 200, "{changed:?}");
        } else {
            let task = looks(&a, &thread, &last).await;
            wait(&b.0, &thread, "between").await;
            ends(&a.0, &a.1, task).await;
        }
        let all = if nth == 1 {
            json!(["first", "between"])
        } else {
            json!(["first", "between", "last"])
        };
        let fresh = held(&nodes, &format!("fresh {nth}"));
        for (name, reader) in [("a", &a.0), ("b", &b.0), ("fresh", &fresh.0)] {
            assert_eq!(said(reader, &thread).await, all, "{name}, {nth}");
        }
        let history = fresh.0.get(&format!("/threads/{thread}/history")).await.json();
        let told = history.as_array().unwrap().iter().map(|it| it["values"]["said"].clone());
        let told: Vec<_> = told.collect();
        assert_eq!(told[..2], [all, json!(["first", "between"])], "{nth}");
        // Those behind it start on it.
        wait(&fresh.0, &thread, "then").await;
        assert_eq!(said(&b.0, &thread).await.as_array().unwrap().last(), Some(&json!("then")));
    }
}

#[tokio::test]
async fn runs_that_were_made_on_what_is_old_by_now_start_each_on_what_the_one_before_has_left() {
    let nodes = Nodes::new(secs(30));
    let (a, b, c) = (held(&nodes, "a"), held(&nodes, "b"), held(&nodes, "c"));
    let thread = a.0.thread().await;
    wait(&a.0, &thread, "1").await;
    let of_a = looks(&a, &thread, &input("3")).await;
    let of_c = looks(&c, &thread, &input("4")).await;
    wait(&b.0, &thread, "2").await;
    ends(&a.0, &a.1, of_a).await;
    ends(&c.0, &c.1, of_c).await;
    let fresh = held(&nodes, "fresh");
    let all = json!(["1", "2", "3", "4"]);
    for (name, reader) in [("a", &a.0), ("b", &b.0), ("c", &c.0), ("fresh", &fresh.0)] {
        assert_eq!(said(reader, &thread).await, all, "{name}");
    }
}

#[tokio::test]
async fn a_run_that_was_made_on_what_is_deleted_by_now_starts_without_it_everywhere() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (held(&nodes, "a"), held(&nodes, "b"));
    let thread = a.0.thread().await;
    let body = json!({ "assistant_id": "see", "input": { "own": "first", "n": 1 } });
    let path = format!("/threads/{thread}/runs");
    let first = b.0.post(&format!("{path}/wait"), &body).await;
    let first = first.header("content-location").to_owned();
    assert_eq!(said(&a.0, &thread).await, json!(["first"]));
    let task = looks(&a, &thread, &input("last")).await;
    assert_eq!(delete(&b.0, &first).await.status, 204);
    ends(&a.0, &a.1, task).await;
    let fresh = held(&nodes, "fresh");
    for (name, reader) in [("a", &a.0), ("b", &b.0), ("fresh", &fresh.0)] {
        let state = reader.get(&format!("/threads/{thread}/state")).await.json();
        let shown = ["said", "n"].map(|key| state["values"][key].clone());
        assert_eq!(shown, [json!(["last"]), Value::Null], "{name}");
    }
}

#[tokio::test]
async fn a_change_of_values_that_is_held_back_is_made_without_what_is_deleted_by_then() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (held(&nodes, "a"), held(&nodes, "b"));
    let thread = a.0.thread().await;
    wait(&a.0, &thread, "first").await;
    let path = format!("/threads/{thread}/runs/wait");
    let second = b.0.post(&path, &input("second")).await.header("content-location").to_owned();
    assert_eq!(said(&a.0, &thread).await, json!(["first", "second"]));
    a.1.hold(true);
    let (on, path) = (a.0.clone(), format!("/threads/{thread}/state"));
    let before = on.service.engine().runs(&RunFilter::new()).len();
    let change = json!({ "values": { "said": ["mine"] } });
    let task = tokio::spawn(async move { on.post(&path, &change).await });
    let engine = a.0.service.engine();
    soon("it is to be stored", || engine.runs(&RunFilter::new()).len() > before).await;
    assert_eq!(delete(&b.0, &second).await.status, 204);
    a.1.hold(false);
    let changed = within("it is made", task).await.unwrap();
    assert_eq!(changed.status, 200, "{changed:?}");
    let fresh = held(&nodes, "fresh");
    for (name, reader) in [("a", &a.0), ("b", &b.0), ("fresh", &fresh.0)] {
        assert_eq!(said(reader, &thread).await, json!(["first", "mine"]), "{name}");
    }
}

#[tokio::test]
async fn a_run_that_finds_nothing_new_when_it_starts_reads_the_store_little() {
    let nodes = Nodes::new(secs(30));
    let a = held(&nodes, "a");
    let thread = a.0.thread().await;
    wait(&a.0, &thread, "first").await;
    let task = looks(&a, &thread, &input("last")).await;
    let before = a.1.reads();
    a.1.hold(false);
    let run = within("it is made", task).await.unwrap();
    let id = run.rsplit('/').next().unwrap().parse().unwrap();
    let engine = a.0.service.engine();
    soon("it has ended", || engine.get(id).is_some_and(|run| run.status().is_terminal())).await;
    // What others have left since the look, once, and that the thread is not deleted meanwhile.
    let reads = a.1.reads() - before;
    assert!(reads <= 2, "{reads} reads");
}
