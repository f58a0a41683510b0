//! [`routes`]: lists, shows, renames and deletes sessions (contract, section 10).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use quell_flow::ComponentKind;
use quell_http::View;

use crate::app::App;
use crate::auth::may;
use crate::routes::extract::SessionRequest;
use crate::routes::router::both;
use crate::routes::session_runs::{self, Readings, readings};
use crate::sessions::{Found, NAME_BYTES_MAX, Session};
use crate::wire::position::Role;
use crate::wire::refusal::Refusal;
use crate::wire::session::{SessionParts, messages, page};
use crate::wire::session_body::{new_name, to_delete};
use crate::wire::session_query::{ListQuery, RunsQuery, kind};

type Shared = State<Arc<App>>;

/// The routes of sessions.
pub(super) fn routes() -> Router<Arc<App>> {
    let all =
        delete(async |State(app): Shared, request: SessionRequest, head: HeaderMap, body: Body| {
            app.answer(remove_many(&app, &request, &head, body).await)
        });
    let all = all.get(async |State(app): Shared, request: SessionRequest| {
        app.answer(list(&app, &request).await)
    });
    let one = delete(async |State(app): Shared, request: SessionRequest| {
        app.answer(remove(&app, &request.view, vec![request.session]).await)
    });
    let one = one.get(async |State(app): Shared, request: SessionRequest| {
        app.answer(read(&app, &request).await)
    });
    let runs = get(async |State(app): Shared, request: SessionRequest| {
        app.answer(session_runs::of_session(&app, &request).await)
    });
    let run = get(async |State(app): Shared, request: SessionRequest| {
        app.answer(session_runs::one(&app, &request).await)
    });
    let rename =
        post(async |State(app): Shared, request: SessionRequest, head: HeaderMap, body: Body| {
            app.answer(rename(&app, &request, &head, body).await)
        });
    both("/sessions", &all)
        .merge(both("/sessions/{session}", &one))
        .merge(both("/sessions/{session}/rename", &rename))
        .merge(both("/sessions/{session}/runs", &runs))
        .merge(both("/sessions/{session}/runs/{run}", &run))
}

async fn list(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    let SessionRequest { view, query, .. } = request;
    may(view, "sessions", "read")?;
    let asked = ListQuery::read(|name| query.get(name))?;
    let (mut all, room) = app.sessions.list(view).await?;
    all.retain(|session| asked.means(&parts(session)));
    all.sort_by(|one, other| asked.order(&parts(one), &parts(other)));
    let total = all.len();
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let shown: Vec<_> = all.into_iter().skip(asked.skipped()).take(limit).collect();
    let about = shown.iter().map(Session::bytes).sum();
    // What was looked at is left, and what is shown counts anew.
    drop(room);
    let make = move || {
        let data: Vec<_> = shown.iter().map(|session| parts(session).in_list()).collect();
        page(&data, asked.page, asked.limit, total)
    };
    view.json_response(about, make).await.map_err(Refusal::of_answer)
}

async fn read(app: &App, request: &SessionRequest) -> Result<Response, Refusal> {
    let SessionRequest { view, session: id, query, .. } = request;
    may(view, "sessions", "read")?;
    let asked = kind(|name| query.get(name)).map_err(|fault| Refusal::invalid(vec![fault]))?;
    let found = app.sessions.find_named(view, id).await?;
    // It would not have the keys that a client of another kind needs.
    let found = found.filter(|found| asked.is_none_or(|kind| kind == found.session.kind));
    answer(view, found.ok_or_else(|| no_session(asked, id))?).await
}

async fn rename(
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

async fn remove_many(
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

async fn remove(app: &App, view: &View, ids: Vec<String>) -> Result<Response, Refusal> {
    may(view, "sessions", "delete")?;
    app.sessions.delete(view, ids).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Answers with a session in full.
async fn answer(view: &View, found: Found) -> Result<Response, Refusal> {
    let Found { session, runs } = found;
    let has_history = session.kind != ComponentKind::Workflow;
    let runs = if has_history { runs } else { Vec::new() };
    let readings = readings(view, &runs, &RunsQuery::default()).await?;
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
