//! [`frames`]: the events of a run that this process has, as server-sent events: also what it said
//! before it came here, and what its log in memory holds no more, if the store has that.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use quell::{EventKind, RunEvent, RunRef, RunStatus};
use quell_http::{LookupError, SseEvent, events_by_now};

use crate::app::{App, Found};
use crate::stream::late::Late;
use crate::stream::stream::{From, Render, end_frame, told};
use crate::values::Fold;
use crate::wire::modes::Modes;

/// Yields the frames of a run.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(crate) async fn frames(
    app: &App,
    found: &Found,
    modes: Modes,
    from: From,
) -> Result<impl Stream<Item = SseEvent> + Send + 'static + use<>, LookupError> {
    let (run, tracked, view) = (&found.run, &found.tracked, app.all());
    let fold = match &found.thread {
        Some(thread) => {
            app.know_start(thread, tracked, run).await;
            thread.look(app.engine(), tracked, run)
        }
        None => Fold::default(),
    };
    // From here on what it says is known with what it said before.
    drop(view.tree_said_of(run).await);
    let is_new = from == From::Now;
    let attempt = match &from {
        From::Start | From::After(_) => view.answered_by_now(run).await,
        From::Behind(_) | From::Now => run.attempt(),
    };
    let behind = if let From::Behind(seq) = from { seq } else { 0 };
    let (after, floor) = match from {
        From::Start | From::Behind(_) => (0, None),
        From::After(id) => (0, Some(id)),
        From::Now => (fold.position.seq().max(last_seq(found)), None),
    };
    // A client that joins a paused run finds nothing new, as of one that has ended.
    let is_closed = is_new && run.status() == RunStatus::Paused;
    let mut render = Render {
        app: app.clone(),
        run: run.into(),
        far: None,
        tracked: Arc::clone(tracked),
        thread: found.thread.clone(),
        modes,
        fold: if after == 0 { Fold::default() } else { fold },
        floor,
        before: held_behind(run),
        below: HashMap::new(),
        spaces: HashMap::new(),
        speakers: HashMap::new(),
        calls: HashMap::new(),
        misses_begins: false,
        announced: HashSet::new(),
        is_first: true,
        is_over: is_closed,
        behind,
        attempt,
        seen: if is_new { attempt } else { 1 },
        asking: run.attempt(),
        ended: Vec::new(),
    };
    render.catch_up(&view, after).await;
    let events: Pin<Box<dyn Stream<Item = RunEvent> + Send>> = if tracked.is_resumable {
        // The client comes back with the id of an event, perhaps to another process.
        Box::pin(view.kept_events(&run.into(), after).await?)
    } else {
        Box::pin(view.events(&run.into(), after).await?)
    };
    let frames = told(events, render);
    let joins_the_end = is_new && app.options().end_event && run.row().status.is_terminal();
    let end = stream::iter(joins_the_end.then(end_frame));
    Ok(frames.flat_map(|frames| stream::iter(frames.into_iter().map(Late::frame))).chain(end))
}

/// Where the log of a run is that no thread follows.
fn last_seq(found: &Found) -> u64 {
    if found.thread.is_some() {
        return 0;
    }
    events_by_now(&found.run, 0).map(|event| event.last_seq()).max().unwrap_or(0)
}

/// Yields the number of the event behind which the log in memory begins.
fn held_behind(run: &RunRef) -> u64 {
    match events_by_now(run, 0).next().map(|first| first.kind) {
        Some(EventKind::Lagged { to, .. }) => to,
        _ => 0,
    }
}
