//! Runs of one thread that wait behind those of other nodes: on what they start, and what they
//! leave.

use std::sync::Arc;

use quell::testing::cluster::Nodes;
use quell::{EngineConfig, Payload, RunContext};
use quell_flow::{Component, Nodes as GraphNodes, Reducer};
use quell_test_support::{secs, within};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::nodes::{server, soon_status, stored, two};
use crate::steps::history;
use crate::talk::Server;
use crate::threads::delete;

/// Works for a moment; other runs are made behind it meanwhile.
fn first() -> Value {
    json!({ "ms": 400, "chunk_ms": 20, "tag": "first", "by": "first" })
}

fn echo(text: &str) -> Value {
    json!({ "assistant_id": "echo", "input": { "text": text } })
}

async fn row(server: &Server, thread: &str) -> Value {
    let answer = server.get(&format!("/threads/{thread}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Makes three runs one behind the other, each on the server of its turn. Yields what the waits for
/// the last two tell, and the thread.
async fn three(of: [&Server; 3]) -> ([Value; 2], String) {
    let thread = of[0].thread().await;
    let slow = of[0].start(&thread, "slow", first()).await;
    of[0].until_ticking("first").await;
    if of[0].service.engine().has_store() {
        stored(of[0], &slow).await;
    }
    let path = format!("/threads/{thread}/runs/wait");
    let (second, third) = (echo("second"), echo("third"));
    let waits = async {
        let after_second = async {
            // The second one is in the lane before.
            while list(of[2], &thread).await < 2 {
                tokio::time::sleep(secs(1) / 200).await;
            }
            of[2].post(&path, &third).await
        };
        tokio::join!(of[1].post(&path, &second), after_second)
    };
    let (second, third) = within("all have ended", waits).await;
    ([second.json(), third.json()], thread)
}

async fn list(server: &Server, thread: &str) -> usize {
    let list = server.get(&format!("/threads/{thread}/runs")).await.json();
    list.as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_run_starts_on_what_the_one_before_it_left_whichever_nodes_have_them() {
    let alone = Server::new();
    let (wanted, thread) = three([&alone, &alone, &alone]).await;
    assert_eq!(wanted[1]["log"], json!(["slow:done", "echo:second", "echo:third"]));
    let wanted_row = row(&alone, &thread).await;
    for turns in [[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [0, 1, 2]] {
        let nodes = Nodes::new(secs(30));
        let all = ["a", "b", "c"].map(|name| server(&nodes.join(name)));
        let (told, thread) = three(turns.map(|turn| &all[turn])).await;
        assert_eq!(told, wanted, "{turns:?}");
        // One that has just come has nothing in memory.
        let late = server(&nodes.join("late"));
        for (nth, reader) in all.iter().chain([&late]).enumerate() {
            let row = row(reader, &thread).await;
            for key in ["values", "status", "error"] {
                assert_eq!(row[key], wanted_row[key], "{turns:?} {nth} {key}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_long_line_of_runs_has_left_a_new_node_finds() {
    let (nodes, turns) = (Nodes::new(secs(30)), 45);
    let [a, b] = ["a", "b"].map(|name| server(&nodes.join(name)));
    let thread = a.thread().await;
    a.start(&thread, "slow", first()).await;
    a.until_ticking("first").await;
    let mut last = String::new();
    for nth in 0..turns {
        let server = if nth % 3 == 0 { &a } else { &b };
        last = server.start(&thread, "echo", json!({ "text": nth.to_string() })).await;
    }
    soon_status(&a, &last, "success").await;
    let told = (0..turns).map(|nth| format!("echo:{nth}"));
    let log: Vec<_> = ["slow:done".to_owned()].into_iter().chain(told).collect();
    let late = server(&nodes.join("late"));
    for reader in [&a, &b, &late] {
        let row = row(reader, &thread).await;
        assert_eq!((&row["values"]["log"], &row["status"]), (&json!(log), &json!("idle")));
    }
}

#[tokio::test]
async fn a_stream_of_another_node_shows_the_values_of_the_thread_too() {
    let (a, b) = two();
    let thread = a.thread().await;
    let before = a.post(&format!("/threads/{thread}/runs/wait"), &echo("before")).await;
    assert_eq!(before.status, 200, "{before:?}");
    let path = format!("/threads/{thread}/runs");
    let body = |graph: &str, input: Value| {
        json!({ "assistant_id": graph, "input": input, "stream_resumable": true,
            "stream_mode": ["values", "updates"] })
    };
    let slow = a.post(&path, &body("slow", first())).await.header("content-location").to_owned();
    a.until_ticking("first").await;
    stored(&a, &slow).await;
    let queued = b.post(&path, &body("echo", json!({ "text": "behind" }))).await;
    let queued = queued.header("content-location").to_owned();
    for (run, owner, other) in [(&slow, &a, &b), (&queued, &b, &a)] {
        let [near, far] = [owner, other].map(|server| server.saying("last-event-id", "-1"));
        let path = format!("{run}/stream");
        let (near, far) = tokio::join!(near.get(&path), far.get(&path));
        let without_beats = |text: &str| text.replace(": heartbeat\n", "");
        assert!(near.text.contains("echo:before"), "{near:?}");
        assert_eq!(without_beats(&far.text), without_beats(&near.text), "{run}");
        // The same again, when it has ended.
        let again = other.saying("last-event-id", "-1").get(&path).await;
        assert_eq!(without_beats(&again.text), without_beats(&near.text), "{run}");
        let join = format!("{run}/join");
        assert_eq!(other.get(&join).await.json()["log"][0], "echo:before", "{run}");
    }
}

#[tokio::test]
async fn null_input_behind_a_run_of_another_node_goes_on_with_what_that_left() {
    let (a, b) = two();
    let thread = a.thread().await;
    a.start(&thread, "slow", first()).await;
    a.until_ticking("first").await;
    let body = json!({ "assistant_id": "echo", "input": null });
    let path = format!("/threads/{thread}/runs/wait");
    let told = within("it has its turn", b.post(&path, &body)).await.json();
    assert_eq!((&told["log"], &told["by"]), (&json!(["slow:done"]), &json!("first")));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_while_it_waits_leaves_the_values_as_they_are() {
    let (a, b) = two();
    let thread = a.thread().await;
    let slow = a.start(&thread, "slow", first()).await;
    a.until_ticking("first").await;
    let queued = b.start(&thread, "echo", json!({ "text": "never" })).await;
    assert_eq!(b.post(&format!("{queued}/cancel?wait=1"), &Value::Null).await.status, 200);
    soon_status(&b, &slow, "success").await;
    for reader in [&a, &b] {
        let values = &row(reader, &thread).await["values"];
        assert_eq!((&values["log"], values.get("text")), (&json!(["slow:done"]), None));
    }
}

/// What a thread has is put into what a body gets only if no run is live: with keys of its own the
/// body then takes nothing back of what others have left.
#[tokio::test]
async fn a_body_that_returns_what_it_got_takes_nothing_back_of_another_nodes_run() {
    let nodes = Nodes::new(secs(30));
    let log = |component: Component| component.reducer("log", Reducer::Append);
    let same = || {
        log(Component::workflow("same", async |_ctx, input: Payload| {
            Ok::<_, quell::Failure>(input)
        }))
    };
    let [a, b] = ["a", "b"]
        .map(|name| Server::serving_with(EngineConfig::new().node(nodes.join(name)), [same()]));
    let thread = a.thread().await;
    a.start(&thread, "slow", first()).await;
    a.until_ticking("first").await;
    let body = json!({ "assistant_id": "same", "input": { "mine": 1 } });
    let told = within("it ends", b.post(&format!("/threads/{thread}/runs/wait"), &body)).await;
    let told = told.json();
    assert_eq!((&told["mine"], &told["by"]), (&json!(1), &json!("first")), "{told}");
}

/// Makes a run that is to start later, and stops it before.
async fn never_started(server: &Server, thread: &str) -> String {
    let body = json!({ "assistant_id": "echo", "input": { "text": "no" }, "after_seconds": 600 });
    let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = made.header("content-location").to_owned();
    let stopped = server.post(&format!("{run}/cancel?wait=1"), &Value::Null).await;
    assert!(stopped.status.is_success(), "{stopped:?}");
    soon_status(server, &run, "interrupted").await;
    run
}

#[tokio::test]
async fn what_a_run_has_left_every_node_shows_behind_one_that_never_started() {
    let nodes = Nodes::new(secs(30));
    let [a, b] = ["a", "b"].map(|name| server(&nodes.join(name)));
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    assert_eq!(a.post(&path, &echo("first")).await.status, 200);
    let second = a.post(&path, &echo("second")).await;
    let second = second.header("content-location").to_owned();
    row(&b, &thread).await;
    never_started(&b, &thread).await;
    let wanted = json!(["echo:first", "echo:second"]);
    let late = server(&nodes.join("late"));
    for (nth, reader) in [&a, &b, &late].into_iter().enumerate() {
        assert_eq!(row(reader, &thread).await["values"]["log"], wanted, "{nth}");
    }
    // It was the last one that has left anything.
    assert_eq!(delete(&b, &second).await.status, 204);
    let later = server(&nodes.join("later"));
    for (nth, reader) in [&a, &b, &late, &later].into_iter().enumerate() {
        assert_eq!(row(reader, &thread).await["values"]["log"], json!(["echo:first"]), "{nth}");
    }
}

#[tokio::test]
async fn a_run_starts_on_what_the_one_before_it_left_however_many_between_never_started() {
    let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Notify::new()));
    let [a, b] = ["a", "b"].map(|name| {
        let until = Arc::clone(&go);
        let held = Component::workflow("held", move |_ctx, _input: Payload| {
            let go = Arc::clone(&until);
            async move {
                go.notified().await;
                Ok(Payload::from(json!({ "by": "held" })))
            }
        });
        Server::serving_with(EngineConfig::new().node(nodes.join(name)), [held])
    });
    let thread = a.thread().await;
    let first = a.start(&thread, "held", json!({})).await;
    stored(&a, &first).await;
    let behind = async {
        let path = format!("/threads/{thread}/runs/wait");
        b.post(&path, &echo("behind")).await.json()
    };
    let between = async {
        while list(&a, &thread).await < 2 {
            tokio::time::sleep(secs(1) / 200).await;
        }
        for _ in 0..161 {
            never_started(&a, &thread).await;
        }
        go.notify_one();
    };
    let (told, ()) = within("it ends", async { tokio::join!(behind, between) }).await;
    assert_eq!((&told["by"], &told["log"]), (&json!("held"), &json!(["echo:behind"])), "{told}");
}

#[tokio::test]
async fn behind_a_state_without_values_every_node_has_the_same() {
    let (a, b) = two();
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let null = json!({ "assistant_id": "steps" });
    let told = a.post(&path, &null).await.json();
    assert_eq!(told["__error__"]["error"], "EmptyInputError", "{told}");
    let state = a.get(&format!("/threads/{thread}/state")).await.json();
    let id = &state["checkpoint"]["checkpoint_id"];
    let on = json!({ "assistant_id": "echo", "checkpoint_id": id });
    assert_eq!(a.post(&path, &on).await.status, 200);
    assert_eq!(row(&a, &thread).await["values"], row(&b, &thread).await["values"]);
    let state = format!("/threads/{thread}/state");
    assert_eq!(a.get(&state).await.json()["values"], b.get(&state).await.json()["values"]);
}

#[tokio::test]
async fn a_run_of_another_contract_is_joined_through_every_node_with_its_own_values() {
    let (a, b) = two();
    let thread = a.thread().await;
    a.post(&format!("/threads/{thread}/runs/wait"), &echo("of the thread")).await;
    let view = a.service.view(quell_http::NATIVE, quell_http::Principal::anonymous());
    let graph = view.find_component("echo").unwrap();
    let start = quell_http::Start::new(graph, Payload::from(json!({ "text": "its own" })));
    let run = view.start(start.session(thread.clone())).await.unwrap().run;
    run.ended().await;
    run.stored().await.unwrap();
    let path = format!("/threads/{thread}/runs/{}/join", run.id());
    let own = a.get(&path).await.json();
    assert_eq!(own["text"], "its own", "{own}");
    assert_eq!(b.get(&path).await.json(), own);
}

/// Has two nodes, the first of which leaves nothing, and may be held.
fn silent(go: &Arc<Semaphore>) -> Component {
    let go = Arc::clone(go);
    let body = move |ctx: RunContext, input: Payload| {
        let go = Arc::clone(&go);
        async move {
            let mut nodes = GraphNodes::begin(&ctx, input, ["one"]).await;
            while let Some(now) = nodes.now().map(|now| now[0].clone()) {
                go.acquire().await.unwrap().forget();
                let is_one = now == "one";
                let left = if is_one { json!({}) } else { json!({ "end": 1 }) };
                nodes.leave(left.into(), if is_one { vec!["two"] } else { vec![] });
            }
            Ok(nodes.into_state())
        }
    };
    Component::workflow("silent", body).nodes(["one", "two"])
}

#[tokio::test]
async fn a_fork_on_a_state_without_values_that_is_cut_has_left_that_state_on_every_node() {
    let (nodes, go) = (Nodes::new(secs(30)), Arc::new(Semaphore::new(2)));
    let [a, b] = ["a", "b"].map(|name| {
        Server::serving_with(EngineConfig::new().node(nodes.join(name)), [silent(&go)])
    });
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let whole = json!({ "assistant_id": "silent", "input": {} });
    assert_eq!(a.post(&path, &whole).await.json(), json!({ "end": 1 }));
    assert_eq!(row(&b, &thread).await["values"], json!({ "end": 1 }), "it has been read");
    let states = history(&a, &thread).await;
    let at_one = states.iter().find(|state| state["next"] == json!(["one"])).unwrap();
    assert_eq!(at_one["values"], json!({}));
    let on = json!({ "assistant_id": "silent", "input": null,
        "checkpoint": at_one["checkpoint"] });
    let fork = a.post(&format!("/threads/{thread}/runs"), &on).await;
    let fork = fork.header("content-location").to_owned();
    soon_status(&a, &fork, "running").await;
    let cancel = format!("{fork}/cancel?wait=quiescent");
    assert_eq!(a.post(&cancel, &Value::Null).await.status, 200);
    stored(&a, &fork).await;
    for server in [&a, &b] {
        let last = server.get(&format!("/threads/{thread}/state")).await.json();
        assert_eq!((&last["values"], &last["next"]), (&json!({}), &json!(["one"])));
        assert_eq!(row(server, &thread).await["values"], json!({}));
    }
    // Where nothing has been left yet it goes on all the same, whoever is asked.
    go.add_permits(2);
    let null = json!({ "assistant_id": "silent", "input": null });
    assert_eq!(b.post(&path, &null).await.json(), json!({ "end": 1 }));
}
