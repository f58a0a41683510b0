//! [`join`] and [`stream`]: joins runs (contract, section 7; contract, section 8).

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures::{StreamExt, future, stream};
use quell_http::{DisconnectGuard, Heartbeat, OnDisconnect, SseEvent, View, sse_response};
use serde_json::json;

use crate::app::{App, Found, Located, StoredRun};
use crate::routes::caller::Caller;
use crate::routes::create::{body_of, final_body, heartbeat, stream_headers, waited};
use crate::routes::path::{RunPath, Scope};
use crate::routes::response::json as respond;
use crate::stream::{From, frames};
use crate::wire::failure::not_found_object;
use crate::wire::modes::Modes;
use crate::wire::query::Pairs;
use crate::wire::refusal::Refusal;

pub(super) async fn join(
    State(app): State<App>,
    Caller(view): Caller,
    path: RunPath,
    method: Method,
    query: Pairs,
) -> Result<Response, Refusal> {
    match app.find(&view, path.thread(), path.run) {
        Some(Located::Kept(found)) => {
            let guard = guard(&view, &found, &method, &query)?;
            waited(&app, &view, found, true, guard).await
        }
        // The final body of a run that was deleted at its end stays available for 60 s.
        Some(Located::Deleted(deleted)) => final_body(&view, &deleted),
        None => match app.find_stored(&view, path.thread(), path.run).await? {
            Some(stored) => body_of(&view, app.stored_text(&view, &stored).await?),
            None => Ok(respond(&json!({ "__error__": not_found_object() }))),
        },
    }
}

/// Streams a run, of a thread or stateless: a stateless stream names this path as its `Location`,
/// which clients come back to (contract, section 8).
pub(super) async fn stream<S: Scope>(
    State(app): State<App>,
    Caller(view): Caller,
    path: RunPath<S>,
    method: Method,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let modes = query.modes()?.unwrap_or(Modes::ALL);
    let Some(located) = app.find(&view, path.thread(), path.run) else {
        if let Some(stored) = app.find_stored(&view, path.thread(), path.run).await? {
            return ended(&app, &view, &stored, &headers).await;
        }
        let error = stream::iter([SseEvent::json("error", &not_found_object())]);
        return Ok(sse_response(error, Heartbeat::none(), None, stream_headers()));
    };
    let found = located.into_found();
    let from = from(&found, &headers);
    let guard = guard(&view, &found, &method, &query)?;
    let guard = app.reading(guard, &view, &found.run);
    Ok(sse_response(frames(&app, &found, modes, from), heartbeat(), Some(guard), stream_headers()))
}

/// Streams a run that is only in the store: it has ended, so nothing is new. What a client asks to
/// be repeated is named as missing; it joins the run instead.
async fn ended(
    app: &App,
    view: &View,
    stored: &StoredRun,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let mut frames = Vec::new();
    if headers.contains_key("last-event-id") {
        let events = view.events(&stored.run, 0).await?;
        let last = events.fold(0, |last: u64, event| future::ready(last.max(event.seq))).await;
        frames.push(SseEvent::json("lagged", &json!({ "from": 1, "to": last })));
    }
    frames.extend(app.options().end_event.then(|| SseEvent::new("end", "null")));
    Ok(sse_response(stream::iter(frames), heartbeat(), None, stream_headers()))
}

/// Yields where a stream begins: with what is new, if the header is absent or the run is not
/// resumable.
fn from(found: &Found, headers: &HeaderMap) -> From {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    match id.filter(|_| found.tracked.is_resumable) {
        None => From::Now,
        Some("-1" | "0" | "") => From::Start,
        Some(id) => From::After(id.to_owned()),
    }
}

/// Makes the guard of an answer. A caller who may not stop the run may not ask for its stop on
/// disconnect either. A request for the head alone follows nothing, so its end stops nothing.
fn guard(
    view: &View,
    found: &Found,
    method: &Method,
    query: &Pairs,
) -> Result<DisconnectGuard, Refusal> {
    let (service, charge) = (view.service(), view.charge_stream()?);
    if !query.flag("cancel_on_disconnect") {
        return Ok(service.guard(&found.run, OnDisconnect::Continue).holding(charge));
    }
    if !view.may_stop(&found.run) {
        return Err(Refusal::forbidden(view.lack_to_stop(&found.run)));
    }
    let policy =
        if *method == Method::HEAD { OnDisconnect::Continue } else { OnDisconnect::Cancel };
    Ok(service.guard(&found.run, policy).until_pause().holding(charge))
}
