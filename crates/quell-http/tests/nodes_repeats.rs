//! What is asked of a run of another node while repeats of it come here: the store is about to
//! refuse them, and they are not the run.

use quell::{Engine, RunSpec, RunStatus};
use quell_http::{OnDisconnect, parse_id};
use quell_test_support::soon;

use crate::nodes::two;

/// Submits a repeat, of which the store has not said yet that it is one.
fn repeat(engine: &Engine, id: &str) -> quell::RunRef {
    let spec = RunSpec::agent("repeat").id(parse_id(id).unwrap());
    engine.submit(spec, async |_| Ok(())).unwrap().into_ref()
}

#[tokio::test(start_paused = true)]
async fn i31_the_last_client_that_leaves_stops_its_run_and_not_a_repeat_that_comes_here() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let guard = b.service.guard(&b.found("r").await, OnDisconnect::Cancel);
    let repeat = repeat(b.service.engine(), "r");
    drop(guard);
    soon("it is stopped", || run.status() == RunStatus::Cancelled).await;
    assert!(repeat.accepted().await.is_err());
}
