//! Answers that show a run.

use axum::Json;
use axum::response::{IntoResponse, Response};
use quell::RunRef;
use quell_http::{BodyError, View};

use crate::snapshot;
use crate::wire::exact::Object;
use crate::wire::place::Place;
use crate::wire::refusal::Refusal;

/// Writes a run and what is below it. What is large is put together and written on a thread of its
/// own.
pub(super) async fn told(view: &View, run: &RunRef) -> Result<Option<Response>, Refusal> {
    let Some(place) = snapshot::place_of(view, run) else { return Ok(None) };
    let (about, make) = answer(view, run, place);
    Ok(Some(view.told(about, make).await.map_err(Refusal::of_answer)?))
}

/// As [`told`], for the client that has waited for the run. If there is no room for all of it, not
/// even soon, or the run was forgotten while the client waited for that, what is small of it: the
/// run is made, and whoever is refused has started nothing.
pub(super) async fn told_at_end(view: &View, run: RunRef) -> Result<Option<Response>, Refusal> {
    let Some(place) = snapshot::place_of(view, &run) else { return Ok(None) };
    let (about, make) = answer(view, &run, place.clone());
    match view.told(about, make).await {
        Ok(response) => return Ok(Some(response)),
        Err(BodyError::Overdrawn(_)) => {}
        Err(error) => return Err(Refusal::of_answer(error)),
    }
    let small = snapshot::without_values(view, &run, place.clone());
    let seen = view.clone();
    let make = move |run: &RunRef| snapshot::read_at(&seen, run, &run.report(), &place).to_json();
    match view.told_soon(run, about, make).await {
        Ok(Some(response)) => Ok(Some(response)),
        Ok(None) | Err(BodyError::Overdrawn(_)) => Ok(Some(Json(small).into_response())),
        Err(error) => Err(Refusal::of_answer(error)),
    }
}

/// Yields about how large the answer is that tells a run, and what makes it.
fn answer(
    view: &View,
    run: &RunRef,
    place: Place,
) -> (usize, impl FnOnce() -> Object + Send + use<>) {
    let (seen, run, report) = (view.clone(), run.clone(), run.report());
    let about = view.weight(&report);
    (about, move || snapshot::read_at(&seen, &run, &report, &place).to_json())
}
