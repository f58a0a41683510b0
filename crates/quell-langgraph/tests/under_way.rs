//! Final bodies count as under way for as long as a client takes them, and are one text for all
//! who take them at the same time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use axum::response::Response;
use futures::StreamExt as _;
use quell::{Engine, EngineConfig, Limits, Payload, RunContext, RunFilter, RunSpec, RunStatus};
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, ROOM_WITHIN, Service, ServiceLimits};
use quell_langgraph::Options;
use quell_test_support::soon_in_real_time;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::yield_now;
use tokio::time::timeout;
use tower::ServiceExt as _;

const ADA: &str = "adas-key";
const BEN: &str = "bens-key";

/// What every run answers, in bytes.
const SIZE: usize = 400_000;

fn app(gate: &Arc<Semaphore>) -> Router {
    app_of(EngineConfig::default(), gate, &Arc::default())
}

/// An owner may have 1,000,000 bytes under way: two bodies and a half; what is kept of hers has
/// room for some more. `waits` waits at a gate. A step of `dear` holds the witness for as long as
/// it is in memory: nobody reads what it returned.
fn app_of(config: EngineConfig, gate: &Arc<Semaphore>, witness: &Arc<()>) -> Router {
    let said = || Payload::from(json!({ "text": "x".repeat(SIZE) }));
    let gate = Arc::clone(gate);
    let waits = Component::agent("waits", move |_ctx, _input: Payload| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(said())
        }
    });
    let witness = Arc::clone(witness);
    let dear = Component::agent("dear", move |ctx: RunContext, _input: Payload| {
        let value = Payload::json_later(Dear(Arc::clone(&witness)), 100);
        async move {
            ctx.spawn(RunSpec::step("dear"), async move |ctx| Ok(ctx.set_output(value))).await?;
            Ok(said())
        }
    });
    let loud = Component::agent("loud", move |_ctx, _input: Payload| async move { Ok(said()) });
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 4_000_000;
    limits.kept_bytes_max = 24_000_000;
    let access = Access::open().key(Key::new("ada", ADA)).key(Key::new("ben", BEN));
    let catalog = Catalog::new().with(loud).with(waits).with(dear);
    let service = Service::new(Engine::with_config(config), catalog);
    crate::support::router(service.limits(limits).access(access), Options::default())
}

struct Dear(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Serialize for Dear {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

async fn ask(app: &Router, key: &str, method: &str, path: &str, body: Value) -> Response {
    let request = Request::builder().method(method).uri(path).header("x-api-key", key);
    let request = request.header("content-type", "application/json");
    app.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap()
}

async fn text(answer: Response) -> String {
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn join(app: &Router, key: &str, run: &str) -> Response {
    ask(app, key, "GET", &format!("{run}/join"), Value::Null).await
}

/// Runs a component to its end in a thread of its own; yields the path of the run.
async fn ended(app: &Router, key: &str, is_kept: bool) -> String {
    let completion = if is_kept { "keep" } else { "delete" };
    let run = json!({ "assistant_id": "loud", "input": {}, "on_completion": completion });
    let answer = ask(app, key, "POST", "/runs/wait", run).await;
    let path = answer.headers()["content-location"].to_str().unwrap().to_owned();
    assert!(text(answer).await.len() > SIZE);
    path
}

const WORDS: &str =
    "requests and answers under way of one caller would exceed the limit of 1000000 bytes";

#[tokio::test]
async fn a_final_body_counts_until_it_is_taken_whether_its_run_is_kept_or_deleted() {
    for is_kept in [true, false] {
        let app = app(&gate());
        let (mut runs, of_ben) = (Vec::new(), ended(&app, BEN, is_kept).await);
        for _ in 0..3 {
            runs.push(ended(&app, ADA, is_kept).await);
        }
        let held = [join(&app, ADA, &runs[0]).await, join(&app, ADA, &runs[1]).await];
        assert!(held.iter().all(|answer| answer.status() == 200));
        let refused = join(&app, ADA, &runs[2]).await;
        assert_eq!(refused.status(), 429, "kept: {is_kept}");
        assert_eq!(text(refused).await, json!({ "detail": WORDS }).to_string());
        assert_eq!(join(&app, BEN, &of_ben).await.status(), 200, "another caller has theirs");
        drop(held);
        let taken = join(&app, ADA, &runs[2]).await;
        assert!(taken.status() == 200 && text(taken).await.len() > SIZE, "it is given back");
    }
}

async fn first(answer: Response) -> Bytes {
    let mut pieces = answer.into_body().into_data_stream();
    pieces.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn all_who_take_a_final_body_at_the_same_time_take_the_same_bytes() {
    for is_kept in [true, false] {
        let app = app(&gate());
        let run = ended(&app, ADA, is_kept).await;
        let mut taken = Vec::new();
        for _ in 0..20 {
            taken.push(first(join(&app, ADA, &run).await).await);
        }
        assert!(taken.iter().all(|text| text.len() > SIZE && text.as_ptr() == taken[0].as_ptr()));
    }
}

/// Held by each of these: what large answers are made with is shared by all, and the clock of a
/// test does not stand still while another one has it.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_run_waits_for_room_for_its_final_body_too() {
    let _alone = ALONE.lock().await;
    for (agent, completion) in [("waits", "keep"), ("loud", "keep"), ("loud", "delete")] {
        let gate = gate();
        let app = app(&gate);
        let (one, two) = (ended(&app, ADA, true).await, ended(&app, ADA, true).await);
        let held = [join(&app, ADA, &one).await, join(&app, ADA, &two).await];
        let run = json!({ "assistant_id": agent, "input": {}, "on_completion": completion });
        let mut waiting = tokio::spawn({
            let app = app.clone();
            async move { text(ask(&app, ADA, "POST", "/runs/wait", run).await).await }
        });
        gate.add_permits(1);
        let told = timeout(ROOM_WITHIN / 2, &mut waiting).await;
        assert!(told.is_err(), "{agent} {completion}: {}", told.unwrap().unwrap());
        drop(held);
        let told = timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap();
        assert!(told.len() > SIZE, "{agent} {completion}: {told}");
    }
}

/// Takes an answer, but for what keeps it alive, and holds it.
async fn taken(answer: Response) -> Bytes {
    let mut pieces = answer.into_body().into_data_stream();
    loop {
        let piece = pieces.next().await.unwrap().unwrap();
        if piece != "\n" {
            return piece;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_room_take_the_body_for_which_one_of_them_found_it() {
    let _alone = ALONE.lock().await;
    for completion in ["keep", "delete"] {
        let gate = gate();
        let app = app(&gate);
        let (one, two) = (ended(&app, ADA, true).await, ended(&app, ADA, true).await);
        let run = json!({ "assistant_id": "waits", "input": {}, "on_completion": completion });
        let first = ask(&app, ADA, "POST", "/runs/wait", run).await;
        let path = first.headers()["content-location"].to_str().unwrap().to_owned();
        let mut all = vec![tokio::spawn(taken(first))];
        for _ in 0..3 {
            all.push(tokio::spawn(taken(join(&app, ADA, &path).await)));
        }
        let held = join(&app, ADA, &one).await;
        let other = join(&app, ADA, &two).await;
        gate.add_permits(1);
        assert!(timeout(ROOM_WITHIN / 3, &mut all[0]).await.is_err(), "they wait for room");
        drop(other);
        let all = timeout(Duration::from_secs(1), futures::future::join_all(all)).await;
        let all: Vec<_> = all.unwrap().into_iter().map(Result::unwrap).collect();
        assert!(all.iter().all(|text| text.len() > SIZE && text.as_ptr() == all[0].as_ptr()));
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_that_is_taken_is_shared_after_its_run_was_deleted() {
    let _alone = ALONE.lock().await;
    let gate = gate();
    let app = app(&gate);
    let one = ended(&app, ADA, true).await;
    let run = json!({ "assistant_id": "waits", "input": {} });
    let waiting = ask(&app, ADA, "POST", "/runs/wait", run).await;
    let path = waiting.headers()["content-location"].to_str().unwrap().to_owned();
    let _held = join(&app, ADA, &one).await;
    gate.add_permits(1);
    let first = taken(waiting).await;
    assert_eq!(ask(&app, ADA, "GET", &path, Value::Null).await.status(), 404);
    let again = join(&app, ADA, &path).await;
    assert_eq!(again.status(), 200, "it needs no second room");
    assert_eq!(taken(again).await.as_ptr(), first.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_run_is_told_in_the_body_that_there_is_no_room_for_it() {
    let _alone = ALONE.lock().await;
    let gate = gate();
    let app = app(&gate);
    let (one, two) = (ended(&app, ADA, true).await, ended(&app, ADA, true).await);
    let run = json!({ "assistant_id": "waits", "input": {}, "on_completion": "keep" });
    let waiting = ask(&app, ADA, "POST", "/runs/wait", run).await;
    let path = waiting.headers()["content-location"].to_str().unwrap().to_owned();
    let held = [join(&app, ADA, &one).await, join(&app, ADA, &two).await];
    assert!(waiting.status() == 200 && held.iter().all(|answer| answer.status() == 200));
    let waiting = tokio::spawn(text(waiting));
    gate.add_permits(1);
    let told = waiting.await.unwrap().trim().to_owned();
    let error = json!({ "error": "HTTPException", "message": format!("429: {WORDS}") });
    let error = json!({ "__error__": error }).to_string();
    assert_eq!(told, error);
    // Who made a run is not answered 429, however soon it has ended.
    for completion in ["keep", "delete"] {
        let run = json!({ "assistant_id": "loud", "input": {}, "on_completion": completion });
        let answer = ask(&app, ADA, "POST", "/runs/wait", run).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await.trim(), error);
    }
    drop(held);
    assert!(text(join(&app, ADA, &path).await).await.len() > SIZE, "it can be had later");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_holds_nothing_of_a_run_that_is_forgotten_meanwhile() {
    let _alone = ALONE.lock().await;
    let (mut limits, witness) = (Limits::default(), Arc::default());
    limits.ended_trees_max = 4;
    let app = app_of(EngineConfig::default().limits(limits), &gate(), &witness);
    let before = Arc::strong_count(&witness);
    let mut held = Vec::new();
    for _ in 0..2 {
        let path = ended(&app, ADA, true).await;
        held.push(join(&app, ADA, &path).await);
    }
    let run = |agent| json!({ "assistant_id": agent, "input": {}, "on_completion": "keep" });
    let mut waiting = tokio::spawn(text(ask(&app, ADA, "POST", "/runs/wait", run("dear")).await));
    assert!(timeout(ROOM_WITHIN / 3, &mut waiting).await.is_err(), "it waits for room");
    assert_eq!(Arc::strong_count(&witness), before + 1, "the engine has it");
    // A share is one tree: the next of hers takes its place.
    assert_eq!(ask(&app, ADA, "POST", "/runs", run("loud")).await.status(), 200);
    // What is forgotten is dropped on a thread for that; the clock of the test stands still.
    soon_in_real_time("the run is dropped", || Arc::strong_count(&witness) == before).await;
    assert!(!waiting.is_finished(), "it waits still");
    drop(held);
    let told = timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap();
    let error = json!({ "error": "HTTPException", "message": format!("429: {WORDS}") });
    assert_eq!(told.trim(), json!({ "__error__": error }).to_string());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_is_told_nothing_less_of_a_run_that_its_thread_has_lost_meanwhile() {
    let _alone = ALONE.lock().await;
    let app = app(&gate());
    let mut held = Vec::new();
    for _ in 0..2 {
        let path = ended(&app, ADA, true).await;
        held.push(join(&app, ADA, &path).await);
    }
    let run = |input: Value| json!({ "assistant_id": "loud", "input": input });
    let thread = text(ask(&app, ADA, "POST", "/threads", json!({})).await).await;
    let thread: Value = serde_json::from_str(&thread).unwrap();
    let runs = format!("/threads/{}/runs", thread["thread_id"].as_str().unwrap());
    let before = ask(&app, ADA, "POST", &runs, run(json!({ "mine": 1 }))).await;
    assert_eq!(before.status(), 200);
    let waiting = ask(&app, ADA, "POST", &format!("{runs}/wait"), run(json!({}))).await;
    let path = waiting.headers()["content-location"].to_str().unwrap().to_owned();
    let id = path.rsplit('/').next().unwrap();
    let mut waiting = tokio::spawn(text(waiting));
    assert!(timeout(ROOM_WITHIN / 3, &mut waiting).await.is_err(), "it waits for room");
    // What later runs of hers leave takes the place of what is kept of it; the engine has it still.
    while text(ask(&app, ADA, "GET", &runs, Value::Null).await).await.contains(id) {
        let next = json!({ "assistant_id": "loud", "input": {}, "on_completion": "keep" });
        assert_eq!(ask(&app, ADA, "POST", "/runs", next).await.status(), 200);
        for _ in 0..100 {
            yield_now().await;
        }
    }
    assert_eq!(ask(&app, ADA, "GET", &path, Value::Null).await.status(), 200);
    assert!(!waiting.is_finished(), "it waits still");
    drop(held);
    let told = timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap();
    let error = json!({ "error": "HTTPException", "message": format!("429: {WORDS}") });
    let error = json!({ "__error__": error }).to_string();
    assert!(told.trim() == error, "{:.99}", told.trim());
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_a_live_run_is_not_cut_for_want_of_room() {
    let _alone = ALONE.lock().await;
    let grows = Component::agent("grows", async |ctx: RunContext, _input: Payload| {
        ctx.emit(json!({ "event": "values", "values": { "key": "x".repeat(200_000) } }));
        std::future::pending().await
    });
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 8_000_000;
    let service = Service::new(Engine::new(), Catalog::new().with(grows)).limits(limits);
    let app = crate::support::router(service.clone(), Options::default());
    let run = json!({
        "assistant_id": "grows",
        "input": { "text": "y".repeat(1_000_000) },
        "stream_mode": "values",
        "on_disconnect": "cancel",
    });
    let (mut streams, mut bytes) = (Vec::new(), 0);
    for _ in 0..10 {
        let answer = ask(&app, ADA, "POST", "/runs/stream", run.clone()).await;
        assert_eq!(answer.status(), 200);
        streams.push(answer.into_body().into_data_stream());
    }
    let mut held = Vec::new();
    for pieces in &mut streams {
        while bytes < 1_000_000 {
            let piece = pieces.next().await.unwrap().unwrap();
            bytes += piece.len();
            held.push(piece);
        }
        bytes = 0;
    }
    let runs = service.engine().runs(&RunFilter::default());
    assert!(runs.iter().all(|run| run.status() == RunStatus::Running), "none is cut");
    drop(streams);
}
