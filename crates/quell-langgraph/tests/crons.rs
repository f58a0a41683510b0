//! Crons: what is said of them, their runs, and who sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{EngineConfig, Shutdown};
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{ms, within};
use serde_json::{Value, json};

use crate::assistants::ok;
use crate::nodes::two;
use crate::restart::nth;
use crate::talk::{Says as _, Server};

const CRONS: &str = "/runs/crons";

/// Each second.
const OFTEN: &str = "* * * * * *";

async fn made(server: &Server, path: &str, body: Value) -> (String, Value) {
    let row = ok(server, Method::POST, path, body).await;
    (format!("{CRONS}/{}", row["cron_id"].as_str().unwrap()), row)
}

async fn patch(server: &Server, path: &str, body: Value) -> Value {
    ok(server, Method::PATCH, path, body).await
}

async fn delete(server: &Server, path: &str) -> u16 {
    server.send(Method::DELETE, path, "").await.status.as_u16()
}

async fn found(server: &Server, body: Value) -> Vec<Value> {
    let rows = ok(server, Method::POST, "/runs/crons/search", body).await;
    rows.as_array().unwrap().clone()
}

/// Waits until a thread has so many runs, and yields them, the first one first.
async fn runs(server: &Server, thread: &str, least: usize) -> Vec<Value> {
    let path = format!("/threads/{thread}/runs?limit=100");
    within("its runs are made", async {
        loop {
            let mut runs: Vec<Value> = server.get(&path).await.json().as_array().unwrap().clone();
            if runs.len() >= least {
                runs.reverse();
                return runs;
            }
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await
}

fn times(runs: &[Value]) -> Vec<String> {
    let time = |run: &Value| run["metadata"]["cron_time"].as_str().unwrap().to_owned();
    runs.iter().map(time).collect()
}

/// The rows are upstream's, as they were seen.
#[tokio::test]
async fn a_cron_is_made_read_changed_searched_counted_and_deleted() {
    let server = Server::new();
    let body = json!({"assistant_id": "echo", "schedule": "0 9 * * *", "input": {"text": "hi"},
        "metadata": {"m": 1}, "enabled": false});
    let (path, row) = made(&server, CRONS, body).await;
    let id = row["cron_id"].clone();
    let assistant = row["assistant_id"].as_str().unwrap();
    assert_eq!(
        row["payload"],
        json!({
            "assistant_id": assistant, "schedule": "0 9 * * *", "input": {"text": "hi"},
            "metadata": {"m": 1}, "enabled": false, "config": {"configurable": {"cron_id": id}},
        })
    );
    for (key, value) in [
        ("thread_id", Value::Null),
        ("user_id", "".into()),
        ("end_time", Value::Null),
        ("timezone", Value::Null),
        ("on_run_completed", "delete".into()),
        ("enabled", false.into()),
        ("metadata", json!({"m": 1})),
    ] {
        assert_eq!(row.get(key), Some(&value), "{key}");
    }
    assert!(row["next_run_date"].as_str().unwrap().ends_with("T09:00:00.000000+00:00"));
    assert_eq!(server.get(&path).await.json(), row);
    let changed = json!({"timezone": "Asia/Tokyo", "metadata": {"n": 2}, "context": {"c": 1},
        "end_time": "2999-01-01T00:00:00", "on_run_completed": "keep"});
    let row = patch(&server, &path, changed).await;
    assert!(row["next_run_date"].as_str().unwrap().contains("T00:00:00"), "{row}");
    assert_eq!(row["metadata"], json!({"m": 1, "n": 2}));
    assert_eq!(row["payload"]["metadata"], json!({"n": 2}));
    assert_eq!(row["payload"]["context"], json!({"c": 1, "cron_id": id}));
    assert_eq!(
        (&row["end_time"], &row["on_run_completed"]),
        (&json!("2999-01-01T00:00:00"), &json!("keep"))
    );
    let over = patch(&server, &path, json!({"end_time": "2001-01-01T00:00:00Z"})).await;
    assert_eq!(over["next_run_date"], Value::Null);
    let open = patch(&server, &path, json!({"end_time": null})).await;
    assert_eq!((&open["end_time"], open["next_run_date"].is_null()), (&Value::Null, false));
    let thread = server.thread().await;
    let own = json!({"assistant_id": "slow", "schedule": "@yearly"});
    let (other, row) = made(&server, &format!("/threads/{thread}/runs/crons"), own).await;
    assert_eq!((&row["thread_id"], &row["on_run_completed"]), (&json!(thread), &Value::Null));
    for (body, wanted) in [
        (json!({}), 2),
        (json!({"thread_id": thread}), 1),
        (json!({"assistant_id": assistant}), 1),
        (json!({"enabled": false}), 1),
        (json!({"metadata": {"n": 2}}), 1),
        (json!({"metadata": {"n": 3}}), 0),
    ] {
        assert_eq!(found(&server, body.clone()).await.len(), wanted, "{body}");
        assert_eq!(ok(&server, Method::POST, "/runs/crons/count", body).await, wanted);
    }
    let page = json!({"limit": 1, "offset": 1, "select": ["cron_id"], "sort_by": "next_run_date",
        "sort_order": "asc"});
    assert_eq!(found(&server, page).await, [json!({"cron_id": row["cron_id"]})]);
    assert_eq!((delete(&server, &path).await, delete(&server, &path).await), (204, 404));
    // It leaves with its thread.
    assert_eq!(delete(&server, &format!("/threads/{thread}")).await, 204);
    assert_eq!(server.get(&other).await.detail(), (404, "Not Found".into()));
}

#[tokio::test]
async fn a_cron_that_is_none_is_not_made() {
    let server = Server::new();
    let nobody = "0b9f8c39-5c5c-4b0f-9d4c-444444444444";
    let thread = format!("/threads/{nobody}/runs/crons");
    for (key, value, status, words) in [
        ("schedule", Value::Null, 422, "schedule: field required"),
        ("schedule", json!(5), 422, "schedule"),
        ("schedule", json!("bad"), 422, "Invalid cron schedule: 'bad'."),
        ("schedule", json!("0 0 31 2 *"), 400, "failed to find next date"),
        ("timezone", json!("Nowhere/X"), 422, "Invalid timezone: 'Nowhere/X'."),
        ("end_time", json!("x"), 422, "end_time"),
        ("enabled", json!(1), 422, "enabled"),
        ("on_run_completed", json!("x"), 422, "on_run_completed"),
        ("multitask_strategy", json!("x"), 422, "multitask_strategy"),
        ("metadata", json!({"quell_timeout_ms": 0}), 422, "metadata.quell"),
        ("assistant_id", Value::Null, 422, "assistant_id: field required"),
        ("assistant_id", json!("nope"), 404, "Assistant 'nope' not found"),
        ("assistant_id", json!(nobody), 404, "Assistant '"),
    ] {
        let mut body = json!({"assistant_id": "echo", "schedule": "* * * * *"});
        body[key] = value;
        let answer = server.post(CRONS, &body).await.detail();
        assert!(answer.0 == status && answer.1.starts_with(words), "{body}: {answer:?}");
    }
    let body = json!({"assistant_id": "echo", "schedule": "* * * * *"});
    let unknown = format!("Thread with ID {nobody} not found");
    assert_eq!(server.post(&thread, &body).await.detail(), (404, unknown));
    assert_eq!(server.post("/threads/x/runs/crons", &body).await.status, 422);
    assert!(found(&server, json!({})).await.is_empty());
}

#[tokio::test]
async fn a_wrong_request_for_a_cron_is_refused_with_what_is_wrong() {
    let server = Server::new();
    let body = json!({"assistant_id": "echo", "schedule": "@yearly"});
    let (path, row) = made(&server, CRONS, body).await;
    let none = format!("{CRONS}/0b9f8c39-5c5c-4b0f-9d4c-444444444444");
    let bad = "Invalid cron ID: must be a UUID";
    let (post, changes, search) = (Method::POST, Method::PATCH, "/runs/crons/search");
    for (method, path, body, status, words) in [
        (changes.clone(), &*path, json!({}), 400, "Request body cannot be empty"),
        (changes.clone(), &path, json!({"schedule": "bad"}), 422, "Invalid cron schedule"),
        (changes.clone(), &none, json!({"enabled": true}), 404, "Not Found"),
        (changes, "/runs/crons/x", json!({}), 422, bad),
        (Method::DELETE, "/runs/crons/x", json!({}), 422, bad),
        (Method::DELETE, &none, json!({}), 404, "Not Found"),
        (post.clone(), search, json!({"assistant_id": "echo"}), 422, "Invalid assistant ID"),
        (post.clone(), search, json!({"thread_id": 1}), 422, "Invalid thread ID"),
        (post.clone(), search, json!({"enabled": 1}), 422, "enabled"),
        (post.clone(), search, json!({"select": ["x"]}), 422, "select"),
        (post.clone(), search, json!({"sort_by": "x"}), 422, "sort_by"),
        (post, search, json!({"limit": 0}), 422, "limit"),
    ] {
        let answer = server.send(method, path, &body.to_string()).await.detail();
        assert!(answer.0 == status && answer.1.starts_with(words), "{path} {body}: {answer:?}");
    }
    assert_eq!(server.get(&path).await.json(), row);
}

#[tokio::test]
async fn a_cron_makes_a_run_at_each_of_its_times() {
    let server = Server::new();
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {"text": "hi"},
        "metadata": {"mine": 1}});
    let path = format!("/threads/{thread}/runs/crons");
    let (path, row) = made(&server, &path, body).await;
    let all = runs(&server, &thread, 2).await;
    for run in &all {
        assert_eq!(
            (&run["metadata"]["mine"], &run["metadata"]["cron_id"]),
            (&json!(1), &row["cron_id"])
        );
        assert_eq!(run["kwargs"]["config"]["configurable"]["cron_id"], row["cron_id"]);
    }
    assert_eq!(times(&all).into_iter().collect::<BTreeSet<_>>().len(), all.len());
    let off = patch(&server, &path, json!({"enabled": false})).await;
    assert_eq!(off["enabled"], false);
    // A stateless one is made, and kept if that is asked for.
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {},
        "on_run_completed": "keep", "metadata": {"which": "stateless"}});
    let (stateless, _) = made(&server, CRONS, body).await;
    within("its thread is made", async {
        let filter = json!({"metadata": {"graph_id": "echo"}});
        while ok(&server, Method::POST, "/threads/count", filter.clone()).await.as_u64() < Some(2) {
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await;
    assert_eq!(delete(&server, &stateless).await, 204);
    let before = runs(&server, &thread, 2).await.len();
    patch(&server, &path, json!({"enabled": true})).await;
    runs(&server, &thread, before + 1).await;
    assert_eq!(delete(&server, &path).await, 204);
}

#[tokio::test]
async fn a_cron_whose_assistant_or_thread_is_gone_leaves() {
    let server = Server::new();
    let assistant = ok(&server, Method::POST, "/assistants", json!({"graph_id": "echo"})).await;
    let assistant = assistant["assistant_id"].as_str().unwrap();
    let body = json!({"assistant_id": assistant, "schedule": "@yearly"});
    let (path, _) = made(&server, CRONS, body).await;
    assert_eq!(delete(&server, &format!("/assistants/{assistant}")).await, 204);
    assert_eq!(server.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_cron_is_its_owners_alone_and_so_are_its_runs() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("kim", "key-of-kim").scopes(["workflows:slow:run"]))
        .key(Key::new("ada", "key-of-adas-screen").read_only())
        .key(Key::new("root", "key-of-root").admin());
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let by = |key: &str| server.saying("x-api-key", key);
    let (ada, bob, root) = (by("key-of-ada"), by("key-of-bob"), by("key-of-root"));
    let thread = ada.thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    let path = format!("/threads/{thread}/runs/crons");
    assert_eq!(bob.post(&path, &body).await.status, 404);
    let (cron, row) = made(&ada, &path, body.clone()).await;
    assert_eq!(row["user_id"], "ada");
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let foreign = bob.send(method.clone(), &cron, r#"{"enabled":false}"#).await.detail();
        assert_eq!(foreign, (404, "Not Found".into()), "{method}");
    }
    assert!(found(&bob, json!({})).await.is_empty());
    assert_eq!(found(&root, json!({})).await.len(), 1);
    let screen = by("key-of-adas-screen");
    assert_eq!(screen.get(&cron).await.status, 200);
    for (method, path) in [(Method::POST, &*path), (Method::PATCH, &cron), (Method::DELETE, &cron)]
    {
        assert_eq!(screen.send(method, path, &body.to_string()).await.status, 403);
    }
    assert_eq!(by("key-of-kim").post(CRONS, &body).await.status, 403);
    assert_eq!(server.post(CRONS, &body).await.status, 401);
    assert!(!runs(&ada, &thread, 1).await.is_empty());
    assert_eq!(delete(&ada, &cron).await, 204);
}

#[tokio::test]
async fn a_cron_goes_on_after_a_restart_and_makes_no_run_for_times_when_nobody_was_there() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    let (cron, _) = made(&server, &format!("/threads/{thread}/runs/crons"), body).await;
    runs(&server, &thread, 1).await;
    server.service.engine().shutdown(Shutdown::default()).await;
    let until = times(&runs(&server, &thread, 1).await);
    drop(server);
    // Two of its times pass.
    tokio::time::sleep(ms(2_100)).await;
    let (server, _) = nth(2, &store).await;
    // The row of a new thread tells what time it is.
    let other = server.thread().await;
    let since = server.get(&format!("/threads/{other}")).await.json();
    let since = since["created_at"].as_str().unwrap()[..19].to_owned();
    let all = runs(&server, &thread, until.len() + 2).await;
    let made = times(&all).split_off(until.len());
    assert!(made.iter().all(|time| *time >= since), "{since}: {until:?} {made:?}");
    assert_eq!(delete(&server, &cron).await, 204);
}

#[tokio::test]
async fn of_two_nodes_each_time_makes_one_run() {
    let (a, b) = two();
    let thread = a.thread().await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {}});
    let (cron, _) = made(&a, &format!("/threads/{thread}/runs/crons"), body).await;
    // Both know its times from now on.
    patch(&b, &cron, json!({"metadata": {"by": "b"}})).await;
    let mut all = times(&runs(&a, &thread, 4).await);
    let many = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), many, "{all:?}");
    assert_eq!(delete(&b, &cron).await, 204);
    assert_eq!(a.get(&cron).await.status, 404);
}
