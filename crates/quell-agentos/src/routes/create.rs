//! [`create`]: starts a run (contract, section 2).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use quell::limits::PAYLOAD_BYTES_MAX;
use quell::{IdempotencyKey, Payload, RunId, RunStatus};
use quell_flow::Component;
use quell_flow::limits::HISTORY_BYTES_MAX;
use quell_http::{
    Charge, DisconnectGuard, OnDisconnect, RunView, Start, StartError, Started, Upload, View,
    idempotency_key,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::begin::Begin;
use crate::form::{Form, HISTORY};
use crate::heard::status_to_tell;
use crate::routes::run_response::{run_response, run_response_at_end};
use crate::routes::streamed::{streamed, style};
use crate::sessions::HistoryOf;
use crate::snapshot::{FORKED_FROM, STREAMED, TIMEOUT, USER, session_of};
use crate::wire::kinds::names_of;
use crate::wire::refusal::{Refusal, bad_key, unknown_field};
use crate::wire::status::status;

pub(super) async fn create(
    app: &App,
    view: &View,
    component: &Arc<Component>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (form, upload) = Form::read(view, headers, body).await?;
    begin(app, view, component, headers, (form, upload, None)).await
}

/// Starts the run of a form, or finds the one that the same request has started before, and answers
/// its client. The run may go on from one that has ended.
pub(super) async fn begin(
    app: &App,
    view: &View,
    component: &Arc<Component>,
    headers: &HeaderMap,
    (form, upload, last): (Form, Upload, Option<RunView>),
) -> Result<Response, Refusal> {
    // Before the start: without the charge, the client could not follow the run.
    let follows = form.is_stream || !form.is_background;
    let charge =
        if follows { Some(view.charge_stream().map_err(Refusal::overdrawn)?) } else { None };
    let key = idempotency_key(headers);
    let key = key.map_err(|error| Refusal::invalid(vec![bad_key(error)]))?;
    let started = started(app, view, component, (&form, key, last)).await?;
    let (is_stream, is_background) = (form.is_stream, form.is_background);
    // Give the room of the body back before the wait, when nothing is left of what was in it.
    drop((form, upload));
    let started = match started {
        Err(StartError::StartedBefore(id)) => {
            return started_before(app, view, id, (is_stream, is_background, charge)).await;
        }
        started => started.map_err(|error| Refusal::of_start(&error))?,
    };
    let Started { run, is_replay, guard, .. } = started;
    let Some(charge) = charge else {
        let run = run.into();
        return if is_replay { accepted_by_now(view, &run).await } else { Ok(accepted(&run)) };
    };
    let guard = guard.holding(charge);
    if is_stream {
        let shown = (style(app, is_background), Begin::default());
        let answer = streamed(app, view, &run.into(), guard, shown).await?;
        return answer.ok_or_else(Refusal::unexpected);
    }
    run.paused().await;
    let answer = run_response_at_end(view, run).await?.ok_or_else(Refusal::unexpected);
    // The guard and its charge are held until here: the answer may have waited for room.
    drop(guard);
    answer
}

/// Starts the run of a form; with a key that of a request that may be repeated.
pub(super) async fn started(
    app: &App,
    view: &View,
    component: &Arc<Component>,
    (form, key, last): (&Form, Option<&str>, Option<RunView>),
) -> Result<Result<Started, StartError>, Refusal> {
    let mut start = start(component, form, key, last.as_ref());
    let is_streamed = form.is_stream && form.is_background;
    if is_streamed {
        start = start.label(STREAMED, "true");
    }
    let started = if component.history_of() == 0 {
        view.start(start.input(form.input(None))).await
    } else {
        // On the heap: where there is no history nobody pays for its size.
        Box::pin(start_with_history(app, view, start, (component, form, last))).await?
    };
    if let Ok(started) = &started
        && is_streamed
    {
        // Without a store, by which lines are not counted, nothing waits between the two.
        app.lines.follow(view, &started.run, style(app, true));
    }
    Ok(started)
}

/// Starts the run of a form with what was said in its session. A repeat needs nothing of that.
async fn start_with_history(
    app: &App,
    view: &View,
    start: Start,
    (component, form, last): (&Component, &Form, Option<RunView>),
) -> Result<Result<Started, StartError>, Refusal> {
    if form.has_history() {
        return Err(Refusal::invalid(vec![unknown_field(HISTORY)]));
    }
    if let Some(repeated) = view.repeated(&start).await {
        return Ok(repeated);
    }
    let Some(session) = &form.session else {
        // A new session has none.
        return Ok(view.start(start.input(form.input(Some(json!([]).into())))).await);
    };
    let of = HistoryOf {
        component,
        session,
        owner: view.principal().subject(),
        last: last.as_ref(),
        // The rest of the input comes first. As a form it is not shorter.
        bytes_max: HISTORY_BYTES_MAX.min(PAYLOAD_BYTES_MAX.saturating_sub(form.canonical.len())),
    };
    let (history, room) = app.sessions.history(view, of).await?;
    let started = view.start(start.input(form.input(Some(history)))).await;
    drop(room);
    Ok(started)
}

fn start(
    component: &Arc<Component>,
    form: &Form,
    key: Option<&str>,
    last: Option<&RunView>,
) -> Start {
    // As upstream: an id that nobody chose does not tell when it was made.
    let fresh = || Uuid::new_v4().to_string();
    let mut start = Start::new(component, Payload::from(Value::Null))
        .session(form.session.clone().unwrap_or_else(fresh))
        .on_disconnect(on_disconnect(form.is_background));
    // The engine's own ids are in the order of time: an index of a store then grows at its end.
    if let Some(run) = &form.run {
        start = start.id(run);
    }
    if let Some(user) = &form.user {
        start = start.label(USER, user);
    }
    if let Some(last) = last {
        start = start.label(FORKED_FROM, last.external_id());
    }
    if let Some(timeout) = form.timeout {
        start = start.timeout(timeout).label(TIMEOUT, timeout.as_millis().to_string());
    }
    if let Some(grace) = form.grace {
        start = start.grace(grace);
    }
    if let Some(key) = key {
        let mut path = format!("/{}/{}/runs", names_of(component.kind()).plural, component.id());
        if let Some(last) = last {
            path = format!("{path}/{}/continue", last.id());
        }
        start = start.once(IdempotencyKey::new(key, [&path, &form.canonical]));
    }
    start
}

/// A run of the foreground is tied to its connection: a client that leaves cancels it.
pub(super) const fn on_disconnect(is_background: bool) -> OnDisconnect {
    if is_background { OnDisconnect::Continue } else { OnDisconnect::Cancel }
}

/// Answers with a run that will start. By the time of the answer it may have done so.
pub(super) fn accepted(run: &RunView) -> Response {
    accepted_as(run, RunStatus::Queued)
}

/// Answers with a run as it stands: a client that repeats its request may learn nothing else of it.
pub(super) async fn accepted_by_now(view: &View, run: &RunView) -> Result<Response, Refusal> {
    Ok(accepted_as(run, status_to_tell(view, run).await?))
}

fn accepted_as(run: &RunView, now: RunStatus) -> Response {
    let (id, session) = (run.external_id(), session_of(run));
    let body = json!({ "run_id": id, "session_id": session, "status": status(now) });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

/// Answers a repeated request whose run is only in the store, as the first one was answered. If
/// another node has it, that waits for its end or its pause.
async fn started_before(
    app: &App,
    view: &View,
    id: RunId,
    (is_stream, is_background, charge): (bool, bool, Option<Charge>),
) -> Result<Response, Refusal> {
    let forgotten = || Refusal::of_start(&StartError::KeyForgotten);
    let run = view.find_by_id(id).await?.ok_or_else(forgotten)?;
    let Some(charge) = charge else { return accepted_by_now(view, &run).await };
    let guard = app.service.guard(&run, on_disconnect(is_background)).until_pause().for_good();
    let guard = guard.holding(charge);
    let answer = if is_stream {
        streamed(app, view, &run, guard, (style(app, is_background), Begin::default())).await?
    } else {
        waited_for_far(view, run, guard).await?
    };
    answer.ok_or_else(forgotten)
}

/// Answers a client that waits for a run that is only in the store, when it has ended or asks. One
/// that somebody deletes meanwhile was cancelled for that. None if its component is not there.
pub(super) async fn waited_for_far(
    view: &View,
    run: RunView,
    guard: DisconnectGuard,
) -> Result<Option<Response>, Refusal> {
    let (_guard, waiting) = guard.waiting();
    let over = match &run {
        RunView::Stored(stored) => {
            let over = view.ended_or_paused(stored).await?;
            over.or_else(|| stored.deleted().map(RunView::Stored))
        }
        RunView::Live(live) => {
            live.paused().await;
            Some(run)
        }
    };
    let Some(over) = over else { return Ok(None) };
    let now = over.status();
    if !now.is_terminal() && now != RunStatus::Paused {
        // This process ends, or nobody has the run.
        let now = status(now).to_ascii_lowercase();
        let text = format!("Run {} was {now} when the wait for it ended", over.external_id());
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let answer = run_response(view, over).await;
    waiting.over();
    answer
}
