//! Crons: what is said of them, their runs, and who sees them.

use std::collections::BTreeSet;

use axum::http::Method;
use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{ms, within};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::assistants::ok;
use crate::talk::{Says as _, Server};

pub(crate) const CRONS: &str = "/runs/crons";

/// Each second.
pub(crate) const OFTEN: &str = "* * * * * *";

/// Options with which a cron may be due each second.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.cron_interval_min = ms(1_000);
    options
}

fn server() -> Server {
    Server::with(EngineConfig::new(), options(), Access::open())
}

pub(crate) async fn made(server: &Server, path: &str, body: Value) -> (String, Value) {
    let row = ok(server, Method::POST, path, body).await;
    (format!("{CRONS}/{}", row["cron_id"].as_str().unwrap()), row)
}

pub(crate) async fn patch(server: &Server, path: &str, body: Value) -> Value {
    ok(server, Method::PATCH, path, body).await
}

pub(crate) async fn delete(server: &Server, path: &str) -> u16 {
    server.send(Method::DELETE, path, "").await.status.as_u16()
}

pub(crate) async fn found(server: &Server, body: Value) -> Vec<Value> {
    let rows = ok(server, Method::POST, "/runs/crons/search", body).await;
    rows.as_array().unwrap().clone()
}

/// Waits until a thread has so many runs, and yields them, the first one first.
pub(crate) async fn runs(server: &Server, thread: &str, least: usize) -> Vec<Value> {
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

pub(crate) fn times(runs: &[Value]) -> Vec<String> {
    let time = |run: &Value| run["metadata"]["cron_time"].as_str().unwrap().to_owned();
    runs.iter().map(time).collect()
}

/// Yields what time it is, as it is written of a run.
pub(crate) fn now() -> String {
    let now = humantime::format_rfc3339_micros(std::time::SystemTime::now());
    now.to_string().replace('Z', "+00:00")
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
        ("schedule", json!("0 0 31 2 *"), 400, "failed to find next date: schedule '0 0 31 2 *'"),
        ("timezone", json!("Nowhere/X"), 422, "Invalid timezone: 'Nowhere/X'."),
        ("end_time", json!("x"), 422, "end_time"),
        ("end_time", json!("2001-01-01T00:00:00Z"), 422, "end_time: must not be before the first"),
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
    let (post, change, search) = (Method::POST, Method::PATCH, "/runs/crons/search");
    for (method, path, body, status, words) in [
        (change.clone(), &*path, json!({}), 400, "Request body cannot be empty"),
        (change.clone(), &path, json!({"schedule": "bad"}), 422, "Invalid cron schedule"),
        (change.clone(), &none, json!({"enabled": true}), 404, "Cron '0b9f8c39-5c5c-4b0f-9d4c"),
        (change, "/runs/crons/x", json!({}), 422, bad),
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
    let server = server();
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
    let server = Server::with(EngineConfig::new(), options(), access);
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
        let id = row["cron_id"].as_str().unwrap();
        let none = [format!("Cron '{id}' not found"), "Not Found".into()];
        assert!(foreign.0 == 404 && none.contains(&foreign.1), "{method} {foreign:?}");
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
async fn what_is_deleted_disabled_or_over_makes_no_run_any_more() {
    let server = server();
    let mut threads = Vec::new();
    for nth in 0..5 {
        let thread = server.thread().await;
        let body = json!({"assistant_id": "echo", "schedule": OFTEN, "input": {"n": nth}});
        let (path, _) = made(&server, &format!("/threads/{thread}/runs/crons"), body).await;
        runs(&server, &thread, 1).await;
        threads.push((thread, path));
    }
    assert_eq!(delete(&server, &threads[0].1).await, 204);
    patch(&server, &threads[1].1, json!({"enabled": false})).await;
    patch(&server, &threads[2].1, json!({"end_time": now()})).await;
    assert_eq!(delete(&server, &format!("/threads/{}", threads[3].0)).await, 204);
    assert_eq!(server.get(&threads[3].1).await.status, 404);
    let mut before = Vec::new();
    for (thread, _) in &threads[..3] {
        before.push(runs(&server, thread, 1).await.len());
    }
    // The last one tells that two times have passed.
    let many = runs(&server, &threads[4].0, 1).await.len();
    runs(&server, &threads[4].0, many + 2).await;
    for ((thread, _), before) in threads.iter().zip(before) {
        assert_eq!(runs(&server, thread, 1).await.len(), before);
    }
    let again = patch(&server, &threads[1].1, json!({"enabled": true})).await;
    assert!(again["next_run_date"].as_str().unwrap() > now().as_str(), "{again}");
    runs(&server, &threads[1].0, 2).await;
}

#[tokio::test]
async fn a_run_that_is_refused_is_left_out_and_the_next_time_is_tried() {
    let server = server();
    let thread = server.thread().await;
    let long = json!({"ms": 60_000, "tag": "long"});
    let run = server.start(&thread, "slow", long).await;
    server.until_ticking("long").await;
    let body = json!({"assistant_id": "echo", "schedule": OFTEN, "multitask_strategy": "reject"});
    let (path, row) = made(&server, &format!("/threads/{thread}/runs/crons"), body).await;
    within("it goes on", async {
        while server.get(&path).await.json()["next_run_date"] == row["next_run_date"] {
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await;
    assert_eq!(runs(&server, &thread, 1).await.len(), 1);
    server.post(&format!("{run}/cancel?wait=true"), &json!({})).await;
    runs(&server, &thread, 2).await;
}

#[tokio::test]
async fn crons_are_bounded_in_number_in_bytes_and_in_how_often_they_are_due() {
    let mut options = Options::default();
    (options.crons_owner_max, options.crons_max, options.cron_bytes_max) = (2, 3, 1_000);
    let access = Access::open().key(Key::new("ada", "ada-s")).key(Key::new("bob", "bob-s"));
    let server = Server::with(EngineConfig::new(), options, access);
    let (ada, bob) = (server.saying("x-api-key", "ada-s"), server.saying("x-api-key", "bob-s"));
    let body = |schedule: &str| json!({"assistant_id": "echo", "schedule": schedule});
    let refused = async |by: &Server, body: Value| by.post(CRONS, &body).await.detail();
    let (path, _) = made(&ada, CRONS, body("* * * * *")).await;
    made(&ada, CRONS, body("* * * * *")).await;
    let own = (429, "Too many crons: one owner has 2 at most".to_owned());
    assert_eq!(refused(&ada, body("* * * * *")).await, own);
    made(&bob, CRONS, body("* * * * *")).await;
    let all = (429, "Too many crons: there are 3 at most".to_owned());
    assert_eq!(refused(&bob, body("* * * * *")).await, all);
    let large = (413, "Too large: a cron has 1000 bytes at most".to_owned());
    let mut fat = body("* * * * *");
    fat["input"] = json!({"text": "x".repeat(1_000)});
    assert_eq!(refused(&bob, fat.clone()).await, large);
    fat.as_object_mut().unwrap().remove("assistant_id");
    assert_eq!(ada.send(Method::PATCH, &path, &fat.to_string()).await.detail(), large);
    let text = "schedule: due more often than once in 60 s; of six fields the last one is seconds";
    let often = (422, text.to_owned());
    assert_eq!(refused(&bob, body(OFTEN)).await, often);
    let changed = json!({"schedule": "0 0 * * * 0,1"}).to_string();
    assert_eq!(ada.send(Method::PATCH, &path, &changed).await.detail(), often);
    // A place that is given back is free.
    assert_eq!(delete(&ada, &path).await, 204);
    made(&bob, CRONS, body("* * * * *")).await;
}

/// Waits without a timer for long enough, and tells whether one has moved the clock.
async fn moves_the_clock() -> bool {
    let (done, is_done) = tokio::sync::oneshot::channel();
    let before = Instant::now();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(ms(100));
        let _ = done.send(());
    });
    is_done.await.unwrap();
    waiting.join().unwrap();
    Instant::now() != before
}

#[tokio::test(start_paused = true)]
async fn no_timer_runs_unless_a_cron_is_due() {
    let server = server();
    assert!(!moves_the_clock().await);
    let body = json!({"assistant_id": "echo", "schedule": "@yearly"});
    let (path, _) = made(&server, CRONS, body).await;
    assert!(moves_the_clock().await);
    patch(&server, &path, json!({"enabled": false})).await;
    assert!(!moves_the_clock().await);
    patch(&server, &path, json!({"enabled": true})).await;
    assert!(moves_the_clock().await);
    assert_eq!(delete(&server, &path).await, 204);
    assert!(!moves_the_clock().await);
}
