//! Runs that execute nothing, or go on where their thread was, whose node is lost before they
//! start, or while they wait: they do on the next one what they were made for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::testing::cluster::{Node, Nodes};
use quell::{EngineConfig, Payload, RunContext, Shutdown};
use quell_flow::{Component, Nodes as At, Reducer};
use quell_test_support::{secs, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::nodes::{soon_paused, soon_status, stored};
use crate::nodes_gone::take_over;
use crate::steps::state;
use crate::talk::Server;
use crate::threads::delete;
use crate::undone::{graph, plan};

/// How many bodies have begun, and how many may go on.
#[derive(Clone)]
struct Bodies {
    begun: Arc<AtomicUsize>,
    go_on: Arc<Semaphore>,
}

impl Bodies {
    fn new() -> Self {
        Self { begun: Arc::default(), go_on: Arc::new(Semaphore::new(0)) }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// One without nodes, and one that has two.
    fn graphs(&self) -> [Component; 2] {
        let graph = |name: &str| {
            let own = self.clone();
            let body = move |_ctx: RunContext, input: Payload| {
                let own = own.clone();
                async move {
                    own.begun.fetch_add(1, Ordering::SeqCst);
                    own.go_on.acquire().await.unwrap().forget();
                    Ok(input)
                }
            };
            Component::workflow(name, body).reducer("said", Reducer::Append)
        };
        [graph("bare"), graph("noded").nodes(["one", "two"])]
    }
}

fn of_node(node: &Arc<Node>, bodies: &Bodies) -> Server {
    Server::serving_with(EngineConfig::new().node(Arc::clone(node)), bodies.graphs())
}

/// Asks for a run, and yields its path.
async fn asked(server: &Server, path: &str, body: &Value) -> String {
    let made = server.post(path, body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.header("content-location").to_owned()
}

/// Has runs leave one value after the other in a new thread; yields it, and the checkpoint of the
/// first one.
async fn forked(server: &Server, graph: &str, bodies: &Bodies) -> (String, Value) {
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut first = Value::Null;
    bodies.go_on.add_permits(2);
    for nr in 1..=2 {
        let body = json!({ "assistant_id": graph, "input": { "nr": nr } });
        soon_status(server, &asked(server, &path, &body).await, "success").await;
        first = if nr == 1 { state(server, &thread).await["checkpoint_id"].clone() } else { first };
    }
    (thread, first)
}

#[tokio::test]
async fn a_run_that_only_moves_its_thread_runs_nothing_on_the_node_that_takes_it_over() {
    for graph in ["bare", "noded"] {
        let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
        let of_b = nodes.join("b");
        let (a, b) = (of_node(&nodes.join("a"), &bodies), of_node(&of_b, &bodies));
        let (thread, first) = forked(&b, graph, &bodies).await;
        let path = format!("/threads/{thread}/runs");
        let held = json!({ "assistant_id": graph, "input": { "nr": 3 } });
        let held = asked(&b, &path, &held).await;
        soon_status(&b, &held, "running").await;
        let moves = json!({ "assistant_id": graph, "input": null, "checkpoint_id": first,
            "multitask_strategy": "enqueue" });
        let moves = asked(&a, &path, &moves).await;
        a.service.engine().shutdown(Shutdown::default()).await;
        take_over(&b, &of_b).await;
        let begun = bodies.begun();
        // One that ran would have ended.
        bodies.go_on.add_permits(2);
        soon_status(&b, &moves, "success").await;
        assert_eq!(bodies.begun(), begun, "{graph}");
        let late = of_node(&nodes.join("late"), &bodies);
        for reader in [&b, &late] {
            let state = state(reader, &thread).await;
            assert_eq!((&state["values"]["nr"], &state["next"]), (&json!(1), &json!([])));
        }
    }
}

#[tokio::test]
async fn a_stateless_run_on_null_input_fails_on_the_node_that_takes_it_over_as_on_its_own() {
    let (bodies, nodes) = (Bodies::new(), Nodes::new(secs(30)));
    let of_b = nodes.join("b");
    let (a, b) = (of_node(&nodes.join("a"), &bodies), of_node(&of_b, &bodies));
    let body = json!({ "assistant_id": "bare", "input": null, "after_seconds": 0.3 });
    let made = a.post("/runs", &body).await.json();
    let path = ["thread_id", "run_id"].map(|key| made[key].as_str().unwrap().to_owned());
    a.service.engine().shutdown(Shutdown::default()).await;
    take_over(&b, &of_b).await;
    bodies.go_on.add_permits(1);
    let join = format!("/threads/{}/runs/{}/join", path[0], path[1]);
    let told = within("it ends", b.get(&join)).await.json();
    assert_eq!(told["__error__"]["error"], "EmptyInputError", "{told}");
    assert_eq!(bodies.begun(), 0);
}

/// At its second node it asks, and goes on from there when it has its answer and may.
fn asks(go_on: &Arc<Semaphore>) -> Component {
    let go_on = Arc::clone(go_on);
    let body = move |ctx: RunContext, input: Payload| {
        let go_on = Arc::clone(&go_on);
        async move {
            let mut nodes = At::begin(&ctx, input, ["one"]).await;
            while let Some(now) = nodes.now().map(<[String]>::to_vec) {
                let mut values: Value = nodes.state().parse()?;
                if now == ["two"] {
                    ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
                    go_on.acquire().await.unwrap().forget();
                }
                values["at"] = json!(now);
                nodes.leave(values.into(), (now == ["one"]).then_some("two"));
            }
            Ok(nodes.into_state())
        }
    };
    Component::workflow("asks", body).nodes(["one", "two"]).resumable()
}

/// Has a run of a node leave off behind its first node, and one go on there that asks. The first
/// one is deleted through another node, at once or when `b` has taken over what asks, and has gone
/// on. Yields what a reader shows at the end, whom `b` names.
async fn goes_on(deletes_late: bool, reader: impl Fn(&Server) -> Server) -> Value {
    let (nodes, go_on) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
    let of = |node: &Arc<Node>| {
        Server::serving_with(EngineConfig::new().node(Arc::clone(node)), [asks(&go_on)])
    };
    let of_b = nodes.join("b");
    let (a, b, c) = (of(&nodes.join("a")), of(&of_b), of(&nodes.join("c")));
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut first = String::new();
    for nr in 0..=1 {
        let body = json!({ "assistant_id": "asks", "input": { "nr": nr },
            "interrupt_after": ["one"] });
        first = asked(&a, &path, &body).await;
        soon_status(&a, &first, "success").await;
    }
    let on = json!({ "assistant_id": "asks", "input": null });
    let on = asked(&a, &path, &on).await;
    soon_paused(&b, &on).await;
    stored(&a, &on).await;
    if !deletes_late {
        assert_eq!(delete(&c, &first).await.status, 204);
    }
    a.service.engine().shutdown(Shutdown::default()).await;
    take_over(&b, &of_b).await;
    let answer = json!({ "assistant_id": "asks", "command": { "resume": "yes" } });
    asked(&b, &path, &answer).await;
    soon_status(&b, &on, "running").await;
    if deletes_late {
        assert_eq!(delete(&c, &first).await.status, 204);
    }
    let reader = reader(&b);
    state(&reader, &thread).await;
    go_on.add_permits(1);
    soon_status(&b, &on, "success").await;
    let state = state(&reader, &thread).await;
    json!([state["values"]["nr"], state["values"]["at"], state["next"]])
}

#[tokio::test]
async fn a_run_that_goes_on_does_so_where_it_has_begun_on_the_node_that_takes_it_over() {
    for deletes_late in [true, false] {
        let left = goes_on(deletes_late, Server::clone).await;
        assert_eq!(left, json!([1, ["two"], []]), "{deletes_late}");
    }
}

#[tokio::test]
async fn a_later_attempt_is_shown_on_what_it_has_started_on_by_whoever_finds_it_under_way() {
    let left = goes_on(true, Server::forgetful).await;
    assert_eq!(left, json!([1, ["two"], []]));
}

#[tokio::test]
async fn a_fork_goes_on_where_its_checkpoint_was_on_the_node_that_takes_it_over() {
    let (nodes, go_on) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(9)));
    let of = |node: &Arc<Node>| {
        Server::serving_with(EngineConfig::new().node(Arc::clone(node)), [asks(&go_on)])
    };
    let of_b = nodes.join("b");
    let (a, b) = (of(&nodes.join("a")), of(&of_b));
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs");
    let body = json!({ "assistant_id": "asks", "input": { "nr": 0 }, "interrupt_after": ["one"] });
    soon_status(&a, &asked(&a, &path, &body).await, "success").await;
    let fork = state(&a, &thread).await;
    assert_eq!(fork["next"], json!(["two"]));
    // The last one of the thread has come to its end: nothing comes next there.
    let answer = json!({ "assistant_id": "asks", "command": { "resume": "yes" } });
    let whole = json!({ "assistant_id": "asks", "input": { "nr": 1 } });
    let whole = asked(&a, &path, &whole).await;
    soon_paused(&a, &whole).await;
    asked(&a, &path, &answer).await;
    soon_status(&a, &whole, "success").await;
    assert_eq!(state(&a, &thread).await["next"], json!([]));
    let on = json!({ "assistant_id": "asks", "input": null,
        "checkpoint_id": fork["checkpoint_id"] });
    let on = asked(&a, &path, &on).await;
    soon_paused(&b, &on).await;
    stored(&a, &on).await;
    a.service.engine().shutdown(Shutdown::default()).await;
    take_over(&b, &of_b).await;
    asked(&b, &path, &answer).await;
    soon_status(&b, &on, "success").await;
    for reader in [&b, &of(&nodes.join("late"))] {
        let state = state(reader, &thread).await;
        let left = json!([state["values"]["nr"], state["values"]["at"], state["next"]]);
        assert_eq!(left, json!([0, ["two"], []]));
    }
}

#[tokio::test]
async fn a_plan_starts_on_what_is_there_on_the_node_that_takes_it_over() {
    for deletes in [false, true] {
        let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(0)));
        let of = |node: &Arc<Node>| {
            let config = EngineConfig::new().node(Arc::clone(node));
            Server::serving_with(config, [graph("say", &go), plan()])
        };
        let of_b = nodes.join("b");
        let (a, b) = (of(&nodes.join("a")), of(&of_b));
        let thread = b.thread().await;
        let path = format!("/threads/{thread}/runs");
        let mut runs = Vec::new();
        for own in 1..=2 {
            let body = json!({ "assistant_id": "say", "input": { "own": own },
                "multitask_strategy": "enqueue" });
            runs.push(asked(&b, &path, &body).await);
        }
        let body = json!({ "assistant_id": "plan", "input": { "own": 3 },
            "multitask_strategy": "enqueue" });
        let planned = asked(&a, &path, &body).await;
        a.service.engine().shutdown(Shutdown::default()).await;
        take_over(&b, &of_b).await;
        go.add_permits(1);
        soon_status(&b, &runs[0], "success").await;
        if deletes {
            assert_eq!(delete(&b, &runs[1]).await.status, 204);
        } else {
            go.add_permits(1);
        }
        soon_status(&b, &planned, "success").await;
        let said = if deletes { json!([1]) } else { json!([1, 2]) };
        for reader in [&b, &of(&nodes.join("late"))] {
            let values = &state(reader, &thread).await["values"];
            assert_eq!((&values["said"], &values["greet"]), (&said, &json!("hello")), "{values}");
        }
    }
}
