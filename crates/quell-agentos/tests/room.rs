//! Room for the answers of runs that were waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use http_body_util::BodyExt;
use quell::{Engine, EngineConfig, Failure, Limits, Payload, RunContext, RunSpec};
use quell_agentos::Options;
use quell_flow::{Catalog, Component, Emit, Part};
use quell_http::{Access, Key, ROOM_WITHIN, Service, ServiceLimits};
use quell_test_support::soon_in_real_time;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::support::http::{events, post_form};
use crate::support::router;

/// What `loud` answers, in bytes.
const SIZE: usize = 400_000;

fn app() -> Router {
    app_of(EngineConfig::default(), &Arc::default())
}

/// A caller may have 1,000,000 bytes under way: two answers of `loud` and a half. What `dear`
/// answers holds the witness for as long as it is in memory.
fn app_of(config: EngineConfig, witness: &Arc<()>) -> Router {
    let witness = Arc::clone(witness);
    let dear = Component::agent("dear", move |_ctx, _input: Payload| {
        let value = Dear("x".repeat(SIZE), Arc::clone(&witness));
        async move { Ok(Payload::json_later(value, SIZE + 2)) }
    });
    let said = |size| async move { Ok(Payload::from("x".repeat(size))) };
    let loud = Component::agent("loud", move |_ctx, _input: Payload| said(SIZE));
    let huge = Component::agent("huge", move |_ctx, _input: Payload| said(1_100_000));
    let fails = Component::agent("fails", async |ctx: RunContext, _input: Payload| {
        ctx.set_output(Payload::from("x".repeat(1_100_000)));
        Err::<Payload, _>(Failure::new("no luck"))
    });
    let waits = Component::agent("waits", async |_ctx, _input| {
        std::future::pending::<Result<Payload, Failure>>().await
    });
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 4_000_000;
    let access = Access::open().key(Key::new("ada", "adas-key"));
    let steps = Component::workflow("steps", two_steps)
        .steps([Part::agent("draft", "writer"), Part::function("check")]);
    let catalog =
        Catalog::new().with(loud).with(huge).with(fails).with(dear).with(waits).with(steps);
    let service = Service::new(Engine::with_config(config), catalog).limits(limits).access(access);
    router(service, Options::default())
}

struct Dear(String, #[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Serialize for Dear {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

async fn ask(app: &Router, mut request: Request<Body>) -> Response {
    request.headers_mut().insert("authorization", "Bearer adas-key".parse().unwrap());
    app.clone().oneshot(request).await.unwrap()
}

/// Runs an agent in the foreground.
async fn create(app: &Router, agent: &str, message: &str) -> Response {
    let fields = [("message", message), ("stream", "false")];
    ask(app, post_form(&format!("/agents/{agent}/runs"), &fields)).await
}

async fn text(answer: Response) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

async fn json(answer: Response) -> Value {
    serde_json::from_str(&text(answer).await).unwrap()
}

async fn read(app: &Router, agent: &str, run: &Value) -> Value {
    let (id, session) = (run["run_id"].as_str().unwrap(), run["session_id"].as_str().unwrap());
    let path = format!("/agents/{agent}/runs/{id}?session_id={session}");
    let answer = ask(app, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    json(answer).await
}

fn len(text: &Value) -> usize {
    text.as_str().map_or(0, str::len)
}

/// Held by each of these: what large answers are made with is shared by all, and the clock of a
/// test does not stand still while another one has it.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What the first of `steps` says, in bytes.
const DRAFT: usize = 150_000;

/// A step that an agent does, and then a step that is a function.
async fn two_steps(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    let draft = ctx.spawn(RunSpec::step("draft"), async |ctx: RunContext| {
        let agent = ctx.spawn(RunSpec::agent("writer"), async |ctx: RunContext| {
            Emit::content("x".repeat(DRAFT / 2)).send(&ctx);
            Emit::content("x".repeat(DRAFT / 2)).send(&ctx);
            Ok(Payload::from(Value::Null))
        });
        Ok(agent.await?)
    });
    drop::<Payload>(draft.await?);
    let check = ctx.spawn(RunSpec::step("check"), async |_: RunContext| Ok(Payload::from("ok")));
    Ok(check.await?)
}

#[tokio::test(start_paused = true)]
async fn an_end_for_which_there_is_no_room_has_the_numbers_that_it_has_with_room() {
    let _alone = ALONE.lock().await;
    let app = app();
    let held = [create(&app, "loud", "1").await, create(&app, "loud", "2").await];
    let fields = [("message", "m"), ("background", "true"), ("run_id", "r"), ("session_id", "s")];
    let answer = ask(&app, post_form("/workflows/steps/runs", &fields)).await;
    let told = |text: &str| {
        let mut told = events(text);
        told.retain(|event| event["event"] != "replay");
        told
    };
    let tight = text(answer).await;
    let tight = told(&tight);
    drop(held);
    let answer = ask(&app, post_form("/workflows/steps/runs/r/resume", &[])).await;
    let wide = text(answer).await;
    let wide = told(&wide);
    let ended = |told: &[Value]| {
        let ended = |it: &&Value| it["event"] == "StepCompleted" && it["step_name"] == "draft";
        told.iter().find(ended).unwrap()["step_response"].clone()
    };
    let (small, whole) = (ended(&tight), ended(&wide));
    assert_eq!((len(&small["content"]), len(&whole["content"])), (0, DRAFT), "there was no room");
    for key in ["executor_type", "executor_name", "step_run_id", "success"] {
        assert_eq!(small[key], whole[key], "{key}");
    }
    let index = |told: &[Value]| -> Vec<_> {
        told.iter().map(|it| (it["event_index"].clone(), it["event"].clone())).collect()
    };
    assert_eq!(index(&tight), index(&wide));
    let outputs = wide.iter().filter(|event| event["event"] == "StepOutput").count();
    assert_eq!(outputs, 1, "the function has one");
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_run_that_was_waited_for_waits_for_room() {
    let _alone = ALONE.lock().await;
    let app = app();
    let held = [create(&app, "loud", "1").await, create(&app, "loud", "2").await];
    assert!(held.iter().all(|answer| answer.status() == 200));
    let mut third = tokio::spawn({
        let app = app.clone();
        async move { create(&app, "loud", "3").await }
    });
    let waits = timeout(ROOM_WITHIN / 2, &mut third).await;
    assert!(waits.is_err(), "answered {:?}", waits.unwrap().unwrap().status());
    drop(held);
    // Other tests may have what large answers are made with: the clock would not wait for them.
    let answer = third.await.unwrap();
    assert_eq!(answer.status(), 200);
    let run = json(answer).await;
    assert_eq!((len(&run["content"]), run["quell"].get("truncated")), (SIZE, None), "all of it");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_waited_for_is_answered_without_its_values_if_there_is_no_room() {
    let _alone = ALONE.lock().await;
    let app = app();
    let held = [create(&app, "loud", "1").await, create(&app, "loud", "2").await];
    let start = Instant::now();
    let answer = create(&app, "loud", "3").await;
    assert_eq!((answer.status().as_u16(), start.elapsed()), (200, ROOM_WITHIN));
    let small = json(answer).await;
    let whole = ["content", "content_type", "input", "messages", "tools", "session_state"];
    assert!(whole.iter().all(|key| small.get(key).is_none()), "{small}");
    let said = (&small["status"], &small["agent_id"], &small["quell"]["truncated"]);
    assert_eq!(said, (&json!("COMPLETED"), &json!("loud"), &json!(true)));
    drop(held);
    assert_eq!(len(&read(&app, "loud", &small).await["content"]), SIZE, "it can be had later");

    // For this one there can be no room.
    let start = Instant::now();
    let answer = create(&app, "huge", "4").await;
    assert_eq!((answer.status().as_u16(), start.elapsed()), (200, Duration::ZERO));
    assert_eq!(json(answer).await["quell"]["truncated"], true);
    let small = json(create(&app, "fails", "5").await).await;
    assert_eq!(small["quell"]["truncated"], true, "{small}");
    assert_eq!((&small["content"], &small["status"]), (&json!("no luck"), &json!("ERROR")));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_holds_nothing_of_a_run_that_is_forgotten_meanwhile() {
    let _alone = ALONE.lock().await;
    let (mut limits, witness) = (Limits::default(), Arc::default());
    limits.ended_trees_max = 1;
    let app = app_of(EngineConfig::default().limits(limits), &witness);
    let held = [create(&app, "loud", "1").await, create(&app, "loud", "2").await];
    let before = Arc::strong_count(&witness);
    let mut third = tokio::spawn({
        let app = app.clone();
        async move { create(&app, "dear", "3").await }
    });
    assert!(timeout(ROOM_WITHIN / 3, &mut third).await.is_err(), "it waits for room");
    assert_eq!(Arc::strong_count(&witness), before + 1, "the engine has it");
    let next = create(&app, "fails", "4").await;
    assert_eq!(next.status(), 200);
    // What is forgotten is dropped on a thread for that; the clock of the test stands still.
    soon_in_real_time("the run is dropped", || Arc::strong_count(&witness) == before).await;
    assert!(!third.is_finished(), "it waits still");
    drop(held);
    let answer = third.await.unwrap();
    assert_eq!(answer.status(), 200);
    let small = json(answer).await;
    let said = (&small["status"], small.get("content"), &small["quell"]["truncated"]);
    assert_eq!(said, (&json!("COMPLETED"), None, &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_run_holds_nothing_of_the_request() {
    let _alone = ALONE.lock().await;
    let app = app();
    // It counts three times, so that two of them have no room.
    let large = "x".repeat(300_000);
    let mut first = tokio::spawn({
        let (app, large) = (app.clone(), large.clone());
        async move { create(&app, "waits", &large).await.status() }
    });
    assert!(timeout(ROOM_WITHIN / 3, &mut first).await.is_err(), "it waits for the run");
    let second = create(&app, "loud", &large).await;
    assert_eq!(second.status(), 200);
    assert!(!first.is_finished(), "it waits still");
    first.abort();
}
