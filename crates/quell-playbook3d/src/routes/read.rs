//! Lists runs, teams and workflows, and reads the result of a run (contract, section 3).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use quell_http::row_bytes;

use crate::app::{App, find_any};
use crate::routes::caller::Caller;
use crate::routes::path::{RunPath, Shared};
use crate::wire::{Refusal, ResultBody};

pub(super) async fn list_teams(
    State(app): Shared,
    Caller(view): Caller,
) -> Result<Response, Refusal> {
    Ok(Json(app.directory.teams_of(view.principal())).into_response())
}

pub(super) async fn list_workflows(
    State(app): Shared,
    Caller(view): Caller,
) -> Result<Response, Refusal> {
    let teams = app.directory.teams_of(view.principal());
    let all = app.directory.workflows_of(&teams);
    let readable = all.filter(|(offer, _)| view.principal().may_read(&offer.component));
    Ok(Json(readable.map(|(_, workflow)| workflow).collect::<Vec<_>>()).into_response())
}

pub(super) async fn list_runs(
    State(app): Shared,
    Caller(view): Caller,
) -> Result<Response, Refusal> {
    let runs = App::runs(&view).await?;
    let (seen, about) = (view.clone(), runs.iter().map(|(_, row)| row_bytes(row)).sum());
    let list =
        move || -> Vec<_> { runs.iter().map(|(run, row)| app.object(&seen, run, row)).collect() };
    view.json_response(about, list).await.map_err(Refusal::of_answer)
}

pub(super) async fn get_result(
    Caller(view): Caller,
    RunPath(run): RunPath,
) -> Result<Response, Refusal> {
    let run = find_any(&view, run).await?.ok_or(Refusal::NotFound)?;
    let reading = view.read(run).await?;
    let about = row_bytes(reading.report().own_row());
    let result = move || ResultBody::new(reading.report().own_row(), reading.state());
    view.json_response(about, result).await.map_err(Refusal::of_answer)
}
