//! Threads with a store: what is there after a restart.

use std::sync::Arc;

use quell::store::{MemoryStore, StoreError};
use quell::{RunId, Shutdown};
use quell_test_support::{Flow, within};
use serde_json::{Value, json};

use crate::restart::{nth, quiescent};
use crate::talk::{Server, id_of};
use crate::threads::{delete, echo, made, patch, row, search};

/// Ends a server, and opens its store again.
async fn reopened(server: &Server, boot: u32, store: &Arc<MemoryStore>) -> Server {
    server.service.engine().shutdown(Shutdown::default()).await;
    nth(boot, store).await.0
}

#[tokio::test]
async fn threads_are_there_after_a_restart_with_what_was_said_of_them_and_their_values() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let mut threads = Vec::new();
    for nr in 0..3 {
        threads.push(made(&server, json!({ "nr": nr, "who": "ada" })).await);
    }
    echo(&server, &threads[0], "a").await;
    echo(&server, &threads[0], "b").await;
    for nr in 0..5 {
        let body = json!({ "metadata": { "nr": nr + 10 }, "ttl": { "ttl": 60 } });
        assert_eq!(patch(&server, &threads[1], &body).await.status, 200);
    }
    let copy = server.post(&format!("/threads/{}/copy", threads[0]), &Value::Null).await.json();
    threads.push(copy["thread_id"].as_str().unwrap().to_owned());
    let body = json!({ "assistant_id": "echo", "input": { "text": "x" }, "on_completion": "keep" });
    let kept = server.post("/runs/wait", &body).await;
    threads.push(kept.header("location").split('/').nth(2).unwrap().to_owned());
    let paths = threads.iter().map(|id| format!("/threads/{id}?include=ttl")).collect::<Vec<_>>();
    let searches = [
        json!({ "sort_by": "thread_id" }),
        json!({ "metadata": { "nr": 14 } }),
        json!({ "values": { "log": ["echo:b"] }, "sort_by": "thread_id" }),
        json!({ "metadata": { "graph_id": "echo" }, "sort_by": "thread_id" }),
    ];
    let mut before = Vec::new();
    for path in &paths {
        before.push(server.get(path).await.json());
    }
    let mut found = Vec::new();
    for body in &searches {
        found.push(search(&server, body.clone()).await);
    }
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, 1, 2, 3]);
    let server = reopened(&server, 2, &store).await;
    for (body, before) in searches.iter().zip(&found) {
        assert_eq!(&search(&server, body.clone()).await, before, "{body}");
    }
    for (path, mut before) in paths.iter().zip(before) {
        let mut after = server.get(path).await.json();
        // A store keeps whole milliseconds.
        for row in [&mut before, &mut after] {
            for key in ["created_at", "updated_at", "state_updated_at"] {
                row[key] = row[key].as_str().unwrap()[..23].into();
            }
        }
        assert_eq!(after, before, "{path}");
    }
    // They go on where they were.
    echo(&server, &threads[0], "c").await;
    echo(&server, &threads[3], "d").await;
    let log = async |id: &String| row(&server, id).await["values"]["log"].clone();
    assert_eq!(log(&threads[0]).await, json!(["echo:a", "echo:b", "echo:c"]));
    assert_eq!(log(&threads[3]).await, json!(["echo:a", "echo:b", "echo:d"]));
    let again = json!({ "thread_id": threads[2] });
    assert_eq!(server.post("/threads", &again).await.status, 409);
}

#[tokio::test]
async fn a_thread_that_was_deleted_is_not_there_after_a_restart_and_neither_are_its_runs() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let (thread, other) = (made(&server, json!({})).await, made(&server, json!({})).await);
    for thread in [&thread, &other] {
        echo(&server, thread, "a").await;
        assert_eq!(patch(&server, thread, &json!({ "metadata": { "a": 1 } })).await.status, 200);
    }
    let run = server.start(&thread, "echo", json!({ "text": "b" })).await;
    quiescent(&server, &run).await;
    let live = server.start(&thread, "slow", json!({ "ms": 60_000, "tag": "deleted" })).await;
    server.until_ticking("deleted").await;
    let server = reopened(&server, 2, &store).await;
    assert_eq!(delete(&server, &format!("/threads/{thread}")).await.status, 204);
    let id = RunId::from_text(id_of(&run));
    assert_eq!(server.service.engine().stored_run(id).await, Ok(None));
    let server = reopened(&server, 3, &store).await;
    for path in [&format!("/threads/{thread}"), &run, &live, &format!("/threads/{thread}/runs")] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(search(&server, json!({})).await, [&*other]);
    assert_eq!(row(&server, &other).await["values"]["log"], json!(["echo:a"]));
    // Its id is free.
    assert_eq!(server.post("/threads", &json!({ "thread_id": thread })).await.status, 200);
    assert_eq!(row(&server, &thread).await["metadata"], json!({}));
}

#[tokio::test]
async fn the_time_of_a_thread_goes_on_while_no_process_has_it() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = made(&server, json!({})).await;
    echo(&server, &thread, "a").await;
    let run = server.get(&format!("/threads/{thread}/runs")).await.json();
    let run = format!("/threads/{thread}/runs/{}", run[0]["run_id"].as_str().unwrap());
    let soon = json!({ "ttl": { "ttl": 0.002 } });
    assert_eq!(patch(&server, &thread, &soon).await.status, 200);
    let server = reopened(&server, 2, &store).await;
    within("it has left", async {
        while server.get(&format!("/threads/{thread}")).await.status != 404 {
            tokio::time::sleep(quell_test_support::ms(5)).await;
        }
    })
    .await;
    assert_eq!(server.get(&run).await.status, 404);
}

#[tokio::test]
async fn what_is_said_of_a_thread_is_not_acknowledged_before_it_is_stored() {
    let store = Arc::new(MemoryStore::new());
    let (server, valve) = nth(1, &store).await;
    let thread = made(&server, json!({ "a": 1 })).await;
    let run = server.start(&thread, "slow", json!({ "ms": 60_000, "tag": "kept" })).await;
    server.until_ticking("kept").await;
    valve.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let path = format!("/threads/{thread}");
    for answer in [
        patch(&server, &thread, &json!({ "metadata": { "a": 2 } })).await,
        delete(&server, &path).await,
        server.post("/threads", &json!({})).await,
        server.post(&format!("{path}/copy"), &Value::Null).await,
    ] {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    // Nothing has changed.
    assert_eq!(server.status(&run).await, "running");
    assert_eq!(row(&server, &thread).await["metadata"]["a"], 1);
    valve.set(Flow::Open);
    within("it is taken again", async {
        while delete(&server, &path).await.status == 503 {
            tokio::time::sleep(quell_test_support::ms(5)).await;
        }
    })
    .await;
    assert_eq!(server.get(&run).await.status, 404);
    server.assert_stopped("kept").await;
}
