//! Creating runs: in the background, streamed, waited for; of a thread and stateless (contract,
//! section 5).

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, future, stream};
use quell_http::{
    Charge, Guard, Heartbeat, OnDisconnect, Overdrawn, ROOM_WITHIN, View, aside, sse_response,
    stream_body,
};

use crate::app::{App, Found, object_of, selected_of};
use crate::create::Order;
use crate::final_body::Source;
use crate::finals::Final;
use crate::routes::body::read_json;
use crate::routes::path::{Parts, parts};
use crate::routes::response::{json, rendered, set};
use crate::stream::{From, frames};
use crate::wire::create::Create;
use crate::wire::failure;
use crate::wire::modes::Modes;
use crate::wire::query::thread_id;
use crate::wire::refusal::Refusal;
use crate::wire::rows::LARGE_KEYS;

/// A run that was made, or found by its idempotency key.
struct Made {
    view: View,
    found: Found,
    on_disconnect: OnDisconnect,
    is_stateless: bool,
}

/// As [`make`], with a place for the client that follows the run: nothing is made without one.
async fn make_followed(
    app: &App,
    thread: Option<String>,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Made, Charge), Refusal> {
    let place = app.writer(headers)?.stream_place()?;
    Ok((make(app, thread, uri, headers, body).await?, place))
}

async fn make(
    app: &App,
    thread: Option<String>,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Made, Refusal> {
    // Who asks, before what they ask for.
    let view = app.writer(headers)?;
    let thread = thread.map(|thread| thread_id(&thread)).transpose()?;
    let read = read_json(&view, headers, body).await?;
    let (bytes, keys, weight) = (read.bytes, read.keys, read.weight);
    let create = aside(bytes.len(), async move { Create::read(&keys) }).await??;
    let on_disconnect = create.on_disconnect;
    let order = Order { thread, create, path: uri.path(), body: &bytes, weight, headers };
    let found = app.create(&view, order).await?;
    Ok(Made { view, found, on_disconnect, is_stateless: thread.is_none() })
}

impl Made {
    async fn start(self) -> Response {
        let place = if self.is_stateless { self.bare() } else { self.full() };
        let Self { view, found, .. } = self;
        let (seen, run) = (view.clone(), found.clone());
        let all = rendered(&view, found.tracked.weight, move || object_of(&seen, &run)).await;
        // The run is there: whoever is refused has started nothing.
        let small = |_| json(&selected_of(&view, &found, |key| !LARGE_KEYS.contains(&key)));
        let mut response = all.unwrap_or_else(small);
        set(response.headers_mut(), "content-location", &place);
        response
    }

    fn stream(&self, app: &App, place: Charge) -> Response {
        let path = if self.is_stateless { self.bare() } else { self.full() };
        let mut headers = stream_headers();
        set(&mut headers, "location", &format!("{path}/stream"));
        set(&mut headers, "content-location", &path);
        let guard = app.service().guard(&self.found.run, self.on_disconnect);
        let guard = app.reading(guard.holding(place), &self.view, &self.found.run);
        let frames = frames(app, &self.found, Modes::ALL, From::Start);
        sse_response(frames, heartbeat(), Some(guard), headers)
    }

    async fn wait(self, app: &App, place: Charge) -> Result<Response, Refusal> {
        let path = self.full();
        let run = self.found.run.id().as_uuid();
        // The same request may have come before, and the run been deleted at its end.
        let mut response = if let Some(left) = app.left(&self.view, None, run) {
            let (app, view) = (app.clone(), self.view);
            let text = async move {
                let _place = place;
                app.wait_for(&view, Source::Left(left), false, ROOM_WITHIN).await
            };
            told(text.boxed(), None)
        } else {
            let guard = app.service().guard(&self.found.run, self.on_disconnect);
            let guard = guard.holding(place);
            waited(app, &self.view, self.found, false, guard).await?
        };
        set(response.headers_mut(), "location", &format!("{path}/join"));
        set(response.headers_mut(), "content-location", &path);
        Ok(response)
    }

    fn full(&self) -> String {
        format!("/threads/{}/runs/{}", self.found.tracked.about.thread, self.found.run.id())
    }

    fn bare(&self) -> String {
        format!("/runs/{}", self.found.run.id())
    }
}

/// The body that was kept of a run that was deleted at its end.
pub(super) fn final_body(view: &View, left: &Final) -> Result<Response, Refusal> {
    Ok(json_bytes(left.body(view, None)?))
}

/// A body that is kept alive until the run has ended, and there is room for it. If there is none
/// soon, that is said in the body, as the run is made and the head has been sent; who joins a run
/// that has ended is told by the status, and at once.
pub(super) async fn waited(
    app: &App,
    view: &View,
    found: Found,
    joins: bool,
    guard: Guard,
) -> Result<Response, Refusal> {
    let (app, view) = (app.clone(), view.clone());
    let is_over = joins && found.run.status().is_terminal();
    let patience = if is_over { Duration::ZERO } else { ROOM_WITHIN };
    let source = Source::Run(found);
    let mut text = async move { app.wait_for(&view, source, joins, patience).await }.boxed();
    if is_over {
        let text_now = text.await?;
        text = future::ready(Ok(text_now)).boxed();
    }
    Ok(told(text, Some(guard)))
}

/// A body that is kept alive until it is there, or what there is if there is no room for it.
fn told(text: BoxFuture<'static, Result<Bytes, Overdrawn>>, guard: Option<Guard>) -> Response {
    let no_room = |error: Overdrawn| failure::overdrawn_text(&error).into();
    let text = text.map(move |text| text.unwrap_or_else(no_room));
    let beat = Heartbeat::steady(HEARTBEAT, "\n");
    json_bytes(stream_body(stream::once(text), beat, guard))
}

fn json_bytes(body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

pub(super) fn stream_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, "cache-control", "no-store");
    set(&mut headers, "x-accel-buffering", "no");
    headers
}

/// No empty line, which the JavaScript client takes for an event (contract, section 8).
pub(super) fn heartbeat() -> Heartbeat {
    Heartbeat::steady(HEARTBEAT, ": heartbeat\n")
}

const HEARTBEAT: Duration = Duration::from_secs(5);

pub(super) async fn start(
    State(app): State<App>,
    path: Parts<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Ok(make(&app, Some(parts(path)), &uri, &headers, body).await?.start().await)
}

pub(super) async fn stream(
    State(app): State<App>,
    path: Parts<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let path = Some(parts(path));
    let (made, place) = make_followed(&app, path, &uri, &headers, body).await?;
    Ok(made.stream(&app, place))
}

pub(super) async fn wait(
    State(app): State<App>,
    path: Parts<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let path = Some(parts(path));
    let (made, place) = make_followed(&app, path, &uri, &headers, body).await?;
    made.wait(&app, place).await
}

pub(super) async fn start_stateless(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    Ok(make(&app, None, &uri, &headers, body).await?.start().await)
}

pub(super) async fn stream_stateless(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (made, place) = make_followed(&app, None, &uri, &headers, body).await?;
    Ok(made.stream(&app, place))
}

pub(super) async fn wait_stateless(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (made, place) = make_followed(&app, None, &uri, &headers, body).await?;
    made.wait(&app, place).await
}
