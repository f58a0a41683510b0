//! [`create`]: makes runs in the background, streamed or waited for, of a thread or stateless
//! (contract, section 5).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, future, stream};
use quell_http::{
    Charge, DisconnectGuard, Heartbeat, OnDisconnect, Overdrawn, ROOM_WITHIN, RunView, View,
    offload_if_large, sse_response, stream_body,
};
use uuid::Uuid;

use crate::app::{
    App, CreateRequest, Created, Found, Located, Resumed, StoredRun, in_list, made_in_list,
};
use crate::routes::body::read_json;
use crate::routes::caller::Writer;
use crate::routes::path::Scope;
use crate::routes::response::{json, rendered, set};
use crate::stream::{From, far_frames, frames};
use crate::threads::{Final, Tracked};
use crate::wire::create::Create;
use crate::wire::failure;
use crate::wire::modes::Modes;
use crate::wire::refusal::Refusal;
use crate::wire::rows::{LARGE_KEYS, as_made, run_object};

/// The form of the answer to a request to make a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The run, as soon as there is one.
    Run,
    /// Its events.
    Stream,
    /// Its final body.
    Wait,
}

/// Serves the requests to make a run in a scope.
pub(super) fn create<S: Scope>(answer: Answer) -> MethodRouter<App> {
    post(
        async move |State(app): State<App>,
                    Writer(view): Writer,
                    scope: Result<S, Refusal>,
                    uri: Uri,
                    headers: HeaderMap,
                    body: Body| {
            // A client that follows the run is charged for its stream or wait, before anything else
            // of the request is looked at: refused, it has made nothing.
            let charge = match answer {
                Answer::Run => None,
                Answer::Stream | Answer::Wait => Some(view.charge_stream()?),
            };
            let made = make(&app, view, answer, scope?.thread(), (&uri, &headers, body)).await?;
            match charge {
                None => made.start(&app).await,
                Some(charge) if answer == Answer::Stream => made.stream(&app, charge).await,
                Some(charge) => made.wait(&app, charge).await,
            }
        },
    )
}

/// A run that was made, or found by its idempotency key.
struct Made {
    view: View,
    created: Created,
    /// Counts the client until its answer is over.
    guard: DisconnectGuard,
    is_stateless: bool,
    from: From,
    /// What a stream of it shows.
    modes: Modes,
}

async fn make(
    app: &App,
    view: View,
    answer: Answer,
    thread: Option<Uuid>,
    (uri, headers, body): (&Uri, &HeaderMap, Body),
) -> Result<Made, Refusal> {
    let read = read_json(&view, headers, body).await?;
    let (bytes, keys) = (read.bytes, read.keys);
    let mut create = offload_if_large(bytes.len(), async move { Create::read(&keys) }).await??;
    app.check_webhook(&create)?;
    if answer == Answer::Run {
        // Nobody follows it.
        create.on_disconnect = OnDisconnect::Continue;
    }
    let asked = create.modes;
    let (path, body, nth) = (uri.path(), &*bytes, None);
    let mut request = CreateRequest { thread, create, path, body, headers, nth };
    let resumed = app.resume(&view, &request).await?;
    let (created, modes, from, guard) = if let Some(Resumed { created, behind, guard }) = resumed {
        // Of what goes on it is told what it asks for now.
        (created, asked, From::Behind(behind), guard)
    } else {
        if request.create.resume.is_some() {
            app.meant_state(&view, &mut request).await?;
        }
        let (created, guard) = app.create_followed(&view, request).await?;
        let modes = created.tracked().modes;
        (created, modes, From::Start, guard)
    };
    Ok(Made { view, created, guard, is_stateless: thread.is_none(), from, modes })
}

impl Made {
    async fn start(self, app: &App) -> Result<Response, Refusal> {
        let location = if self.is_stateless { self.bare() } else { self.full() };
        let Self { view, created, from, .. } = self;
        let is_repeat = !matches!(created, Created::Here(_));
        // One that goes on with an answer is shown as it is.
        let is_new = !is_repeat && from == From::Start;
        let mut response = match created {
            Created::Here(found) | Created::Again(found) => {
                let all = object_as(app, &view, (&found.run).into(), &found.tracked, is_new).await;
                // The run is made, so the answer is never a refusal: that would mean that nothing
                // started.
                let is_small = |key: &str| !LARGE_KEYS.contains(&key);
                let answer = all.unwrap_or_else(|_| {
                    if is_new {
                        json(&made_in_list(&view, &found, is_small))
                    } else {
                        json(&in_list(&view, &found, is_small))
                    }
                });
                match app.heard(&found.run).await {
                    Err(refusal) if is_repeat => return Err(refusal),
                    _ => answer,
                }
            }
            Created::There(found) => object(app, &view, found.run, &found.tracked).await?,
        };
        set(response.headers_mut(), "content-location", &location);
        Ok(response)
    }

    async fn stream(self, app: &App, charge: Charge) -> Result<Response, Refusal> {
        let path = if self.is_stateless { self.bare() } else { self.full() };
        let mut headers = stream_headers();
        set(&mut headers, "location", &format!("{path}/stream"));
        set(&mut headers, "content-location", &path);
        let (guard, from, modes) = (self.guard.holding(charge), self.from, self.modes);
        match &self.created {
            Created::Here(found) | Created::Again(found) => {
                let guard = app.reading(guard, &self.view, &found.run);
                let frames = frames(app, found, modes, from).await?;
                Ok(sse_response(frames, heartbeat(), Some(guard), headers))
            }
            Created::There(found) => {
                let frames = far_frames(app, &self.view, found, modes, from).await?;
                Ok(sse_response(frames, heartbeat(), Some(guard), headers))
            }
        }
    }

    async fn wait(self, app: &App, charge: Charge) -> Result<Response, Refusal> {
        let path = self.full();
        let run = self.run().id().as_uuid();
        let located = app.find(&self.view, None, run);
        let mut response = match (located, self.created) {
            (Some(deleted @ Located::Deleted(_)), _) => {
                // The same request came before, or the run has ended already.
                let (app, view) = (app.clone(), self.view);
                let text = async move {
                    let _charge = charge;
                    app.wait_for(&view, deleted, false, ROOM_WITHIN).await
                };
                kept_alive(text.boxed(), None)
            }
            (_, Created::Here(found) | Created::Again(found)) => {
                let guard = self.guard.holding(charge);
                waited(app, &self.view, found, false, guard).await?
            }
            (_, Created::There(found)) => {
                waited_far(app, &self.view, found, false, self.guard.holding(charge))
            }
        };
        set(response.headers_mut(), "location", &format!("{path}/join"));
        set(response.headers_mut(), "content-location", &path);
        Ok(response)
    }

    fn run(&self) -> RunView {
        self.created.run()
    }

    fn full(&self) -> String {
        let tracked = self.created.tracked();
        format!("/threads/{}/runs/{}", tracked.about.thread, tracked.id)
    }

    fn bare(&self) -> String {
        format!("/runs/{}", self.run().id())
    }
}

/// Answers with a run.
pub(super) async fn object(
    app: &App,
    view: &View,
    run: RunView,
    tracked: &Arc<Tracked>,
) -> Result<Response, Refusal> {
    object_as(app, view, run, tracked, false).await
}

/// As [`object`], of a run that was just made as it was then.
async fn object_as(
    app: &App,
    view: &View,
    run: RunView,
    tracked: &Arc<Tracked>,
    is_new: bool,
) -> Result<Response, Refusal> {
    let here = run.live().cloned();
    let (reading, tracked) = (view.read(run).await?, Arc::clone(tracked));
    let answer = rendered(view, tracked.weight, move || {
        let now = reading.report().own_row();
        let made = is_new.then(|| as_made(now.clone()));
        run_object(&tracked.about, made.as_ref().unwrap_or(now), &reading.state(), |_| true)
    })
    .await?;
    if let Some(run) = here {
        app.heard(&run).await?;
    }
    Ok(answer)
}

/// Answers with a final body that was made.
pub(super) fn body_of(view: &View, text: String) -> Result<Response, Refusal> {
    Ok(json_bytes(Bytes::from(view.counted(text)?)))
}

/// Answers with the final body of a run that was deleted at its end.
pub(super) fn final_body(view: &View, deleted: &Final) -> Result<Response, Refusal> {
    Ok(json_bytes(deleted.body(view, None)?))
}

/// Answers with a body that is kept alive until the run has ended and there is room for it. If
/// there is no room in time, the body says so, since the head has been sent. A client that joins a
/// run which has ended already is refused by status, and at once.
pub(super) async fn waited(
    app: &App,
    view: &View,
    found: Found,
    joins: bool,
    guard: DisconnectGuard,
) -> Result<Response, Refusal> {
    let (app, view) = (app.clone(), view.clone());
    let is_over = joins && found.run.status().is_terminal();
    let patience = if is_over { Duration::ZERO } else { ROOM_WITHIN };
    let located = Located::Kept(found);
    let mut text = async move { app.wait_for(&view, located, joins, patience).await }.boxed();
    if is_over {
        let text_now = text.await?;
        text = future::ready(Ok(text_now)).boxed();
    }
    Ok(kept_alive(text, Some(guard)))
}

/// As [`waited`], for a run that another node has.
pub(super) fn waited_far(
    app: &App,
    view: &View,
    found: StoredRun,
    joins: bool,
    guard: DisconnectGuard,
) -> Response {
    let (app, view) = (app.clone(), view.clone());
    let (guard, waiting) = guard.waiting();
    let text = async move {
        let text = app.wait_for_stored(&view, &found, joins).await;
        waiting.over();
        text
    };
    kept_alive(text.boxed(), Some(guard))
}

/// Answers with a body that is kept alive until its text is made, or says that there is no room.
fn kept_alive(
    text: BoxFuture<'static, Result<Bytes, Overdrawn>>,
    guard: Option<DisconnectGuard>,
) -> Response {
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

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use quell::{Engine, Payload};
    use quell_flow::{Catalog, Component};
    use quell_http::{Principal, Service, ServiceLimits};
    use serde_json::{Value, json};

    use super::*;
    use crate::options::{CONTRACT, Options};
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn a_run_that_was_made_is_shown_without_its_large_parts_if_there_is_no_room_for_them() {
        let echo = Component::workflow("echo", async |_ctx, input: Payload| Ok(input));
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = 1_000_000;
        let service = Service::new(Engine::new(), Catalog::new().with(echo)).limits(limits);
        let app = App::new(service.clone(), Options::default());
        let view = service.view(CONTRACT, Principal::anonymous());
        let body = json!({ "assistant_id": "echo", "input": { "text": "x".repeat(200_000) } });
        let keys: Keys = Payload::from(body).parse().unwrap();
        let headers = HeaderMap::new();
        let create = Create::read(&keys).unwrap();
        let request = CreateRequest {
            thread: None,
            create,
            path: "/runs",
            body: b"",
            headers: &headers,
            nth: None,
        };
        let created = app.create(&view, request).await.unwrap();
        for has_room in [false, true] {
            let _held = view.room_now(if has_room { 100_000 } else { 900_000 }).unwrap();
            let (view, created) = (view.clone(), created.clone());
            let guard = service.guard(created.run(), OnDisconnect::Continue);
            let modes = Modes::ALL;
            let made = Made { view, created, guard, is_stateless: true, from: From::Start, modes };
            let answer = made.start(&app).await.unwrap();
            assert_eq!(answer.status(), 200);
            let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            let run: Value = serde_json::from_slice(&text).unwrap();
            for key in ["run_id", "thread_id", "assistant_id", "status", "created_at", "quell"] {
                assert!(!run[key].is_null(), "{key}: {run}");
            }
            assert_eq!(run.get("kwargs").is_some(), has_room);
            assert_eq!(run.get("metadata").is_some(), has_room);
        }
    }
}
