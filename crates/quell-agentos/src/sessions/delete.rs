//! [`Sessions::delete`]: deletes sessions (contract, section 10).
//!
//! What works is stopped, and taken back; what has ended is forgotten, as soon as nothing of it
//! executes. A deletion is there to the end, also if the client has left.

use std::sync::Arc;

use axum::http::StatusCode;
use futures::future::join_all;
use quell::{CancelRequest, RunFilter};
use quell_http::{ListCursor, RunView, SESSION, StopNotStored, View, Wait, parse_id, same_id};

use crate::sessions::find::{Sessions, is_lone, spellings};
use crate::sessions::session::Session;
use crate::snapshot::session_of;
use crate::wire::kinds::names_of;
use crate::wire::refusal::Refusal;

impl Sessions {
    /// Deletes sessions of the caller. There may be none of an id.
    ///
    /// # Errors
    ///
    /// Fails if the caller may not stop one of their runs, and if the store cannot be read: then
    /// nothing has changed. Fails if a stop could not be stored.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        view: &View,
        ids: Vec<String>,
    ) -> Result<(), Refusal> {
        let (this, view) = (Arc::clone(self), view.clone());
        let work = tokio::spawn(async move { this.delete_now(&view, &ids).await });
        work.await.map_err(|_| Refusal::unexpected())?
    }

    async fn delete_now(self: &Arc<Self>, view: &View, ids: &[String]) -> Result<(), Refusal> {
        let (mut sessions, mut live) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(found) = self.find(view, id, |_| true).await? else { continue };
            live.extend(live_of(view, &found.session).await?);
            sessions.push(found.session);
        }
        if let Some(run) = live.iter().find(|run| !view.may_stop(*run)) {
            let kind = view.component_of(run).map(|component| component.kind());
            let resource = kind.map_or("agents", |kind| names_of(kind).plural);
            return Err(Refusal::forbidden(resource, "run"));
        }
        let stop = CancelRequest::because("its session is deleted").deletion();
        let outcomes = view.cancel_all(&live, stop, Wait::terminal()).await;
        for run in live.iter().filter_map(RunView::live) {
            // Also if there was no permit to wait for it.
            run.ended_status().await;
        }
        let mut is_stored = true;
        for session in &sessions {
            is_stored &= self.forget_ended(view, session).await?;
            self.names.forget(view, &session.key()).await;
        }
        let stored = outcomes.into_iter().try_for_each(|outcome| outcome.stored);
        stored.map_err(|error: StopNotStored| unavailable(&error.to_string()))?;
        let text = "the deletion could not be stored, and a restart may forget it; ask again";
        if is_stored { Ok(()) } else { Err(unavailable(text)) }
    }

    /// Forgets the runs of a session that have ended. Tells whether that is stored.
    async fn forget_ended(
        self: &Arc<Self>,
        view: &View,
        session: &Session,
    ) -> Result<bool, Refusal> {
        let mut is_stored = true;
        let is_ended = |run: &RunView| is_of(run, session) && run.status().is_terminal();
        for text in spellings(&session.id) {
            let mut next: Option<ListCursor> = None;
            loop {
                let filter = RunFilter::new().label(SESSION, &*text);
                let page = view.list(filter, PAGE, next, is_ended).await?;
                // All at once: the store takes them together.
                let left = page.runs.into_iter().map(|run| self.leaving.leave(view, run));
                is_stored &= join_all(left).await.into_iter().all(|it| it);
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
        }
        if let Some(run) = lone(view, session).await?.filter(is_ended) {
            is_stored &= self.leaving.leave(view, run).await;
        }
        Ok(is_stored)
    }
}

fn unavailable(text: &str) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Lists the live runs of a session, on whatever node.
async fn live_of(view: &View, session: &Session) -> Result<Vec<RunView>, Refusal> {
    let mut live = Vec::new();
    for text in spellings(&session.id) {
        let mut next = None;
        loop {
            let filter = RunFilter::new().label(SESSION, &*text).live();
            let page = view.list(filter, PAGE, next, |run| is_of(run, session)).await?;
            live.extend(page.runs);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
    }
    live.extend(lone(view, session).await?.filter(|run| !run.status().is_terminal()));
    Ok(live)
}

/// Finds the run that is a session by itself.
async fn lone(view: &View, session: &Session) -> Result<Option<RunView>, Refusal> {
    let Ok(id) = parse_id(&session.id) else { return Ok(None) };
    let found = view.find_by_id(id).await?;
    Ok(found.filter(|run| is_lone(run) && is_of(run, session)))
}

/// Tells whether a run is one of a session, which others of its owner alone can be. One that was
/// taken back leaves by itself.
fn is_of(run: &RunView, session: &Session) -> bool {
    run.owner() == session.owner.as_deref()
        && same_id(&session_of(run), &session.id)
        && !run.is_rolled_back()
}

/// Runs that are read at once.
const PAGE: usize = 100;
