//! [`pause_run`] and [`resume_run`]: the handlers of a client's pause, and of the answer to a
//! pause.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use quell::{Pause, PauseError, ResumeError, RunId, RunStatus};

use crate::native::extract::{Caller, NoQuery, RunPath, json_body};
use crate::native::problems::{PROBLEM, RefusedBody, forbidden, not_done, unknown_run};
use crate::native::routes::{Answer, value_of};
use crate::native::wire::{self, PauseAnswer, PauseRun, ResumeRun};
use crate::problem::Problem;
use crate::run_state::status_name;
use crate::run_view::RunView;
use crate::service::{NotDone, View};
use crate::start_error::StartError;

/// Asks a run to pause at its next checkpoint.
///
/// Nothing of a paused run executes, and it waits for its answer without a slot. A run that passes
/// no checkpoint goes on to its end. What was asked first stands. Needs the rights to cancel the
/// run.
#[utoipa::path(
    post, path = "/v1/runs/{id}/pause", operation_id = "pause_run", tag = "runs",
    params(RunPath),
    request_body = Option<PauseRun>,
    responses(
        RefusedBody,
        (status = 202, description = "It is asked", body = PauseAnswer),
        (status = 200, description = "It is paused already", body = PauseAnswer),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The run cannot be paused, is stopping or has ended",
            body = Problem, content_type = PROBLEM),
        (status = 429, description = "No room for a large body", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "Another node has the run, and has not taken the request: \
            nothing has changed; or it has not answered, and the run tells", body = Problem,
            content_type = PROBLEM),
    )
)]
pub(crate) async fn pause_run(
    Caller(view): Caller,
    RunPath(id): RunPath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let read = |text: &Bytes| {
        let asked = if text.is_empty() { None } else { wire::read::<Option<PauseRun>>(text)? };
        let asked = asked.unwrap_or_default();
        let pause = Pause::new(value_of(asked.request.as_deref())?);
        Ok(match asked.expires_in() {
            Some(time) => pause.expires_in(time),
            None => pause,
        })
    };
    let (pause, _upload) = json_body(&view, &headers, body, read).await?;
    let run = writable(&view, id).await?;
    let paused = match view.pause(&run, pause).await {
        Ok(paused) => paused,
        Err(error) => return Err(not_done(&view, &run, error, unpaused)),
    };
    let is_paused = paused.status() == RunStatus::Paused;
    let status = if is_paused { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(PauseAnswer::of(&paused))).into_response())
}

/// Gives a paused run its answer.
///
/// It is queued again, as its next attempt. A step of a plan that asks for approval, with `approve`
/// in its request, takes yes or no: `"yes"`, `"no"`, `true` or `false`. Everything else takes any
/// JSON. Of several answers, and of an answer and a stop, the first one counts. One with the
/// `attempt` that asked, as `pause` of the run says, answers no later question, also if it is sent
/// twice. Needs the rights to start runs of its component, which are those to cancel it.
#[utoipa::path(
    post, path = "/v1/runs/{id}/resume", operation_id = "resume_run", tag = "runs",
    params(RunPath),
    request_body = ResumeRun,
    responses(
        RefusedBody,
        (status = 200, description = "It goes on", body = PauseAnswer),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The run is not paused, or another attempt of it asks; \
            nothing has changed", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Another shape; or a step of a plan asks for approval, and \
            this is neither yes nor no: nothing has changed", body = Problem,
            content_type = PROBLEM),
        (status = 429, description = "No room for a large body, or no place in a queue",
            body = Problem, content_type = PROBLEM),
        (status = 503, description = "The answer was not taken, or it is not known to be taken or \
            stored", body = Problem, content_type = PROBLEM),
    )
)]
pub(crate) async fn resume_run(
    Caller(view): Caller,
    RunPath(id): RunPath,
    _: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let parse = |text: &Bytes| {
        let ResumeRun { answer, attempt } = wire::read(text)?;
        Ok((value_of(Some(&*answer))?, attempt))
    };
    let ((answer, attempt), _upload) = json_body(&view, &headers, body, parse).await?;
    let run = writable(&view, id).await?;
    let resumed = match attempt {
        Some(attempt) => view.resume_attempt(&run, attempt, answer).await,
        None => view.resume(&run, answer).await,
    };
    let resumed = match resumed {
        Ok(resumed) => resumed,
        Err(error) => {
            let is_without_body = matches!(error, NotDone::Refused(ResumeError::NoBody));
            let why = if is_without_body { view.why_no_body(&run).await } else { String::new() };
            return Err(not_done(&view, &run, error, |error| unanswered(error, why)));
        }
    };
    Ok(Json(PauseAnswer::of(&resumed)).into_response())
}

/// Finds a run for a caller who may change one.
async fn writable(view: &View, id: RunId) -> Result<RunView, Problem> {
    // Before it is looked up: such a caller does not learn whether it is there.
    if view.principal().is_read_only() {
        return Err(forbidden(view.principal().lack_to_run(None)));
    }
    view.find_by_id(id).await?.ok_or_else(unknown_run)
}

fn unpaused(error: PauseError) -> Problem {
    let conflict = |name, detail: String| Problem::new(StatusCode::CONFLICT, name, detail);
    match error {
        PauseError::NotResumable => {
            let detail = "the component of this run does not let its runs be paused";
            conflict("not-resumable", detail.into())
        }
        PauseError::NotRoot => {
            conflict("not-a-root", "only a root is paused: ask the run that it belongs to".into())
        }
        PauseError::Over(RunStatus::Stopping) => {
            conflict("run-stopping", "the run is stopping, and is not paused any more".into())
        }
        PauseError::Over(status) => {
            conflict("run-ended", format!("the run has ended: it is {}", status_name(status)))
        }
        PauseError::TooLarge { .. } => too_large(error.to_string()),
        error => conflict("not-resumable", error.to_string()),
    }
}

fn unanswered(error: ResumeError, why_no_body: String) -> Problem {
    match error {
        ResumeError::Unknown => unknown_run(),
        ResumeError::NotPaused(status) => {
            let detail = format!("the run is {}, not paused", status_name(status));
            Problem::new(StatusCode::CONFLICT, "not-paused", detail)
        }
        ResumeError::OtherAttempt { .. } => {
            let detail = format!("the {error}: read its `pause`");
            Problem::new(StatusCode::CONFLICT, "other-attempt", detail)
        }
        ResumeError::TooLarge { .. } => too_large(error.to_string()),
        ResumeError::NoBody => Problem::new(StatusCode::CONFLICT, "not-resumable", why_no_body),
        ResumeError::NotTaken(_) => {
            let detail = "the answer was not taken, and the run stays paused: the store is in \
                          trouble, or the server ends";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "answer-not-taken", detail)
        }
        ResumeError::NotStored(_) => {
            let detail = "the run has its answer, which could not be stored: it goes on when it is";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "answer-not-stored", detail)
        }
        ResumeError::QueueFull { scope, max } => StartError::QueueFull { scope, max }.into(),
        error => Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-runs", error.to_string()),
    }
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}
