//! [`read`]: reads a run (contract, section 6).

use axum::response::Response;
use quell_flow::ComponentKind;

use crate::app::find;
use crate::auth::{Action, component};
use crate::routes::extract::RunRequest;
use crate::routes::run_response::run_response;
use crate::wire::refusal::{Refusal, missing};

pub(super) async fn read(kind: ComponentKind, request: &RunRequest) -> Result<Response, Refusal> {
    let RunRequest { view, component: id, run, query } = request;
    let component = component(view, kind, id, Action::Read)?;
    let session = query
        .get("session_id")
        .ok_or_else(|| Refusal::invalid(vec![missing("query", "session_id")]))?;
    let answer = match find(view, &component, run, Some(&session)).await? {
        Some(run) => run_response(view, run).await?,
        None => None,
    };
    answer.ok_or_else(|| Refusal::not_found("Run not found"))
}
