//! Threads that are deleted together, and what a search takes out of rows.

use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use serde_json::{Value, json};

use crate::talk::{Says as _, Server};
use crate::threads::{echo, made};

#[tokio::test]
async fn several_threads_are_deleted_with_what_is_live_in_them_and_those_of_others_are_passed_by() {
    let access = Access::open().key(Key::new("ada", "adas")).key(Key::new("ben", "bens"));
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let (ada, ben) = (server.saying("x-api-key", "adas"), server.saying("x-api-key", "bens"));
    let (idle, busy, of_ben) = (ada.thread().await, ada.thread().await, ben.thread().await);
    let run = ada.start(&busy, "slow", json!({"ms": 60_000, "chunk_ms": 5, "tag": "t"})).await;
    ada.until_ticking("t").await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let body = json!({"thread_ids": [idle, busy, of_ben, unknown, idle], "strategy": "delete"});
    let pruned = ada.post("/threads/prune", &body).await;
    assert_eq!((pruned.status.as_u16(), pruned.json()), (200, json!({"pruned_count": 2})));
    server.assert_stopped("t").await;
    assert_eq!(ada.status(&run).await, "gone");
    for (whose, thread, there) in [(&ada, &idle, 404), (&ada, &busy, 404), (&ben, &of_ben, 200)] {
        assert_eq!(whose.get(&format!("/threads/{thread}")).await.status, there);
    }
    let none = ada.post("/threads/prune", &json!({"thread_ids": []})).await;
    assert_eq!(none.json(), json!({"pruned_count": 0}));
}

#[tokio::test]
async fn a_pruning_that_is_wrong_is_refused_and_nothing_is_deleted() {
    let server = Server::new();
    let thread = server.thread().await;
    for (body, says) in [
        (json!({}), "thread_ids: field required"),
        (json!({"thread_ids": 1}), "thread_ids: must be"),
        (json!({"thread_ids": [thread, "x"]}), "Invalid thread ID: must be a UUID"),
        (json!({"thread_ids": [thread], "strategy": "x"}), "strategy: must be one of"),
        (json!({"thread_ids": [thread], "strategy": "keep_latest"}), "strategy: keep_latest"),
        (json!({"thread_ids": vec![thread.clone(); 1_001]}), "thread_ids: must be at most 1000"),
    ] {
        let (status, text) = server.post("/threads/prune", &body).await.detail();
        assert!(status == 422 && text.starts_with(says), "{says}: {status} {text}");
    }
    assert_eq!(server.get(&format!("/threads/{thread}")).await.status, 200);
    assert_eq!(server.get("/threads/prune").await.status, 405);
}

#[tokio::test]
async fn a_search_takes_out_of_each_row_what_its_paths_name() {
    let server = Server::new();
    let thread = made(&server, json!({"a": {"b": [1, 2]}})).await;
    echo(&server, &thread, "hi").await;
    let extract = json!({"last": "values.log[-1]", "b": "metadata.a.b[1]", "none": "values.x.y"});
    let extracted = json!({"last": "echo:hi", "b": 2, "none": null});
    let body = json!({"extract": extract, "select": ["thread_id"]});
    let rows = server.post("/threads/search", &body).await.json();
    assert_eq!(rows, json!([{"thread_id": thread, "extracted": extracted}]));
    let rows = server.post("/threads/search", &json!({"extract": extract})).await.json();
    assert_eq!((&rows[0]["extracted"], &rows[0]["status"]), (&extracted, &json!("idle")));
    let rows = server.post("/threads/search", &json!({})).await.json();
    assert_eq!(rows[0].get("extracted"), None::<&Value>);
    let (status, text) =
        server.post("/threads/search", &json!({"extract": {"a": "status"}})).await.detail();
    assert!(status == 422 && text.starts_with("extract.a: must begin with"), "{text}");
}
