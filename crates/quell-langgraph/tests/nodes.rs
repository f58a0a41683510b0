//! Two servers on two nodes of one store: what is asked of the one about runs of the other.

use std::sync::Arc;

use quell::testing::cluster::{Node, Nodes};
use quell::{EngineConfig, Failure, Payload, RunContext, RunFilter, RunId, RunKind};
use quell_flow::{Component, OnWorkerLost};
use quell_test_support::{secs, soon, within};
use serde_json::{Value, json};

use crate::talk::{Answer, Says as _, Server, id_of};

const LONG: u64 = 60_000;

/// Asks, and answers with what it was told.
pub(crate) async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    match ctx.resumed_with() {
        Some(answer) => Ok(json!({ "told": answer }).into()),
        None => Err(ctx.pause(Payload::from(json!({ "question": "go on?" })))),
    }
}

/// Asks in its second attempt, and does nothing in the first one.
async fn ask_later(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    if ctx.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    ask(ctx, input).await
}

pub(crate) fn server(node: &Arc<Node>) -> Server {
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    let later = Component::workflow("later", ask_later).resumable();
    let later = later.on_worker_lost(OnWorkerLost::Continue);
    Server::serving_with(config, [Component::workflow("ask", ask).resumable(), later])
}

pub(crate) fn two() -> (Server, Server) {
    let nodes = Nodes::new(secs(30));
    (server(&nodes.join("a")), server(&nodes.join("b")))
}

async fn ticking(server: &Server, graph: &str, tag: &str) -> (String, String) {
    let thread = server.thread().await;
    let input = json!({"ms": LONG, "chunk_ms": 5, "tag": tag});
    let run = server.start(&thread, graph, input).await;
    server.until_ticking(tag).await;
    stored(server, &run).await;
    (thread, run)
}

pub(crate) async fn stored(server: &Server, run: &str) {
    let id = RunId::from_text(id_of(run));
    server.service.engine().get(id).unwrap().stored().await.unwrap();
}

#[tokio::test]
async fn a_run_of_another_node_is_cancelled_waited_for_and_read() {
    let (a, b) = two();
    for graph in ["slow", "steps", "parallel", "nested"] {
        let (thread, run) = ticking(&a, graph, graph).await;
        assert_eq!(b.status(&run).await, "running");
        let list = b.get(&format!("/threads/{thread}/runs")).await.json();
        assert_eq!((&list[0]["status"], list.as_array().unwrap().len()), (&json!("running"), 1));
        let answer = b.post(&format!("{run}/cancel?wait=1"), &Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
        for (name, value) in [
            ("quell-disposition", "accepted"),
            ("quell-cause", "user-request"),
            ("quell-quiescent", "true"),
            ("content-location", &run),
        ] {
            assert_eq!(answer.header(name), value, "{graph}");
        }
        a.assert_stopped(graph).await;
        assert_eq!((b.status(&run).await, a.status(&run).await), again("interrupted"));
        let over = b.post(&format!("{run}/cancel"), &Value::Null).await;
        assert_eq!(
            (over.status.as_u16(), over.header("quell-disposition")),
            (404, "already-terminal")
        );
    }
}

fn again(text: &str) -> (String, String) {
    (text.to_owned(), text.to_owned())
}

#[tokio::test]
async fn a_rollback_through_another_node_takes_the_run_back() {
    let (a, b) = two();
    let (_, run) = ticking(&a, "slow", "back").await;
    let answer =
        b.post(&format!("{run}/cancel?action=rollback&wait=quiescent"), &Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.header("quell-disposition")), (200, "accepted"));
    assert_eq!(answer.header("quell-cause"), "user-request", "it is told of what is forgotten");
    a.assert_stopped("back").await;
    for server in [&a, &b] {
        assert_eq!(server.status(&run).await, "gone");
    }
}

/// Waits until a body has gone, which a cancel of many does not wait for, and sees that it has.
async fn stopped(server: &Server, tag: &str) {
    let has_gone = || server.witness.get(tag).1.iter().any(|mark| mark.ends_with(":dropped"));
    soon("its body has gone", has_gone).await;
    server.assert_stopped(tag).await;
}

#[tokio::test]
async fn a_bulk_cancel_has_the_runs_of_all_nodes() {
    let (a, b) = two();
    // By ids.
    let (thread, run) = ticking(&a, "slow", "ids").await;
    let (_, other) = ticking(&a, "slow", "other").await;
    let ids = json!({ "thread_id": thread, "run_ids": [id_of(&run)] });
    assert_eq!(b.post("/runs/cancel", &ids).await.status, 204);
    stopped(&a, "ids").await;
    assert_eq!(b.post("/runs/cancel", &ids).await.status, 404, "it has ended");
    // By thread.
    let (thread, _) = ticking(&a, "slow", "thread").await;
    let of_thread = json!({ "status": "all", "thread_id": thread });
    assert_eq!(b.post("/runs/cancel", &of_thread).await.status, 204);
    stopped(&a, "thread").await;
    assert_eq!(b.status(&other).await, "running");
    // By status: here and there, and those that wait first.
    let (thread, _) = ticking(&a, "slow", "first").await;
    let queued = a.start(&thread, "slow", json!({"ms": LONG, "tag": "queued"})).await;
    stored(&a, &queued).await;
    ticking(&b, "slow", "near").await;
    assert_eq!(b.post("/runs/cancel", &json!({"status": "pending"})).await.status, 204);
    soon_status(&b, &queued, "interrupted").await;
    assert_eq!(b.status(&other).await, "running");
    assert_eq!(b.post("/runs/cancel", &json!({"status": "all"})).await.status, 204);
    stopped(&a, "other").await;
    stopped(&a, "first").await;
    stopped(&b, "near").await;
    assert!(a.witness.get("queued").0.is_empty(), "it never began");
    let none = b.post("/runs/cancel", &json!({"status": "all"})).await;
    assert_eq!((none.status.as_u16(), none.header("quell-disposition")), (404, "unknown"));
}

pub(crate) async fn soon_status(server: &Server, run: &str, status: &str) {
    within("it comes to that", async {
        while server.status(run).await != status {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_join_through_another_node_waits_and_answers_as_the_owner_does() {
    let (a, b) = two();
    for (graph, input) in [
        ("slow", json!({"ms": 300, "chunk_ms": 20, "tag": "x"})),
        ("nested", json!({"ms": 200, "chunk_ms": 20, "tag": "x"})),
        ("echo", json!({"messages": [{"role": "user", "content": "hi"}]})),
        ("failing", json!({})),
        ("ask", json!({"n": 1})),
    ] {
        let thread = a.thread().await;
        let run = a.start(&thread, graph, input).await;
        stored(&a, &run).await;
        let join = format!("{run}/join");
        let (far, near) = tokio::join!(b.get(&join), a.get(&join));
        assert_eq!((far.status, far.text.trim()), (near.status, near.text.trim()), "{graph}");
        if graph == "ask" {
            assert_eq!(far.json()["__interrupt__"][0]["value"]["question"], "go on?");
        }
    }
}

async fn streamed(
    a: &Server,
    b: &Server,
    graph: &str,
    input: &Value,
    modes: &Value,
) -> [Answer; 2] {
    let thread = a.thread().await;
    let body = json!({
        "assistant_id": graph, "input": input, "stream_mode": modes, "stream_resumable": true,
        "stream_subgraphs": true,
    });
    let made = a.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = made.header("content-location").to_owned();
    stored(a, &run).await;
    let path = format!("{run}/stream");
    let replay = |server: &Server| server.saying("last-event-id", "-1");
    let (near, far) = (replay(a), replay(b));
    let (near, far) = tokio::join!(near.get(&path), far.get(&path));
    [near, far]
}

#[tokio::test]
async fn a_stream_through_another_node_is_that_of_the_owner_event_by_event() {
    let (a, b) = two();
    let timed = json!({"ms": 200, "chunk_ms": 20, "tag": "x"});
    let said = json!({"messages": [{"role": "user", "content": "hi"}]});
    for modes in [
        json!(["values", "updates", "messages", "custom"]),
        json!(["messages-tuple", "tasks", "debug", "events", "checkpoints"]),
    ] {
        for (graph, input) in [
            ("slow", &timed),
            ("steps", &timed),
            ("parallel", &timed),
            ("nested", &timed),
            ("echo", &said),
            ("failing", &timed),
            ("ask", &said),
        ] {
            let [near, far] = streamed(&a, &b, graph, input, &modes).await;
            assert!(!near.events().is_empty(), "{graph}: {near:?}");
            let without_beats = |text: &str| text.replace(": heartbeat\n", "");
            assert_eq!(without_beats(&far.text), without_beats(&near.text), "{graph} {modes}");
        }
    }
}

/// Not with a clock that stands still: it would jump while the thread of an engine stores
/// something, and the stream gives up after half a minute.
#[tokio::test]
async fn a_stream_resumes_behind_the_event_that_the_client_has_and_a_new_one_begins_now() {
    let (a, b) = two();
    let (_, run) = {
        let thread = a.thread().await;
        let body = json!({
            "assistant_id": "slow", "input": {"ms": LONG, "chunk_ms": 5, "tag": "r"},
            "stream_mode": ["custom", "values", "messages"], "stream_resumable": true,
        });
        let made = a.post(&format!("/threads/{thread}/runs"), &body).await;
        (thread, made.header("content-location").to_owned())
    };
    a.until_ticking("r").await;
    stored(&a, &run).await;
    let path = format!("{run}/stream");
    let joins = tokio::spawn({
        let (b, path) = (b.clone(), path.clone());
        async move { b.get(&path).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(b.post(&format!("{run}/cancel?wait=1"), &Value::Null).await.status, 200);
    let joined = within("it ends", joins).await.unwrap();
    let replay = a.saying("last-event-id", "-1").get(&path).await;
    let far = b.saying("last-event-id", "-1").get(&path).await;
    assert_eq!(far.text, replay.text, "also when it has ended");
    let ids = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    };
    let (all, part) = (ids(&replay.text), ids(&joined.text));
    assert!(!part.is_empty() && part.len() < all.len(), "{} {}", part.len(), all.len());
    assert!(all.ends_with(&part), "{part:?}");
    for at in [0, 1, all.len() / 2, all.len() - 2] {
        let [near, far] = [&a, &b].map(|server| server.saying("last-event-id", &all[at]));
        let (near, far) = (near.get(&path).await, far.get(&path).await);
        assert_eq!((ids(&far.text), &far.text), (all[at + 1..].to_vec(), &near.text));
    }
    assert!(!joined.events().iter().any(|(name, _)| name == "metadata"), "from now on");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_joins_its_run_on_the_other_node() {
    let (a, b) = two();
    let body = json!({ "assistant_id": "slow", "input": {"ms": 400, "chunk_ms": 20, "tag": "once"},
        "on_completion": "keep",
    });
    for path in ["/runs", "/runs/wait", "/runs/stream"] {
        let key = format!("key {path}");
        let (near, far) = (a.saying("idempotency-key", &key), b.saying("idempotency-key", &key));
        let first = tokio::spawn({
            let (near, body) = (near.clone(), body.clone());
            async move { near.post(path, &body).await }
        });
        // Without the records of threads, which are steps.
        let live = || {
            let filter = RunFilter::new().roots().live().kind(RunKind::Workflow);
            a.service.engine().runs(&filter)
        };
        let made = || live().len() == 1;
        soon("it is made", made).await;
        let live = live();
        live[0].accepted().await.unwrap();
        let repeated = far.post(path, &body).await;
        let first = first.await.unwrap();
        assert_eq!(first.status, repeated.status, "{path}: {repeated:?}");
        let names = |answer: &Answer| answer.header("content-location").to_owned();
        assert_eq!(names(&first), names(&repeated), "{path}");
        if path == "/runs" {
            let ids = |answer: &Answer| answer.json()["run_id"].clone();
            assert_eq!(ids(&first), ids(&repeated));
        } else {
            let said = |answer: &Answer| answer.text.replace(": heartbeat\n", "").trim().to_owned();
            assert_eq!(said(&repeated), said(&first), "{path}");
        }
        soon("it is over", || !made()).await;
    }
    let made = b.service.engine().runs(&RunFilter::new().kind(RunKind::Workflow));
    assert!(made.is_empty(), "none was made there");
    assert!(b.witness.get("once").0.is_empty());
}

#[tokio::test]
async fn a_repeated_request_joins_its_run_also_if_that_leaves_with_its_end() {
    let (a, b) = two();
    let body =
        json!({ "assistant_id": "slow", "input": {"ms": LONG, "chunk_ms": 5, "tag": "brief"} });
    let (near, far) = (a.saying("idempotency-key", "k"), b.saying("idempotency-key", "k"));
    let first = near.post("/runs", &body).await;
    a.until_ticking("brief").await;
    for server in [&far, &near, &far] {
        let repeated = server.post("/runs", &body).await;
        assert_eq!(repeated.status, 200, "{repeated:?}");
        assert_eq!(repeated.json()["run_id"], first.json()["run_id"]);
    }
    let other = json!({ "assistant_id": "slow", "input": {"ms": LONG, "tag": "other"} });
    assert_eq!(far.post("/runs", &other).await.status, 409);
    let none = b.post("/threads/search", &json!({})).await;
    assert_eq!(none.json(), json!([]), "nothing is left of the repeats");
    assert_eq!(b.post("/runs/cancel", &json!({"status": "all"})).await.status, 204);
    stopped(&a, "brief").await;
    assert!(b.witness.get("brief").0.is_empty());
    assert!(a.witness.get("other").0.is_empty());
    assert!(b.witness.get("other").0.is_empty());
}

#[tokio::test]
async fn when_a_stream_ends_with_a_question_every_node_knows_of_it() {
    let (a, b) = two();
    for round in 0..30 {
        let thread = a.thread().await;
        let path = format!("/threads/{thread}/runs");
        let ask = json!({ "assistant_id": "ask", "input": {} });
        let told = a.post(&format!("{path}/stream"), &ask).await;
        assert!(told.text.contains("__interrupt__"), "{told:?}");
        let row = b.get(&format!("/threads/{thread}")).await.json();
        assert_eq!(row["status"], "interrupted", "{round}");
        let answer = json!({ "assistant_id": "ask", "command": { "resume": round } });
        let told = b.post(&format!("{path}/wait"), &answer).await;
        assert_eq!(told.json()["told"], round, "{told:?}");
    }
}

#[tokio::test]
async fn t6_an_interrupted_run_of_another_node_goes_on_with_an_answer() {
    let (a, b) = two();
    for (way, end) in [("wait", "/wait"), ("stream", "/stream"), ("plain", "")] {
        let thread = a.thread().await;
        let run = a.start(&thread, "ask", json!({})).await;
        stored(&a, &run).await;
        soon_paused(&b, &run).await;
        let path = &*format!("/threads/{thread}/runs{end}");
        let other = json!({ "assistant_id": "slow", "command": { "resume": "no" } });
        assert_eq!(b.post(path, &other).await.status, 422, "{way}");
        let answer = json!({ "assistant_id": "ask", "command": { "resume": way } });
        let told = b.post(path, &answer).await;
        assert!(told.status.is_success(), "{way}: {told:?}");
        match way {
            "wait" => assert_eq!(told.json()["told"], way),
            "stream" => {
                assert!(told.text.contains(r#""told":"stream""#), "{told:?}");
                assert!(!told.text.contains("__interrupt__"), "{told:?}");
            }
            _ => assert_eq!(told.json()["run_id"], id_of(&run)),
        }
        soon_status(&a, &run, "success").await;
        assert_eq!(a.get(&format!("{run}/join")).await.json()["told"], way);
    }
    assert!(b.service.engine().runs(&RunFilter::new()).is_empty(), "it stays where it is");
    // A stop is taken from anywhere.
    let thread = a.thread().await;
    let run = a.start(&thread, "ask", json!({})).await;
    stored(&a, &run).await;
    soon_paused(&b, &run).await;
    let answer = b.post(&format!("{run}/cancel?wait=1"), &Value::Null).await;
    assert_eq!((answer.status.as_u16(), b.status(&run).await), (200, "interrupted".to_owned()));
}

pub(crate) async fn soon_paused(server: &Server, run: &str) {
    within("it asks", async {
        while server.get(run).await.json()["quell"]["status"] != "paused" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}
