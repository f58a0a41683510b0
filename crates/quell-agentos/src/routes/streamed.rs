//! [`opened`] and [`streamed`]: the stream of a run, wherever that is.

use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::Either;
use futures::stream::Stream;
use quell_http::{DisconnectGuard, RunView, SseEvent, View, sse_response};

use crate::app::App;
use crate::begin::Begin;
use crate::stream::{far_frames, frames};
use crate::wire::event::Style;
use crate::wire::refusal::Refusal;

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
    (style, begin): (Style, Begin),
) -> Result<Option<(impl Stream<Item = SseEvent> + Send + use<>, DisconnectGuard)>, Refusal> {
    let (frames, guard) = match run {
        RunView::Live(run) => {
            let frames = frames(view, run, begin, style, &app.lines).await?;
            (frames.map(Either::Left), guard.reading(view, run))
        }
        // On the heap: for a run that is here nobody pays for its size.
        RunView::Stored(_) => {
            let frames = Box::pin(far_frames(view, run, begin, style)).await?;
            (frames.map(Either::Right), guard)
        }
    };
    Ok(frames.map(|frames| (frames, guard)))
}

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
