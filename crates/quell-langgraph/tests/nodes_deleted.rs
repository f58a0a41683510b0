//! Two servers on two nodes of one store: threads that the one changes, finds and deletes, and the
//! other has.

use std::sync::{Arc, Mutex, mpsc};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use quell::testing::cluster::Nodes;
use quell::{CancelRequest, EngineConfig, Failure, Payload, RunContext, RunId, RunStatus};
use quell_flow::Component;
use quell_http::{RunView, Start};
use quell_test_support::{ms, secs, within};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::nodes::{stored, two};
use crate::talk::{Server, id_of};
use crate::threads::{delete, echo, made, patch, row, search};

#[tokio::test]
async fn what_one_node_says_of_a_thread_every_node_shows_and_none_of_it_is_lost() {
    let (a, b) = two();
    let thread = made(&a, json!({ "who": "ada" })).await;
    assert_eq!(row(&b, &thread).await["metadata"], json!({ "who": "ada" }));
    for nr in 0..6 {
        let server = if nr % 2 == 0 { &b } else { &a };
        let body = json!({ "metadata": { nr.to_string(): nr } });
        assert_eq!(patch(server, &thread, &body).await.status, 200);
        assert_eq!(row(&a, &thread).await["metadata"], row(&b, &thread).await["metadata"]);
    }
    let changes = (6..20).map(|nr| {
        let (server, thread) = (if nr % 2 == 0 { b.clone() } else { a.clone() }, thread.clone());
        tokio::spawn(async move {
            let body = json!({ "metadata": { nr.to_string(): nr } });
            patch(&server, &thread, &body).await.status
        })
    });
    for change in changes.collect::<Vec<_>>() {
        assert_eq!(change.await.unwrap(), 200);
    }
    for server in [&a, &b] {
        assert_eq!(row(server, &thread).await["metadata"].as_object().unwrap().len(), 21);
    }
}

#[tokio::test]
async fn a_search_of_one_node_finds_the_threads_of_all() {
    let (a, b) = two();
    let (one, other) = (made(&a, json!({ "n": 1 })).await, made(&b, json!({ "n": 2 })).await);
    echo(&b, &other, "hi").await;
    for server in [&a, &b] {
        let both = json!({ "sort_by": "thread_id", "sort_order": "asc" });
        assert_eq!(search(server, both).await, [&*one, &*other]);
        assert_eq!(search(server, json!({ "metadata": { "n": 1 } })).await, [&*one]);
        assert_eq!(search(server, json!({ "values": { "text": "hi" } })).await, [&*other]);
        assert_eq!(server.post("/threads/count", &json!({})).await.json(), 2);
    }
    let copy = a.post(&format!("/threads/{other}/copy"), &Value::Null).await.json();
    let copy = copy["thread_id"].as_str().unwrap();
    assert_eq!(row(&b, copy).await["values"]["log"], json!(["echo:hi"]));
    echo(&b, copy, "ho").await;
    assert_eq!(row(&a, copy).await["values"]["log"], json!(["echo:hi", "echo:ho"]));
}

/// The node that has it takes it for one that was rolled back, which it shows for a minute.
#[tokio::test]
async fn a_repeat_is_not_answered_with_a_run_that_another_node_has_deleted() {
    let (a, b) = two();
    for of_thread in [false, true] {
        let thread = made(&a, json!({})).await;
        let (path, keyed) = (format!("/threads/{thread}"), a.saying("idempotency-key", &thread));
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": thread });
        let (runs, body) =
            (format!("{path}/runs"), json!({ "assistant_id": "slow", "input": input }));
        let run = keyed.post(&runs, &body).await;
        let run = format!("{runs}/{}", run.json()["run_id"].as_str().unwrap());
        a.until_ticking(&thread).await;
        let deleted = if of_thread { &path } else { &run };
        assert_eq!(delete(&b, deleted).await.status, 204);
        a.assert_stopped(&thread).await;
        if of_thread {
            assert_eq!(b.post("/threads", &json!({ "thread_id": thread })).await.status, 200);
        }
        for server in [&a, &b] {
            let keyed = server.saying("idempotency-key", &thread);
            let repeat = keyed.post(&runs, &body).await;
            assert_eq!(repeat.status, 404, "{of_thread} {repeat:?}");
            assert_eq!(server.get(&run).await.status, 404);
        }
    }
}

/// What a run came to that was taken back is kept, for who asks for it in the next minute.
#[tokio::test]
async fn what_a_deleted_run_came_to_is_shown_to_nobody_whatever_stopped_it_first() {
    let server = Server::new();
    for (is_deleted, is_stopped_first) in [(true, false), (true, true), (false, true)] {
        let (tag, thread) = (Uuid::now_v7().to_string(), server.thread().await);
        let keyed = server.saying("idempotency-key", &tag);
        let runs = format!("/threads/{thread}/runs");
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": tag });
        let body = json!({ "assistant_id": "slow", "input": input });
        let run = keyed.post(&runs, &body).await.json()["run_id"].as_str().unwrap().to_owned();
        server.until_ticking(&tag).await;
        let engine = server.service.engine();
        let live = engine.get(RunId::from_text(&run)).unwrap();
        if is_stopped_first {
            live.cancel(CancelRequest::because("enough"));
        }
        // As another contract deletes it, or another node.
        let second = CancelRequest::because("away with it");
        live.cancel(if is_deleted { second.deletion() } else { second.rollback() });
        within("it is gone", live.quiescent()).await;
        soon_gone(&server, &format!("{runs}/{run}")).await;
        let joined = server.get(&format!("{runs}/{run}/join")).await;
        assert_eq!(joined.text.contains("404: Run not found"), is_deleted, "{joined:?}");
        let repeat = keyed.post(&runs, &body).await.status;
        assert_eq!(repeat, if is_deleted { 404 } else { 200 });
    }
}

async fn soon_gone(server: &Server, run: &str) {
    let patience = async {
        while server.status(run).await != "gone" {
            tokio::time::sleep(ms(1)).await;
        }
    };
    within("nobody is shown the run", patience).await;
}

#[tokio::test]
async fn a_thread_that_one_node_deletes_stops_on_every_node_and_is_gone_from_all() {
    let (a, b) = two();
    for (deleter, has) in [(&a, &a), (&b, &a)] {
        let thread = made(&a, json!({})).await;
        echo(&a, &thread, "a").await;
        echo(&b, &thread, "b").await;
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": thread });
        let run = has.start(&thread, "slow", input.clone()).await;
        has.until_ticking(&thread).await;
        let queued = b.start(&thread, "echo", json!({ "text": "later" })).await;
        for server in [&a, &b] {
            assert_eq!(row(server, &thread).await["status"], "busy");
        }
        let path = format!("/threads/{thread}");
        assert_eq!(delete(deleter, &path).await.status, 204);
        has.assert_stopped(&thread).await;
        for server in [&a, &b] {
            for path in [&path, &run, &queued, &format!("{path}/runs")] {
                assert_eq!(server.get(path).await.status, 404, "{path}");
            }
            let body = json!({ "assistant_id": "echo", "input": {} });
            assert_eq!(server.post(&format!("{path}/runs"), &body).await.status, 404);
            assert_eq!(search(server, json!({})).await, [""; 0]);
        }
        assert_eq!(a.post("/threads", &json!({ "thread_id": thread })).await.status, 200);
        assert_eq!(row(&b, &thread).await["values"], Value::Null);
        assert_eq!(delete(&b, &path).await.status, 204);
    }
}

#[tokio::test]
async fn no_run_is_made_in_a_thread_that_another_node_deletes_meanwhile() {
    let (a, b) = two();
    for round in 0..20 {
        let thread = made(&a, json!({})).await;
        echo(&b, &thread, "b").await;
        let path = format!("/threads/{thread}/runs");
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": thread });
        let body = json!({ "assistant_id": "slow", "input": input });
        let runs = (0..4).map(|nth| {
            let (server, path, body) = (b.clone(), path.clone(), body.clone());
            tokio::spawn(async move {
                for _ in 0..nth * round {
                    tokio::task::yield_now().await;
                }
                server.post(&path, &body).await
            })
        });
        let runs: Vec<_> = runs.collect();
        assert_eq!(delete(&a, &format!("/threads/{thread}")).await.status, 204);
        for made in runs {
            let made = made.await.unwrap();
            assert!(matches!(made.status.as_u16(), 200 | 404), "{}", made.text);
            if made.status == 200 {
                assert_eq!(b.get(made.header("content-location")).await.status, 404);
            }
        }
        for server in [&b, &a] {
            assert_eq!(server.get(&format!("/threads/{thread}")).await.status, 404, "{round}");
            assert_eq!(server.post(&path, &body).await.status, 404);
        }
        b.assert_stopped(&thread).await;
    }
}

#[tokio::test]
async fn a_thread_that_is_made_anew_has_nothing_of_the_one_before_it_on_any_node() {
    let (a, b) = two();
    let thread = made(&a, json!({ "nr": 1 })).await;
    echo(&b, &thread, "old").await;
    echo(&a, &thread, "old").await;
    assert_eq!(row(&b, &thread).await["values"]["log"].as_array().unwrap().len(), 2);
    assert_eq!(delete(&a, &format!("/threads/{thread}")).await.status, 204);
    // The other node has not looked meanwhile, and makes it.
    let body = json!({ "thread_id": thread, "metadata": { "nr": 2 } });
    let new = b.post("/threads", &body).await;
    assert_eq!(new.status, 200, "{}", new.text);
    for server in [&b, &a] {
        let now = row(server, &thread).await;
        assert_eq!((&now["values"], &now["metadata"]["nr"]), (&Value::Null, &json!(2)));
    }
    echo(&b, &thread, "new").await;
    assert_eq!(delete(&b, &format!("/threads/{thread}")).await.status, 204);
    assert_eq!(b.post("/threads", &body).await.status, 200);
    for server in [&a, &b] {
        assert_eq!(row(server, &thread).await["values"], Value::Null);
        let list = server.get(&format!("/threads/{thread}/runs")).await.json();
        assert_eq!(list, json!([]));
    }
}

/// Two servers with a component that blocks a thread until the sender is dropped.
fn blocking() -> (Server, Server, mpsc::Sender<()>) {
    let (nodes, (end, gate)) = (Nodes::new(secs(30)), mpsc::channel());
    let gate = Arc::new(Mutex::new(gate));
    let [a, b] = ["a", "b"].map(|name| {
        let gate: Arc<Mutex<mpsc::Receiver<()>>> = Arc::clone(&gate);
        let block = move |ctx: RunContext, input: Payload| {
            let gate = Arc::clone(&gate);
            async move {
                let wait = move |_| gate.lock().is_ok_and(|gate| gate.recv().is_ok());
                ctx.spawn_blocking(wait).await?;
                Ok::<_, Failure>(input)
            }
        };
        let config = EngineConfig::new().node(nodes.join(name));
        Server::serving_with(config, [Component::workflow("block", block)])
    });
    (a, b, end)
}

#[tokio::test]
async fn work_that_cannot_be_ended_is_shown_by_no_node_and_leaves_when_it_has_ended() {
    let (a, b, end) = blocking();
    let body = json!({ "assistant_id": "block", "input": {}, "metadata": { "quell_grace_ms": 1 } });
    let mut paths = Vec::new();
    for is_run in [false, true] {
        let thread = made(&a, json!({})).await;
        let run = a.post(&format!("/threads/{thread}/runs"), &body).await;
        let run = run.header("content-location").to_owned();
        within("it runs", async {
            while b.status(&run).await != "running" {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let path = if is_run { run.clone() } else { format!("/threads/{thread}") };
        assert_eq!(delete(if is_run { &a } else { &b }, &path).await.status, 204);
        for server in [&a, &b] {
            let list = server.get(&format!("/threads/{thread}/runs")).await;
            assert!(list.status == 404 || is_run && list.json() == json!([]), "{}", list.text);
            for path in [&path, &run] {
                assert_eq!(server.get(path).await.status, 404, "{path}");
            }
            let joined = server.get(&format!("{run}/join")).await.json();
            assert_eq!(joined["__error__"]["message"], "404: Run not found");
        }
        paths.extend([path, run]);
    }
    drop(end);
    for server in [&a, &b] {
        let engine = server.service.engine();
        within("it has left", async {
            let all = || engine.stored_runs(quell::RunFilter::new(), quell::store::Page::first(9));
            while all().await.unwrap().items.len() > 1 {
                tokio::time::sleep(secs(1) / 100).await;
            }
        })
        .await;
        for path in &paths {
            assert!(path.contains("/runs/") || server.get(path).await.status == 404, "{path}");
        }
    }
}

#[tokio::test]
async fn a_run_that_is_deleted_is_not_joined_any_more() {
    let (a, b) = two();
    for (deleter, of_thread) in [(&a, true), (&a, false), (&b, false), (&b, true)] {
        let thread = made(&a, json!({})).await;
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": thread });
        let run = a.start(&thread, "slow", input).await;
        a.until_ticking(&thread).await;
        stored(&a, &run).await;
        let join = format!("{run}/join");
        let path = if of_thread { format!("/threads/{thread}") } else { run.clone() };
        assert_eq!(delete(deleter, &path).await.status, 204);
        let first = deleter.get(&join).await.json();
        assert_eq!(first["__error__"]["message"], "404: Run not found", "{first}");
        a.assert_stopped(&thread).await;
        assert_eq!(deleter.get(&join).await.json(), first);
    }
}

#[tokio::test]
async fn a_run_that_is_deleted_stays_so_whoever_has_its_id_by_then() {
    let (a, b) = two();
    let thread = made(&a, json!({})).await;
    let path = format!("/threads/{thread}/runs");
    let body = json!({ "assistant_id": "echo", "input": { "text": "deleted" } });
    let run = b.post(&path, &body).await.header("content-location").to_owned();
    assert_eq!(b.get(&format!("{run}/join")).await.json()["text"], "deleted");
    stored(&b, &run).await;
    assert_eq!(delete(&a, &run).await.status, 204);
    let view = a.service.view(quell_http::NATIVE, quell_http::Principal::anonymous());
    let graph = view.find_component("echo").unwrap();
    let again = Start::new(graph, json!({ "text": "later" }).into()).id(id_of(&run));
    let again = view.start(again).await.unwrap().run;
    again.ended().await;
    again.stored().await.unwrap();
    assert_eq!(b.get(&run).await.status, 404, "nobody has asked b in between");
    assert_eq!(row(&b, &thread).await["values"], Value::Null);
    assert!(again.row().status == RunStatus::Completed && !again.is_rolled_back());
}

/// Says more than one read of a log has, and waits to be stopped.
async fn say_much(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    for nth in 0..MUCH {
        ctx.emit(json!({ "nth": nth }));
    }
    ctx.stopped().await;
    Ok(input)
}

const MUCH: usize = 200;

#[tokio::test]
async fn a_reader_is_told_that_the_run_it_reads_through_another_node_was_deleted() {
    let nodes = Nodes::new(secs(30));
    let [a, b] = ["a", "b"].map(|name| {
        let config = EngineConfig::new().node(nodes.join(name));
        Server::serving_with(config, [Component::workflow("much", say_much)])
    });
    let thread = a.thread().await;
    let body = json!({ "assistant_id": "much", "input": {}, "stream_mode": ["custom"],
        "stream_resumable": true });
    let made = a.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = made.header("content-location").to_owned();
    let id = RunId::from_text(id_of(&run));
    within("it is stored", async {
        while b.service.engine().stored_events(id, 0, MUCH).await.unwrap().len() < MUCH {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // One page is read, and no more before the client takes some of it.
    let asked = Request::get(format!("{run}/stream")).header("last-event-id", "-1");
    let answer = b.app.clone().oneshot(asked.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(delete(&a, &run).await.status, 204);
    let read = within("it ends", to_bytes(answer.into_body(), usize::MAX)).await;
    let told = String::from_utf8(read.unwrap().to_vec()).unwrap();
    let last = told.trim_end().rsplit("\n\n").next().unwrap();
    assert!(told.matches("event: custom").count() < MUCH, "{told}");
    assert!(last.contains("event: error") && last.contains("404: Run not found"), "{last}");
}

#[tokio::test]
async fn who_follows_a_run_through_another_node_sees_its_end_although_it_is_deleted_at_once() {
    for round in 0..5 {
        let (a, b) = two();
        let thread = made(&a, json!({})).await;
        let path = a.start(&thread, "slow", json!({ "ms": 500, "chunk_ms": 5 })).await;
        let run = path.rsplit('/').next().unwrap();
        let here = a.service.engine().get(run.parse::<RunId>().unwrap()).unwrap();
        here.stored().await.unwrap();
        let view = b.service.view(quell_http::NATIVE, quell_http::Principal::anonymous());
        let found = view.find(run).await.unwrap().unwrap();
        let follows = tokio::spawn(async move {
            let RunView::Stored(stored) = &found else { panic!("another node has it") };
            view.ended_or_paused(stored).await
        });
        here.ended().await;
        assert_eq!(delete(&a, &path).await.status, 204);
        let seen = within("it is told", follows).await.unwrap().unwrap();
        assert_eq!(seen.map(|run| run.status()), Some(RunStatus::Completed), "{round}");
    }
}
