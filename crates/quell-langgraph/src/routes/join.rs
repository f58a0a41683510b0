//! [`join`] and [`stream`]: joins runs (contract, section 7; contract, section 8).

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures::stream;
use quell::RunStatus;
use quell_http::{DisconnectGuard, Heartbeat, OnDisconnect, RunView, SseEvent, View, sse_response};
use serde_json::json;

use crate::app::{App, Located, StoredRun};
use crate::routes::caller::Caller;
use crate::routes::create::{body_of, final_body, heartbeat, stream_headers, waited, waited_far};
use crate::routes::path::{RunPath, Scope};
use crate::routes::response::{json as respond, set};
use crate::stream::{From, end_frame, far_frames, frames};
use crate::threads::Tracked;
use crate::wire::failure::{not_found_object, not_known_object, not_known_text};
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
    let mut response = match app.find_now(&view, path.thread(), path.run).await? {
        Some(Located::Kept(found)) => {
            let guard = guard(&view, &(&found.run).into(), &method, &query)?;
            waited(&app, &view, found, true, guard).await?
        }
        // The final body of a run that was deleted at its end stays available for 60 s.
        Some(Located::Deleted(deleted)) if app.service().holds(&deleted.run).await => {
            final_body(&view, &deleted)?
        }
        Some(Located::Deleted(_)) => body_of(&view, not_known_text())?,
        None => match app.find_to_join(&view, path.thread(), path.run).await? {
            Some(stored) if stored.is_live(&app) => {
                let guard = guard(&view, &stored.run, &method, &query)?;
                waited_far(&app, &view, stored, true, guard)
            }
            Some(stored) if stored.is_left(&app) => body_of(&view, not_known_text())?,
            Some(stored) => body_of(&view, app.stored_text(&view, &stored, true).await?)?,
            None => return Ok(respond(&json!({ "__error__": not_found_object() }))),
        },
    };
    name_places(response.headers_mut(), &path, "join");
    Ok(response)
}

/// Says where clients come back to when the answer is cut, and whose it is.
fn name_places<S: Scope>(headers: &mut HeaderMap, path: &RunPath<S>, last: &str) {
    let run = path.text();
    set(headers, "location", &format!("{run}/{last}"));
    set(headers, "content-location", &run);
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
    let mut head = stream_headers();
    name_places(&mut head, &path, "stream");
    let Some(located) = app.find_now(&view, path.thread(), path.run).await? else {
        if let Some(stored) = app.find_to_join(&view, path.thread(), path.run).await? {
            let from = from(&stored.tracked, &headers);
            if stored.is_left(&app) {
                let error = stream::iter([SseEvent::json("error", &not_known_object())]);
                return Ok(sse_response(error, Heartbeat::none(), None, head));
            }
            if from == From::Now && !stored.is_live(&app) {
                // It has ended: nothing is new.
                let end = stream::iter(app.options().end_event.then(end_frame));
                return Ok(sse_response(end, heartbeat(), None, head));
            }
            let guard = guard(&view, &stored.run, &method, &query)?;
            return far(&app, &view, &stored, (modes, from), (guard, head)).await;
        }
        let error = stream::iter([SseEvent::json("error", &not_found_object())]);
        return Ok(sse_response(error, Heartbeat::none(), None, stream_headers()));
    };
    let found = located.into_found();
    let from = from(&found.tracked, &headers);
    let guard = guard(&view, &(&found.run).into(), &method, &query)?;
    let guard = app.reading(guard, &view, &found.run);
    let frames = frames(&app, &found, modes.and(found.tracked.modes), from).await?;
    Ok(sse_response(frames, heartbeat(), Some(guard), head))
}

/// Streams a run that another node has. A client that joins a paused one finds nothing new.
pub(super) async fn far(
    app: &App,
    view: &View,
    stored: &StoredRun,
    (modes, from): (Modes, From),
    (guard, headers): (DisconnectGuard, HeaderMap),
) -> Result<Response, Refusal> {
    if from == From::Now && stored.run.status() == RunStatus::Paused {
        let nothing = stream::iter([]);
        return Ok(sse_response(nothing, heartbeat(), Some(guard), headers));
    }
    let modes = modes.and(stored.tracked.modes);
    let frames = far_frames(app, view, stored, modes, from).await?;
    Ok(sse_response(frames, heartbeat(), Some(guard), headers))
}

/// Yields where a stream begins: with what is new, if the header is absent or the run is not
/// resumable.
fn from(tracked: &Tracked, headers: &HeaderMap) -> From {
    let id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    match id.filter(|_| tracked.is_resumable) {
        None => From::Now,
        Some("-1" | "0" | "") => From::Start,
        Some(id) => From::After(id.to_owned()),
    }
}

/// Makes the guard of an answer. A caller who may not stop the run may not ask for its stop on
/// disconnect either. A request for the head alone follows nothing, so its end stops nothing.
fn guard(
    view: &View,
    run: &RunView,
    method: &Method,
    query: &Pairs,
) -> Result<DisconnectGuard, Refusal> {
    let (service, charge) = (view.service(), view.charge_stream()?);
    if !query.flag("cancel_on_disconnect") {
        return Ok(service.guard(run, OnDisconnect::Continue).holding(charge));
    }
    if !view.may_stop(run) {
        return Err(Refusal::forbidden(view.lack_to_stop(run)));
    }
    let policy =
        if *method == Method::HEAD { OnDisconnect::Continue } else { OnDisconnect::Cancel };
    Ok(service.guard(run, policy).until_pause().holding(charge))
}
