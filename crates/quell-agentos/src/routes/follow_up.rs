//! [`follow_up`]: makes a run that goes on from one that has ended (contract, section 7).

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use quell::RunStatus;
use quell_flow::Component;
use quell_http::{RunView, Upload, View};
use tokio::time::timeout;

use crate::answer_form::INPUT;
use crate::app::App;
use crate::form::Form;
use crate::heard::status_to_tell;
use crate::routes::create::begin;
use crate::routes::go_on::not_paused;
use crate::snapshot::{USER, session_of};
use crate::wire::kinds::names_of;
use crate::wire::refusal::{Refusal, bad_value};

/// Makes a run of the same component in the same session, with a message of its own. The one that
/// has ended stays as it is.
pub(super) async fn follow_up(
    app: &App,
    view: &View,
    component: &Arc<Component>,
    headers: &HeaderMap,
    (found, mut form, upload, answer): (RunView, Form, Upload, Option<String>),
) -> Result<Response, Refusal> {
    let found = ended(view, found).await?;
    let status = status_to_tell(view, &found).await?;
    let (id, field) = (found.external_id(), names_of(component.kind()).answer);
    if status == RunStatus::Paused {
        return Err(no_message(&found, field));
    }
    if !status.is_terminal() {
        return Err(not_paused(view, &found, status).await);
    }
    if !found.is_root() {
        let root = found.root_external_id();
        let text = format!("Cannot continue run {id}: it is a part of run {root}");
        return Err(Refusal::new(StatusCode::CONFLICT, text));
    }
    // One of a session that is deleted is in none any more.
    if !app.sessions.has(view, &found).await? {
        return Err(Refusal::not_found(&format!("No runs found for run ID {id}")));
    }
    if answer.is_some() {
        let text = format!("run {id} asks nothing; expected no answer beside `{INPUT}`");
        return Err(Refusal::invalid(vec![bad_value(field, &text)]));
    }
    form.session = Some(session_of(&found));
    form.user = form.user.or_else(|| found.label(USER).map(str::to_owned));
    begin(app, view, component, headers, (form, upload, Some(found))).await
}

/// Yields a run that another node may have ended by now, as its client knows and the store does not
/// yet: behind its node it is by a commit.
async fn ended(view: &View, found: RunView) -> Result<RunView, Refusal> {
    let over = match &found {
        RunView::Stored(run) if !found.status().is_terminal() => {
            timeout(COMMIT_WITHIN, view.ended_or_paused(run)).await.ok()
        }
        RunView::Live(_) | RunView::Stored(_) => None,
    };
    Ok(over.transpose()?.flatten().unwrap_or(found))
}

/// Refuses a message for a run that waits for an answer.
pub(super) fn no_message(run: &RunView, field: &str) -> Refusal {
    let id = run.external_id();
    let text = format!("run {id} is paused; expected its answer in `{field}`, and no `{INPUT}`");
    Refusal::invalid(vec![bad_value(INPUT, &text)])
}

/// How long is waited for what another node is about to store: the end of a run that works as the
/// store tells, and the answer to one that is paused.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_secs(1);
