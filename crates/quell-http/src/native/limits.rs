//! [`set_limits`]: the handler that gives a run other limits.

use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use quell::{LimitsOutcome, RunStatus};

use crate::native::extract::{Caller, NoQuery, RunPath, json_body};
use crate::native::problems::{PROBLEM, RefusedBody, forbidden, not_done, unknown_run};
use crate::native::routes::Answer;
use crate::native::wire::{self, LimitsAnswer, SetLimits};
use crate::problem::Problem;
use crate::run_state::status_name;

/// Changes the limits of a run.
///
/// The timeout counts from the start of the run, as before; the limits of the runs above it hold
/// beside its own. A run that is over its new limit is stopped at once. New limits are not stored:
/// after a restart a run has those that it was started with. Needs the rights to cancel the run.
#[utoipa::path(
    patch, path = "/v1/runs/{id}", operation_id = "set_limits", tag = "runs",
    params(RunPath),
    request_body = SetLimits,
    responses(
        RefusedBody,
        (status = 200, description = "They hold", body = LimitsAnswer),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The run is stopping or has ended; nothing has changed",
            body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large body", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "Another node has the run, and has not taken the request: \
            nothing has changed; or it has not answered", body = Problem, content_type = PROBLEM),
    )
)]
pub(crate) async fn set_limits(
    Caller(view): Caller,
    RunPath(id): RunPath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let parse = |text: &Bytes| wire::read::<SetLimits>(text);
    let (asked, _upload) = json_body(&view, &headers, body, parse).await?;
    if view.principal().is_read_only() {
        return Err(forbidden(view.principal().lack_to_run(None)));
    }
    let run = view.find_by_id(id).await?.ok_or_else(unknown_run)?;
    let (now, is_named) = (Instant::now(), asked.names_one());
    let outcome = match view.set_limits(&run, asked.limits()).await {
        Ok(outcome) => outcome,
        Err(error) => return Err(not_done(&view, &run, error, |never| match never {})),
    };
    match outcome {
        LimitsOutcome::Changed { .. } | LimitsOutcome::Exceeded { .. } => {
            let is_stopped = matches!(outcome, LimitsOutcome::Exceeded { .. });
            // Of a run that another node has only what was stored before is known here.
            let status = match run.live() {
                None if is_stopped => RunStatus::Stopping,
                _ => run.status(),
            };
            Ok(Json(LimitsAnswer::of(&outcome, is_named, status, now)).into_response())
        }
        LimitsOutcome::AlreadyStopping { cause, .. } => {
            let why = cause.message.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
            let detail = format!("the run is stopping{why}, and its limits do not change any more");
            Err(Problem::new(StatusCode::CONFLICT, "run-stopping", detail))
        }
        LimitsOutcome::AlreadyTerminal { status } => {
            let detail = format!("the run has ended: it is {}", status_name(status));
            Err(Problem::new(StatusCode::CONFLICT, "run-ended", detail))
        }
    }
}
