//! [`run_response`]: the answer with one run.

use axum::Json;
use axum::response::{IntoResponse, Response};
use quell::RunRef;
use quell_http::{BodyError, Reading, RunView, View};

use crate::heard::is_heard_of_any;
use crate::snapshot;
use crate::wire::exact::Object;
use crate::wire::position::Position;
use crate::wire::refusal::Refusal;

/// Answers with a run and its descendants. A large answer is made on another thread.
pub(super) async fn run_response(view: &View, run: RunView) -> Result<Option<Response>, Refusal> {
    let Some(position) = snapshot::position_of(view, &run) else { return Ok(None) };
    let reading = view.read_tree(run).await?;
    is_heard_of_any(view, reading.run(), reading.report().own_row().status).await?;
    let (about, make) = answer(reading, position);
    Ok(Some(view.json_response(about, make).await.map_err(Refusal::of_answer)?))
}

/// As [`run_response`], for a client that has waited for the run. If there is no room for all of it
/// in time, or the engine forgets the run meanwhile, the answer is the run without its values. It
/// is no refusal, which would mean that nothing started, but where this node may not say how the
/// run ends.
pub(super) async fn run_response_at_end(
    view: &View,
    run: RunRef,
) -> Result<Option<Response>, Refusal> {
    let Some(position) = snapshot::position_of(view, &(&run).into()) else { return Ok(None) };
    let reading = view.read_tree((&run).into()).await?;
    is_heard_of_any(view, reading.run(), reading.report().own_row().status).await?;
    let (about, make) = answer(reading, position.clone());
    match view.json_response(about, make).await {
        Ok(response) => return Ok(Some(response)),
        Err(BodyError::Overdrawn(_)) => {}
        Err(error) => return Err(Refusal::of_answer(error)),
    }
    let small = snapshot::without_values(view, &run, position.clone());
    let seen = view.clone();
    let make = move |run: &RunRef| {
        snapshot::read_at(&seen.read_live(run, run.report()), &position).to_json()
    };
    match view.json_response_soon(run, about, make).await {
        Ok(Some(response)) => Ok(Some(response)),
        Ok(None) | Err(BodyError::Overdrawn(_)) => Ok(Some(Json(small).into_response())),
        Err(error) => Err(Refusal::of_answer(error)),
    }
}

/// Estimates the size of the answer with a run, and yields the closure that makes it.
fn answer(reading: Reading, position: Position) -> (usize, impl FnOnce() -> Object + Send + use<>) {
    (reading.weight(), move || snapshot::read_at(&reading, &position).to_json())
}
