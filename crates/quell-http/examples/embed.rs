//! Embeds quell in an axum application: its native API beside routes of the application's own.
//!
//! `cargo run -p quell-http --example embed`, then
//!
//! ```sh
//! U=http://127.0.0.1:7788
//! curl -s $U/answers --json '{"id": "a1", "topic": "tea"}'
//! curl -sN $U/answers/a1/words | head -12
//! curl -s $U/answers --json '{"id": "a2", "topic": "tea"}'
//! curl -s -X POST $U/answers/a2/stop
//! curl -s $U/at-work
//! curl -s $U/v1/runs/a2
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use quell::{
    CancelRequest, Engine, EngineConfig, EventKind, Failure, Payload, RunContext, RunEvent,
};
use quell_flow::{Catalog, Component, ComponentKind};
use quell_http::{
    BodyKinds, Heartbeat, NATIVE, OnDisconnect, Problem, Service, SseEvent, Start, View, Wait,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn main() -> std::io::Result<()> {
    // Bodies have a runtime of their own: one that blocks its worker delays no request.
    let bodies = Runtime::new()?;
    let engine = Engine::with_config(EngineConfig::new().runtime(bodies.handle().clone()));
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:7788").await?;
        println!("listening on http://{}", listener.local_addr()?);
        axum::serve(listener, application(engine)).await
    })
}

/// Makes the application: routes of its own, and those of quell.
pub(crate) fn application(engine: Engine) -> Router {
    let witness = Witness::default();
    let seen = witness.clone();
    let writer = Component::agent("writer", move |ctx, input| write(ctx, input, seen.enter()));
    let service = Service::new(engine, Catalog::new().with(writer));
    let own = Router::new()
        .route("/", get(async || "an application of one's own"))
        .route("/at-work", get(async move || witness.at_work().to_string()))
        .route("/answers", post(start))
        .route("/answers/{id}/words", get(words))
        .route("/answers/{id}/stop", post(stop));
    // Access is open here. This keeps other people's pages away from our routes, as from quell's.
    let own = quell_http::guard_open(own, &service, BodyKinds::Json).with_state(service.clone());
    own.merge(quell_http::router(service))
}

/// Starts a run: the native API could do it too, in its own words.
async fn start(
    State(service): State<Service>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let view = view(&service, &headers)?;
    let writer = view.component(ComponentKind::Agent, "writer").ok_or_else(unknown)?;
    let topic = Payload::from(asked["topic"].as_str().unwrap_or("nothing"));
    let mut start = Start::new(writer, topic);
    if let Some(id) = asked["id"].as_str() {
        start = start.id(id);
    }
    let run = view.start(start).await?.run;
    Ok((StatusCode::CREATED, Json(json!({ "answer": quell_http::external_id(&run) }))))
}

/// Streams the words as server-sent events, from the first one on. The run is cancelled when the
/// last of its readers has gone.
async fn words(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let run = view(&service, &headers)?.run(&id).ok_or_else(unknown)?;
    let guard = service.guard(&run, OnDisconnect::Cancel);
    let frames = service.events(&run, 0).filter_map(async |event| sse_event_of(&event));
    let heartbeat = Heartbeat::idle(Duration::from_secs(15), ": still here\n\n");
    Ok(quell_http::sse_response(frames, heartbeat, Some(guard), HeaderMap::new()))
}

fn sse_event_of(event: &RunEvent) -> Option<SseEvent> {
    match &event.kind {
        EventKind::Emitted(word) => Some(SseEvent::new("word", word.as_json())),
        EventKind::Lagged { .. } => Some(SseEvent::new("gap", "")),
        EventKind::Ended(status) => Some(SseEvent::new("end", status.to_string())),
        _ => None,
    }
}

/// Cancels a run, and answers when it has ended: after grace and abort wait at the latest.
async fn stop(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let view = view(&service, &headers)?;
    let run = view.run(&id).ok_or_else(unknown)?;
    let request = CancelRequest::because("the reader has read enough");
    let cancelled = view.cancel(&run, request, Wait::terminal()).await;
    Ok(Json(json!({
        "disposition": cancelled.disposition.as_str(),
        "status": cancelled.row.map(|row| row.status.to_string()),
        "quiescent": cancelled.quiescent,
    })))
}

/// Sees the service as the caller may: with keys or tokens, each caller has runs of their own.
fn view(service: &Service, headers: &HeaderMap) -> Result<View, Problem> {
    Ok(service.view(NATIVE, service.access_of().check(headers)?))
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-answer", "there is no such answer")
}

/// Writes a word every 20 ms for a minute, or until it is told to stop.
async fn write(ctx: RunContext, topic: Payload, _at_work: AtWork) -> Result<Payload, Failure> {
    let topic: String = topic.parse()?;
    let mut written = 0;
    while written < 3_000 {
        let think = tokio::time::sleep(Duration::from_millis(20));
        if ctx.run_until_stopped(think).await.is_err() {
            break;
        }
        written += 1;
        ctx.emit(format!("{topic} {written}"));
    }
    Ok(Payload::from(Value::from(written)))
}

/// Counts, outside the engine, the bodies that are at work.
#[derive(Clone, Default)]
struct Witness(Arc<AtomicUsize>);

impl Witness {
    fn enter(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::SeqCst);
        AtWork(self.clone())
    }

    fn at_work(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A body is at work until it drops this, or is dropped itself.
struct AtWork(Witness);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
