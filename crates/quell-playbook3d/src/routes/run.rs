//! [`run_workflow`]: starts a run (contract, section 3).

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use quell::IdempotencyKey;
use quell_http::{RunView, Start, StartError, idempotency_key};
use serde_json::{Value, json};

use crate::app::{PLATFORM, id_of};
use crate::directory::WORKFLOW;
use crate::options::Operation;
use crate::routes::caller::Caller;
use crate::routes::path::{Shared, TeamPath};
use crate::wire::{Refusal, RunRequest, queued};

pub(super) async fn get_run_id(
    State(app): Shared,
    Caller(view): Caller,
) -> Result<Json<Value>, Refusal> {
    let id = app.auth.tickets.issue(view.principal().owner().map(|owner| &**owner));
    Ok(Json(json!({ "run_id": id })))
}

/// Starts a run under an id of its own, or under the one that the path names.
pub(super) async fn run_workflow(
    State(app): Shared,
    Caller(view): Caller,
    path: TeamPath,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Refusal> {
    let TeamPath { team, run: named } = path;
    let parse = |text: Bytes| async move { RunRequest::parse(&text) };
    let (request, upload) = view.parse_body(&headers, body, parse).await?;
    let session = app.team(&view, team, Operation::Run)?;
    let workflow = app.workflow(&view, request.workflow, team)?;
    app.check_quota(&view, team, Operation::Run).await?;

    let mut start = Start::new(&workflow.component, request.inputs)
        .session(session)
        .label(WORKFLOW, workflow.id.to_string());
    if let Some(platform) = request.platform {
        start = start.label(PLATFORM, platform.to_string());
    }
    if let Some(named) = &named {
        start = start.id(&*named.text);
    }
    if let Some(timeout) = request.timeout {
        start = start.timeout(timeout);
    }
    if let Some(grace) = request.grace {
        start = start.grace(grace);
    }
    if let Some(key) = idempotency_key(&headers).map_err(|_| Refusal::BadKey)? {
        start = start.once(IdempotencyKey::new(key, [uri.path().as_bytes(), upload.bytes()]));
    }
    let run = match view.start(start).await {
        Ok(started) => RunView::Live(started.run),
        Err(StartError::StartedBefore(id)) => {
            view.find_by_id(id).await?.ok_or(StartError::KeyForgotten)?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Json(queued(&id_of(&run))).into_response())
}
