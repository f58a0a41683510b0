//! Threads: changed, searched, counted, copied and deleted.

use axum::http::Method;
use quell::{EngineConfig, RunFilter};
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{ms, soon, within};
use serde_json::{Value, json};

use crate::talk::{Answer, Says as _, Server};

pub(crate) async fn patch(server: &Server, thread: &str, body: &Value) -> Answer {
    server.send(Method::PATCH, &format!("/threads/{thread}"), &body.to_string()).await
}

pub(crate) async fn delete(server: &Server, path: &str) -> Answer {
    server.send(Method::DELETE, path, "").await
}

pub(crate) async fn made(server: &Server, metadata: Value) -> String {
    let answer = server.post("/threads", &json!({ "metadata": metadata })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["thread_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn row(server: &Server, thread: &str) -> Value {
    let answer = server.get(&format!("/threads/{thread}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// The ids that a search yields.
pub(crate) async fn search(server: &Server, body: Value) -> Vec<String> {
    let answer = server.post("/threads/search", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let rows = answer.json();
    let id = |row: &Value| row["thread_id"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(id).collect()
}

pub(crate) async fn echo(server: &Server, thread: &str, text: &str) {
    let body = json!({ "assistant_id": "echo", "input": { "text": text } });
    let answer = server.post(&format!("/threads/{thread}/runs/wait"), &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn metadata_is_laid_over_what_there_is_and_the_thread_is_changed_then() {
    let server = Server::new();
    let thread = made(&server, json!({ "a": 1, "b": { "x": 1 } })).await;
    let before = row(&server, &thread).await;
    let body = r#"{"metadata":{"b":1.50,"c":null}}"#;
    let changed = server.send(Method::PATCH, &format!("/threads/{thread}"), body).await;
    assert!(changed.text.contains("1.50"), "as it is spelt: {}", changed.text);
    assert_eq!(changed.json()["metadata"], json!({ "a": 1, "b": 1.5, "c": null }));
    assert_eq!(changed.json(), row(&server, &thread).await);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    assert!(text(&changed.json(), "updated_at") > text(&before, "updated_at"));
    assert_eq!(changed.json()["state_updated_at"], before["state_updated_at"]);
    let minimal = server.saying("prefer", "return=minimal");
    let answer = patch(&minimal, &thread, &json!({ "metadata": { "d": 1 } })).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
    assert_eq!(row(&server, &thread).await["metadata"]["d"], 1);
    let bad = [json!({ "metadata": 1 }), json!({ "ttl": "x" }), json!({ "ttl": { "ttl": -1 } })];
    for bad in bad {
        assert_eq!(patch(&server, &thread, &bad).await.status, 422, "{bad}");
    }
    let id = "0b9f8c39-5c5c-4b0f-9d4c-222222222222";
    let unknown = patch(&server, id, &json!({})).await.detail();
    assert_eq!(unknown, (404, format!("Thread with ID {id} not found")));
    assert_eq!(patch(&server, "x", &json!({})).await.status, 422);
}

#[tokio::test]
async fn changes_that_come_at_once_are_all_there() {
    let server = Server::new();
    let thread = server.thread().await;
    let changes = (0..20).map(|nr| {
        let (server, thread) = (server.clone(), thread.clone());
        tokio::spawn(async move {
            let body = json!({ "metadata": { nr.to_string(): nr } });
            assert_eq!(patch(&server, &thread, &body).await.status, 200);
        })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap();
    }
    assert_eq!(row(&server, &thread).await["metadata"].as_object().unwrap().len(), 20);
}

#[tokio::test]
async fn a_search_finds_threads_by_what_they_are_and_in_order() {
    let server = Server::new();
    let mut ids = Vec::new();
    for nr in 0..5 {
        ids.push(made(&server, json!({ "nr": nr, "odd": nr % 2 == 1, "who": { "id": 7 } })).await);
    }
    // Ends have whole milliseconds.
    tokio::time::sleep(ms(2)).await;
    echo(&server, &ids[1], "hi").await;
    let input = json!({ "ms": 60_000, "tag": "search" });
    let run = server.start(&ids[2], "slow", input).await;
    server.until_ticking("search").await;
    let found = |body| search(&server, body);
    let of = |numbers: &[usize]| numbers.iter().map(|nr| ids[*nr].clone()).collect::<Vec<_>>();
    // What was changed last comes first.
    assert_eq!(found(json!({})).await, of(&[2, 1, 4, 3, 0]));
    let created = json!({ "sort_by": "created_at", "sort_order": "asc" });
    assert_eq!(found(created).await, of(&[0, 1, 2, 3, 4]));
    assert_eq!(found(json!({ "sort_by": "thread_id" })).await, of(&[4, 3, 2, 1, 0]));
    let odd = json!({ "metadata": { "odd": true, "who": { "id": 7 } } });
    assert_eq!(found(odd).await, of(&[1, 3]));
    assert_eq!(found(json!({ "metadata": { "graph_id": "echo" } })).await, of(&[1]));
    assert_eq!(found(json!({ "values": { "log": ["echo:hi"] } })).await, of(&[1]));
    assert_eq!(found(json!({ "values": { "text": "ho" } })).await, of(&[]));
    assert_eq!(found(json!({ "status": "busy" })).await, of(&[2]));
    let idle = json!({ "status": "idle", "sort_by": "created_at", "limit": 2, "offset": 1 });
    assert_eq!(found(idle.clone()).await, of(&[3, 1]));
    let page = server.post("/threads/search", &idle).await;
    assert_eq!((page.header("x-pagination-total"), page.header("x-pagination-next")), ("4", "3"));
    assert!(
        server.post("/threads/search", &json!({})).await.headers.get("x-pagination-next").is_none()
    );
    let some = json!({ "ids": [ids[3], ids[0], "0b9f8c39-5c5c-4b0f-9d4c-222222222222"] });
    assert_eq!(found(some).await, of(&[3, 0]));
    let shown = json!({ "ids": [ids[1]], "select": ["thread_id", "values"] });
    let shown = server.post("/threads/search", &shown).await.json();
    let values = json!({ "text": "hi", "log": ["echo:hi"] });
    assert_eq!(shown, json!([{ "thread_id": ids[1], "values": values }]));
    for (body, count) in [
        (json!({}), 5),
        (json!({ "metadata": { "odd": true } }), 2),
        (json!({ "status": "busy" }), 1),
        (json!({ "values": { "text": "hi" } }), 1),
    ] {
        assert_eq!(server.post("/threads/count", &body).await.json(), count, "{body}");
    }
    for bad in [json!({ "status": "x" }), json!({ "limit": 0 }), json!({ "ids": ["x"] })] {
        assert_eq!(server.post("/threads/search", &bad).await.status, 422, "{bad}");
    }
    assert_eq!(server.post("/threads/count", &json!({ "status": "x" })).await.status, 422);
    // The thread of a stateless run is no row.
    let stateless = json!({ "assistant_id": "slow", "input": { "ms": 60_000 } });
    let stateless = server.post("/runs", &stateless).await;
    assert_eq!(server.post("/threads/count", &json!({})).await.json(), 5);
    let thread = stateless.json()["thread_id"].as_str().unwrap().to_owned();
    assert_eq!(delete(&server, &format!("/threads/{thread}")).await.status, 204);
    server.post(&format!("{run}/cancel?wait=1"), &json!({})).await;
}

#[tokio::test]
async fn a_copy_has_the_metadata_and_the_values_and_goes_its_own_way() {
    let server = Server::new();
    let thread = made(&server, json!({ "who": "ada" })).await;
    echo(&server, &thread, "a").await;
    let copy = server.post(&format!("/threads/{thread}/copy"), &Value::Null).await;
    assert_eq!(copy.status, 200, "{}", copy.text);
    let copy = copy.json();
    let id = copy["thread_id"].as_str().unwrap();
    assert_ne!(id, thread);
    let first = row(&server, &thread).await;
    assert_eq!((&copy["metadata"], &copy["values"]), (&first["metadata"], &first["values"]));
    assert_eq!((&copy["status"], copy.get("error")), (&json!("idle"), None));
    assert_eq!(row(&server, id).await, copy);
    echo(&server, id, "b").await;
    assert_eq!(row(&server, id).await["values"]["log"], json!(["echo:a", "echo:b"]));
    assert_eq!(row(&server, &thread).await, first);
    let unknown = "0b9f8c39-5c5c-4b0f-9d4c-222222222222";
    let gone = server.post(&format!("/threads/{unknown}/copy"), &Value::Null).await.detail();
    assert_eq!(gone, (404, format!("Thread with ID {unknown} not found")));
}

#[tokio::test]
async fn a_copy_has_what_a_run_has_said_that_is_live_or_waits() {
    let server = Server::new();
    let copied = async |thread: &str| {
        let copy = server.post(&format!("/threads/{thread}/copy"), &Value::Null).await.json();
        let state = server.get(&format!("/threads/{thread}/state")).await.json();
        assert_eq!(copy["values"], state["values"]);
        copy["values"].clone()
    };
    let thread = server.thread().await;
    let asks = json!({ "assistant_id": "interrupting", "input": { "text": "q" } });
    server.post(&format!("/threads/{thread}/runs/wait"), &asks).await;
    assert_eq!(copied(&thread).await["text"], "q");
    let thread = server.thread().await;
    let steps = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "copied" });
    let run = server.start(&thread, "steps", steps).await;
    server.until_ticking("copied").await;
    assert_eq!(copied(&thread).await["log"], json!(["before"]));
    assert_eq!(delete(&server, &run).await.status, 204);
}

#[tokio::test]
async fn a_thread_that_a_run_makes_has_the_metadata_of_that_and_its_runs_have_those_of_the_thread()
{
    let server = Server::new();
    let id = "0b9f8c39-5c5c-4b0f-9d4c-333333333333";
    let body = json!({ "assistant_id": "echo", "input": {}, "metadata": { "a": 1, "b": 1 },
        "config": { "metadata": { "a": 2, "c": 2 } }, "if_not_exists": "create" });
    let of = |run: &Value, keys: [&str; 4]| keys.map(|key| run["metadata"][key].clone());
    server.post(&format!("/threads/{id}/runs/wait"), &body).await;
    let thread = row(&server, id).await;
    assert_eq!(
        of(&thread, ["a", "b", "c", "graph_id"]),
        json!([1, 1, 2, "echo"]).as_array().unwrap()[..]
    );
    assert_eq!(search(&server, json!({ "metadata": { "a": 1 } })).await, [id]);
    let next = json!({ "assistant_id": "echo", "input": {}, "metadata": { "b": 3, "d": 3 } });
    let run = server.post(&format!("/threads/{id}/runs"), &next).await.json();
    assert_eq!(of(&run, ["a", "b", "c", "d"]), [1, 3, 2, 3].map(Value::from));
    assert_eq!(row(&server, id).await["metadata"]["d"], Value::Null);
    let keeps = json!({ "assistant_id": "echo", "input": {}, "metadata": { "kept": true },
        "on_completion": "keep" });
    server.post("/runs/wait", &keeps).await;
    assert_eq!(search(&server, json!({ "metadata": { "kept": true } })).await.len(), 1);
}

#[tokio::test]
async fn a_thread_that_is_deleted_stops_its_runs_and_nothing_of_it_is_found() {
    let server = Server::new();
    for graph in ["slow", "steps", "parallel", "nested"] {
        let thread = made(&server, json!({ "graph": graph })).await;
        echo(&server, &thread, "a").await;
        let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": graph });
        let run = server.start(&thread, graph, input.clone()).await;
        server.until_ticking(graph).await;
        let queued = server.start(&thread, "echo", json!({ "text": "later" })).await;
        let path = format!("/threads/{thread}");
        let answer = delete(&server, &path).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
        server.assert_stopped(graph).await;
        for path in [&path, &run, &queued, &format!("{path}/runs")] {
            assert_eq!(server.get(path).await.status, 404, "{path}");
        }
        let body = json!({ "assistant_id": "echo", "input": {} });
        assert_eq!(server.post(&format!("{path}/runs"), &body).await.status, 404);
        assert_eq!(patch(&server, &thread, &json!({})).await.status, 404);
        let again = delete(&server, &path).await.detail();
        assert_eq!(again, (404, format!("Thread with ID {thread} not found")));
        assert_eq!(search(&server, json!({})).await, [""; 0]);
        // Its id is free again, and what it had has gone.
        assert_eq!(server.post("/threads", &json!({ "thread_id": thread })).await.status, 200);
        assert_eq!(row(&server, &thread).await["values"], Value::Null);
        assert_eq!(server.get(&format!("{path}/runs")).await.json(), json!([]));
        assert_eq!(delete(&server, &path).await.status, 204);
    }
    let engine = server.service.engine();
    soon("all is forgotten", || engine.runs(&RunFilter::new()).is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_stopped_at_once_is_hidden_at_once() {
    let server = Server::new();
    let thread = server.thread().await;
    let input = json!({ "ms": 60_000, "tag": "stubborn" });
    let body = json!({ "assistant_id": "stubborn", "input": input,
        "metadata": { "quell_grace_ms": 1_000 } });
    let run = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = run.header("content-location").to_owned();
    server.until_ticking("stubborn").await;
    let deleting = tokio::spawn({
        let (server, path) = (server.clone(), format!("/threads/{thread}"));
        async move { delete(&server, &path).await }
    });
    within("it is hidden", async {
        while server.get(&run).await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!deleting.is_finished(), "it has a grace of a second");
    assert_eq!(server.get(&format!("/threads/{thread}")).await.status, 404);
    assert_eq!(within("it is deleted", deleting).await.unwrap().status, 204);
    server.assert_stopped("stubborn").await;
}

#[tokio::test]
async fn a_thread_leaves_when_its_time_is_over_and_not_while_it_is_busy() {
    let server = Server::new();
    let body = json!({ "ttl": { "ttl": 60, "strategy": "delete" } });
    let made = server.post("/threads", &body).await;
    let thread = made.json()["thread_id"].as_str().unwrap().to_owned();
    let path = format!("/threads/{thread}");
    assert!(made.json().get("ttl").is_none());
    let shown = server.get(&format!("{path}?include=ttl")).await.json();
    assert_eq!(
        (&shown["ttl"]["ttl_minutes"], &shown["ttl"]["strategy"]),
        (&json!(60), &json!("delete"))
    );
    assert!(shown["ttl"]["expires_at"].as_str().unwrap().ends_with("+00:00"));
    let run = server.start(&thread, "slow", json!({ "ms": 60_000, "tag": "ttl" })).await;
    server.until_ticking("ttl").await;
    assert_eq!(patch(&server, &thread, &json!({ "ttl": 0.000_01 })).await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_eq!(server.get(&path).await.json()["status"], "busy");
    assert_eq!(server.post(&format!("{run}/cancel?wait=1"), &json!({})).await.status, 200);
    within("it has left", async {
        while server.get(&path).await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.get(&run).await.status, 404);
    // One that is kept is not deleted, and one that nobody looks at is.
    // One that waits for an answer is not busy.
    let waits = server.post("/threads", &json!({ "ttl": 60 })).await.json();
    let waits = waits["thread_id"].as_str().unwrap();
    let run = server.start(waits, "interrupting", json!({})).await;
    server.get(&format!("{run}/join")).await;
    assert_eq!(row(&server, waits).await["status"], "interrupted");
    patch(&server, waits, &json!({ "ttl": 0.000_01 })).await;
    within("it is deleted", async {
        while server.get(&format!("/threads/{waits}")).await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let kept = json!({ "ttl": { "ttl": 0.000_01, "strategy": "keep_latest" } });
    let kept = server.post("/threads", &kept).await.json();
    let left = server.post("/threads", &json!({ "ttl": 0.000_01 })).await.json();
    within("one is left", async {
        while server.post("/threads/count", &json!({})).await.json() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_ne!(kept["thread_id"], left["thread_id"]);
    assert_eq!(search(&server, json!({})).await, [kept["thread_id"].as_str().unwrap()]);
}

#[tokio::test]
async fn owners_see_change_count_copy_and_delete_their_own_threads_alone() {
    let access = Access::open().key(Key::new("ada", "a")).key(Key::new("ben", "b"));
    let access = access.key(Key::new("root", "r").admin()).key(Key::new("eve", "e").read_only());
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let [ada, ben, root, eve] = ["a", "b", "r", "e"].map(|key| server.saying("x-api-key", key));
    let thread = made(&ada, json!({ "who": "ada" })).await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "owned" });
    let run = ada.start(&thread, "slow", input).await;
    ada.until_ticking("owned").await;
    let path = format!("/threads/{thread}");
    for (who, status) in [(&ben, 404), (&eve, 403)] {
        assert_eq!(patch(who, &thread, &json!({})).await.status, status);
        assert_eq!(delete(who, &path).await.status, status);
        assert_eq!(who.post(&format!("{path}/copy"), &Value::Null).await.status, status);
        assert_eq!(search(who, json!({})).await, [""; 0]);
        assert_eq!(search(who, json!({ "ids": [thread] })).await, [""; 0]);
        assert_eq!(who.post("/threads/count", &json!({})).await.json(), 0);
    }
    assert_eq!(ada.status(&run).await, "running");
    for who in [&ada, &root] {
        assert_eq!(search(who, json!({})).await, [&*thread]);
    }
    assert_eq!(delete(&root, &path).await.status, 204);
    server.assert_stopped("owned").await;
    assert_eq!(ada.get(&path).await.status, 404);
    for path in ["/threads/search", "/threads/count"] {
        assert_eq!(server.post(path, &json!({})).await.detail(), (401, "Invalid API key".into()));
    }
}
