//! Every error row of the contract that can be reached.

use axum::http::Method;
use serde_json::json;

use crate::talk::{Says, Server, id_of};

const ID: &str = "01a1f7a0-b8be-771e-8334-e5af4180e25e";
const NONE: &str = "No runs found to cancel.";
const ENDED: &str = "No matching runs to cancel. Please verify the thread ID and run IDs are \
                     correct, and the runs haven't been deleted or completed.";
const BAD_JSON: &str = "Invalid JSON in request body";
const LIMIT: &str = "limit: must be a whole number from 1 to 1000";
const NO_OBJECT: &str = "body: must be an object";
const BAD_STATUS: &str = "status: must be 'pending', 'running' or 'all'";
const BAD_RUN: &str = "Invalid run ID: must be a UUID";
const BAD_THREAD: &str = "Invalid thread ID: must be a UUID";

type Row<'a> = (&'a str, &'a str, &'a str, u16, &'a str);

async fn assert_answered(server: &Server, table: &[Row<'_>]) {
    for (method, path, body, status, detail) in table {
        let answer = server.send(method.parse().unwrap(), path, body).await;
        let expected = (*status, (*detail).to_owned());
        assert_eq!(answer.detail(), expected, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn bad_requests_for_threads_and_assistants_are_answered_as_the_contract_says() {
    let server = Server::new();
    let thread = server.thread().await;
    let none = format!("Thread with ID {ID} not found");
    let same = format!(r#"{{"thread_id":"{thread}"}}"#);
    let exists = format!("Thread with ID {thread} already exists");
    let no_assistant = format!("Assistant with ID {ID} not found");
    let table = [
        ("GET", "/nowhere", "", 404, "Not Found"),
        ("DELETE", "/threads", "", 405, "Method Not Allowed"),
        ("GET", "/threads/x", "", 422, BAD_THREAD),
        ("GET", "/threads/%ff", "", 422, BAD_THREAD),
        ("GET", "/threads/%ff/runs/x/join", "", 422, BAD_THREAD),
        ("GET", &format!("/threads/{thread}/runs/%ff"), "", 422, BAD_THREAD),
        ("GET", &format!("/threads/{thread}/runs/%ff/join"), "", 422, BAD_THREAD),
        ("GET", &format!("/threads/{thread}/runs/%ff/stream"), "", 422, BAD_THREAD),
        ("POST", &format!("/threads/{thread}/runs/%ff/cancel"), "", 422, BAD_THREAD),
        ("GET", "/threads/x/runs", "", 422, BAD_THREAD),
        ("GET", "/threads/x/runs/x/stream", "", 422, BAD_THREAD),
        ("POST", "/threads/x/runs", "{", 422, BAD_THREAD),
        ("POST", "/threads/x/runs/stream", "{", 422, BAD_THREAD),
        ("POST", "/threads/x/runs/wait", "{", 422, BAD_THREAD),
        ("GET", "/runs/%ff/stream", "", 422, BAD_RUN),
        ("POST", "/threads/%ff/runs", "{}", 422, BAD_THREAD),
        ("GET", &format!("/threads/{ID}"), "", 404, &none),
        ("POST", "/threads", "{", 422, BAD_JSON),
        ("POST", "/threads", "", 422, BAD_JSON),
        ("POST", "/threads", r#"{"thread_id":"x"}"#, 422, BAD_THREAD),
        ("POST", "/threads", &same, 409, &exists),
        ("GET", "/assistants/x", "", 422, "Invalid assistant ID: must be a UUID"),
        ("GET", "/assistants/%ff", "", 422, "Invalid assistant ID: must be a UUID"),
        ("GET", &format!("/assistants/{ID}"), "", 404, &no_assistant),
        ("POST", "/assistants/search", r#"{"limit":-1}"#, 422, LIMIT),
    ];
    assert_answered(&server, &table).await;
}

#[tokio::test]
async fn bad_requests_for_runs_are_answered_as_the_contract_says() {
    let server = Server::new();
    let thread = server.thread().await;
    let runs = format!("/threads/{thread}/runs");
    let no_thread = format!("/threads/{ID}/runs");
    let unknown = format!(r#"{{"assistant_id":"{ID}"}}"#);
    let resume = r#"{"assistant_id":"echo","command":{"resume":1}}"#;
    let not_found = "Thread or assistant not found.";
    let no_graph = "Invalid assistant: 'nope'. Must be either:\n- A valid assistant UUID, or\n\
                    - One of the registered graphs: echo, everywhere, failing, interrupting, \
                    nested, parallel, slow, steps, stubborn";
    let deep = format!(r#"{{"input":{}{}}}"#, "[".repeat(127), "]".repeat(127));
    let half = r#"{"assistant_id":"echo","input":"\ud800"}"#;
    let after = r#"{"assistant_id":"echo","after_seconds":1e300}"#;
    let strategy = r#"{"assistant_id":"echo","multitask_strategy":-1e300}"#;
    let no_word = "multitask_strategy: must be one of enqueue, reject, interrupt, rollback";
    let mode = r#"{"assistant_id":"echo","stream_mode":[1e300]}"#;
    let table = [
        ("POST", &*runs, "{}", 422, "assistant_id: field required"),
        ("POST", &runs, "[1", 422, BAD_JSON),
        ("POST", &runs, r#"{"input":1e}"#, 422, BAD_JSON),
        ("POST", &runs, &deep, 422, BAD_JSON),
        ("POST", &runs, half, 422, BAD_JSON),
        ("POST", &runs, "[]", 422, NO_OBJECT),
        ("POST", &runs, "1e300", 422, NO_OBJECT),
        ("POST", "/threads", "1e300", 422, NO_OBJECT),
        ("POST", "/assistants/search", "1e300", 422, NO_OBJECT),
        ("POST", "/runs/cancel", "1e300", 422, NO_OBJECT),
        ("POST", "/runs/cancel", r#"{"status":1e300}"#, 422, BAD_STATUS),
        ("POST", "/assistants/search", r#"{"limit":1e300}"#, 422, LIMIT),
        ("POST", &runs, r#"{"assistant_id":1e300}"#, 422, "assistant_id: must be text"),
        ("POST", &runs, after, 422, "after_seconds: must be a number from 0 to a year"),
        ("POST", &runs, strategy, 422, no_word),
        ("POST", &runs, mode, 422, "stream_mode: must be text or a list of texts"),
        ("POST", &no_thread, r#"{"assistant_id":"echo"}"#, 404, not_found),
        ("POST", &runs, &unknown, 404, not_found),
        ("POST", &runs, r#"{"assistant_id":"nope"}"#, 422, no_graph),
        ("POST", "/runs", resume, 400, "You must provide a thread_id when resuming."),
        ("GET", &format!("{runs}/x"), "", 422, BAD_RUN),
        ("GET", &format!("{runs}/{ID}"), "", 404, "Not Found"),
        ("GET", &format!("/threads/x/runs/{ID}"), "", 422, BAD_THREAD),
        ("GET", &format!("{runs}?limit=x"), "", 422, "limit: must be a whole number"),
        ("GET", &format!("{runs}/x/join"), "", 422, BAD_RUN),
        ("GET", &format!("{runs}/x/stream"), "", 422, BAD_RUN),
        ("GET", "/runs/x/stream", "", 422, BAD_RUN),
    ];
    assert_answered(&server, &table).await;
}

#[tokio::test]
async fn bad_cancels_are_answered_as_the_contract_says() {
    let server = Server::new();
    let thread = server.thread().await;
    let run = server.start(&thread, "echo", json!({})).await;
    server.get(&format!("{run}/join")).await;
    let runs = format!("/threads/{thread}/runs");
    let foreign = format!("/threads/{ID}/runs/{}/cancel", id_of(&run));
    let bad_timeout = format!("{run}/cancel?timeout=x");
    let ids =
        |thread: &str, runs: &str| format!(r#"{{"thread_id":"{thread}","run_ids":[{runs}]}}"#);
    let ended = ids(&thread, &format!("\"{}\"", id_of(&run)));
    let unknown = ids(ID, &format!("\"{ID}\""));
    let bulk = "/runs/cancel";
    let table = [
        ("POST", &*format!("{runs}/x/cancel"), "", 422, BAD_RUN),
        ("POST", &format!("/threads/x/runs/{ID}/cancel"), "", 422, BAD_THREAD),
        ("POST", &format!("{runs}/{ID}/cancel"), "", 404, NONE),
        ("POST", &foreign, "", 404, NONE),
        ("POST", &format!("{run}/cancel"), "", 404, ENDED),
        ("POST", &format!("{run}/cancel?wait=1&action=nope"), "", 404, ENDED),
        ("POST", &bad_timeout, "", 422, "timeout: must be a number of seconds"),
        ("POST", bulk, "", 422, BAD_JSON),
        ("POST", bulk, "{}", 422, "status, or thread_id and run_ids: field required"),
        ("POST", bulk, r#"{"status":"all"}"#, 404, NONE),
        ("POST", bulk, &unknown, 404, NONE),
        ("POST", bulk, &ids(&thread, ""), 404, NONE),
        ("POST", bulk, &ended, 404, ENDED),
    ];
    assert_answered(&server, &table).await;
}

#[tokio::test]
async fn a_cancel_that_finds_nothing_says_so_in_its_header() {
    let server = Server::new();
    let thread = server.thread().await;
    let run = server.start(&thread, "echo", json!({})).await;
    server.get(&format!("{run}/join")).await;
    let answer = server.post(&format!("{run}/cancel"), &json!(null)).await;
    assert_eq!(answer.header("quell-disposition"), "already-terminal");
    let answer = server.post(&format!("/threads/{thread}/runs/{ID}/cancel"), &json!(null)).await;
    assert_eq!(answer.header("quell-disposition"), "unknown");
    let answer = server.post("/runs/cancel", &json!({"status": "all"})).await;
    assert_eq!(answer.header("quell-disposition"), "unknown");
}

#[tokio::test]
async fn a_join_says_where_a_client_comes_back_to_when_it_is_cut() {
    let (a, b) = crate::nodes::two();
    let thread = a.thread().await;
    let live = a.start(&thread, "slow", json!({ "ms": 60_000, "tag": "joined" })).await;
    a.until_ticking("joined").await;
    crate::nodes::stored(&a, &live).await;
    let ended = a.start(&a.thread().await, "echo", json!({ "text": "hi" })).await;
    assert_eq!(a.get(&format!("{ended}/join")).await.status, 200);
    crate::nodes::stored(&a, &ended).await;
    for (server, run, last) in [&a, &b].into_iter().flat_map(|server| {
        [(server, &live, "join"), (server, &live, "stream"), (server, &ended, "join")]
    }) {
        // Its head alone: it does not end.
        let answer = server.send(Method::HEAD, &format!("{run}/{last}"), "").await;
        assert_eq!(answer.header("location"), format!("{run}/{last}"));
        assert_eq!(answer.header("content-location"), *run);
    }
    let answer = a.get(&format!("{ended}/stream")).await;
    assert_eq!(answer.header("location"), format!("{ended}/stream"));
    assert_eq!(crate::threads::delete(&a, &live).await.status, 204);
}

#[tokio::test]
async fn a_join_of_a_run_that_is_not_there_is_no_http_error() {
    let server = Server::new();
    let thread = server.thread().await;
    let error = json!({"error": "HTTPException", "message": "404: Run not found"});
    let join = server.get(&format!("/threads/{thread}/runs/{ID}/join")).await;
    assert_eq!((join.status.as_u16(), join.json()), (200, json!({"__error__": error})));
    for path in [format!("/threads/{thread}/runs/{ID}/stream"), format!("/runs/{ID}/stream")] {
        let stream = server.get(&path).await;
        assert_eq!(stream.status, 200);
        assert_eq!(stream.events(), [("error".to_owned(), error.clone())]);
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_unread() {
    let server = Server::new().saying("content-length", "99999999999");
    assert_eq!(server.send(Method::POST, "/runs", "{}").await.detail().0, 413);
}

#[tokio::test]
async fn a_limit_that_is_reached_makes_nothing() {
    let mut limits = quell::Limits::default();
    // It has a step.
    limits.runs_max = 2;
    let config = quell::EngineConfig::new().limits(limits);
    let (options, access) = (quell_langgraph::Options::default(), quell_http::Access::open());
    let server = Server::with(config, options, access);
    let thread = server.thread().await;
    let run = server.start(&thread, "slow", json!({"ms": 60_000, "tag": "full"})).await;
    server.until_ticking("full").await;
    let other = "01a1f7a0-b8be-771e-8334-e5af4180e25f";
    let body = json!({"assistant_id": "slow", "if_not_exists": "create", "input": {}});
    let answer = server.post(&format!("/threads/{other}/runs"), &body).await;
    assert_eq!(answer.detail(), (429, "Too many live runs".into()));
    assert_eq!(server.get(&format!("/threads/{other}")).await.status, 404);
    server.post(&format!("{run}/cancel?wait=1"), &json!(null)).await;
    server.service.drain();
    let answer = server.post("/runs", &body).await;
    assert_eq!(answer.detail(), (503, "Service Unavailable".into()));
}

#[tokio::test]
async fn a_path_that_is_served_has_no_other_methods() {
    let server = Server::new();
    let run = format!("/threads/{ID}/runs/{ID}");
    for (method, path) in [
        ("DELETE", "/ok".to_owned()),
        ("POST", "/info".to_owned()),
        ("GET", "/assistants/search".to_owned()),
        ("PUT", "/threads".to_owned()),
        ("PUT", format!("/threads/{ID}/runs")),
        ("POST", format!("{run}/join")),
        ("GET", format!("{run}/cancel")),
        ("GET", "/runs/cancel".to_owned()),
    ] {
        let answer = server.send(method.parse().unwrap(), &path, "").await;
        assert_eq!(answer.detail(), (405, "Method Not Allowed".into()), "{method} {path}");
        assert!(!answer.header("allow").is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn info_is_that_of_the_contract() {
    let info = Server::new().get("/info").await.json();
    assert!(info["version"].is_string());
    assert_eq!(info.get("langgraph_py_version"), Some(&json!(null)));
    assert_eq!(info["flags"], json!({"assistants": true, "crons": true, "langsmith": false}));
    assert_eq!(info["host"], json!({"kind": "self-hosted"}));
    // The published document of upstream has it too.
    assert_eq!(info["metadata"], json!({}));
}

#[tokio::test]
async fn a_refusal_quotes_the_begin_of_what_was_asked_for() {
    let server = Server::new();
    let thread = server.thread().await;
    let ended = server.start(&thread, "steps", json!({ "ms": 0 })).await;
    server.get(&format!("{ended}/join")).await;
    let long = "ä".repeat(100_000);
    let run = json!({ "assistant_id": long });
    let goto = json!({ "assistant_id": "steps", "command": { "goto": long } });
    let state = json!({ "values": {}, "as_node": long });
    let cron = json!({ "assistant_id": long, "schedule": "@daily" });
    let schedule = json!({ "assistant_id": "echo", "schedule": long });
    let zone = json!({ "assistant_id": "echo", "schedule": "@daily", "timezone": long });
    let operator = json!({ format!("${long}"): 1 });
    let filter = json!({ "namespace_prefix": [], "filter": { "a": operator } });
    let mode = json!({ "assistant_id": "echo", "stream_mode": long });
    let label = json!({ "namespace_prefix": [format!("{long}.")] });
    let table = [
        (format!("/threads/{thread}/runs"), run, 422),
        (format!("/threads/{thread}/runs"), mode, 422),
        ("/store/items/search".to_owned(), label, 422),
        (format!("/threads/{thread}/runs"), goto, 422),
        (format!("/threads/{thread}/state"), state, 400),
        ("/runs/crons".to_owned(), cron, 404),
        ("/runs/crons".to_owned(), schedule, 422),
        ("/runs/crons".to_owned(), zone, 422),
        ("/assistants".to_owned(), json!({ "graph_id": long }), 404),
        ("/store/items/search".to_owned(), filter, 400),
    ];
    for (path, body, expected) in table {
        let (status, detail) = server.send(Method::POST, &path, &body.to_string()).await.detail();
        let begin: String = detail.chars().take(100).collect();
        assert_eq!((status, detail.contains("ää")), (expected, true), "{path}: {begin}");
        assert!(detail.len() < 1_000, "{path}: {} bytes: {begin}", detail.len());
    }
}
