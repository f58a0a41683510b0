use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use futures::stream;
use http_body_util::BodyExt;
use quell::{Engine, Payload, RunContext, RunRef, RunStatus};
use quell_flow::{Catalog, Component};
use quell_http::{
    Access, Heartbeat, Key, Ledger, NATIVE, OnDisconnect, Principal, Service, ServiceLimits,
    SseEvent, parse_id, router, sse_response,
};
use serde::{Serialize, Serializer};
use tokio::time::sleep;
use tower::ServiceExt;

use crate::support::{JSON, send};

const ADA: (&str, &str) = ("x-api-key", "adas-key");

/// What a run says, piece by piece, in bytes; and how long its output may be.
const SIZE: usize = 400_000;

/// A value that shows whether it is in memory.
struct Seen(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Serves one component that says much, and whose output is counted: `under_way` bytes for all, of
/// which a caller has a quarter.
fn serve(under_way: usize, witness: &Arc<()>) -> (Service, Router) {
    let witness = Arc::clone(witness);
    let talks = Component::agent("talks", move |ctx: RunContext, _input: Payload| {
        let output = Payload::json_later(Seen(Arc::clone(&witness)), SIZE);
        async move {
            for _ in 0..10 {
                ctx.emit("x".repeat(SIZE / 10));
            }
            Ok(output)
        }
    });
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = under_way;
    let access = Access::open().key(Key::new("ada", ADA.1));
    let service = Service::new(Engine::new(), Catalog::new().with(talks));
    let service = service.limits(limits).access(access);
    (service.clone(), router(service))
}

/// Runs the component to its end, and begins to read its stream.
async fn begun(service: &Service, app: &Router) -> (RunRef, Body) {
    let body = r#"{"component":{"kind":"agent","id":"talks"},"id":"r"}"#;
    assert_eq!(send(app, "POST", "/v1/runs", &[JSON, ADA], body).await.status, 201);
    let run = service.engine().get(parse_id("r").unwrap()).unwrap();
    run.quiescent().await;
    let request = Request::get("/v1/runs/r/events").header(ADA.0, ADA.1);
    let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    (run, body)
}

/// Takes the rest; yields how many bytes there were, or that the stream was cut.
async fn rest(mut body: Body) -> Result<usize, String> {
    let mut bytes = 0;
    while let Some(piece) = body.frame().await {
        bytes += piece.map_err(|cut| cut.to_string())?.into_data().unwrap().len();
    }
    Ok(bytes)
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_forgotten_run_is_cut_if_there_is_no_room_for_what_it_holds() {
    let witness = Arc::default();
    let (service, app) = serve(SIZE, &witness);
    let (run, body) = begun(&service, &app).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(Arc::strong_count(&witness), 3, "the engine has it");
    service.engine().forget(run.id()).unwrap();
    drop(run);
    for tries in 0.. {
        if Arc::strong_count(&witness) == 2 {
            break;
        }
        assert!(tries < 1_000, "a client that takes nothing holds it");
        sleep(Duration::from_millis(100)).await;
    }
    let told = rest(body).await;
    assert_eq!(told, Err("a stream was cut before its end".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_forgotten_run_goes_on_within_the_share_of_its_reader() {
    let witness = Arc::default();
    let (service, app) = serve(20 * SIZE, &witness);
    let (run, body) = begun(&service, &app).await;
    service.engine().forget(run.id()).unwrap();
    drop(run);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(Arc::strong_count(&witness), 3, "it is read");
    // It counts: there is no room for a second one as large as the share without it.
    let large = "x".repeat(20 * SIZE / 4 / 3 - 1_000);
    let large = format!(r#"{{"component":{{"kind":"agent","id":"talks"}},"input":"{large}"}}"#);
    let length = large.len().to_string();
    let headers = [JSON, ADA, ("content-length", length.as_str())];
    let refused = send(&app, "POST", "/v1/runs", &headers, large.clone()).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let bytes = rest(body).await.unwrap();
    assert!(bytes > SIZE / 2, "{bytes}");
    let made = send(&app, "POST", "/v1/runs", &headers, large).await;
    assert_eq!(made.status, 201, "what was read is given back: {}", made.text);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_live_run_is_never_cut_however_large_its_events() {
    let size = quell::limits::EVENT_BYTES_MAX - 100;
    let shouts = Component::agent("shouts", move |ctx: RunContext, _input: Payload| async move {
        for _ in 0..4 {
            ctx.emit("x".repeat(size));
        }
        std::future::pending().await
    });
    let mut limits = ServiceLimits::default();
    limits.requests_bytes_max = 100_000;
    let service = Service::new(Engine::new(), Catalog::new().with(shouts)).limits(limits);
    let app = router(service.clone());
    let start = r#"{"component":{"kind":"agent","id":"shouts"},"id":"r"}"#;
    assert_eq!(send(&app, "POST", "/v1/runs", &[JSON], start).await.status, 201);
    let request = Request::get("/v1/runs/r/events?on_disconnect=cancel");
    let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while bytes < 4 * size {
        bytes += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    let run = service.engine().get(parse_id("r").unwrap()).unwrap();
    assert_eq!(run.status(), RunStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn many_streams_of_one_forgotten_run_are_charged_for_it_once() {
    let witness = Arc::default();
    let (service, app) = serve(20 * SIZE, &witness);
    let (run, body) = begun(&service, &app).await;
    let mut bodies = vec![body];
    for _ in 0..20 {
        let request = Request::get("/v1/runs/r/events").header(ADA.0, ADA.1);
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        bodies.push(answer.into_body());
    }
    service.engine().forget(run.id()).unwrap();
    drop(run);
    sleep(Duration::from_secs(5)).await;
    for body in bodies {
        assert!(rest(body).await.unwrap() > SIZE / 2, "each was a fifth of the share");
    }
}

#[tokio::test]
async fn an_event_is_counted_in_the_room_that_was_found_for_it() {
    let (service, app) = serve(SIZE, &Arc::default());
    let (run, _body) = begun(&service, &app).await;
    let ledger = Ledger::new("bytes", 2 * SIZE, 100);
    let mut room = ledger.charge(None, 2 * SIZE).unwrap();
    let frames =
        ["x", "y"].map(|text| SseEvent::new("a", text.repeat(SIZE / 2)).in_room(&mut room));
    drop(room);
    assert!((SIZE..SIZE + 100).contains(&ledger.total()), "the rest is given back");
    let view = service.view(NATIVE, Principal::named("ada"));
    let guard = service.guard(&run, OnDisconnect::Continue).reading(&view, &run);
    let frames = stream::iter(frames);
    let answer = sse_response(frames, Heartbeat::none(), Some(guard), HeaderMap::new());
    let mut body = answer.into_body();
    for _ in 0..2 {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let (counted, size) = (ledger.total(), chunk.len());
        drop(chunk);
        assert_eq!(counted - ledger.total(), size);
    }
    assert_eq!(ledger.total(), 0);
}

#[tokio::test]
async fn an_event_in_its_room_is_written_also_behind_a_small_one_for_which_there_is_none() {
    const LARGE: usize = 600 << 10;
    let (service, app) = serve(8 * LARGE, &Arc::default());
    let (run, _body) = begun(&service, &app).await;
    let view = service.view(NATIVE, Principal::named("ada"));
    let mut room = view.room_now(LARGE + 100).unwrap();
    let large = SseEvent::new("large", "x".repeat(LARGE)).in_room(&mut room);
    drop(room);
    let _rest = view.room_now(LARGE - 1_000).unwrap();
    let guard = service.guard(&run, OnDisconnect::Continue).reading(&view, &run);
    let frames = stream::iter([SseEvent::new("small", "x".repeat(10_000)), large]);
    let answer = sse_response(frames, Heartbeat::none(), Some(guard), HeaderMap::new());
    service.engine().forget(run.id()).unwrap();
    assert!(rest(answer.into_body()).await.unwrap() > LARGE);
}
