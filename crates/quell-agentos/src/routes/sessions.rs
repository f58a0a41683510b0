//! [`list`], [`read`], [`rename`] and [`remove`]: sessions (contract, section 10).

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use quell_flow::ComponentKind;
use quell_http::View;

use crate::app::App;
use crate::auth::may;
use crate::routes::extract::SessionRequest;
use crate::routes::session_runs::{Readings, readings};
use crate::sessions::{Found, NAME_BYTES_MAX, Session};
use crate::wire::position::Role;
use crate::wire::refusal::Refusal;
use crate::wire::session::{SessionParts, messages, page};
use crate::wire::session_body::{new_name, to_delete};
use crate::wire::session_query::{ListQuery, RunsQuery, kind};

pub(super) async fn list(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    let SessionRequest { view, query, .. } = request;
    may(view, "sessions", "read")?;
    let asked = ListQuery::read(|name| query.get(name))?;
    let (mut all, room) = app.sessions.list(view).await?;
    all.retain(|session| asked.means(&parts(session)));
    all.sort_by(|one, other| asked.order(&parts(one), &parts(other)));
    let total = all.len();
    let part = asked.part;
    let shown: Vec<_> = all.into_iter().skip(part.skipped()).take(part.limit()).collect();
    let about = shown.iter().map(Session::bytes).sum();
    // What was looked at is left, and what is shown counts anew.
    drop(room);
    let make = move || {
        let data: Vec<_> = shown.iter().map(|session| parts(session).in_list()).collect();
        page(&data, part.page, part.limit, total)
    };
    view.json_response(about, make).await.map_err(Refusal::of_answer)
}

pub(super) async fn read(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    let SessionRequest { view, session: id, query, .. } = request;
    may(view, "sessions", "read")?;
    let asked = kind(|name| query.get(name)).map_err(|fault| Refusal::invalid(vec![fault]))?;
    let found = app.sessions.find_named(view, id).await?;
    // It would not have the keys that a client of another kind needs.
    let found = found.filter(|found| asked.is_none_or(|kind| kind == found.session.kind));
    answer(view, found.ok_or_else(|| no_session(asked, id))?).await
}

pub(super) async fn rename(
    app: &App,
    request: &SessionRequest,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let SessionRequest { view, session: id, query, .. } = request;
    may(view, "sessions", "write")?;
    kind(|name| query.get(name)).map_err(|fault| Refusal::invalid(vec![fault]))?;
    let read = |bytes: Bytes| async move { new_name(&bytes, NAME_BYTES_MAX) };
    let (name, _upload) = view.parse_body(headers, body, read).await?;
    let found = app.sessions.rename(view, id, &name).await?;
    answer(view, found.ok_or_else(|| no_session(None, id))?).await
}

pub(super) async fn remove_many(
    app: &App,
    request: &SessionRequest,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    may(&request.view, "sessions", "delete")?;
    let read = |bytes: Bytes| async move { to_delete(&bytes) };
    let (ids, upload) = request.view.parse_body(headers, body, read).await?;
    drop(upload);
    remove(app, &request.view, ids).await
}

pub(super) async fn remove(app: &App, view: &View, ids: Vec<String>) -> Result<Response, Refusal> {
    may(view, "sessions", "delete")?;
    app.sessions.delete(view, ids).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Answers with a session in full.
async fn answer(view: &View, found: Found) -> Result<Response, Refusal> {
    let Found { session, runs } = found;
    let has_history = session.kind != ComponentKind::Workflow;
    let runs = if has_history { runs } else { Vec::new() };
    let readings = readings(view, &runs, &RunsQuery::newest()).await?;
    let about = session.bytes() + readings.weight;
    let make = move || parts(&session).in_full(history(&readings));
    view.json_response(about, make).await.map_err(Refusal::of_answer)
}

/// Yields what was said in a session: in runs of agents and teams that have ended.
fn history(readings: &Readings) -> Vec<serde_json::Value> {
    let said = readings.trees().filter(|tree| tree.own().position.role != Role::Workflow);
    said.flat_map(|tree| messages(&tree)).collect()
}

fn parts(session: &Session) -> SessionParts<'_> {
    SessionParts {
        id: &session.id,
        name: &session.name,
        kind: session.kind,
        component: &session.component,
        user: session.user.as_deref(),
        created_at: session.created_at,
        updated_at: session.updated_at,
    }
}

fn no_session(kind: Option<ComponentKind>, id: &str) -> Refusal {
    let what = match kind {
        None => "Session",
        Some(ComponentKind::Agent) => "Agent Session",
        Some(ComponentKind::Team) => "Team Session",
        Some(ComponentKind::Workflow) => "Workflow Session",
    };
    Refusal::not_found(&format!("{what} with id '{id}' not found"))
}
