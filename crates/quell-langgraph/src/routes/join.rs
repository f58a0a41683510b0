//! Joins runs that somebody started, and their streams (contract, section 7; contract, section 8).

use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use futures::stream;
use quell_http::{Frame, Guard, Heartbeat, OnDisconnect, View, sse_response};
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, Found};
use crate::routes::create::{final_body, heartbeat, stream_headers, waited};
use crate::routes::path::{Parts, parts};
use crate::routes::response::json as respond;
use crate::stream::{From, frames};
use crate::wire::failure::not_found_object;
use crate::wire::modes::Modes;
use crate::wire::query::{Pairs, run_id, thread_id};
use crate::wire::refusal::Refusal;

pub(super) async fn join(
    State(app): State<App>,
    path: Parts<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let (thread, run) = parts(path);
    let (thread, run) = (thread_id(&thread)?, run_id(&run)?);
    let Some(found) = app.find(&view, Some(thread), run) else {
        // The final body of a run that was deleted at its end stays available for 60 s.
        return Ok(match app.left(&view, Some(thread), run) {
            Some(left) => final_body(&view, &left)?,
            None => respond(&json!({ "__error__": not_found_object() })),
        });
    };
    let guard = guard(&view, &found, &method, &Pairs::of(&uri))?;
    waited(&app, &view, found, true, guard).await
}

pub(super) async fn stream(
    State(app): State<App>,
    path: Parts<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    let (thread, run) = parts(path);
    let (thread, run) = (thread_id(&thread)?, run_id(&run)?);
    join_stream(&app, &view, (Some(thread), run), (&method, &uri, &headers))
}

/// It is the `Location` of a stateless stream, which clients come back to (contract, section 8).
pub(super) async fn stream_stateless(
    State(app): State<App>,
    path: Parts<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.caller(&headers)?;
    join_stream(&app, &view, (None, run_id(&parts(path))?), (&method, &uri, &headers))
}

fn join_stream(
    app: &App,
    view: &View,
    (thread, run): (Option<Uuid>, Uuid),
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
) -> Result<Response, Refusal> {
    let query = Pairs::of(uri);
    let modes = query.modes()?.unwrap_or(Modes::ALL);
    let Some(found) = app.found_or_left(view, thread, run) else {
        let error = stream::iter([Frame::json("error", &not_found_object())]);
        return Ok(sse_response(error, Heartbeat::none(), None, stream_headers()));
    };
    let from = from(&found, headers);
    let guard = app.reading(guard(view, &found, method, &query)?, view, &found.run);
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

/// Makes the guard of an answer. Who may not stop the run may not ask for it by leaving either;
/// who asks for the head alone follows nothing, and so leaves nothing.
fn guard(view: &View, found: &Found, method: &Method, query: &Pairs) -> Result<Guard, Refusal> {
    let (service, place) = (view.service(), view.stream_place()?);
    if !query.flag("cancel_on_disconnect") {
        return Ok(service.guard(&found.run, OnDisconnect::Continue).holding(place));
    }
    if !view.may_stop(&found.run) {
        return Err(Refusal::forbidden());
    }
    let policy =
        if *method == Method::HEAD { OnDisconnect::Continue } else { OnDisconnect::Cancel };
    Ok(service.guard(&found.run, policy).holding(place))
}
