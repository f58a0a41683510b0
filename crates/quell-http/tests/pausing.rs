use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{MemoryStore, Store, StoreError};
use quell::{Engine, EngineConfig, Failure, Pause, Payload, Recovery, RunContext, RunSpec};
use quell::{RunStatus, Shutdown, limits};
use quell_flow::{Catalog, Component};
use quell_http::{Access, BODY_BYTES_MAX, Key, Service, parse_id, router};
use quell_test_support::{Answer, Flow, Valve};
use serde_json::{Value, json};

use crate::support::{Client, JSON, get, post, send, serve, service, start};

/// Components of which runs may be paused.
fn asking() -> Service {
    asking_in(Engine::new())
}

fn asking_in(engine: Engine) -> Service {
    let catalog = Catalog::new()
        .with(Component::agent("clerk", clerk).resumable())
        .with(Component::agent("hasty", hasty).resumable())
        .with(Component::agent("plodder", plod).resumable())
        .with(Component::agent("firm", plod))
        .with(Component::workflow("family", family).resumable());
    Service::new(engine, catalog)
}

/// Asks what its input says, and yields the answers with the number of the attempt.
async fn clerk(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    match ctx.resumed_with() {
        None => Err(ctx.pause(input)),
        Some(answer) => Ok(json!({ "answer": answer, "attempt": ctx.attempt() }).into()),
    }
}

/// Asks something, and leaves no time to answer.
async fn hasty(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    Err(ctx.pause(Pause::new(input).expires_in(Duration::ZERO)))
}

/// Passes checkpoints until it is resumed.
async fn plod(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    loop {
        if let Some(answer) = ctx.resumed_with() {
            return Ok(answer);
        }
        ctx.checkpoint()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Has a child that waits.
async fn family(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let child = ctx.spawn(RunSpec::step("child"), async |ctx: RunContext| {
        ctx.is_stopping();
        std::future::pending::<()>().await;
        Ok(())
    });
    child.await?;
    Ok(Payload::from("never"))
}

/// Waits until a run has a status, and yields it.
async fn has(app: &Router, id: &str, status: &str) -> Value {
    loop {
        let run = get(app, &format!("/v1/runs/{id}")).await.json();
        if run["status"] == status {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

async fn resume(app: &Router, id: &str, answer: &Value) -> Answer {
    post(app, &format!("/v1/runs/{id}/resume"), &json!({ "answer": answer })).await
}

async fn pause(app: &Router, id: &str, body: &Value) -> Answer {
    post(app, &format!("/v1/runs/{id}/pause"), body).await
}

/// What a problem is, and what it says.
fn told(answer: &Answer) -> (u16, String, String) {
    let (problem, text) = (answer.json(), |value: &Value| value.as_str().unwrap().to_owned());
    let kind = text(&problem["type"]).replace("urn:quell:problem:", "");
    (answer.status.as_u16(), kind, text(&problem["detail"]))
}

#[tokio::test]
async fn a_paused_run_says_what_it_asks_and_goes_on_with_its_answer() {
    let app = router(asking());
    let request = json!({ "question": "may I?", "price": 1.25 });
    start(&app, "clerk", "r", request.clone()).await;
    let paused = has(&app, "r", "paused").await;
    assert_eq!((&paused["pause"]["request"], &paused["quiescent"]), (&request, &json!(true)));
    let at = paused["pause"]["paused_at"].as_str().unwrap();
    assert!(paused["queued_at"].as_str().unwrap() <= at, "{paused}");
    assert_eq!(paused["pause"]["expires_at"], Value::Null);
    assert_eq!(paused["ended_at"], Value::Null);

    let answer = resume(&app, "r", &json!({ "yes": [1, null] })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["attempt"], 2);
    let done = has(&app, "r", "completed").await;
    assert_eq!(done["output"], json!({ "answer": { "yes": [1, null] }, "attempt": 2 }));
    assert_eq!(done["pause"], Value::Null);
}

#[tokio::test]
async fn a_stream_tells_of_a_pause_and_its_answer_and_goes_on_to_the_end() {
    let server = serve(router(asking())).await;
    let (mut reader, mut writer) = (Client::connect(server).await, Client::connect(server).await);
    let body = r#"{"component": "agent/clerk", "id": "r", "input": "may I?"}"#;
    writer.send("POST", "/v1/runs", body).await.rest().await;
    let mut stream = reader.send("GET", "/v1/runs/r/events", "").await;
    let asked = stream.until("event: paused").await + &stream.until("\n\n").await;
    assert!(asked.contains(r#""request":"may I?""#), "{asked}");
    let resumed = writer.send("POST", "/v1/runs/r/resume", r#"{"answer": "yes"}"#).await;
    assert_eq!(resumed.0.status(), StatusCode::OK);
    resumed.rest().await;
    let rest = stream.rest().await;
    let names = rest.lines().filter_map(|line| line.strip_prefix("event: "));
    assert_eq!(names.collect::<Vec<_>>(), ["resumed", "started", "ended"], "{rest}");
    assert!(rest.contains(r#""attempt":2"#), "{rest}");
}

#[tokio::test]
async fn a_client_pauses_a_run_at_its_next_checkpoint_and_the_first_request_stands() {
    let app = router(asking());
    start(&app, "plodder", "r", Value::Null).await;
    has(&app, "r", "running").await;
    let asked = json!({ "request": { "why": "lunch" }, "expires_in_ms": 3_600_000 });
    let answer = pause(&app, "r", &asked).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let paused = has(&app, "r", "paused").await;
    assert_eq!(paused["pause"]["request"], json!({ "why": "lunch" }));
    assert!(paused["pause"]["expires_at"].as_str() > paused["pause"]["paused_at"].as_str());
    // Another one changes nothing, also without a body.
    let again = send(&app, "POST", "/v1/runs/r/pause", &[JSON], "").await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::OK, &json!("paused")));
    assert_eq!(get(&app, "/v1/runs/r").await.json()["pause"], paused["pause"]);
    resume(&app, "r", &json!("go")).await;
    assert_eq!(has(&app, "r", "completed").await["output"], "go");
}

#[tokio::test]
async fn lists_find_paused_runs_by_their_status() {
    let app = router(asking());
    start(&app, "clerk", "asks", json!("?")).await;
    start(&app, "plodder", "works", Value::Null).await;
    has(&app, "asks", "paused").await;
    has(&app, "works", "running").await;
    let list = get(&app, "/v1/runs?status=paused,stopping").await.json();
    let ids: Vec<_> = list["runs"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
    assert_eq!(ids, ["asks"]);
    post(&app, "/v1/runs/works/cancel", &json!({ "wait": "terminal" })).await;
}

#[tokio::test]
async fn a_cancel_ends_a_paused_run_at_once_and_nothing_of_it_executes() {
    let app = router(asking());
    start(&app, "clerk", "r", json!("?")).await;
    has(&app, "r", "paused").await;
    let answer = post(&app, "/v1/runs/r/cancel", &json!({})).await;
    let told = answer.json();
    assert_eq!((&told["disposition"], &told["status"]), (&json!("accepted"), &json!("cancelled")));
    let run = get(&app, "/v1/runs/r").await.json();
    assert_eq!((&run["status"], &run["quiescent"]), (&json!("cancelled"), &json!(true)));
    assert_eq!((run["quiesced_at"].is_null(), &run["pause"]), (false, &Value::Null));
    let late = resume(&app, "r", &json!("yes")).await;
    let words = (409, "not-paused".into(), "the run is cancelled, not paused".into());
    assert_eq!(self::told(&late), words);
}

#[tokio::test]
async fn a_pause_without_time_to_answer_ends_timed_out() {
    let app = router(asking());
    start(&app, "hasty", "r", json!("?")).await;
    let run = has(&app, "r", "timed-out").await;
    assert_eq!(run["cause"]["kind"], "deadline");
}

#[tokio::test]
async fn a_run_that_is_not_paused_is_not_resumed_and_the_answer_says_how_it_stands() {
    let app = router(asking());
    start(&app, "plodder", "r", Value::Null).await;
    has(&app, "r", "running").await;
    let says =
        |status: &str| (409, "not-paused".to_owned(), format!("the run is {status}, not paused"));
    assert_eq!(told(&resume(&app, "r", &json!(1)).await), says("running"));
    pause(&app, "r", &json!({})).await;
    has(&app, "r", "paused").await;
    assert_eq!(resume(&app, "r", &json!(1)).await.status, StatusCode::OK);
    has(&app, "r", "completed").await;
    assert_eq!(told(&resume(&app, "r", &json!(2)).await), says("completed"));
    let ended = (409, "run-ended".into(), "the run has ended: it is completed".into());
    assert_eq!(told(&pause(&app, "r", &json!({})).await), ended);
    assert_eq!(get(&app, "/v1/runs/r").await.json()["output"], 1);
    let unknown = (404, "unknown-run".into(), "there is no such run".into());
    assert_eq!(told(&resume(&app, "nobody", &json!(1)).await), unknown);
    assert_eq!(told(&pause(&app, "nobody", &json!({})).await), unknown);
}

#[tokio::test]
async fn a_run_that_cannot_be_paused_is_refused_with_the_reason() {
    let app = router(asking());
    start(&app, "firm", "r", Value::Null).await;
    let why = "the component of this run does not let its runs be paused";
    let refused = pause(&app, "r", &json!({})).await;
    assert_eq!(told(&refused), (409, "not-resumable".into(), why.into()));
    post(&app, "/v1/runs/r/cancel", &json!({ "wait": "terminal" })).await;

    let body = json!({ "component": "workflow/family", "id": "f" });
    post(&app, "/v1/runs", &body).await;
    let child = loop {
        let rows = get(&app, "/v1/runs/f").await.json()["rows"].take();
        if let Some(row) = rows.get(1) {
            break row["run"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    };
    let why = "only a root is paused: ask the run that it belongs to";
    let refused = pause(&app, &child, &json!({})).await;
    assert_eq!(told(&refused), (409, "not-a-root".into(), why.into()));
    post(&app, "/v1/runs/f/cancel", &json!({ "wait": "terminal" })).await;
}

#[tokio::test]
async fn requests_and_answers_have_bounds_and_a_form() {
    let app = router(asking());
    start(&app, "plodder", "r", Value::Null).await;
    has(&app, "r", "running").await;
    for (call, body, status) in [
        ("resume", "", 400),
        ("resume", "{", 400),
        ("resume", "null", 422),
        ("resume", "{}", 422),
        ("resume", r#"["yes"]"#, 422),
        ("resume", r#"{"answer": 1, "value": 1}"#, 422),
        ("pause", "{", 400),
        ("pause", "[]", 422),
        ("pause", r#"{"expires_in_ms": -1}"#, 422),
        ("pause", r#"{"reason": "x"}"#, 422),
    ] {
        let path = format!("/v1/runs/r/{call}");
        let answer = send(&app, "POST", &path, &[JSON], body).await;
        assert_eq!(answer.status.as_u16(), status, "{call} {body}: {}", answer.text);
    }
    let unnamed = send(&app, "POST", "/v1/runs/r/resume", &[], r#"{"answer": 1}"#).await;
    assert_eq!(unnamed.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    let long = json!({ "request": "x".repeat(limits::EVENT_BYTES_MAX) });
    let (status, name, detail) = told(&pause(&app, "r", &long).await);
    assert_eq!((status, name.as_str()), (413, "too-large"), "{detail}");
    assert!(detail.ends_with("the limit is 262144"), "{detail}");
    let long = vec![b' '; BODY_BYTES_MAX + 1];
    let answer = send(&app, "POST", "/v1/runs/r/resume", &[JSON], long).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Nothing of it has changed anything.
    assert_eq!(get(&app, "/v1/runs/r").await.json()["status"], "running");
    post(&app, "/v1/runs/r/cancel", &json!({ "wait": "terminal" })).await;
}

#[tokio::test]
async fn who_may_cancel_a_run_may_pause_and_resume_it_and_nobody_else() {
    let access = Access::open()
        .key(Key::new("ada", "of-ada"))
        .key(Key::new("ada", "of-screen").scopes(["agents:read"]))
        .key(Key::new("ada", "of-teams").scopes(["teams:run"]))
        .key(Key::new("ben", "of-ben"));
    let app = router(asking().access(access));
    let as_whom = |call: &'static str, key: &'static str| {
        let app = app.clone();
        async move {
            let key = format!("Bearer {key}");
            let body = if call == "pause" { "" } else { r#"{"answer": 1}"# };
            let headers = [JSON, ("authorization", key.as_str())];
            send(&app, "POST", &format!("/v1/runs/r/{call}"), &headers, body).await
        }
    };
    let ada = [JSON, ("authorization", "Bearer of-ada")];
    let body = r#"{"component": "agent/clerk", "id": "r"}"#;
    assert_eq!(send(&app, "POST", "/v1/runs", &ada, body).await.status, StatusCode::CREATED);
    while send(&app, "GET", "/v1/runs/r", &ada, "").await.json()["status"] != "paused" {
        tokio::task::yield_now().await;
    }
    for call in ["pause", "resume"] {
        assert_eq!(as_whom(call, "wrong").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(as_whom(call, "of-ben").await.status, StatusCode::NOT_FOUND);
        assert_eq!(as_whom(call, "of-screen").await.status, StatusCode::FORBIDDEN);
        let lacks = as_whom(call, "of-teams").await;
        let words = "this needs the scope `agents:clerk:run`";
        assert_eq!(told(&lacks), (403, "forbidden".into(), words.into()));
    }
    assert_eq!(as_whom("pause", "of-ada").await.status, StatusCode::OK);
    assert_eq!(as_whom("resume", "of-ada").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_of_another_origin_pauses_and_resumes_nothing() {
    let app = router(asking());
    start(&app, "clerk", "r", json!("?")).await;
    has(&app, "r", "paused").await;
    for call in ["pause", "resume"] {
        let headers = [JSON, ("origin", "https://elsewhere.example")];
        let path = format!("/v1/runs/r/{call}");
        let answer = send(&app, "POST", &path, &headers, r#"{"answer": 1}"#).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        assert_eq!(answer.json()["type"], "urn:quell:problem:foreign-origin");
    }
    assert_eq!(get(&app, "/v1/runs/r").await.json()["status"], "paused");
}

#[tokio::test]
async fn the_description_names_both_calls_and_the_status() {
    let document = get(&router(service()), "/openapi.json").await.json();
    for call in ["pause", "resume"] {
        let path = format!("/v1/runs/{{id}}/{call}");
        assert!(document["paths"][&path]["post"].is_object(), "{path}");
    }
    let list = &document["paths"]["/v1/runs"]["get"]["parameters"][0];
    assert!(list["schema"]["pattern"].as_str().unwrap().contains("paused"), "{list}");
}

#[tokio::test]
async fn an_answer_is_acknowledged_when_it_is_stored_and_a_question_outlives_its_process() {
    let store = Arc::new(MemoryStore::new());
    let engine = |valve: &Arc<Valve>| {
        let store = Arc::clone(valve) as Arc<dyn Store>;
        Engine::with_config(EngineConfig::new().store(store))
    };
    let valve = Valve::reopened(&store, 1);
    let first = asking_in(engine(&valve));
    let app = router(first.clone());
    for id in ["a", "b", "c"] {
        let body = json!({ "component": "agent/clerk", "id": id, "input": "may I?" });
        assert_eq!(post(&app, "/v1/runs", &body).await.status, StatusCode::CREATED);
        has(&app, id, "paused").await;
    }
    assert_eq!(resume(&app, "a", &json!("yes")).await.status, StatusCode::OK);
    let stored = store.get(parse_id("a").unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.attempt, 2, "its answer is stored when it is acknowledged");
    has(&app, "a", "completed").await;
    // What is left of it to store would be the first that fails, and not the answer.
    let ended = first.engine().get(parse_id("a").unwrap()).unwrap();
    ended.quiescent().await;
    ended.stored().await.unwrap();

    valve.set(Flow::Failing(StoreError::Full { what: "secret-path".into() }));
    let lost = resume(&app, "b", &json!("yes")).await;
    assert_eq!(told(&lost).0, 503, "{lost:?}");
    assert!(told(&lost).1.ends_with("answer-not-stored"), "{lost:?}");
    let second = resume(&app, "c", &json!("yes")).await;
    assert_eq!(told(&second).0, 503, "{second:?}");
    assert!(told(&second).1.ends_with("answer-not-taken"), "{second:?}");
    assert!(!lost.text.contains("secret-path") && !second.text.contains("secret-path"));
    has(&app, "c", "paused").await;
    valve.set(Flow::Open);
    has(&app, "b", "completed").await;
    // The next process begins when this one writes no more.
    first.engine().get(parse_id("b").unwrap()).unwrap().stored().await.unwrap();

    let service = asking_in(engine(&Valve::reopened(&store, 2)));
    service.engine().recover(|_| Recovery::Fail).await.unwrap();
    let later = router(service);
    assert_eq!(has(&later, "c", "paused").await["pause"]["request"], "may I?");
    let nobody = resume(&later, "c", &json!("yes")).await;
    assert_eq!(told(&nobody).0, 409, "{nobody:?}");
    assert!(told(&nobody).1.ends_with("not-resumable"), "{nobody:?}");
    post(&later, "/v1/runs/c/cancel", &json!({})).await;
    has(&later, "c", "cancelled").await;
}

#[tokio::test]
async fn a_cancel_or_an_answer_of_a_run_that_a_shutdown_left_paused_is_not_acknowledged() {
    let valve = Valve::new(Flow::Open);
    let store = Arc::clone(&valve) as Arc<dyn Store>;
    let service = asking_in(Engine::with_config(EngineConfig::new().store(store)));
    let app = router(service.clone());
    let body = json!({ "component": "agent/clerk", "id": "a", "input": "may I?" });
    post(&app, "/v1/runs", &body).await;
    let paused = has(&app, "a", "paused").await;
    assert_eq!([&paused["quiescent"], &paused["rows"][0]["quiescent"]], [true, true]);
    service.drain();
    service.engine().shutdown(Shutdown::default()).await;
    for answer in [json!({ "answer": "yes" }), json!({ "answer": "yes", "attempt": 1 })] {
        let refused = post(&app, "/v1/runs/a/resume", &answer).await;
        assert_eq!(told(&refused).0, 503, "{refused:?}");
        assert!(told(&refused).1.ends_with("answer-not-taken"), "{refused:?}");
    }
    let refused = post(&app, "/v1/runs/a/cancel", &json!({})).await;
    assert_eq!(told(&refused).0, 503, "{refused:?}");
    assert!(told(&refused).1.ends_with("stop-not-stored"), "{refused:?}");
    let kept = valve.get(parse_id("a").unwrap()).await.unwrap().unwrap();
    assert_eq!((kept.status, kept.stop), (RunStatus::Paused, None));
    has(&app, "a", "paused").await;
}
