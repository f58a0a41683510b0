//! What is asked of a run of another node while repeats of it come here: the store is about to
//! refuse them, and they are not the run.

use std::time::Duration;

use axum::http::StatusCode;
use futures::FutureExt as _;
use quell::{
    CancelRequest, Disposition, Engine, RunContext, RunFilter, RunId, RunRef, RunSpec, RunStatus,
};
use quell_http::{OnDisconnect, Wait, parse_id};
use quell_test_support::soon;

use crate::nodes::{Process, two};
use crate::support::get;

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

#[tokio::test(start_paused = true)]
async fn what_another_node_has_forgotten_is_not_shown_although_it_is_in_memory_here() {
    let (_nodes, a, b) = two();
    let run = a.stopped("r").await;
    let id = run.id();
    assert_eq!(get(&a.app, "/v1/runs/r").await.status, StatusCode::OK);
    b.service.engine().forget_stored(id).await.unwrap();
    assert!(a.service.engine().get(id).is_some(), "it is kept");
    assert_eq!(get(&a.app, "/v1/runs/r").await.status, StatusCode::NOT_FOUND);
    assert_eq!(listed(&a, 9).await, [], "a list has it neither");
    // Another run has its id by now.
    let again = b.working("sleeper", "r").await;
    assert_eq!(a.found("r").await.status(), RunStatus::Running);
    assert_eq!(listed(&a, 9).await, [(again.id(), RunStatus::Running)]);
    again.cancel(CancelRequest::because("enough"));
    again.quiescent().await;
}

/// Lists what a node has, by parts of so many: each run with its status.
async fn listed(node: &Process, limit: usize) -> Vec<(RunId, RunStatus)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = node.view().list(RunFilter::new(), limit, after, |_| true).await.unwrap();
        assert!(page.runs.len() <= limit);
        all.extend(page.runs.iter().map(|run| (run.id(), run.status())));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_by_parts_has_each_run_once_although_another_node_has_forgotten_some() {
    let (_nodes, a, b) = two();
    let mut runs = Vec::new();
    for nth in 0..12 {
        let run = a.working("sleeper", &format!("r{nth}")).await;
        run.cancel(CancelRequest::because("enough"));
        run.quiescent().await;
        run.stored().await.unwrap();
        runs.push(run);
        // Each of a millisecond of its own.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for nth in [0, 3, 4, 5, 6, 11] {
        b.service.engine().forget_stored(runs[nth].id()).await.unwrap();
    }
    // One of them has come again, to the other node.
    let again = b.working("sleeper", "r4").await;
    let mut expected = vec![(again.id(), RunStatus::Running)];
    let left = [10, 9, 8, 7, 2, 1].map(|nth: usize| (runs[nth].id(), RunStatus::Cancelled));
    expected.extend(left);
    for limit in 1..=8 {
        assert_eq!(listed(&a, limit).await, expected, "{limit} at once");
    }
    again.cancel(CancelRequest::because("enough"));
    again.quiescent().await;
}
