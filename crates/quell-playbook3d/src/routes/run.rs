//! Starts a run (contract, section 3).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use quell_http::{Once, Start, aside};
use serde_json::{Value, json};

use crate::app::{App, PLATFORM, id_of};
use crate::directory::WORKFLOW;
use crate::options::Operation;
use crate::routes::path::{Shared, Texts};
use crate::wire::{Refusal, RunRequest, parse_uuid, queued};

pub(super) async fn get_run_id(
    State(app): Shared,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let view = app.enter(&headers).await?;
    let id = app.allocated.allocate(view.principal().owner());
    Ok(Json(json!({ "run_id": id })))
}

pub(super) async fn run_workflow(
    app: Shared,
    headers: HeaderMap,
    uri: Uri,
    team: Texts<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let ids = team.map(|Path(team)| (team, None)).map_err(|_| Refusal::Malformed);
    run(app, headers, uri, ids, body).await
}

pub(super) async fn run_workflow_as(
    app: Shared,
    headers: HeaderMap,
    uri: Uri,
    ids: Texts<(String, String)>,
    body: Body,
) -> Result<Response, Refusal> {
    let ids = ids.map(|Path((team, run))| (team, Some(run))).map_err(|_| Refusal::Malformed);
    run(app, headers, uri, ids, body).await
}

async fn run(
    State(app): Shared,
    headers: HeaderMap,
    uri: Uri,
    ids: Result<(String, Option<String>), Refusal>,
    body: Body,
) -> Result<Response, Refusal> {
    let view = app.enter(&headers).await?;
    let (team, id) = ids?;
    let team = parse_uuid(&team)?;
    let run_id = id.as_deref().map(parse_uuid).transpose()?;
    let upload = view.read_body(&headers, body).await.map_err(Refusal::of_body)?;
    let body = upload.bytes();
    let (size, text) = (body.len(), body.clone());
    let request = aside(size, async move { RunRequest::parse(&text) }).await;
    let request = request.map_err(|_| Refusal::Malformed)??;
    let session = app.team(&view, team, Operation::Run)?;
    let workflow = app.directory.workflow(request.workflow, team).ok_or(Refusal::NotFound)?;
    App::may_run(&view, &workflow.component, Operation::Run)?;
    app.pay(&view, team, Operation::Run).await?;

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
        Some(id) => Some(app.gate(id).await),
        None => None,
    };
    let started = view.start(start).await?;
    // Only now: a cancel that finds neither the run nor its ticket would say that there is none.
    if let Some(run_id) = run_id {
        app.allocated.consume(view.principal().owner(), run_id);
    }
    drop(gate);
    Ok(Json(queued(&id_of(&started.run))).into_response())
}
