//! [`far_frames`]: the events of a run that another node has, as server-sent events. They are made
//! as those of a run of this process, from what the store has of it; the log names its runs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use quell::{EventKind, RunEvent};
use quell_http::{LookupError, Reading, RunView, SseEvent, TreeSaid, View};

use crate::app::{App, StoredRun, last_seq};
use crate::stream::late::Late;
use crate::stream::stream::{From, Render, told};
use crate::threads::Tracked;
use crate::values::{Fold, Values};
use crate::wire::failure::{not_found_object, not_known_object};
use crate::wire::modes::Modes;

/// What is known of the tree of a run that another node has.
pub(super) struct Far {
    view: View,
    pub(super) said: TreeSaid,
    /// The values of its thread on which it has started.
    pub(super) base: Option<Arc<Values>>,
    has_base: bool,
    /// All of it, once it has ended.
    pub(super) over: Option<Reading>,
}

/// Yields the frames of a run that was only in the store, and had not ended, when it was found.
///
/// The log is read from its begin: it tells which runs are below.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(crate) async fn far_frames(
    app: &App,
    view: &View,
    found: &StoredRun,
    modes: Modes,
    from: From,
) -> Result<impl Stream<Item = SseEvent> + Send + 'static + use<>, LookupError> {
    let (run, tracked) = (&found.run, &found.tracked);
    let attempt = match (run, &from) {
        // An answer that was given just now is the last one.
        (RunView::Stored(_), From::Behind(_)) | (RunView::Live(_), _) => run.attempt(),
        (RunView::Stored(_), _) => view.answered_by_now(run).await,
    };
    let (behind, floor) = match from {
        From::Start => (0, None),
        From::After(id) => (0, Some(id)),
        From::Behind(seq) => (seq, None),
        From::Now => (last_seq(view, run).await, None),
    };
    let render = Render {
        app: app.clone(),
        run: run.clone(),
        far: Some(Far {
            view: view.clone(),
            said: view.tree_said(),
            base: None,
            has_base: false,
            over: None,
        }),
        tracked: Arc::clone(tracked),
        thread: None,
        modes,
        fold: Fold::default(),
        floor,
        before: u64::MAX,
        below: HashMap::new(),
        spaces: HashMap::new(),
        speakers: HashMap::new(),
        calls: HashMap::new(),
        announced: HashSet::new(),
        misses_begins: false,
        is_first: true,
        is_over: false,
        behind,
        attempt,
        seen: 1,
        asking: run.attempt(),
        ended: Vec::new(),
    };
    let events = Box::pin(view.events(run, 0).await?);
    let frames = told(events, render);
    Ok(frames.flat_map(|frames| stream::iter(frames.into_iter().map(Late::frame))))
}

impl Render {
    /// Takes in what an event tells of a run that another node has. At its end it is read whole.
    pub(super) async fn take_far(&mut self, event: &RunEvent) {
        let Some(far) = &mut self.far else { return };
        far.said.take(event);
        match &event.kind {
            EventKind::Started | EventKind::Lagged { .. }
                if !far.has_base && event.run == self.run.id() =>
            {
                far.has_base = true;
                far.base = base_of(&self.app, &far.view, &self.run, &self.tracked).await;
            }
            EventKind::Ended(_) if event.run == self.run.id() => {
                let RunView::Stored(stored) = &self.run else { return };
                if let Ok(Some(run)) = far.view.ended_or_paused(stored).await {
                    far.over = far.view.read(run.clone()).await.ok();
                    self.run = run;
                }
            }
            // It may have lost attempts since the client came.
            EventKind::Paused { .. } if self.seen >= self.attempt => {
                let found = far.view.find_patiently(self.run.id()).await.ok().flatten();
                let pause = found.and_then(|run| run.pause_state());
                self.asking = pause.map_or(self.asking, |pause| pause.attempt);
            }
            _ => {}
        }
    }

    /// Yields the last frame of a run that has not been read to its end: it was deleted before, and
    /// its log is gone with it; or the store takes nothing of it from this node any more, or has
    /// not for long, so that its end is another one's to tell. The stream of a run of another node
    /// that this one serves no longer is cut: clients take an end for that of the run. None if it
    /// has been read.
    pub(super) async fn gone(&mut self) -> Option<Late> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let error = if let Some(far) = &self.far {
            let is_gone = matches!(far.view.find_by_id(self.run.id()).await, Ok(None));
            if !is_gone {
                return Some(SseEvent::cut().into());
            }
            Some(not_found_object())
        } else {
            let run = self.run.live().filter(|_| self.app.engine().has_store())?;
            // Who came behind its end waits for that as all do who are told of it.
            let is_known = run.status().is_terminal() && self.app.service().holds(run).await;
            (!is_known).then(not_known_object)
        };
        error.map(|error| SseEvent::json("error", &error).into())
    }
}

/// Yields the values of its thread on which a run has started that another node has, as it stands
/// now. While the store is in trouble it waits.
async fn base_of(
    app: &App,
    view: &View,
    run: &RunView,
    tracked: &Arc<Tracked>,
) -> Option<Arc<Values>> {
    loop {
        let run = view.find_patiently(run.id()).await.ok()??;
        match app.base_of_stored(view, &StoredRun { run, tracked: Arc::clone(tracked) }).await {
            // The next look waits until it can be read.
            Err(LookupError::Unavailable) => tokio::time::sleep(TROUBLE).await,
            base => return base.ok()?,
        }
    }
}

/// The pause before a store in trouble is read again.
const TROUBLE: Duration = Duration::from_secs(1);
