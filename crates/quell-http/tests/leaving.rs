//! Clients that leave what another node has, or had.

use quell::store::RunRecord;
use quell::testing::cluster::Trouble;
use quell::{CauseKind, Payload, Recovery, RunContext, RunRef, RunSpec, RunStatus, Shutdown};
use quell_http::{OnDisconnect, parse_id};
use quell_test_support::{secs, soon, within};

use crate::nodes::{Process, two};

async fn until_stopped(ctx: RunContext) -> Result<(), quell::Failure> {
    ctx.stopped().await;
    Ok(())
}

/// Asks, and works until it is stopped when it has the answer.
async fn asks(ctx: RunContext) -> Result<(), quell::Failure> {
    if ctx.resumed_with().is_none() {
        return Err(ctx.pause("?"));
    }
    until_stopped(ctx).await
}

fn goes_on(record: &RunRecord) -> Recovery {
    Recovery::resume(RunSpec::agent(record.accepted.name.to_string()), until_stopped)
}

/// Has a node lose what it has to the other one; yields the run there, in its next attempt.
async fn taken_over(from: &Process, to: &Process, id: &str) -> RunRef {
    from.node.trouble(Trouble::All);
    within("it is taken over", async {
        while to.service.engine().take_over(goes_on).await.unwrap().is_none() {
            tokio::time::sleep(secs(1)).await;
        }
    })
    .await;
    let run = to.run(id);
    soon("it goes on", || run.status() == RunStatus::Running).await;
    run
}

fn is_left(run: &RunRef) -> bool {
    let cause = run.row().cause;
    cause.is_some_and(|cause| cause.kind == CauseKind::Disconnected)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_the_store_is_away_stops_the_run_when_it_is_back() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let guard = b.service.guard(&b.found("r").await, OnDisconnect::Cancel);
    b.node.trouble(Trouble::All);
    drop(guard);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(run.status(), RunStatus::Running);
    b.node.trouble(Trouble::None);
    within("it is stopped", run.ended()).await;
    assert!(is_left(&run));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_meanwhile_keeps_the_run() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let found = b.found("r").await;
    let guard = b.service.guard(&found, OnDisconnect::Cancel);
    b.node.trouble(Trouble::All);
    drop(guard);
    let _again = b.service.guard(&found, OnDisconnect::Cancel);
    tokio::time::sleep(secs(5)).await;
    b.node.trouble(Trouble::None);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(run.status(), RunStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_taken_over_is_stopped_when_its_client_leaves() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let guard = b.service.guard(&b.found("r").await, OnDisconnect::Cancel).until_pause();
    let run = taken_over(&a, &b, "r").await;
    assert_eq!(run.attempt(), 2);
    drop(guard);
    within("it is stopped", run.ended()).await;
    assert!(is_left(&run));
}

#[tokio::test(start_paused = true)]
async fn behind_the_answer_of_another_client_it_goes_on_also_if_it_is_taken_over_then() {
    let (_nodes, a, b) = two();
    let spec = RunSpec::agent("asks").id(parse_id("r").unwrap());
    let run = a.service.engine().submit_resumable(spec, asks).unwrap().into_ref();
    let guard = a.service.guard(&run, OnDisconnect::Cancel).until_pause();
    run.paused().await.unwrap();
    run.stored().await.unwrap();
    let far = b.service.guard(&b.found("r").await, OnDisconnect::Cancel).until_pause();
    run.resume_durably(Payload::from("yes")).await.unwrap();
    soon("it has its answer", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    drop(guard);
    let run = taken_over(&a, &b, "r").await;
    assert_eq!(run.attempt(), 3);
    drop(far);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(run.status(), RunStatus::Running);
}

/// Who followed it until its pause may still read what it was told.
#[tokio::test(start_paused = true)]
async fn of_those_who_follow_an_answered_run_the_last_one_counts_whoever_was_there_before() {
    let (_nodes, a, b) = two();
    for (nth, through) in [&a, &b].into_iter().enumerate() {
        let id = format!("r{nth}");
        let spec = RunSpec::agent("asks").id(parse_id(&id).unwrap());
        let run = a.service.engine().submit_resumable(spec, asks).unwrap().into_ref();
        run.stored().await.unwrap();
        let follow = async || {
            let found = through.view().find(&id).await.unwrap().unwrap();
            through.service.guard(&found, OnDisconnect::Cancel).until_pause()
        };
        let slow = follow().await;
        run.paused().await.unwrap();
        run.stored().await.unwrap();
        run.resume_durably(Payload::from("yes")).await.unwrap();
        soon("it has its answer", || run.status() == RunStatus::Running).await;
        run.stored().await.unwrap();
        let [one, two] = [follow().await, follow().await];
        drop(one);
        tokio::time::sleep(secs(5)).await;
        assert_eq!(run.status(), RunStatus::Running, "{nth}");
        drop(two);
        within("it is stopped", run.ended()).await;
        assert!(is_left(&run));
        drop(slow);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_decides_first_what_is_owed_to_clients_that_have_left() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let guard = b.service.guard(&b.found("r").await, OnDisconnect::Cancel);
    b.node.trouble(Trouble::All);
    drop(guard);
    b.service.drain();
    let back = async {
        tokio::time::sleep(secs(3)).await;
        b.node.trouble(Trouble::None);
    };
    tokio::join!(b.service.stop_followed(secs(60)), back);
    b.service.engine().shutdown(Shutdown::default()).await;
    within("it is stopped", run.ended()).await;
    assert!(is_left(&run));
}

/// A wait of another node may not see a pause that is answered at once.
#[tokio::test(start_paused = true)]
async fn a_wait_that_goes_on_behind_a_pause_follows_what_comes_until_it_is_over() {
    let (_nodes, a, b) = two();
    for is_over in [false, true] {
        let id = if is_over { "over" } else { "on" };
        let spec = RunSpec::agent("asks").id(parse_id(id).unwrap());
        let run = a.service.engine().submit_resumable(spec, asks).unwrap().into_ref();
        run.stored().await.unwrap();
        let guard = b.service.guard(&b.found(id).await, OnDisconnect::Cancel).until_pause();
        let (guard, waiting) = guard.waiting();
        run.paused().await.unwrap();
        run.resume_durably(Payload::from("yes")).await.unwrap();
        soon("it has its answer", || run.status() == RunStatus::Running).await;
        run.stored().await.unwrap();
        if is_over {
            waiting.over();
            drop(guard);
            tokio::time::sleep(secs(60)).await;
            assert_eq!(run.status(), RunStatus::Running);
        } else {
            drop(guard);
            within("it is stopped", run.ended()).await;
            assert!(is_left(&run));
        }
    }
}
