//! [`opened`], [`streamed`] and [`streamed_from`]: the stream of a run, wherever that is.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::{BoxFuture, Either, ready};
use futures::stream::{self, Stream, StreamExt as _};
use quell_http::{DisconnectGuard, RunView, SseEvent, View, sse_response};
use tokio::time::timeout;

use crate::app::App;
use crate::begin::Begin;
use crate::lines::Lines;
use crate::stream::{far_frames, frames};
use crate::wire::event::Style;
use crate::wire::refusal::Refusal;
use crate::wire::socket::{error, words};

pub(super) const fn style(app: &App, is_background: bool) -> Style {
    Style {
        has_sentinel: app.options.completed_sentinel,
        has_brackets: app.options.close_brackets,
        has_index: is_background,
    }
}

/// Yields the events of a run from a place in its log on, and the guard of the client that reads
/// them. None if the run was forgotten.
pub(super) async fn opened(
    app: &App,
    view: &View,
    run: &RunView,
    guard: DisconnectGuard,
    shown: (Style, Begin),
) -> Result<Option<(impl Stream<Item = SseEvent> + Send + use<>, DisconnectGuard)>, Refusal> {
    let frames = frames_of(&app.lines, view, run, shown).await?;
    Ok(frames.map(|frames| (frames, guard.reading(view, run))))
}

async fn frames_of(
    lines: &Lines,
    view: &View,
    run: &RunView,
    (style, begin): (Style, Begin),
) -> Result<Option<impl Stream<Item = SseEvent> + Send + use<>>, Refusal> {
    Ok(match run {
        RunView::Live(run) => frames(view, run, begin, style, lines).await?.map(Either::Left),
        // On the heap: for a run that is here nobody pays for its size.
        RunView::Stored(_) => {
            Box::pin(far_frames(view, run, begin, style)).await?.map(Either::Right)
        }
    })
}

/// Answers with the events of a run from where this says on. A client that would wait for that for
/// more than a second has its head and its heartbeats by then, and a refusal is an event.
pub(super) async fn streamed_from(
    app: &App,
    view: &View,
    run: &RunView,
    guard: DisconnectGuard,
    begin: BoxFuture<'static, Result<Begin, Refusal>>,
) -> Result<Option<Response>, Refusal> {
    let (mut begin, style) = (begin, style(app, true));
    if let Ok(begin) = timeout(HEAD_WITHIN, &mut begin).await {
        return streamed(app, view, run, guard, (style, begin?)).await;
    }
    let guard = guard.reading(view, run);
    let (lines, view, run) = (app.lines.clone(), view.clone(), run.clone());
    let frames = async move {
        let frames = frames_of(&lines, &view, &run, (style, begin.await?)).await?;
        frames.ok_or_else(Refusal::unexpected)
    };
    let frames = stream::once(frames).map(|frames| match frames {
        Ok(frames) => frames.left_stream(),
        Err(refusal) => {
            let said = SseEvent::json("error", &error(&words(&refusal)));
            stream::once(ready(said)).right_stream()
        }
    });
    Ok(Some(sse_response(frames.flatten(), app.heartbeat(), Some(guard), HeaderMap::new())))
}

/// Within what a client that comes back has its head, however long the log is that is read first.
const HEAD_WITHIN: Duration = Duration::from_secs(1);

/// Answers with what [`opened`] yields.
pub(super) async fn streamed(
    app: &App,
    view: &View,
    run: &RunView,
    guard: DisconnectGuard,
    shown: (Style, Begin),
) -> Result<Option<Response>, Refusal> {
    let opened = opened(app, view, run, guard, shown).await?;
    let answer =
        |(frames, guard)| sse_response(frames, app.heartbeat(), Some(guard), HeaderMap::new());
    Ok(opened.map(answer))
}
