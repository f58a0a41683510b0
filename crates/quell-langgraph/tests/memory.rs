//! What is shown of a run is in the run: an adapter that has lost its memory shows the same.

use quell::{Payload, RunContext};
use quell_flow::{Component, Emit};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::talk::{Says, Server};

/// Says words, and one of its nodes as well.
fn talker() -> Component {
    Component::agent("talker", async |ctx: RunContext, _input: Payload| {
        Emit::content("one ").send(&ctx);
        let node = ctx.spawn(quell::RunSpec::step("node"), async |ctx: RunContext| {
            Emit::content("within").send(&ctx);
            Ok(())
        });
        node.await?;
        Emit::content("two").send(&ctx);
        Ok(Payload::from(Value::Null))
    })
}

/// Every option that a request has.
fn every_option(graph: &str, number: usize) -> Value {
    let strategies = ["enqueue", "reject", "interrupt", "rollback"];
    json!({
        "assistant_id": graph,
        "input": { "text": "ä", "ms": 40, "chunk_ms": 10, "digits": 12_345_678_901_234_u64 },
        "metadata": {
            "mine": [1.50, null], "quell_timeout_ms": 5_000 + number, "quell_grace_ms": 7,
        },
        "config": { "tags": ["t"], "recursion_limit": 7 }, "context": { "user": "u" },
        "stream_mode": ["values", "messages", "updates", "tasks", "debug", "events", "custom"],
        "stream_subgraphs": number.is_multiple_of(2), "stream_resumable": true,
        "multitask_strategy": strategies[number % 4], "if_not_exists": "create",
        "on_completion": "keep", "on_disconnect": "continue", "durability": "exit",
        "interrupt_before": ["node"], "interrupt_after": "*", "feedback_keys": ["f"],
        "webhook": "http://x", "checkpoint_during": false, "nobody": "knows",
    })
}

/// Runs graphs in threads of their own, each twice, and yields what they are read by.
async fn ran(server: &Server) -> Vec<String> {
    let mut paths = Vec::new();
    let graphs = ["echo", "slow", "steps", "nested", "failing", "talker", "everywhere"];
    for (number, graph) in graphs.into_iter().enumerate() {
        let thread = Uuid::now_v7();
        for nth in 0..2 {
            let mut body = every_option(graph, number + nth);
            body["input"]["text"] = format!("text {nth}").into();
            let path = format!("/threads/{thread}/runs");
            let started = server.post(&path, &body).await;
            assert_eq!(started.status, 200, "{started:?}");
            let run = started.header("content-location").to_owned();
            server.get(&format!("{run}/join")).await;
            paths.push(run);
        }
    }
    let path = format!("/threads/{}/runs", Uuid::now_v7());
    let mut late = every_option("slow", 0);
    late["metadata"]["quell_timeout_ms"] = 20.into();
    late["input"]["ms"] = 60_000.into();
    let late = server.post(&path, &late).await.header("content-location").to_owned();
    server.get(&format!("{late}/join")).await;
    let mut scheduled = every_option("echo", 0);
    scheduled["after_seconds"] = 1_000.into();
    let scheduled = server.post(&path, &scheduled).await.header("content-location").to_owned();
    let kept = json!({ "assistant_id": "echo", "input": "no object", "on_completion": "keep" });
    let kept = server.post("/runs/wait", &kept).await.header("content-location").to_owned();
    paths.extend([late, scheduled, kept]);
    paths
}

#[tokio::test]
async fn every_answer_about_a_run_is_the_same_when_the_memory_of_the_adapter_is_lost() {
    let server = Server::serving([talker()]);
    let runs = ran(&server).await;
    let again = server.forgetful();
    let is_live = async |run: &str| server.status(run).await == "pending";
    for run in &runs {
        let (thread, _) = run.rsplit_once("/runs/").unwrap();
        let mut paths =
            vec![run.clone(), format!("{thread}/runs"), format!("{thread}/runs?select=kwargs")];
        if !is_live(run).await {
            paths.push(format!("{run}/join"));
        }
        for path in paths {
            let (before, after) = (server.get(&path).await, again.get(&path).await);
            assert_eq!(after.status, before.status, "{path}");
            assert_eq!(after.text, before.text, "{path}");
            assert_eq!(before.status, 200, "{before:?}");
        }
        if is_live(run).await {
            continue;
        }
        let replay = async |server: &Server, query: &str| {
            let server = server.saying("last-event-id", "-1");
            server.get(&format!("{run}/stream{query}")).await.text
        };
        for query in ["", "?stream_mode=values", "?stream_mode=updates&stream_mode=messages"] {
            assert_eq!(replay(&again, query).await, replay(&server, query).await, "{run} {query}");
        }
        let (mut before, mut after) =
            (server.get(thread).await.json(), again.get(thread).await.json());
        for row in [&mut before, &mut after] {
            // When the thread was made, and what it was given, is not in its runs.
            for key in ["created_at", "state_updated_at", "metadata"] {
                row.as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(after, before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lives_when_the_memory_is_lost_goes_on_in_its_thread() {
    let server = Server::new();
    let thread = server.thread().await;
    let first = server.start(&thread, "echo", json!({ "text": "first" })).await;
    server.get(&format!("{first}/join")).await;
    let input = json!({ "ms": 300, "tag": "live" });
    let live = server.start(&thread, "slow", input).await;
    server.until_ticking("live").await;
    let again = server.forgetful();
    assert_eq!(again.get(&live).await.text, server.get(&live).await.text);
    let row = again.get(&format!("/threads/{thread}")).await.json();
    assert_eq!((&row["status"], &row["values"]["log"]), (&json!("busy"), &json!(["echo:first"])));
    let next = again.start(&thread, "echo", json!({ "text": "next" })).await;
    let joined = again.get(&format!("{next}/join")).await.json();
    assert_eq!(joined["log"], json!(["echo:first", "slow:done", "echo:next"]));
    let stateless = json!({ "assistant_id": "slow", "input": { "ms": 9_000, "tag": "stateless" } });
    let stateless = again.post("/runs", &stateless).await.json();
    let run = format!("/runs/{}", stateless["run_id"].as_str().unwrap());
    again.until_ticking("stateless").await;
    let third = again.forgetful();
    let thread = stateless["thread_id"].as_str().unwrap();
    let joined = third.get(&format!("/threads/{thread}{run}/join")).await.json();
    assert_eq!(joined["log"], json!(["slow:done"]));
    assert_eq!(third.status(&format!("/threads/{thread}{run}")).await, "gone");
}

#[tokio::test]
async fn a_run_that_another_contract_started_is_shown_as_before() {
    let server = Server::new();
    let id = Uuid::now_v7();
    let service = &server.service;
    let view = service.view(quell_http::NATIVE, quell_http::Principal::anonymous());
    let echo = view.find_component("echo").unwrap();
    let start = quell_http::Start::new(echo, Payload::from(json!({ "text": "native" })));
    let run = view.start(start.session(id.to_string())).await.unwrap().run;
    run.quiescent().await;
    let path = format!("/threads/{id}/runs/{}", run.id());
    let (before, after) = (server.get(&path).await, server.forgetful().get(&path).await);
    assert_eq!(before.json()["kwargs"]["input"], json!({ "text": "native" }));
    assert_eq!(after.text, before.text);
    let missing = server.forgetful().get(&format!("/threads/{id}")).await;
    assert_eq!(missing.detail().0, 404, "it makes no thread");
}
