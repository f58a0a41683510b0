use std::net::SocketAddr;

use quell::Engine;
use serde_json::{Value, json};

use crate::support::{Client, serve};

#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../examples/embed.rs"]
mod embed;

async fn started(to: SocketAddr, id: &str) {
    let body = json!({ "id": id, "topic": "tea" }).to_string();
    let answer = Client::connect(to).await.send("POST", "/answers", &body).await;
    assert_eq!(answer.0.status(), 201, "{}", answer.rest().await);
}

/// How many bodies the witness sees.
async fn at_work(to: SocketAddr) -> String {
    Client::connect(to).await.send("GET", "/at-work", "").await.rest().await
}

async fn json_of(to: SocketAddr, method: &str, path: &str) -> Value {
    let text = Client::connect(to).await.send(method, path, "").await.rest().await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_application_has_the_native_api_beside_a_stream_and_a_cancel_of_its_own() {
    let app = embed::application(Engine::new());
    let to = serve(app).await;
    let own = Client::connect(to).await.send("GET", "/", "").await.rest().await;
    assert_eq!(own, "an application of one's own");

    started(to, "a1").await;
    let mut reader = Client::connect(to).await;
    let mut words = reader.send("GET", "/answers/a1/words", "").await;
    words.until("event: word\ndata: \"tea 3\"\n\n").await;
    assert_eq!(at_work(to).await, "1");
    let stopped = json_of(to, "POST", "/answers/a1/stop").await;
    let expected = json!({ "disposition": "accepted", "status": "cancelled", "quiescent": true });
    assert_eq!((stopped, at_work(to).await), (expected, "0".into()));
    let rest = words.rest().await;
    assert!(rest.ends_with("event: end\ndata: cancelled\n\n"), "{rest}");

    let run = json_of(to, "GET", "/v1/runs/a1").await;
    assert_eq!(run["cause"]["message"], "the reader has read enough", "{run}");
    let unknown = json_of(to, "POST", "/answers/nobody/stop").await;
    assert_eq!(unknown["type"], "urn:quell:problem:unknown-answer");
}

#[tokio::test]
async fn a_reader_that_hangs_up_stops_the_run_of_the_application() {
    let app = embed::application(Engine::new());
    let to = serve(app).await;
    started(to, "a2").await;
    let mut reader = Client::connect(to).await;
    let mut words = reader.send("GET", "/answers/a2/words", "").await;
    words.until("event: word").await;
    drop((words, reader));
    let mut run = json_of(to, "GET", "/v1/runs/a2").await;
    while run["quiescent"] == false {
        tokio::task::yield_now().await;
        run = json_of(to, "GET", "/v1/runs/a2").await;
    }
    assert_eq!(at_work(to).await, "0");
    assert_eq!(run["cause"]["kind"], "disconnected", "{run}");
}
