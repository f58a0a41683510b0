//! Joining runs that somebody started (sections 7 and 8).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use futures::stream;
use quell_http::{Frame, Heartbeat, OnDisconnect, sse_response};
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, Found};
use crate::routes::create::{heartbeat, stream_headers, waited};
use crate::routes::{Parts, json as respond, parts};
use crate::stream::{From, frames};
use crate::wire::failure::not_found_object;
use crate::wire::modes::Modes;
use crate::wire::query::{Pairs, run_id, thread_id};
use crate::wire::refusal::Refusal;

pub(super) async fn join(
    State(app): State<App>,
    path: Parts<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let (thread, run) = parts(path)?;
    let (thread, run) = (thread_id(&thread)?, run_id(&run)?);
    let Some(found) = app.find(&view, Some(thread), run) else {
        // The final body of a run that was deleted at its end stays available for 60 s.
        return Ok(match app.left(&view, Some(thread), run) {
            Some(left) => {
                ([("content-type", "application/json")], left.body.clone()).into_response()
            }
            None => respond(&json!({ "__error__": not_found_object() })),
        });
    };
    let guard = app.service().guard(&found.run, policy(&Pairs::of(&uri)));
    Ok(waited(&app, found, true, guard))
}

pub(super) async fn stream(
    State(app): State<App>,
    path: Parts<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (thread, run) = parts(path)?;
    join_stream(&app, Some(thread_id(&thread)?), run_id(&run)?, &uri, &headers)
}

/// [choice] of section 8: the `Location` of a stateless stream is served.
pub(super) async fn stream_stateless(
    State(app): State<App>,
    path: Parts<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    join_stream(&app, None, run_id(&parts(path)?)?, &uri, &headers)
}

fn join_stream(
    app: &App,
    thread: Option<Uuid>,
    run: Uuid,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(headers)?;
    let query = Pairs::of(uri);
    let modes = query.modes()?.unwrap_or(Modes::ALL);
    let found = app.find(&view, thread, run);
    let found = found.or_else(|| {
        app.left(&view, thread, run).map(|left| Found {
            run: left.run.clone(),
            tracked: Arc::clone(&left.tracked),
            thread: Some(Arc::clone(&left.thread)),
        })
    });
    let Some(found) = found else {
        let error = stream::iter([Frame::json("error", &not_found_object())]);
        return Ok(sse_response(error, Heartbeat::none(), None, stream_headers()));
    };
    let from = from(&found, headers);
    let guard = app.service().guard(&found.run, policy(&query));
    Ok(sse_response(frames(app, &found, modes, from), heartbeat(), Some(guard), stream_headers()))
}

/// Without the header, and of a run that is not resumable, only what is new.
fn from(found: &Found, headers: &HeaderMap) -> From {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    match id.filter(|_| found.tracked.is_resumable) {
        None => From::Now,
        Some("-1" | "0" | "") => From::Start,
        Some(id) => From::After(id.to_owned()),
    }
}

fn policy(query: &Pairs) -> OnDisconnect {
    if query.flag("cancel_on_disconnect") { OnDisconnect::Cancel } else { OnDisconnect::Continue }
}
