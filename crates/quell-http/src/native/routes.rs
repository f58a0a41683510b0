//! The handlers of the native API. Each parses the request, makes one call, and renders the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;
use futures::{Stream, StreamExt};
use quell::limits::LABEL_BYTES_MAX;
use quell::{CancelRequest, Disposition, EventKind, IdempotencyKey, Payload, RunEvent, RunId};
use quell_flow::Component;
use serde_json::value::RawValue;

use crate::access::Principal;
use crate::idempotency_key::idempotency_key;
use crate::ids::is_reserved;
use crate::native::extract::{Caller, NoQuery, RunPath, json_body};
use crate::native::problems::{
    PROBLEM, RefusedBody, forbidden, unknown_component, unknown_run, unreadable,
};
use crate::native::query::{StreamQuery, has_values, seq};
use crate::native::run_response::{run_response, without_values};
use crate::native::wire::{self, CancelAnswer, CancelRun, Millis, RunObject, StartRun};
use crate::problem::Problem;
use crate::run_view::RunView;
use crate::service::{CancelOutcome, OnDisconnect, Service, View};
use crate::sse_event::SseEvent;
use crate::start::Start;
use crate::start_error::StartError;
use crate::stream::{Heartbeat, sse_response};
use crate::wait::Wait;
use quell::{JSON_LEVELS_MAX, check_json};

pub(super) type Answer = Result<Response, Problem>;

/// Starts a run.
///
/// With the header `Idempotency-Key` the same request starts it only once and is answered 200 from
/// then on.
#[utoipa::path(
    post, path = "/v1/runs", operation_id = "start_run", tag = "runs",
    params(("Idempotency-Key" = Option<String>, Header, max_length = 256,
        min_length = 1, description = "At most 256 bytes")),
    request_body = StartRun,
    responses(
        RefusedBody,
        (status = 201, description = "It was started. If there is no room for a large answer: the \
            run as lists show it, without its values", body = RunObject),
        (status = 200, description = "The same request has started it, or its lane has it and \
            `join_existing` asks for it", body = RunObject),
        (status = 404, description = "No such component", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The id is in use, the lane is busy, or the key was used \
            otherwise", body = Problem, content_type = PROBLEM),
        (status = 429, description = "Too many runs, or no room for a large body", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "No new runs, or the run could not be stored", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn start_run(
    Caller(view): Caller,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let parse = |text: &Bytes| {
        let asked: StartRun = wire::read(text)?;
        Ok((value_of(asked.input.as_deref())?, asked))
    };
    let ((input, asked), upload) = json_body(&view, &headers, body, parse).await?;
    let (kind, id) = asked.component.parts();
    let unknown = || unknown_component(&view, kind, id);
    // No component has a longer id, and the refusal below says it.
    if id.len() > LABEL_BYTES_MAX {
        return Err(unknown());
    }
    // Before it is looked up: a caller who may not start it does not learn whether it is there.
    if !view.principal().may_run_named(kind, id) {
        return Err(forbidden(view.principal().lack_to_run_named(kind, id)));
    }
    if asked.priority > 0 && !view.principal().sees_all() {
        return Err(forbidden(NEEDS_ADMIN.into()));
    }
    let component = view.component(kind, id).ok_or_else(unknown)?;
    let mut start = options(Start::new(component, input), asked)?;
    if let Some(key) = idempotency_key(&headers)? {
        start = start.once(IdempotencyKey::new(key, ["/v1/runs".as_bytes(), upload.bytes()]));
    }
    let started = match view.start(start).await {
        Err(StartError::StartedBefore(id)) => return started_before(&view, id).await,
        started => started?,
    };
    drop(upload);
    let status = if started.is_replay { StatusCode::OK } else { StatusCode::CREATED };
    // The run has started, so the answer must not be a refusal: the client would start it again.
    let run = RunView::Live(started.run.clone());
    let mut response = match answer_with(&view, run).await {
        Ok(response) => response,
        Err(_) => Json(without_values(&view, &started.run)).into_response(),
    };
    *response.status_mut() = status;
    locate(&mut response, started.run.id());
    Ok(response)
}

/// Answers a repeated request whose run is only in the store.
async fn started_before(view: &View, id: RunId) -> Answer {
    let run = view.find_by_id(id).await?.ok_or(StartError::KeyForgotten)?;
    let mut response = answer_with(view, run).await?;
    locate(&mut response, id);
    Ok(response)
}

/// Says where a run is, relative to the path of this request, wherever the API is mounted.
fn locate(response: &mut Response, run: RunId) {
    if let Ok(location) = HeaderValue::from_str(&format!("runs/{run}")) {
        response.headers_mut().insert(LOCATION, location);
    }
}

/// Reads a value of a request; null if it was left out.
pub(super) fn value_of(raw: Option<&RawValue>) -> Result<Payload, Problem> {
    let text = raw.map_or("null", RawValue::get);
    let not_json = |error: &dyn std::fmt::Display| {
        Problem::new(StatusCode::BAD_REQUEST, "not-json", error.to_string())
    };
    // It is kept as its text, and readers of the run get it back unchanged.
    check_json(text, JSON_LEVELS_MAX).map_err(|error| not_json(&error))?;
    Payload::from_json_text(text).map_err(|error| not_json(&error))
}

fn options(start: Start, asked: StartRun) -> Result<Start, Problem> {
    let mut start = start.priority(asked.priority);
    for (key, value) in asked.labels {
        if is_reserved(&key) {
            let detail = format!("label `{key}` is not for callers");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-label", detail));
        }
        start = start.label(key, value);
    }
    if let Some(id) = asked.id {
        start = start.id(id);
    }
    if let Some(session) = asked.session {
        start = start.session(session);
    }
    if let Some(timeout) = asked.timeout_ms {
        start = start.timeout(timeout.time());
    }
    if let Some(grace) = asked.grace_ms {
        start = start.grace(grace.time());
    }
    if let Some(lane) = asked.lane {
        start = start.lane(lane.key, lane.on_busy.policy());
    }
    Ok(start)
}

/// Reads a run.
#[utoipa::path(
    get, path = "/v1/runs/{id}", operation_id = "get_run", tag = "runs",
    params(
        RunPath,
        ("values" = Option<bool>, Query, description = "`false`: without what went in and came \
            out, and without the rows of its tree, which may be large. Defaults to `true`"),
    ),
    responses(
        (status = 200, description = "The run", body = RunObject),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 403, description = "Not allowed", body = Problem, content_type = PROBLEM),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Not an id, or a parameter", body = Problem,
            content_type = PROBLEM),
        (status = 429, description = "No room for a large answer", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "The store cannot be read", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn get_run(
    Caller(view): Caller,
    RunPath(id): RunPath,
    RawQuery(query): RawQuery,
) -> Answer {
    let has_values = has_values(query.as_deref())?;
    let run = readable_run(&view, id).await?;
    run_response(view.read(run).await?, has_values).await
}

/// Streams the event log of a run and its descendants.
///
/// Server-sent events: the id is the number of the event, its name is what happened, its data is
/// the event as JSON. The stream ends after the terminal event of the run.
#[utoipa::path(
    get, path = "/v1/runs/{id}/events", operation_id = "stream_run", tag = "runs",
    params(
        RunPath,
        ("after" = Option<u64>, Query, description = "The last event that the client has"),
        ("on_disconnect" = Option<String>, Query, pattern = "^(continue|cancel)$",
            description = "`continue` (default) or `cancel`: what becomes of the run without us"),
        ("Last-Event-ID" = Option<String>, Header, description = "As `after`, and before it"),
    ),
    responses(
        (status = 200, description = "Events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "Bad header", body = Problem, content_type = PROBLEM),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 403, description = "Not allowed", body = Problem, content_type = PROBLEM),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Bad parameter", body = Problem, content_type = PROBLEM),
        (status = 429, description = "Too many streams", body = Problem, content_type = PROBLEM),
        (status = 503, description = "The store cannot be read", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn stream_run(
    State(service): State<Service>,
    Caller(view): Caller,
    method: Method,
    RunPath(id): RunPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let run = readable_run(&view, id).await?;
    let query = StreamQuery::read(query.as_deref())?;
    let after = match headers.get("last-event-id") {
        Some(text) => Some(seq(text.to_str().map_err(|_| unreadable("Last-Event-ID"))?)?),
        None => query.after,
    };
    if query.on_disconnect == OnDisconnect::Cancel && !view.may_stop(&run) {
        return Err(forbidden(view.lack_to_stop(&run)));
    }
    // A request for the head alone does not follow the run: its end cancels nothing.
    let charge = if method == Method::HEAD { None } else { Some(view.charge_stream()?) };
    let guard = charge.map(|charge| {
        service.guard(&run, query.on_disconnect).holding(charge).reading(&view, &run)
    });
    let events = view.kept_events(&run, after.unwrap_or(0)).await?;
    let frames = frames_of(&service, &run, events);
    let heartbeat = Heartbeat::idle(HEARTBEAT, ": heartbeat\n\n");
    let mut extra = HeaderMap::new();
    extra.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(sse_response(frames, heartbeat, guard, extra))
}

/// Yields the frames of the events of a run. They are cut if this server ends before the run, which
/// another node has, or which waits for an answer: clients take an end for that of the run.
fn frames_of<S>(
    service: &Service,
    run: &RunView,
    events: S,
) -> impl Stream<Item = SseEvent> + Send + use<S>
where
    S: Stream<Item = RunEvent> + Send,
{
    let (service, id) = (service.clone(), run.id());
    let goes_on = !run.status().is_terminal();
    unfold(Some((Box::pin(events), goes_on)), move |state| {
        let service = service.clone();
        async move {
            let (mut events, goes_on) = state?;
            if let Some(event) = events.next().await {
                let is_end = event.run == id && matches!(event.kind, EventKind::Ended(_));
                return Some((wire::sse_event(&event), Some((events, goes_on && !is_end))));
            }
            (goes_on && service.is_draining()).then(|| (SseEvent::cut(), None))
        }
    })
}

/// Cancels a run.
///
/// Answered when every live descendant is signalled, or after the wait. The headers
/// `quell-disposition`, `quell-cause` and `quell-quiescent` say the same as the body.
#[utoipa::path(
    post, path = "/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(RunPath),
    request_body = Option<CancelRun>,
    responses(
        RefusedBody,
        (status = 200, description = "What came of it", body = CancelAnswer),
        (status = 202, description = "The wait was over before what was waited for, or the stop \
            is remembered for a run to come", body = CancelAnswer),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large body", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "The stop could not be stored: a restart may forget it, also \
            if it is in effect. Ask again", body = Problem, content_type = PROBLEM),
    )
)]
pub(crate) async fn cancel_run(
    Caller(view): Caller,
    RunPath(id): RunPath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (request, wait, keep) = cancel_of(&view, &headers, body).await?;
    if view.principal().is_read_only() {
        return Err(forbidden(view.principal().lack_to_run(None)));
    }
    let now = Instant::now();
    let Some(run) = view.for_stop(view.find_by_id(id)).await? else {
        if keep.is_zero() {
            let mut response = unknown_run().into_response();
            let unknown = CancelOutcome::without_run(Disposition::Unknown);
            unknown.write_headers(response.headers_mut());
            return Ok(response);
        }
        let reserved = view.reserve("", id, request.remember_for(keep), wait).await;
        reserved.stored?;
        return Ok(answer(&view, None, &reserved, now));
    };
    if !view.may_stop(&run) {
        return Err(forbidden(view.lack_to_stop(&run)));
    }
    let cancelled = view.cancel(&run, request, wait).await;
    cancelled.stored?;
    Ok(answer(&view, Some(&run), &cancelled, now))
}

/// Reads what a cancel asks for: the request, what its answer waits for, and for how long the stop
/// is remembered. Nothing is left of the body when it returns, for the wait may be long.
async fn cancel_of(
    view: &View,
    headers: &HeaderMap,
    body: Body,
) -> Result<(CancelRequest, Wait, Duration), Problem> {
    let parse = |text: &Bytes| if text.is_empty() { Ok(None) } else { wire::read(text) };
    let (asked, _upload) = json_body(view, headers, body, parse).await?;
    let asked: CancelRun = asked.unwrap_or_default();
    let keep = asked.remember_ms.map_or(Duration::ZERO, Millis::time);
    Ok((asked.request(), asked.wait(), keep))
}

fn answer(view: &View, run: Option<&RunView>, cancelled: &CancelOutcome, now: Instant) -> Response {
    let is_reserved = matches!(cancelled.disposition, Disposition::Reserved);
    let status =
        if is_reserved || !cancelled.is_reached { StatusCode::ACCEPTED } else { StatusCode::OK };
    let state = cancelled.row.as_ref().map(|row| match run {
        Some(run) => view.state_of_row_of(run, row),
        None => view.state_of_row(row),
    });
    let body = CancelAnswer::of(cancelled, state, now);
    let mut response = (status, Json(body)).into_response();
    cancelled.write_headers(response.headers_mut());
    response
}

async fn answer_with(view: &View, run: RunView) -> Answer {
    run_response(view.read(run).await?, true).await
}

pub(super) async fn readable_run(view: &View, id: RunId) -> Result<RunView, Problem> {
    let run = view.find_by_id(id).await?.ok_or_else(unknown_run)?;
    match unreadable_component(view, &run) {
        Some(component) => Err(forbidden(Principal::lack_to_read(component))),
        None => Ok(run),
    }
}

/// Yields the component of a run that the caller may not read. A caller who may start it may read
/// it.
pub(super) fn unreadable_component<'a>(
    view: &'a View,
    run: &RunView,
) -> Option<&'a Arc<Component>> {
    let who = view.principal();
    view.component_of(run).filter(|it| !who.may_read(it) && !who.may_run(it))
}

/// Who overtakes the runs of others may do more than start one.
const NEEDS_ADMIN: &str = "a priority above 0 needs the scope `quell:admin`";

/// The time without an event after which a stream writes a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);
