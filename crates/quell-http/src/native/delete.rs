//! [`delete_run`]: the handler that stops a run and has it forgotten.

use std::time::Duration;

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use quell::store::StoreError;
use quell::{CancelRequest, Disposition, ForgetError, RunRef, RunReport};
use quell_flow::excerpt;
use tokio::time::timeout;

use crate::lookup_error::LookupError;
use crate::native::extract::{Caller, RunPath};
use crate::native::problems::{PROBLEM, forbidden, unknown_run};
use crate::native::query::is_given_up;
use crate::native::routes::Answer;
use crate::problem::Problem;
use crate::run_view::RunView;
use crate::service::View;
use crate::wait::Wait;

/// Deletes the tree of a run.
///
/// One that has not ended is stopped, as by a cancel with `rollback`: what it has saved in its lane
/// is taken back, and it is forgotten when nothing of it executes any more. That is waited for, for
/// half a minute at most. Its id is free then. Needs the rights to cancel the run.
///
/// Of one that an earlier process has left behind with work that may outlive it, as a program,
/// nobody here learns when that ends: `abandoned=true` deletes it all the same.
#[utoipa::path(
    delete, path = "/v1/runs/{id}", operation_id = "delete_run", tag = "runs",
    params(
        RunPath,
        ("abandoned" = Option<bool>, Query,
            description = "Whether to delete a run also if an earlier process has left work of it \
                that may still execute. Of what executes in a process that is there nothing is \
                deleted either way. Defaults to false"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 202, description = "It stops, and is forgotten when nothing of it executes any \
            more; or the node that has it has not answered yet, and will do so"),
        (status = 401, description = "Nobody", body = Problem, content_type = PROBLEM),
        (status = 403, description = "Not allowed", body = Problem, content_type = PROBLEM),
        (status = 404, description = "No such run", body = Problem, content_type = PROBLEM),
        (status = 409, description = "The run is not a root; or it has ended, and something of it \
            executes still: nothing has changed", body = Problem, content_type = PROBLEM),
        (status = 422, description = "Not an id, or a bad parameter", body = Problem,
            content_type = PROBLEM),
        (status = 503, description = "The store has not taken it, and a restart may bring the run \
            back; or it cannot be read", body = Problem, content_type = PROBLEM),
    )
)]
pub(crate) async fn delete_run(
    Caller(view): Caller,
    RunPath(id): RunPath,
    RawQuery(query): RawQuery,
) -> Answer {
    let is_given_up = is_given_up(query.as_deref())?;
    if view.principal().is_read_only() {
        return Err(forbidden(view.principal().lack_to_run(None)));
    }
    let mut run = view.find_by_id(id).await?.ok_or_else(unknown_run)?;
    if !view.may_stop(&run) {
        return Err(forbidden(view.lack_to_stop(&run)));
    }
    if !run.is_root() {
        let detail = "only whole trees are deleted: delete the root that the run belongs to";
        return Err(conflict("not-a-root", detail));
    }
    if !run.status().is_terminal() {
        let request = CancelRequest::because("the run was deleted").deletion();
        let cancelled = view.cancel(&run, request, Wait::quiescent().at_most(GONE_WAIT)).await;
        cancelled.stored?;
        match cancelled.disposition {
            Disposition::AlreadyTerminal { .. } => {
                // Another one has ended it meanwhile. A later run of its id is none that was meant.
                let is_same = |now: &RunView| now.meant() == run.meant();
                match view.find_by_id(id).await?.filter(is_same) {
                    Some(now) => run = now,
                    None => return Ok(gone()),
                }
            }
            Disposition::Unknown => return Err(unknown_run()),
            _ if !cancelled.is_reached => return Ok(StatusCode::ACCEPTED.into_response()),
            // The engine forgets it; here it may be about to.
            _ if run.live().is_none() => return Ok(gone()),
            _ => {}
        }
    }
    if let RunView::Stored(stored) = &run
        && !stored.record().quiescent
        && !is_given_up
    {
        return Err(left_behind(stored.report()));
    }
    view.until_seen(&run).await;
    match &run {
        RunView::Live(run) => forget(run).await?,
        RunView::Stored(_) => forget_stored(&view, &run).await?,
    }
    Ok(gone())
}

/// Forgets a run in memory that has ended, and waits until the store has taken that.
async fn forget(run: &RunRef) -> Result<(), Problem> {
    match run.forget() {
        Ok(()) | Err(ForgetError::Unknown) => {}
        Err(_) => return Err(still_executes()),
    }
    if matches!(timeout(STORED_WAIT, run.stored()).await, Ok(Ok(()))) {
        return Ok(());
    }
    let detail = "the run is forgotten, and the store has not taken that yet: a restart may bring \
        it back";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-stored", detail))
}

/// Forgets a run that is only in the store.
async fn forget_stored(view: &View, run: &RunView) -> Result<(), Problem> {
    match view.forget_stored(run).await {
        Ok(()) | Err(StoreError::Unknown { .. }) => Ok(()),
        Err(StoreError::Live { .. }) => Err(still_executes()),
        Err(error) => {
            tracing::warn!(%error, "a run could not be deleted");
            Err(LookupError::Unavailable.into())
        }
    }
}

fn gone() -> axum::response::Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Refuses to delete a run of which an earlier process, or another one, has left something.
fn left_behind(report: &RunReport) -> Problem {
    let named = report.abandoned.iter().map(|work| excerpt(&work.name)).take(NAMED_MAX);
    let named: Vec<_> = named.map(|name| format!("`{name}`")).collect();
    let what = if named.is_empty() { "something of it".to_owned() } else { named.join(", ") };
    let detail = format!(
        "the run has ended, and {what} may execute still: look at it, and delete the run with \
         `?abandoned=true` when you give that up"
    );
    conflict("not-quiescent", &detail)
}

fn still_executes() -> Problem {
    conflict(
        "not-quiescent",
        "the run has ended, and something of it may execute still: delete \
        it when it is quiescent",
    )
}

fn conflict(name: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, name, detail.to_owned())
}

/// How many are named of what is left.
const NAMED_MAX: usize = 3;

/// How long a run that is stopped is waited for.
const GONE_WAIT: Duration = Duration::from_secs(30);

/// How long the store may take to hear that a run is forgotten.
const STORED_WAIT: Duration = Duration::from_secs(5);
