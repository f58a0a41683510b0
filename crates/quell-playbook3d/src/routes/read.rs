//! Lists of runs, teams and workflows, and the result of a run (contract, section 3).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use quell_http::row_bytes;

use crate::app::{App, find_any};
use crate::routes::path::{Shared, Texts};
use crate::wire::{Refusal, ResultBody, parse_uuid};

pub(super) async fn list_teams(
    State(app): Shared,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.enter(&headers).await?;
    Ok(Json(app.directory.teams_of(view.principal())).into_response())
}

pub(super) async fn list_workflows(
    State(app): Shared,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = app.enter(&headers).await?;
    let teams = app.directory.teams_of(view.principal());
    let all = app.directory.workflows_of(&teams);
    let shown = all.filter(|(offer, _)| view.principal().may_read(&offer.component));
    Ok(Json(shown.map(|(_, workflow)| workflow).collect::<Vec<_>>()).into_response())
}

pub(super) async fn list_runs(State(app): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    let view = app.enter(&headers).await?;
    let runs = App::runs(&view);
    let (seen, about) = (view.clone(), runs.iter().map(|(_, row)| row_bytes(row)).sum());
    let list =
        move || -> Vec<_> { runs.iter().map(|(run, row)| app.object(&seen, run, row)).collect() };
    view.told(about, list).await.map_err(Refusal::of_answer)
}

pub(super) async fn get_result(
    State(app): Shared,
    headers: HeaderMap,
    run: Texts<String>,
) -> Result<Response, Refusal> {
    let view = app.enter(&headers).await?;
    let Path(run) = run.map_err(|_| Refusal::Malformed)?;
    let run = find_any(&view, parse_uuid(&run)?).ok_or(Refusal::NotFound)?;
    let (seen, report) = (view.clone(), run.report());
    let about = row_bytes(report.own_row());
    let result = move || ResultBody::new(report.own_row(), seen.state_of(&report));
    view.told(about, result).await.map_err(Refusal::of_answer)
}
