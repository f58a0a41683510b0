//! The calls: parse, one call of the engine, render. Every one checks in this order (contract,
//! section 5): 401, 400, 404 (team), 403, 404 (run or workflow), 402, action.

use std::any::Any;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use quell::{CancelRequest, Disposition, RunId, RunRef, RunStatus, limits};
use quell_http::{
    BodyKinds, Once, Service, Start, View, aside, guard_open, row_bytes, write_headers,
};
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use crate::desk::{Desk, PLATFORM, find, find_any, id_of};
use crate::directory::WORKFLOW;
use crate::options::{Operation, Options};
use crate::wire::{Refusal, ResultBody, RunRequest, cancel_message, parse_uuid, queued};

type App = State<Arc<Desk>>;
type Texts<T> = Result<Path<T>, PathRejection>;

/// Makes the router of the contract. Nest it under a path: other contracts have `/runs`, `/teams`
/// and `/workflows` too, and its fallback answers whatever else is below that path.
pub fn router(service: Service, options: Options) -> Router {
    let (accounts, api) = (path(&options.accounts_prefix), path(&options.api_prefix));
    let at = |prefix: &str, rest: &str| format!("{prefix}{rest}");
    let app = Router::new()
        .without_v07_checks()
        .route(&at(&accounts, "/token-wrapper/get-tokens/{api_key}"), get(get_tokens))
        .route(&at(&accounts, "/runs"), get(list_runs))
        .route(&at(&accounts, "/runs/{run_id}/result"), get(get_result))
        .route(&at(&accounts, "/teams"), get(list_teams))
        .route(&at(&accounts, "/workflows"), get(list_workflows))
        .route(&at(&api, "/get-sdk-secrets/{api_key}"), get(get_sdk_secrets))
        .route(&at(&api, "/get_run_id"), get(get_run_id))
        .route(&at(&api, "/run_workflow/{team_id}"), post(run_workflow))
        .route(&at(&api, "/run_workflow/{team_id}/{run_id}"), post(run_workflow_as))
        .route(&at(&api, "/cancel/{team_id}/{run_id}"), post(cancel))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .layer(CatchPanicLayer::custom(|_: Box<dyn Any + Send>| Refusal::Internal.into_response()));
    let app = guard_open(app, &service, BodyKinds::Json);
    app.with_state(Arc::new(Desk::new(service, options)))
}

async fn get_tokens(State(desk): App, key: Texts<String>) -> Result<Json<Value>, Refusal> {
    let Path(key) = key.map_err(|_| Refusal::Unauthorized)?;
    let principal = desk.door.holder(&key)?;
    Ok(Json(json!({ "access_token": desk.door.token(&principal) })))
}

async fn get_sdk_secrets(
    State(desk): App,
    OriginalUri(original): OriginalUri,
    uri: Uri,
    headers: HeaderMap,
    key: Texts<String>,
) -> Result<Json<Value>, Refusal> {
    let Path(key) = key.map_err(|_| Refusal::Unauthorized)?;
    desk.door.holder(&key)?;
    let options = desk.options();
    let base = match &options.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => base_url(&headers, &original, &uri).ok_or(Refusal::Malformed)?,
    };
    let key = desk.door.platform_key();
    let accounts = format!("{base}{}", prefix(&options.accounts_prefix));
    let api = format!("{base}{}", prefix(&options.api_prefix));
    // The first three for the Python SDK, the others for Unity.
    Ok(Json(json!({
        "BASE_URL": api,
        "ACCOUNTS_URL": accounts,
        "API_KEY": key,
        "ACCOUNTS_BASE_URL": accounts,
        "API_BASE_URL": api,
        "X_API_KEY": key,
        "WEBSOCKET_BASE_URL": "",
    })))
}

async fn get_run_id(State(desk): App, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    let view = desk.enter(&headers).await?;
    let id = desk.allocated.allocate(view.principal().owner());
    Ok(Json(json!({ "run_id": id })))
}

async fn list_teams(State(desk): App, headers: HeaderMap) -> Result<Response, Refusal> {
    let view = desk.enter(&headers).await?;
    Ok(Json(desk.directory.teams_of(view.principal())).into_response())
}

async fn list_workflows(State(desk): App, headers: HeaderMap) -> Result<Response, Refusal> {
    let view = desk.enter(&headers).await?;
    let teams = desk.directory.teams_of(view.principal());
    let all = desk.directory.workflows_of(&teams);
    let shown = all.filter(|(offer, _)| view.principal().may_read(&offer.component));
    Ok(Json(shown.map(|(_, workflow)| workflow).collect::<Vec<_>>()).into_response())
}

async fn list_runs(State(desk): App, headers: HeaderMap) -> Result<Response, Refusal> {
    let view = desk.enter(&headers).await?;
    let runs = Desk::runs(&view);
    let (seen, about) = (view.clone(), runs.iter().map(|(_, row)| row_bytes(row)).sum());
    let list =
        move || -> Vec<_> { runs.iter().map(|(run, row)| desk.object(&seen, run, row)).collect() };
    view.told(about, list).await.map_err(Refusal::of_answer)
}

async fn get_result(
    State(desk): App,
    headers: HeaderMap,
    run: Texts<String>,
) -> Result<Response, Refusal> {
    let view = desk.enter(&headers).await?;
    let Path(run) = run.map_err(|_| Refusal::Malformed)?;
    let run = find_any(&view, parse_uuid(&run)?).ok_or(Refusal::NotFound)?;
    let (seen, report) = (view.clone(), run.report());
    let about = row_bytes(report.own_row());
    let result = move || ResultBody::new(report.own_row(), seen.state_of(&report));
    view.told(about, result).await.map_err(Refusal::of_answer)
}

async fn run_workflow(
    app: App,
    headers: HeaderMap,
    uri: Uri,
    team: Texts<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let ids = team.map(|Path(team)| (team, None)).map_err(|_| Refusal::Malformed);
    run(app, headers, uri, ids, body).await
}

async fn run_workflow_as(
    app: App,
    headers: HeaderMap,
    uri: Uri,
    ids: Texts<(String, String)>,
    body: Body,
) -> Result<Response, Refusal> {
    let ids = ids.map(|Path((team, run))| (team, Some(run))).map_err(|_| Refusal::Malformed);
    run(app, headers, uri, ids, body).await
}

async fn run(
    State(desk): App,
    headers: HeaderMap,
    uri: Uri,
    ids: Result<(String, Option<String>), Refusal>,
    body: Body,
) -> Result<Response, Refusal> {
    let view = desk.enter(&headers).await?;
    let (team, id) = ids?;
    let team = parse_uuid(&team)?;
    let run_id = id.as_deref().map(parse_uuid).transpose()?;
    let upload = view.read_body(&headers, body).await.map_err(Refusal::of_body)?;
    let body = upload.bytes();
    let (size, text) = (body.len(), body.clone());
    let request = aside(size, async move { RunRequest::parse(&text) }).await;
    let request = request.map_err(|_| Refusal::Malformed)??;
    let session = desk.team(&view, team, Operation::Run)?;
    let workflow = desk.directory.workflow(request.workflow, team).ok_or(Refusal::NotFound)?;
    Desk::may_run(&view, &workflow.component, Operation::Run)?;
    desk.pay(&view, team, Operation::Run).await?;

    let mut start = Start::new(&workflow.component, request.inputs)
        .session(session)
        .label(WORKFLOW, workflow.id.to_string());
    if let Some(platform) = request.platform {
        start = start.label(PLATFORM, platform.to_string());
    }
    if let Some(id) = id {
        start = start.id(id);
    }
    if let Some(timeout) = request.timeout {
        start = start.timeout(timeout);
    }
    if let Some(grace) = request.grace {
        start = start.grace(grace);
    }
    if let Some(key) = headers.get("idempotency-key") {
        let key = key.to_str().map_err(|_| Refusal::Malformed)?;
        start = start.once(Once::new(key, uri.path(), body));
    }
    let gate = match run_id {
        Some(id) => Some(desk.gate(id).await),
        None => None,
    };
    let started = view.start(start).await?;
    // Only now: a cancel that finds neither the run nor its ticket would say that there is none.
    if let Some(run_id) = run_id {
        desk.allocated.consume(view.principal().owner(), run_id);
    }
    drop(gate);
    Ok(Json(queued(&id_of(&started.run))).into_response())
}

async fn cancel(
    State(desk): App,
    headers: HeaderMap,
    ids: Texts<(String, String)>,
) -> Result<Response, Refusal> {
    let view = desk.enter(&headers).await?;
    let Path((team, run)) = ids.map_err(|_| Refusal::Malformed)?;
    let (team, run) = (parse_uuid(&team)?, parse_uuid(&run)?);
    desk.team(&view, team, Operation::Cancel)?;
    let Some(target) = target(&desk, &view, team, run) else {
        return Ok(unknown());
    };
    target.check(&view)?;
    desk.pay(&view, team, Operation::Cancel).await?;
    match target {
        Target::Run(run) => cancel_run(&desk, &view, &run).await,
        Target::Ticket => cancel_ticket(&desk, &view, team, run).await,
    }
}

/// What a cancel is about.
enum Target {
    Run(RunRef),
    /// An id without a run so far.
    Ticket,
}

impl Target {
    /// Refuses whoever may not stop it. Of which component the run to come will be, nobody knows:
    /// its stop is for everybody who may change something.
    fn check(&self, view: &View) -> Result<(), Refusal> {
        let may_stop = match self {
            Self::Run(run) => view.may_stop(run),
            Self::Ticket => !view.principal().is_read_only(),
        };
        if may_stop { Ok(()) } else { Err(Refusal::MayNotCancel) }
    }
}

/// Finds what a cancel is about. A run takes its ticket only when it is there: whoever finds
/// neither has to look for the run once more.
fn target(desk: &Desk, view: &View, team: Uuid, run: Uuid) -> Option<Target> {
    if let Some(found) = find(view, team, run) {
        return Some(Target::Run(found));
    }
    if desk.allocated.has(view.principal().owner(), run) {
        return Some(Target::Ticket);
    }
    find(view, team, run).map(Target::Run)
}

async fn cancel_run(desk: &Desk, view: &View, run: &RunRef) -> Result<Response, Refusal> {
    let cancelled = view.cancel(run, request(), desk.wait()).await;
    let status = cancelled.row.as_ref().map_or_else(|| run.status(), |row| row.status);
    let message = cancel_message(&cancelled.disposition, status)?;
    let mut response = Json(json!({ "message": message })).into_response();
    cancelled.write_headers(response.headers_mut());
    Ok(response)
}

/// Remembers the stop for the run to come; if it has come meanwhile, it is stopped.
async fn cancel_ticket(
    desk: &Desk,
    view: &View,
    team: Uuid,
    id: Uuid,
) -> Result<Response, Refusal> {
    let gate = desk.gate(id).await;
    match target(desk, view, team, id) {
        Some(Target::Run(run)) => {
            drop(gate);
            if !view.may_stop(&run) {
                return Err(Refusal::MayNotCancel);
            }
            cancel_run(desk, view, &run).await
        }
        Some(Target::Ticket) => {
            let keep = limits::RESERVATIONS_TTL;
            let disposition = view.reserve("", RunId::from_uuid(id), request(), keep);
            // Anything but `Reserved` is of a run that another contract is just starting.
            let message = cancel_message(&disposition, RunStatus::Stopping)?;
            let mut response = Json(json!({ "message": message })).into_response();
            write_headers(response.headers_mut(), &disposition, None, None);
            Ok(response)
        }
        None => Ok(unknown()),
    }
}

fn request() -> CancelRequest {
    CancelRequest::because("cancelled by a client")
}

fn unknown() -> Response {
    let mut response = Refusal::NotFound.into_response();
    write_headers(response.headers_mut(), &Disposition::Unknown, None, None);
    response
}

/// Yields the URL at which the router is nested. The `Host` is the client's word, and is told to
/// nobody else; nothing that a proxy may have added is trusted (contract, choice 7).
fn base_url(headers: &HeaderMap, original: &Uri, inner: &Uri) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let host: Authority = host.parse().ok()?;
    let nested_at = original.path().strip_suffix(inner.path())?;
    Some(format!("http://{host}{nested_at}"))
}

/// Spells a prefix with a slash before it and none after it.
fn prefix(text: &str) -> String {
    let inner = text.trim_matches('/');
    if inner.is_empty() { String::new() } else { format!("/{inner}") }
}

/// Spells a prefix as a part of a route: braces stand for themselves.
fn path(text: &str) -> String {
    prefix(text).replace('{', "{{").replace('}', "}}")
}
