//! What is asked of a run of another node while repeats of it come here: the store is about to
//! refuse them, and they are not the run.

use futures::FutureExt as _;
use quell::{CancelRequest, Disposition, Engine, RunContext, RunRef, RunSpec, RunStatus};
use quell_http::{OnDisconnect, Wait, parse_id};
use quell_test_support::soon;

use crate::nodes::two;

/// Submits a repeat, of which the store has not said yet that it is one.
fn repeat(engine: &Engine, id: &str) -> RunRef {
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

#[tokio::test(start_paused = true)]
async fn i34_a_run_is_found_and_stopped_although_one_below_a_root_here_has_its_id() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let works = async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(())
    };
    let above = b.service.engine().submit(RunSpec::team("above"), async move |ctx| {
        let spec = RunSpec::step("below").id(parse_id("r").unwrap());
        ctx.spawn(spec, works).await.map(drop).map_err(Into::into)
    });
    let above = above.unwrap().into_ref();
    soon("the store has refused it", || above.children().iter().any(is_refused)).await;
    let found = b.found("r").await;
    let request = CancelRequest::because("enough");
    let outcome = b.view().cancel(&found, request, Wait::none()).await;
    assert!(matches!(outcome.disposition, Disposition::Accepted { .. }), "{outcome:?}");
    soon("it is stopped", || run.status() == RunStatus::Cancelled).await;
    assert_eq!(above.status(), RunStatus::Running);
}

/// Tells whether it is known that the store has another run of its id.
fn is_refused(run: &RunRef) -> bool {
    run.is_accepted().now_or_never() == Some(false)
}
