//! [`cancel`]: cancels a run (contract, section 4).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use quell::{CancelRequest, Disposition, RunId, RunStatus, limits};
use quell_http::{CancelOutcome, RunView, View};
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, find};
use crate::options::Operation;
use crate::routes::caller::Caller;
use crate::routes::path::{Shared, TeamPath};
use crate::wire::{Refusal, cancel_message};

pub(super) async fn cancel(
    State(app): Shared,
    Caller(view): Caller,
    path: TeamPath,
) -> Result<Response, Refusal> {
    let (team, run) = (path.team, path.run.ok_or(Refusal::Malformed)?.id);
    app.team(&view, team, Operation::Cancel)?;
    let Some(target) = target(&app, &view, team, run).await? else {
        return Ok(unknown());
    };
    target.check(&view)?;
    app.check_quota(&view, team, Operation::Cancel).await?;
    match target {
        Target::Run(run) => cancel_run(&app, &view, &run).await,
        Target::Ticket => cancel_ticket(&app, &view, run).await,
    }
}

/// What a cancel is about.
enum Target {
    Run(RunView),
    /// An id without a run so far.
    Ticket,
}

impl Target {
    /// Refuses a caller who may not stop it. The component of a run to come is not known yet: every
    /// caller who may change something may stop it.
    fn check(&self, view: &View) -> Result<(), Refusal> {
        let may_stop = match self {
            Self::Run(run) => view.may_stop(run),
            Self::Ticket => !view.principal().is_read_only(),
        };
        if may_stop { Ok(()) } else { Err(Refusal::MayNotCancel) }
    }
}

/// Finds what a cancel is about.
async fn target(app: &App, view: &View, team: Uuid, run: Uuid) -> Result<Option<Target>, Refusal> {
    if let Some(found) = view.for_stop(find(view, team, run)).await? {
        return Ok(Some(Target::Run(found)));
    }
    let owner = view.principal().owner().map(|owner| &**owner);
    if !app.auth.tickets.is_of(owner, run) {
        return Ok(None);
    }
    // A ticket is used up by its run, in whatever team that is. It may have come since the first
    // look.
    match view.for_stop(view.find_by_id(RunId::from_uuid(run))).await? {
        None => Ok(Some(Target::Ticket)),
        Some(_) => Ok(find(view, team, run).await?.map(Target::Run)),
    }
}

async fn cancel_run(app: &App, view: &View, run: &RunView) -> Result<Response, Refusal> {
    let cancelled = view.cancel(run, request(), app.wait()).await;
    let status = cancelled.row.as_ref().map_or_else(|| run.status(), |row| row.status);
    answer(&cancelled, status)
}

/// Remembers the stop for the run to come. A run that was started meanwhile is stopped instead.
async fn cancel_ticket(app: &App, view: &View, id: Uuid) -> Result<Response, Refusal> {
    let stop = request().remember_for(limits::RESERVATIONS_TTL);
    let cancelled = view.reserve("", RunId::from_uuid(id), stop, app.wait()).await;
    let status = cancelled.row.as_ref().map_or(RunStatus::Stopping, |row| row.status);
    answer(&cancelled, status)
}

fn answer(cancelled: &CancelOutcome, status: RunStatus) -> Result<Response, Refusal> {
    // The table has no 503.
    cancelled.stored.map_err(|_| Refusal::Internal)?;
    let message = cancel_message(&cancelled.disposition, status)?;
    let mut response = Json(json!({ "message": message })).into_response();
    cancelled.write_headers(response.headers_mut());
    Ok(response)
}

fn request() -> CancelRequest {
    CancelRequest::because("cancelled by a client")
}

fn unknown() -> Response {
    let mut response = Refusal::NotFound.into_response();
    CancelOutcome::without_run(Disposition::Unknown).write_headers(response.headers_mut());
    response
}
