//! A run that waits behind others starts on what they have left.

use std::sync::Arc;

use axum::http::Method;
use futures::future::join_all;
use parking_lot::Mutex;
use quell::store::{MemoryStore, Store, StoreError};
use quell::testing::cluster::{Node, Nodes};
use quell::{CancelRequest, EngineConfig, Payload, RunContext, RunId, Shutdown};
use quell_flow::{Component, Nodes as QuellNodes, Reducer};
use quell_http::Access;
use quell_langgraph::Options;
use quell_test_support::{Counted, Flow, Valve, ms, secs, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::nodes_gone::take_over;
use crate::steps::state;
use crate::talk::{Server, id_of};
use crate::threads::delete;

/// What the bodies got, and how many may go on.
#[derive(Clone)]
struct Bodies {
    got: Arc<Mutex<Vec<Value>>>,
    go_on: Arc<Semaphore>,
}

impl Bodies {
    fn new() -> Self {
        Self { got: Arc::default(), go_on: Arc::new(Semaphore::new(0)) }
    }

    /// Yields its input with how many bodies began before.
    fn graph(&self) -> Component {
        let own = self.clone();
        let body = move |_ctx: RunContext, input: Payload| {
            let own = own.clone();
            async move {
                let mut input: Value = input.parse().unwrap();
                let nth = own.got.lock().len();
                own.got.lock().push(input.clone());
                own.go_on.acquire().await.unwrap().forget();
                input["nth"] = nth.into();
                input["said"] = json!([nth]);
                Ok(Payload::from(input))
            }
        };
        Component::workflow("see", body).reducer("said", Reducer::Append)
    }

    async fn begun(&self, count: usize) {
        within("they have begun", async {
            while self.got.lock().len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn queue(server: &Server, thread: &str, input: Value, strategy: &str) {
    let body = json!({"assistant_id": "see", "input": input, "multitask_strategy": strategy});
    let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
    assert_eq!(made.status, 200, "{made:?}");
}

#[tokio::test]
async fn a_queued_run_gets_what_the_one_before_it_has_left() {
    let bodies = Bodies::new();
    let server = Server::serving([bodies.graph()]);
    let thread = server.thread().await;
    queue(&server, &thread, json!({"a": 1, "b": 1}), "enqueue").await;
    queue(&server, &thread, json!({"b": 2}), "enqueue").await;
    queue(&server, &thread, json!({"c": 3}), "enqueue").await;
    bodies.go_on.add_permits(3);
    bodies.begun(3).await;
    let expected = [
        json!({"a": 1, "b": 1}),
        json!({"a": 1, "b": 2, "nth": 0}),
        json!({"a": 1, "b": 2, "c": 3, "nth": 1}),
    ];
    assert_eq!(*bodies.got.lock(), expected);
    let state = format!("/threads/{thread}/state");
    within("it shows what they have left", async {
        let all = json!({"a": 1, "b": 2, "c": 3, "nth": 2, "said": [0, 1, 2]});
        while server.get(&state).await.json()["values"] != all {
            tokio::time::sleep(secs(1) / 100).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_that_takes_the_place_of_another_gets_what_was_there_before_that() {
    let bodies = Bodies::new();
    let server = Server::serving([bodies.graph()]);
    let thread = server.thread().await;
    queue(&server, &thread, json!({"a": 1}), "enqueue").await;
    bodies.go_on.add_permits(1);
    bodies.begun(1).await;
    queue(&server, &thread, json!({"b": 2}), "enqueue").await;
    bodies.begun(2).await;
    queue(&server, &thread, json!({"c": 3}), "rollback").await;
    bodies.begun(3).await;
    assert_eq!(bodies.got.lock()[2], json!({"a": 1, "nth": 0, "c": 3}));
}

#[tokio::test]
async fn a_run_that_waits_behind_one_of_another_node_gets_what_that_has_left() {
    let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
    let [a, b] = ["a", "b"].map(|name| {
        let config = EngineConfig::new().node(nodes.join(name));
        Server::serving_with(config, [bodies.graph()])
    });
    let thread = a.thread().await;
    queue(&a, &thread, json!({"a": 1}), "enqueue").await;
    bodies.begun(1).await;
    queue(&b, &thread, json!({"b": 2}), "enqueue").await;
    bodies.go_on.add_permits(1);
    bodies.begun(2).await;
    assert_eq!(bodies.got.lock()[1], json!({"a": 1, "nth": 0, "b": 2}));
}

/// A run of a graph with nodes goes on behind others as it does in an idle thread.
#[tokio::test]
async fn a_run_without_input_that_waits_has_the_bounds_of_its_graph_and_may_ask() {
    let asks = async |ctx: RunContext, input: Payload| {
        let nodes = QuellNodes::begin(&ctx, input, ["ask"]).await;
        ctx.resumed_with().map(|_| nodes.into_state()).ok_or_else(|| ctx.pause("may I?"))
    };
    let stays = async |_ctx, _input| std::future::pending().await;
    let bodies = Bodies::new();
    let server = Server::serving([
        bodies.graph(),
        Component::workflow("asks", asks).nodes(["ask"]).resumable(),
        Component::workflow("stays", stays).nodes(["stay"]).timeout(secs(1) / 10),
    ]);
    for (graph, node, status) in [("asks", "ask", "interrupted"), ("stays", "stay", "error")] {
        let thread = server.thread().await;
        let begun = bodies.got.lock().len();
        queue(&server, &thread, json!({"a": 1}), "enqueue").await;
        bodies.begun(begun + 1).await;
        let body = json!({"assistant_id": graph, "command": {"goto": node},
            "multitask_strategy": "enqueue"});
        let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
        assert_eq!(made.status, 200, "{made:?}");
        bodies.go_on.add_permits(1);
        within("it asks, or its time is over", async {
            loop {
                let now = server.get(&format!("/threads/{thread}")).await.json();
                if now["status"] == status {
                    break;
                }
                assert_eq!(now["status"], "busy", "{now}");
                tokio::time::sleep(secs(1) / 100).await;
            }
        })
        .await;
    }
}

fn of_node(node: &Arc<Node>, graph: Component) -> Server {
    Server::serving_with(EngineConfig::new().node(Arc::clone(node)), [graph])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_as_it_starts_keeps_on_what_it_has_started_for_every_node() {
    for round in 0..20 {
        let told = stopped_as_it_starts(json!({"input": {"b": 1}}), false).await;
        assert!(told.iter().all(|own| *own == told[0]), "{round}: {told:?}");
        assert_eq!(told[0][0]["a"], 1, "{round}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_could_not_keep_that_has_left_nothing_for_every_node() {
    let told = stopped_as_it_starts(json!({"input": {"b": 1}}), true).await;
    assert!(told.iter().flatten().all(|own| *own == json!({})), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_without_input_that_is_stopped_as_it_starts_is_in_no_values_or_in_all() {
    for (round, is_blind) in [false, true].into_iter().cycle().take(20).enumerate() {
        let told = stopped_as_it_starts(json!({"command": {"update": {"b": 1}}}), is_blind).await;
        let all = told.iter().flatten();
        assert!(all.clone().all(|values| *values == told[0][0]), "{round}: {told:?}");
    }
}

/// Has a run start on one node behind one of another, stops it then, and deletes that. A blind one
/// is gone before it finds out on what it starts. Yields the values of the thread as each of three
/// nodes tells them: those of its state, and its own.
async fn stopped_as_it_starts(asked: Value, is_blind: bool) -> [[Value; 2]; 3] {
    let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
    let graph = || bodies.graph().nodes(["see"]);
    let a = of_node(&nodes.join("a"), graph());
    let node = nodes.join("b");
    let store = Counted::of(Arc::clone(&node) as _);
    let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(node);
    let config = config.grace(if is_blind { ms(1) } else { secs(5) });
    let b = Server::serving_with(config, [graph()]);
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let ask = async |server: &Server, mut body: Value| {
        (body["assistant_id"], body["multitask_strategy"]) = ("see".into(), "enqueue".into());
        server.post(&path, &body).await.header("content-location").to_owned()
    };
    let first = ask(&a, json!({"input": {"a": 1}})).await;
    bodies.begun(1).await;
    let made = ask(&b, asked).await;
    let run = b.service.engine().get(RunId::from_text(id_of(&made))).unwrap();
    store.hold_lists(is_blind);
    bodies.go_on.add_permits(1);
    within("it starts", async {
        while run.row().started_at.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    run.cancel(CancelRequest::because("enough"));
    within("it is over", run.quiescent()).await;
    run.stored().await.unwrap();
    store.hold_lists(false);
    assert_eq!(delete(&b, &first).await.status, 204);
    let late = of_node(&nodes.join("c"), graph());
    let of = async |server: &Server| {
        let mut own = server.get(&format!("/threads/{thread}")).await.json()["values"].take();
        if own.is_null() {
            // Of a thread without values; its state has none.
            own = json!({});
        }
        [state(server, &thread).await["values"].clone(), own]
    };
    [of(&a).await, of(&b).await, of(&late).await]
}

#[tokio::test]
async fn a_queued_run_whose_node_ends_gets_on_the_next_one_what_the_run_before_it_has_left() {
    let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
    let of_b = nodes.join("b");
    let [a, b] = [nodes.join("a"), Arc::clone(&of_b)].map(|node| of_node(&node, bodies.graph()));
    let thread = b.thread().await;
    queue(&b, &thread, json!({"a": 1}), "enqueue").await;
    bodies.begun(1).await;
    for input in [json!({"b": 2}), Value::Null, json!({"c": 3})] {
        queue(&a, &thread, input, "enqueue").await;
    }
    a.service.engine().shutdown(Shutdown::default()).await;
    take_over(&b, &of_b).await;
    bodies.go_on.add_permits(3);
    bodies.begun(3).await;
    let expected = [
        json!({"a": 1}),
        json!({"a": 1, "b": 2, "nth": 0}),
        // Null input of a graph that has come to its end runs nothing.
        json!({"a": 1, "b": 2, "c": 3, "nth": 1}),
    ];
    assert_eq!(*bodies.got.lock(), expected);
}

#[tokio::test]
async fn a_run_that_is_due_later_starts_on_what_runs_have_left_that_did_not_wait_for_it() {
    let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
    let [a, b] = ["a", "b"].map(|name| of_node(&nodes.join(name), bodies.graph()));
    for of in [&Server::serving([bodies.graph()]), &a] {
        bodies.got.lock().clear();
        bodies.go_on.add_permits(2);
        let thread = of.thread().await;
        let later = json!({"assistant_id": "see", "input": {"b": 2}, "after_seconds": 0.3});
        let made = of.post(&format!("/threads/{thread}/runs"), &later).await;
        assert_eq!(made.status, 200, "{made:?}");
        queue(of, &thread, json!({"a": 1}), "enqueue").await;
        bodies.begun(2).await;
        let got = [json!({"a": 1}), json!({"a": 1, "nth": 0, "b": 2})];
        assert_eq!(*bodies.got.lock(), got);
        let all = json!({"a": 1, "b": 2, "nth": 1, "said": [0, 1]});
        let readers = if std::ptr::eq(of, &raw const a) { vec![&a, &b] } else { vec![of] };
        for reader in readers {
            within("it shows what both have left", async {
                let state = format!("/threads/{thread}/state");
                while reader.get(&state).await.json()["values"] != all {
                    tokio::time::sleep(secs(1) / 100).await;
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn of_runs_that_two_nodes_make_at_once_none_takes_back_what_the_other_has_left() {
    let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
    let [a, b] = ["a", "b"].map(|name| of_node(&nodes.join(name), bodies.graph()));
    for nth in 0..20 {
        let thread = a.thread().await;
        let path = format!("/threads/{thread}/runs");
        let strategy = if nth % 2 == 0 { "enqueue" } else { "reject" };
        let body = |key: &str| {
            let input = Value::from(serde_json::Map::from_iter([(key.to_owned(), nth.into())]));
            json!({"assistant_id": "see", "input": input, "multitask_strategy": strategy})
        };
        let (of_a, of_b) = (body("a"), body("b"));
        let (of_a, of_b) = tokio::join!(a.post(&path, &of_a), b.post(&path, &of_b));
        // Each works until both were made or refused.
        bodies.go_on.add_permits(2);
        let made = [(of_a, "a"), (of_b, "b")].map(|(answer, key)| (answer.status.as_u16(), key));
        assert!(made.iter().all(|(status, _)| [200, 409].contains(status)), "{made:?}");
        assert!(strategy == "reject" || made.iter().all(|(status, _)| *status == 200), "{made:?}");
        let wanted = made.map(|(status, _)| status == 200);
        within("each shows what both have left", async {
            for reader in [&a, &b] {
                let state = format!("/threads/{thread}/state");
                let shown = async || {
                    let values = reader.get(&state).await.json()["values"].clone();
                    ["a", "b"].map(|key| values[key] == nth)
                };
                while shown().await != wanted {
                    tokio::time::sleep(secs(1) / 100).await;
                }
            }
        })
        .await;
        // A refused one has left its permit.
        let left = made.iter().filter(|(status, _)| *status != 200).count();
        assert_eq!(bodies.go_on.forget_permits(left), left);
    }
}

#[tokio::test]
async fn who_joins_what_a_server_leaves_to_the_next_one_is_told_to_come_again() {
    let store = Arc::new(MemoryStore::new());
    let server = Server::with(EngineConfig::new().store(store), Options::default(), Access::open());
    let runs = format!("/threads/{}/runs", server.thread().await);
    let later = json!({"assistant_id": "echo", "input": {}, "after_seconds": 3_600});
    let made = server.post(&runs, &later).await;
    let run = made.header("content-location").to_owned();
    server.service.engine().shutdown(Shutdown::default()).await;
    assert_eq!(server.status(&run).await, "pending");
    let joined = server.get(&format!("{run}/join")).await.json();
    assert!(joined["__error__"]["message"].as_str().unwrap().starts_with("503"), "{joined}");
    let streamed = server.get(&format!("{run}/stream")).await;
    assert!(streamed.text.contains("503"), "{streamed:?}");
}

/// The next process finds the run as it is in the store, and says that its worker was lost.
#[tokio::test]
async fn a_server_that_ends_with_a_store_in_trouble_tells_no_end_that_is_not_stored() {
    let valve = Valve::new(Flow::Open);
    let store = Arc::clone(&valve) as Arc<dyn Store>;
    let server = Server::with(EngineConfig::new().store(store), Options::default(), Access::open());
    let thread = server.thread().await;
    let run = server.start(&thread, "slow", json!({"ms": 60_000, "tag": "cut"})).await;
    let alone = json!({"assistant_id": "slow", "input": {"ms": 60_000, "tag": "alone"}});
    let asks = |method: Method, path: String, body: String| {
        let server = server.clone();
        tokio::spawn(async move { server.send(method, &path, &body).await.text })
    };
    let path = |last: &str| format!("{run}/{last}");
    let asked = [
        asks(Method::GET, path("join"), String::new()),
        asks(Method::GET, path("stream"), String::new()),
        asks(Method::POST, "/runs/wait".into(), alone.to_string()),
        asks(Method::POST, "/runs/stream".into(), alone.to_string()),
    ];
    for tag in ["cut", "alone"] {
        server.until_ticking(tag).await;
    }
    valve.set(Flow::Failing(StoreError::Io { what: "said the test".into() }));
    tokio::time::sleep(ms(20)).await;
    server.service.drain();
    drop(server.service.engine().shutdown(Shutdown::from(ms(100))).await);
    for told in within("it ends", join_all(asked)).await {
        assert!(told.unwrap().contains("503: The run goes on elsewhere"));
    }
    assert_eq!(server.get(&run).await.status, 503);
}
