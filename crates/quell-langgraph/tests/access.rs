//! Who sees what.

use axum::http::Method;
use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use serde_json::{Value, json};

use crate::talk::{Server, id_of};

fn server() -> Server {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("eve", "key-of-eve").read_only())
        .key(Key::new("root", "key-of-root").admin())
        .key(Key::new("auditor", "key-of-auditor").admin().read_only())
        .key(Key::new("ada", "key-of-adas-screen").scopes(["workflows:read", "agents:run"]));
    Server::with(EngineConfig::new(), Options::default(), access)
}

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
            assert_eq!(answer.detail(), (403, "Forbidden".into()), "{path} {key}");
        }
        // Whoever asks for the head alone has not gone away.
        assert_eq!(ada.send(Method::HEAD, &path, "").await.status, 200, "{path}");
        assert_eq!(ada.status(&run).await, "running", "{path}");
    }
    assert_eq!(ada.get(&run).await.json()["quell"]["cause"], Value::Null);
}
