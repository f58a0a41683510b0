//! An answer that says which attempt of a run it is to answers no other one.

use axum::Router;
use axum::http::StatusCode;
use quell::{Engine, Failure, Payload, RunContext};
use quell_flow::{Catalog, Component};
use quell_http::{Service, router};
use quell_test_support::Answer;
use serde_json::{Value, json};

use crate::support::{get, post, start};

/// Asks at two doors, and yields the answer at the second one.
async fn usher(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    match ctx.resumed_with().filter(|_| ctx.attempt() > 2) {
        None => Err(ctx.pause(format!("door {}?", ctx.attempt()))),
        Some(answer) => Ok(answer),
    }
}

/// Serves a run that asks.
async fn asking() -> Router {
    let catalog = Catalog::new().with(Component::agent("usher", usher).resumable());
    let app = router(Service::new(Engine::new(), catalog));
    start(&app, "usher", "r", Value::Null).await;
    app
}

/// Waits until the run is as is asked for, and yields it.
async fn once(app: &Router, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let run = get(app, "/v1/runs/r").await.json();
        if is_so(&run) {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

async fn resume(app: &Router, body: &Value) -> Answer {
    post(app, "/v1/runs/r/resume", body).await
}

#[tokio::test]
async fn an_answer_that_is_sent_twice_does_not_answer_the_next_question() {
    let app = asking().await;
    let first = once(&app, |run| run["status"] == "paused").await;
    assert_eq!(first.get("node"), Some(&Value::Null), "there is none");
    let first = first["pause"].clone();
    assert_eq!((&first["attempt"], &first["request"]), (&json!(1), &json!("door 1?")));
    let answer = json!({ "answer": "yes", "attempt": first["attempt"] });
    assert_eq!(resume(&app, &answer).await.status, StatusCode::OK);
    let second = once(&app, |run| run["pause"]["request"] == "door 2?").await["pause"].clone();
    let refused = resume(&app, &answer).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    let refused = refused.json();
    assert_eq!(refused["type"], "urn:quell:problem:other-attempt");
    let words = "the run waits for the answer to attempt 2, and not for one to attempt 1: read its \
                 `pause`";
    assert_eq!(refused["detail"], words);
    let early = resume(&app, &json!({ "answer": "yes", "attempt": 3 })).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.text);
    let now = get(&app, "/v1/runs/r").await.json();
    assert_eq!(now["pause"], second, "nothing has changed");
    let answer = json!({ "answer": "no", "attempt": second["attempt"] });
    assert_eq!(resume(&app, &answer).await.status, StatusCode::OK);
    assert_eq!(once(&app, |run| run["status"] == "completed").await["output"], "no");
}

#[tokio::test]
async fn an_answer_that_names_no_attempt_is_to_whatever_the_run_asks() {
    let app = asking().await;
    for door in ["door 1?", "door 2?"] {
        once(&app, |run| run["pause"]["request"] == door).await;
        let answer = json!({ "answer": door, "attempt": null });
        assert_eq!(resume(&app, &answer).await.status, StatusCode::OK);
    }
    assert_eq!(once(&app, |run| run["status"] == "completed").await["output"], "door 2?");
}
