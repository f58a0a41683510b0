//! [`resume`]: goes on with the stream of a run in the background (contract, section 8).

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream;
use quell::RunStatus;
use quell_flow::ComponentKind;
use quell_http::{OnDisconnect, RunView, SseEvent, View, sse_response};
use serde_json::{Value, json};

use crate::app::{App, find};
use crate::auth::{Action, component};
use crate::begin::Begin;
use crate::form::Taking;
use crate::heard::status_to_tell;
use crate::lines::SoFar;
use crate::routes::extract::RunRequest;
use crate::routes::streamed::{streamed_from, style};
use crate::snapshot::STREAMED;
use crate::wire::refusal::{Refusal, not_int};
use crate::wire::socket::not_stored_yet;
use crate::wire::status::status;

/// Goes on behind the last event that the client has. What is wrong with the run is an event.
pub(super) async fn resume(
    app: &App,
    kind: ComponentKind,
    request: &RunRequest,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let RunRequest { view, component: id, run: run_id, .. } = request;
    let component = component(view, kind, id, Action::Run)?;
    let asked = Asked::read(view, headers, body).await?;
    let charge = view.charge_stream().map_err(Refusal::overdrawn)?;
    let found = find(view, &component, run_id, asked.session.as_deref()).await?;
    let subscribed = format!("Subscribed to {} run. Receiving live events.", kind.as_str());
    let (run, begin) = match behind(app, view, found, (run_id, asked.from), subscribed).await {
        Behind::Nothing(said) => return Ok(one(app, &said)),
        Behind::Events(run, begin) => (run, begin),
    };
    // A client that leaves changes nothing.
    let guard = app.service.guard(&run, OnDisconnect::Continue).until_pause().holding(charge);
    streamed_from(app, view, &run, guard, begin).await?.ok_or_else(Refusal::unexpected)
}

/// What there is for a client that comes back to a run.
pub(super) enum Behind {
    /// No stream, for a reason that is said.
    Nothing(Value),
    /// The events of the run, from a place in its log on, which is counted. That fails if the store
    /// cannot be read.
    Events(RunView, BoxFuture<'static, Result<Begin, Refusal>>),
}

/// Finds what there is of a run for a client that has the events before this index.
pub(super) async fn behind(
    app: &App,
    view: &View,
    found: Option<RunView>,
    (run_id, from): (&str, u64),
    subscribed: String,
) -> Behind {
    let Some(run) = found.filter(RunView::is_root) else {
        let error = format!("Run {run_id} not found in buffer or database");
        return Behind::Nothing(json!({ "event": "error", "error": error }));
    };
    // Who continues a run may follow it from then on, however it was created.
    if run.label(STREAMED).is_none() && run.attempt() <= 1 {
        return Behind::Nothing(match status_to_tell(view, &run).await {
            Ok(now) => without_a_stream(&run, now),
            Err(_) => not_stored_yet(),
        });
    }
    let (lines, view, style, counted) =
        (app.lines.clone(), view.clone(), style(app, true), run.clone());
    let begin = async move {
        let so_far = lines.so_far(&view, &counted, style, from).await?;
        let now = status_to_tell(&view, &counted).await?;
        Ok(begin((&counted, now), &subscribed, from, so_far))
    };
    Behind::Events(run, begin.boxed())
}

/// What a client has, and asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The index of the first line that it has not.
    pub(super) from: u64,
    pub(super) session: Option<String>,
}

impl Asked {
    async fn read(view: &View, headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let of_type = headers.get(CONTENT_TYPE).cloned();
        let parse = |bytes| async move { Self::of(Taking::read(of_type, bytes).await?) };
        Ok(view.parse_body(headers, body, parse).await?.0)
    }

    pub(super) fn of(mut take: Taking) -> Result<Self, Refusal> {
        let session = take.label("session_id");
        let last = take.text("last_event_index").unwrap_or_else(|| "-1".into());
        let from = last.trim().parse::<i64>().map(|last| last.saturating_add(1));
        if from.is_err() {
            take.complaints.push(not_int("last_event_index", &last));
        }
        match from {
            Ok(from) if take.complaints.is_empty() => {
                // Less than minus one is nothing, too.
                Ok(Self { from: u64::try_from(from).unwrap_or(0), session })
            }
            _ => Err(Refusal::invalid(take.complaints)),
        }
    }
}

/// Says where a stream goes on, before it does.
fn begin((run, now): (&RunView, RunStatus), subscribed: &str, from: u64, so_far: SoFar) -> Begin {
    let (id, count) = (run.external_id(), so_far.lines);
    let missed = count.saturating_sub(from + so_far.gone);
    let gone = match so_far.gone {
        0 => String::new(),
        gone => format!(" {gone} more are gone."),
    };
    let SoFar { after, last, known, .. } = so_far;
    let begin = Begin { after, index: from, known, ..Begin::default() };
    if now.is_terminal() || now == RunStatus::Paused {
        let (now, requested) = (status(now), i128::from(from) - 1);
        let all = format!("Replaying {missed} missed events (of {count} total).{gone}");
        let said = json!({
            "event": "replay", "run_id": id, "status": now, "total_events": missed,
            "total_buffered": count, "last_event_index_requested": requested,
            "message": format!("Run {now}. {all}"),
        });
        return Begin { first: Some(SseEvent::json("replay", &said)), ..begin };
    }
    let said = json!({
        "event": "subscribed", "run_id": id, "status": "running", "current_event_count": count,
        "message": subscribed,
    });
    let subscribed = SseEvent::json("subscribed", &said);
    if missed + so_far.gone == 0 {
        return Begin { first: Some(subscribed), ..begin };
    }
    let said = json!({
        "event": "catch_up", "run_id": id, "status": "running", "missed_events": missed,
        "current_event_count": count,
        "message": format!("Catching up on {missed} missed events.{gone}"),
    });
    let first = Some(SseEvent::json("catch_up", &said));
    Begin { first, then: Some((last, subscribed)), ..begin }
}

/// What is said of a run that was started without a stream: its events are not kept for one.
fn without_a_stream(run: &RunView, now: RunStatus) -> Value {
    let (is_over, now) = (now.is_terminal(), status(now));
    let message = if is_over {
        format!(
            "Run {now} with no stored events: a run submitted without stream=true and \
             background=true keeps only its final output."
        )
    } else {
        format!(
            "Run is {now} and was submitted without stream=true and background=true, so it has \
             no event stream to attach to. Poll the run endpoint for its result."
        )
    };
    json!({
        "event": "replay", "run_id": run.external_id(), "status": now, "total_events": 0,
        "message": message,
    })
}

/// Answers with one event.
fn one(app: &App, said: &Value) -> Response {
    let name = said["event"].as_str().unwrap_or_default().to_owned();
    let frames = stream::iter([SseEvent::json(name, said)]);
    sse_response(frames, app.heartbeat(), None, HeaderMap::new())
}
