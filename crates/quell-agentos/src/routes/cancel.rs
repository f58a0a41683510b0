//! [`cancel`]: cancels a run (contract, section 5).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use quell::{CancelRequest, Disposition, limits};
use quell_flow::{Component, ComponentKind};
use quell_http::{CancelOutcome, StopNotStored, View, Wait, disposition_name, parse_id, scope_of};
use serde_json::json;

use crate::app::{App, find};
use crate::auth::{Action, component};
use crate::heard::is_heard_of_any;
use crate::options::UnknownRuns;
use crate::routes::extract::RunRequest;
use crate::wire::kinds::names_of;
use crate::wire::refusal::Refusal;
use crate::wire::status::{CancelAnswer, cancel_answer};

pub(super) async fn cancel(
    app: &App,
    kind: ComponentKind,
    request: &RunRequest,
) -> Result<Response, Refusal> {
    let RunRequest { view, component: id, run, query } = request;
    let component = component(view, kind, id, Action::Run)?;
    let wait = wait(app, query.get("wait").as_deref())?;
    let session = query.get("session_id");
    // A client gives no reason, so the message of the cause is null.
    let stop = CancelRequest::because("");
    let found = view.for_stop(find(view, &component, run, session.as_deref()));
    let cancelled = match found.await? {
        Some(run) => {
            let outcome = view.cancel(&run, stop, wait).await;
            if let Disposition::AlreadyTerminal { status } = outcome.disposition {
                view.for_stop(is_heard_of_any(view, &run, status)).await?;
            }
            outcome
        }
        None if app.options.unknown_runs == UnknownRuns::Remember => {
            let session = session.as_deref();
            let remembered = remember(view, &component, run, session, stop, wait).await?;
            stored(&remembered)?;
            return Ok(done(&remembered));
        }
        None => CancelOutcome::without_run(Disposition::Unknown),
    };
    stored(&cancelled)?;
    match cancel_answer(&cancelled.disposition) {
        CancelAnswer::Done => Ok(done(&cancelled)),
        CancelAnswer::Unknown => Err(Refusal {
            disposition: Some(disposition_name(&cancelled.disposition)),
            ..Refusal::not_found(names_of(kind).no_run_to_cancel)
        }),
    }
}

/// Fails if the stop is in effect and a restart may forget it.
pub(super) fn stored(cancelled: &CancelOutcome) -> Result<(), Refusal> {
    let refused =
        |error: StopNotStored| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    cancelled.stored.map_err(refused)
}

/// Remembers the stop, unless the id can never be that of a run of this component. A run that came
/// since it was looked for is stopped.
async fn remember(
    view: &View,
    component: &Component,
    run: &str,
    session: Option<&str>,
    stop: CancelRequest,
    wait: Wait,
) -> Result<CancelOutcome, Refusal> {
    let unknown = CancelOutcome::without_run(Disposition::Unknown);
    let Ok(id) = parse_id(run) else { return Ok(unknown) };
    // Remember nothing if the id is of a run of another component or session. A run that the caller
    // may not see is treated as unknown, so that the answer does not reveal it.
    if view.for_stop(view.find_by_id(id)).await?.is_some() {
        return Ok(match find(view, component, run, session).await? {
            Some(run) => view.cancel(&run, stop, wait).await,
            None => unknown,
        });
    }
    let kept = stop.clone().remember_for(limits::RESERVATIONS_TTL);
    let reserved = view.reserve(&scope_of(component), id, kept, wait).await;
    if reserved.disposition != Disposition::Unknown || reserved.stored.is_err() {
        return Ok(reserved);
    }
    // On another node it may have come just now.
    Ok(match find(view, component, run, session).await? {
        Some(run) => view.cancel(&run, stop, wait).await,
        None => reserved,
    })
}

fn wait(app: &App, text: Option<&str>) -> Result<Wait, Refusal> {
    match text {
        None | Some("false") => Ok(Wait::none()),
        Some("true") => Ok(Wait::terminal()),
        Some("quiescent") => Ok(Wait::quiescent().at_most(app.options.quiescent_wait_max)),
        Some(_) => {
            // A text: the documents say that `detail` is one here.
            let detail = "wait must be false, true or quiescent";
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
    }
}

fn done(cancelled: &CancelOutcome) -> Response {
    let mut response = Json(json!({})).into_response();
    cancelled.write_headers(response.headers_mut());
    response
}
