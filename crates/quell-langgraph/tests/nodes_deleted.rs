//! Two servers on two nodes of one store: threads that the one changes, finds and deletes, and the
//! other has.

use serde_json::{Value, json};

use crate::nodes::two;
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
