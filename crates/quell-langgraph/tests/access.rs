//! Who sees what.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use quell::{Engine, EngineConfig, Payload, RunFilter};
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, Service, ServiceLimits};
use quell_langgraph::Options;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::talk::{Says, Server, id_of};

fn server() -> Server {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("eve", "key-of-eve").read_only())
        .key(Key::new("root", "key-of-root").admin())
        .key(Key::new("auditor", "key-of-auditor").admin().read_only())
        .key(Key::new("ada", "key-of-adas-screen").scopes(["workflows:read", "agents:run"]))
        .key(Key::new("kim", "key-of-kim").scopes(["workflows:slow:run"]));
    Server::with(EngineConfig::new(), Options::default(), access)
}

/// The UUID of an assistant that is not there.
const NOBODY: &str = "6b1f1c9e-7c52-4d6f-9a3e-3d0c1b2a4f5e";

#[tokio::test]
async fn without_a_key_nothing_is_answered() {
    let server = server();
    let wrong = server.saying("x-api-key", "guessed");
    for path in ["/runs/cancel", "/threads", "/runs", "/assistants/search"] {
        for caller in [&server, &wrong] {
            let answer = caller.post(path, &json!({"status": "all"})).await;
            assert_eq!(answer.detail(), (401, "Invalid API key".into()), "{path}");
        }
    }
}

#[tokio::test]
async fn without_a_key_nobody_is_told_what_is_wrong_with_an_id() {
    let server = server();
    for path in ["/runs/x/stream", "/threads/x/runs/y/stream", "/threads/x/runs/y/join"] {
        let answer = server.get(path).await;
        assert_eq!(answer.detail(), (401, "Invalid API key".into()), "{path}");
    }
    for kind in ["", "/stream", "/wait"] {
        let answer = server.post(&format!("/threads/x/runs{kind}"), &json!({})).await;
        assert_eq!(answer.detail(), (401, "Invalid API key".into()), "{kind}");
    }
}

#[tokio::test]
async fn what_belongs_to_another_is_as_if_it_was_not_there() {
    let server = server();
    let (ada, bob) = (server.saying("x-api-key", "key-of-ada"), {
        server.saying("authorization", "Bearer key-of-bob")
    });
    let thread = ada.thread().await;
    let run = ada.start(&thread, "slow", json!({"ms": 60_000, "tag": "adas"})).await;
    ada.until_ticking("adas").await;
    let foreign = bob.post(&format!("{run}/cancel"), &Value::Null).await;
    assert_eq!(foreign.detail(), (404, "No runs found to cancel.".into()));
    assert_eq!(foreign.header("quell-disposition"), "unknown");
    let ids = json!({"thread_id": thread, "run_ids": [id_of(&run)]});
    for body in [json!({"status": "all"}), json!({"status": "all", "thread_id": thread}), ids] {
        let answer = bob.post("/runs/cancel", &body).await;
        assert_eq!(answer.detail(), (404, "No runs found to cancel.".into()));
    }
    assert_eq!(bob.status(&run).await, "gone");
    assert_eq!(bob.get(&format!("/threads/{thread}")).await.status, 404);
    assert_eq!(bob.get(&format!("/threads/{thread}/runs")).await.status, 404);
    let body = json!({"assistant_id": "echo", "input": {}});
    let into = bob.post(&format!("/threads/{thread}/runs"), &body).await;
    assert_eq!(into.detail(), (404, "Thread or assistant not found.".into()));
    let join = bob.get(&format!("{run}/join")).await.json();
    assert_eq!(join["__error__"]["message"], "404: Run not found");
    assert_eq!(ada.status(&run).await, "running");
    assert_eq!(ada.post("/runs/cancel", &json!({"status": "all"})).await.status, 204);
    assert_eq!(ada.get(&run).await.json()["quell"]["cause"]["by"], "ada");
}

#[tokio::test]
async fn a_reader_may_not_write_and_an_admin_stays_in_the_lane_of_the_owner() {
    let server = server();
    let ada = server.saying("x-api-key", "key-of-ada");
    let eve = server.saying("x-api-key", "key-of-eve");
    let root = server.saying("x-api-key", "key-of-root");
    let body = json!({"status": "all"});
    assert_eq!(eve.post("/runs/cancel", &body).await.status, 403);
    assert_eq!(eve.post("/threads", &json!({})).await.status, 403);
    assert_eq!(eve.post("/runs", &json!({"assistant_id": "echo"})).await.status, 403);
    assert_eq!(eve.post("/assistants/search", &json!({})).await.status, 200);
    let thread = ada.thread().await;
    let first = ada.start(&thread, "slow", json!({"ms": 60_000, "tag": "lane"})).await;
    ada.until_ticking("lane").await;
    let second = root.start(&thread, "echo", json!({})).await;
    assert_eq!(ada.status(&second).await, "pending", "runs of a thread never overlap");
    assert_eq!(root.post(&format!("{first}/cancel?wait=1"), &Value::Null).await.status, 200);
    ada.get(&format!("{second}/join")).await;
    assert_eq!(ada.status(&second).await, "success");
}

#[tokio::test]
async fn whether_a_graph_is_there_is_not_told_to_a_caller_who_may_not_use_it() {
    let server = server();
    let told = async |key: &str, graph: &str| {
        let caller = server.saying("x-api-key", key);
        caller.post("/runs", &json!({"assistant_id": graph, "input": {}})).await
    };
    let ada = server.saying("x-api-key", "key-of-ada");
    let all = ada.post("/assistants/search", &json!({})).await.json();
    let mut all = all.as_array().expect("a list").iter();
    let echo = all.find(|assistant| assistant["graph_id"] == "echo").expect("it is there");
    let echo = echo["assistant_id"].as_str().expect("text").to_owned();
    for graph in ["echo", "gone", "agent/echo", "agent/gone", &echo, NOBODY] {
        let unknown = "Forbidden: no assistant of this name that you may use".to_owned();
        assert_eq!(told("key-of-kim", graph).await.detail(), (403, unknown), "{graph}");
    }
    assert_eq!(told("key-of-kim", "agent/slow").await.status, 403);
    assert_eq!(told("key-of-kim", "workflow/slow").await.status, 200);
    // Who may read graphs, or run those of a kind, is told as before.
    for (key, graph, status) in [
        ("key-of-ada", "gone", 422),
        ("key-of-ada", NOBODY, 404),
        ("key-of-adas-screen", "echo", 403),
        ("key-of-adas-screen", "gone", 422),
        ("key-of-adas-screen", NOBODY, 404),
    ] {
        assert_eq!(told(key, graph).await.status, status, "{key} {graph}");
    }
}

#[tokio::test]
async fn i31_reading_is_not_enough_to_stop_a_run_by_going_away() {
    let server = server();
    let ada = server.saying("x-api-key", "key-of-ada");
    let thread = ada.thread().await;
    let run = ada.start(&thread, "slow", json!({"ms": 60_000, "tag": "watched"})).await;
    ada.until_ticking("watched").await;
    let bare = format!("/runs/{}", id_of(&run));
    let paths = [format!("{run}/join"), format!("{run}/stream"), format!("{bare}/stream")];
    for path in paths.map(|path| format!("{path}?cancel_on_disconnect=1")) {
        for key in ["key-of-auditor", "key-of-adas-screen"] {
            let reader = server.saying("x-api-key", key);
            // The head first: nothing has to end before it can be told that it was not refused.
            assert_eq!(reader.send(Method::HEAD, &path, "").await.status, 403, "{path} {key}");
            let answer = reader.get(&path).await;
            let (status, detail) = answer.detail();
            let lack =
                if key == "key-of-auditor" { "are read-only" } else { "`workflows:slow:run`" };
            assert!(status == 403 && detail.ends_with(lack), "{path} {key}: {detail}");
        }
        // A client that asks for the head alone has not gone away.
        assert_eq!(ada.send(Method::HEAD, &path, "").await.status, 200, "{path}");
        assert_eq!(ada.status(&run).await, "running", "{path}");
    }
    assert_eq!(ada.get(&run).await.json()["quell"]["cause"], Value::Null);
}

#[tokio::test]
async fn a_caller_has_a_share_of_the_streams_and_beyond_it_nothing_is_made() {
    let mut limits = ServiceLimits::default();
    limits.streams_max = 4;
    let sleeper = Component::workflow("sleeper", async |_ctx, _input: Payload| {
        std::future::pending::<()>().await;
        Ok(Payload::from("never"))
    });
    let access = Access::open().key(Key::new("ada", "adas-key")).key(Key::new("ben", "bens-key"));
    let service = Service::new(Engine::new(), Catalog::new().with(sleeper));
    let service = service.limits(limits).access(access);
    let app = crate::support::router(service.clone(), Options::default());
    let ask = async |key: &str, method: &str, path: &str| {
        let body = json!({ "assistant_id": "sleeper", "input": {} }).to_string();
        let request = Request::builder().method(method).uri(path).header("x-api-key", key);
        let request = request.header("content-type", "application/json");
        app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    };
    let held = ask("adas-key", "POST", "/runs/stream").await;
    assert_eq!(held.status(), 200);
    let run = held.headers()["content-location"].to_str().unwrap().to_owned();
    let rejoined = format!("{run}/stream");
    let follow = [
        ("POST", "/runs/stream"),
        ("POST", "/runs/wait"),
        // Before what else is wrong with the request.
        ("POST", "/threads/x/runs/stream"),
        ("POST", "/threads/x/runs/wait"),
        ("GET", &rejoined),
    ];
    for (method, path) in follow {
        let refused = ask("adas-key", method, path).await;
        assert_eq!(refused.status(), 429, "{path}");
        let body = to_bytes(refused.into_body(), 1_000).await.unwrap();
        let words = "streams and waits of one caller would exceed the limit of 1";
        assert_eq!(body, json!({ "detail": words }).to_string(), "{path}");
    }
    assert_eq!(service.engine().runs(&RunFilter::new()).len(), 1, "nothing was made");
    assert_eq!(ask("adas-key", "POST", "/runs").await.status(), 200, "it follows nothing");
    assert_eq!(ask("bens-key", "POST", "/runs/wait").await.status(), 200, "another has theirs");
    drop(held);
    assert_eq!(ask("adas-key", "POST", "/runs/wait").await.status(), 200, "it is given back");
}

#[tokio::test]
async fn a_run_that_was_made_is_never_answered_429() {
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 4_000_000;
    let echo = Component::workflow("echo", async |_ctx, input: Payload| Ok(input));
    let access = Access::open().key(Key::new("ada", "adas-key"));
    let service = Service::new(Engine::new(), Catalog::new().with(echo));
    let app = crate::support::router(service.limits(limits).access(access), Options::default());
    let ask = async |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header("x-api-key", "adas-key");
        let request = request.header("content-type", "application/json");
        let answer = app.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap());
        let answer = answer.await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    };
    let input = vec![7; 50_000];
    let body = json!({ "assistant_id": "echo", "input": input, "if_not_exists": "create" });
    let body = body.to_string();
    let thread = "/threads/01a1f7a0-b8be-771e-8334-e5af4180e25f/runs";
    for path in [thread, "/runs"] {
        let (status, headers, text) = ask("POST", path, &body).await;
        assert_eq!(status, 200, "{path}: {text}");
        let run: Value = serde_json::from_str(&text).unwrap();
        let place = headers["content-location"].to_str().unwrap();
        assert!(place.ends_with(run["run_id"].as_str().unwrap()), "{place} {run}");
        for key in ["thread_id", "assistant_id", "status", "created_at", "quell"] {
            assert!(!run[key].is_null(), "{key}: {run}");
        }
        assert_eq!(run["kwargs"]["input"], json!(input));
        for kind in ["wait", "stream"] {
            let (status, headers, text) = ask("POST", &format!("{path}/{kind}"), &body).await;
            assert_eq!(status, 200, "{path}/{kind}: {text}");
            assert!(headers.contains_key("content-location"), "{path}/{kind}");
            assert!(text.contains("7,7,7"), "{path}/{kind}: {text}");
        }
    }
}

#[tokio::test]
async fn what_is_forbidden_by_a_layer_or_for_want_of_a_scope_is_said_in_the_contracts_words() {
    let body = json!({"assistant_id": "echo", "input": {}});
    let writes = ["/threads", "/runs", "/runs/stream", "/runs/wait", "/runs/cancel"];
    let open = Server::new();
    let (rebound, page) =
        (open.saying("host", "evil.example"), open.saying("origin", "https://evil.example"));
    for (caller, words) in [(&rebound, "host `evil.example`"), (&page, "origin")] {
        for path in writes {
            let answer = caller.post(path, &body).await;
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
            let (status, detail) = answer.detail();
            assert!(status == 403 && detail.contains(words), "{path}: {detail}");
        }
    }
    assert_eq!(rebound.get("/ok").await.detail().0, 403);
    let screen = server().saying("x-api-key", "key-of-adas-screen");
    for path in &writes[1..4] {
        let answer = screen.post(path, &body).await;
        let words = "Forbidden: this needs the scope `workflows:echo:run`";
        assert_eq!(answer.detail(), (403, words.into()), "{path}");
    }
}

#[tokio::test]
async fn an_unknown_assistant_is_answered_with_no_graph_that_the_caller_may_not_use() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-one").scopes(["workflows:slow:run", "agents:nobody:run"]))
        .key(
            Key::new("ada", "key-of-another").scopes(["workflows:echo:read", "agents:nobody:run"]),
        );
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    for (key, known) in [("key-of-one", "slow"), ("key-of-another", "echo")] {
        let caller = server.saying("x-api-key", key);
        for path in ["/runs", "/runs/stream", "/runs/wait"] {
            let answer = caller.post(path, &json!({"assistant_id": "nobody", "input": {}})).await;
            let (status, detail) = answer.detail();
            let is_alone = detail.ends_with(&format!("graphs: {known}"));
            assert!(status == 422 && is_alone, "{path}: {status} {detail}");
        }
    }
}
