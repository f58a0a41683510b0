use std::sync::{Arc, Barrier};
use std::thread;

use quell::testing::held;
use quell::{
    CancelRequest, CauseKind, IdempotencyKey, OnBusy, Payload, RunContext, RunFilter, RunId,
    RunKind, RunLimits, RunRef, RunReport, RunSpec, RunStatus, Scope, SubmitError, limits,
};

use crate::support::{Lab, Witness, clerk, config, listener, ms, now, paused, secs, stop, within};

fn in_lane(name: &'static str, on_busy: OnBusy) -> RunSpec {
    RunSpec::agent(name).lane("L", on_busy)
}

/// Submits a run that stays until it is stopped.
fn stay(lab: &Lab, spec: RunSpec) -> RunRef {
    lab.submit(spec, listener).unwrap().into_ref()
}

fn refusal(lab: &Lab, spec: RunSpec) -> SubmitError {
    lab.submit(spec, listener).unwrap_err()
}

/// A run that holds the lane, one behind it, and one that is due later.
fn three(lab: &Lab) -> [RunRef; 3] {
    let later = in_lane("later", OnBusy::Enqueue).not_before(now() + secs(3_600));
    [in_lane("holder", OnBusy::Enqueue), in_lane("behind", OnBusy::Enqueue), later]
        .map(|spec| stay(lab, spec))
}

/// Waits until every run has started that may.
async fn settle() {
    tokio::time::sleep(secs(1)).await;
}

async fn end(what: &str, run: &RunRef) -> Arc<RunReport> {
    within(what, run.quiescent()).await
}

async fn finish(lab: Lab) {
    lab.cancel_where(&RunFilter::new(), CancelRequest::because("over"));
    for run in lab.runs(&RunFilter::new().roots()) {
        end("every run ends", &run).await;
    }
    assert_eq!(held(&lab).admission, 0, "nothing waits, and no lane is held");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_takes_the_place_of_all_that_its_lane_has() {
    let lab = Lab::paused();
    let other = stay(&lab, RunSpec::agent("other").lane("M", OnBusy::Enqueue));
    let witness = Witness::new();
    let inside = witness.clone();
    let holder = lab.submit(in_lane("holder", OnBusy::Enqueue), async move |ctx: RunContext| {
        let _inside = inside.enter();
        ctx.stopped().await;
        tokio::time::sleep(ms(500)).await;
        Ok(())
    });
    let holder = holder.unwrap().into_ref();
    let [behind, _, later] = three(&lab);
    settle().await;
    let before = lab.lane("L");
    assert_eq!((before.len(), &before[0], before.last()), (4, &later, Some(&holder)));
    let inside = witness.clone();
    let new = lab.submit(in_lane("new", OnBusy::CancelExisting), async move |_| {
        let _inside = inside.enter();
        Ok(())
    });
    let new = new.unwrap();
    for run in &before {
        assert!(!matches!(run.status(), RunStatus::Queued | RunStatus::Running), "{run:?}");
    }
    assert_eq!(new.superseded(), before, "the newest first, and that which runs last");
    assert_eq!(lab.lane("L"), [new.run().clone(), holder.clone()]);
    end("the new one runs", new.run()).await;
    assert_eq!((witness.entered(), witness.most()), (2, 1), "no two overlap");
    for run in [&holder, &behind, &later] {
        let report = end("it is stopped", run).await;
        assert_eq!(report.status, RunStatus::Cancelled);
        assert_eq!(report.own_row().started_at.is_some(), run == &holder, "{report:?}");
        let cause = report.cause.as_ref().unwrap();
        assert_eq!((cause.kind, cause.origin), (CauseKind::Superseded, run.id()));
        assert_eq!(cause.message.as_deref(), Some("`new` took its place"));
        assert_eq!(cause.by.as_deref(), Some(&*new.id().to_string()));
    }
    assert_eq!(other.status(), RunStatus::Running, "another lane is another lane");
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_submit_that_is_refused_supersedes_nobody() {
    let queue = RunLimits::new().queued_max(0);
    let lab = Lab::with(config().control_on_runtime().limit(Scope::Kind(RunKind::Team), queue));
    let runs = three(&lab);
    let key = |payload: &str| IdempotencyKey::new("key", [payload]);
    let used = RunId::from_text("used");
    let keyed = RunSpec::agent("keyed").idempotency_key(key("a"));
    let elsewhere = stay(&lab, keyed);
    stay(&lab, RunSpec::agent("used").id(used));
    settle().await;
    let before = (held(&lab), lab.lane("L"));
    let new = || in_lane("new", OnBusy::CancelExisting);
    let large = Payload::from("x".repeat(limits::PAYLOAD_BYTES_MAX + 1));
    let waits = RunSpec::team("new").lane("L", OnBusy::CancelExisting);
    let again = SubmitError::AlreadySubmitted(elsewhere.id());
    let scope = Scope::Kind(RunKind::Team);
    assert_eq!(refusal(&lab, new().id(used)), SubmitError::IdInUse(used));
    assert_eq!(refusal(&lab, new().idempotency_key(key("a"))), again);
    assert_eq!(refusal(&lab, new().idempotency_key(key("b"))), SubmitError::KeyConflict);
    assert!(matches!(refusal(&lab, new().input(large)), SubmitError::TooLarge { .. }));
    assert_eq!(refusal(&lab, waits), SubmitError::QueueFull { scope, max: 0 });
    assert_eq!((held(&lab), lab.lane("L")), before);
    let standing = runs.each_ref().map(RunRef::status);
    assert_eq!(standing, [RunStatus::Running, RunStatus::Queued, RunStatus::Queued]);
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_does_not_take_the_place_of_more_than_the_bound() {
    let lab = Lab::paused();
    let spec = || in_lane("one of many", OnBusy::Enqueue);
    let runs: Vec<_> = (0..=limits::SUPERSEDED_MAX).map(|_| stay(&lab, spec())).collect();
    let newest_first: Vec<_> = runs.iter().rev().cloned().collect();
    assert_eq!(lab.lane("L"), newest_first, "however many they are");
    let new = || in_lane("new", OnBusy::CancelExisting);
    let refused = refusal(&lab, new());
    let max = limits::SUPERSEDED_MAX;
    assert_eq!(refused, SubmitError::LimitReached { what: "runs of a superseded lane", max });
    assert!(runs.iter().all(is_live), "nobody is stopped");
    newest_first[0].cancel(CancelRequest::because("one too many"));
    let new = lab.submit(new(), listener).unwrap();
    assert_eq!(new.superseded(), &newest_first[1..]);
    assert!(!runs.iter().any(is_live));
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_takes_only_the_places_of_those_that_were_there_at_its_mark() {
    let lab = Lab::paused();
    let before = lab.lane_mark();
    let runs = three(&lab);
    let mark = lab.lane_mark();
    stay(&lab, RunSpec::agent("other").lane("M", OnBusy::Enqueue));
    settle().await;
    assert!(before < mark && mark < lab.lane_mark());
    for on_busy in [OnBusy::CancelExisting, OnBusy::JoinExisting, OnBusy::Enqueue] {
        let new = in_lane("new", on_busy).lane_unchanged_since(before);
        assert_eq!(refusal(&lab, new), busy(&runs[0]), "{on_busy:?}");
    }
    assert!(runs.iter().all(is_live));
    let new = in_lane("new", OnBusy::CancelExisting).lane_unchanged_since(mark);
    let new = lab.submit(new, listener).unwrap();
    assert_eq!(new.superseded().len(), 3, "what comes into another lane is no matter");
    for run in &runs {
        end("it is stopped", run).await;
    }
    // Nor is what has come and ended since.
    new.cancel(CancelRequest::because("enough"));
    end("it ends", new.run()).await;
    stay(&lab, in_lane("next", OnBusy::CancelExisting).lane_unchanged_since(mark));
    finish(lab).await;
}

/// The refusal of a run because another one has the lane.
fn busy(run: &RunRef) -> SubmitError {
    SubmitError::LaneBusy { lane: "L".into(), run: run.id() }
}

fn is_live(run: &RunRef) -> bool {
    matches!(run.status(), RunStatus::Queued | RunStatus::Running)
}

#[tokio::test(start_paused = true)]
async fn i36_who_leaves_fills_no_queue_and_holds_no_lane_against_the_new_run() {
    let team = RunLimits::new().queued_max(0);
    let agents = RunLimits::new().running_max(0).queued_max(2);
    let config = config().control_on_runtime();
    let config = config.limit(Scope::Kind(RunKind::Agent), agents);
    let lab = Lab::with(config.limit(Scope::Kind(RunKind::Team), team));
    let (first, second) = (in_lane("a", OnBusy::Enqueue), in_lane("b", OnBusy::Enqueue));
    let (first, second) = (stay(&lab, first), stay(&lab, second));
    assert!(matches!(refusal(&lab, RunSpec::agent("c")), SubmitError::QueueFull { .. }));
    // The queue is full of those who leave it.
    let third = lab.submit(in_lane("c", OnBusy::CancelExisting), listener).unwrap();
    assert_eq!(third.superseded(), [second, first]);
    assert_eq!(third.run().status(), RunStatus::Queued);
    // No team may wait, and this one need not: the holder of the lane waits for a slot itself.
    let urgent = RunSpec::team("t").lane("L", OnBusy::CancelExisting).priority(-1);
    let urgent = lab.submit(urgent, listener).unwrap();
    settle().await;
    assert_eq!(urgent.superseded(), [third.into_ref()]);
    assert_eq!(urgent.run().status(), RunStatus::Running);
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_that_is_due_later_takes_the_place_of_the_others_at_once() {
    let lab = Lab::paused();
    let runs = three(&lab);
    settle().await;
    let later = in_lane("new", OnBusy::CancelExisting).not_before(now() + secs(60));
    let new = lab.submit(later, listener).unwrap();
    assert_eq!(new.superseded().len(), 3);
    for run in &runs {
        end("it is stopped", run).await;
    }
    assert_eq!((new.run().status(), lab.lane("L").len()), (RunStatus::Queued, 1));
    tokio::time::sleep(secs(61)).await;
    assert_eq!(new.run().status(), RunStatus::Running);
    finish(lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i36_of_runs_that_supersede_each_other_at_one_instant_one_is_left_and_no_two_overlap() {
    let (lab, witness) = (Lab::real(), Witness::new());
    for round in 0..200 {
        let barrier = Arc::new(Barrier::new(4));
        let submitters = [(); 4].map(|()| {
            let (engine, witness, barrier) =
                ((*lab).clone(), witness.clone(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                let body = async move |ctx: RunContext| {
                    let _inside = witness.enter();
                    ctx.stopped().await;
                    Ok(())
                };
                engine.submit(in_lane("one of four", OnBusy::CancelExisting), body).unwrap()
            })
        });
        let runs = submitters.map(|thread| thread.join().unwrap());
        let live: Vec<_> = runs.iter().filter(|run| is_live(run.run())).collect();
        assert_eq!(live.len(), 1, "round {round}: {runs:?}");
        // Each but the one that is left has been superseded by one of the others.
        for run in runs.iter().filter(|run| run.id() != live[0].id()) {
            let cause = end("it ends", run.run()).await.cause.clone().unwrap();
            let by = cause.by.as_deref().map(str::to_owned);
            assert_eq!(cause.kind, CauseKind::Superseded);
            assert!(runs.iter().any(|one| Some(one.id().to_string()) == by), "{cause}");
        }
        let last: Vec<_> = runs.iter().filter(|one| is_live(one.run())).collect();
        assert_eq!((last.len(), witness.most() <= 1), (1, true), "round {round}");
    }
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_run_that_joins_is_told_the_newest_that_is_not_stopping() {
    let lab = Lab::paused();
    let join = || in_lane("joins", OnBusy::JoinExisting);
    let stubborn = lab.submit(join(), async |ctx: RunContext| {
        ctx.stopped().await;
        tokio::time::sleep(ms(500)).await;
        Ok(())
    });
    let stubborn = stubborn.unwrap().into_ref();
    settle().await;
    assert_eq!(refusal(&lab, join()), SubmitError::LaneJoined(stubborn.id()));
    let urgent = stay(&lab, in_lane("urgent", OnBusy::Enqueue).priority(1));
    assert_eq!(refusal(&lab, join()), SubmitError::LaneJoined(urgent.id()));
    let later = stay(&lab, in_lane("later", OnBusy::Enqueue).not_before(now() + secs(60)));
    let newest = stay(&lab, in_lane("newest", OnBusy::Enqueue));
    // A run becomes no newer by being due.
    for run in [newest, later, urgent] {
        assert_eq!(refusal(&lab, join()), SubmitError::LaneJoined(run.id()));
        run.cancel(CancelRequest::because("not any more"));
    }
    let before = held(&lab);
    assert_eq!(refusal(&lab, join()), SubmitError::LaneJoined(stubborn.id()));
    assert_eq!(held(&lab), before, "nothing was made");
    stubborn.cancel(CancelRequest::because("enough"));
    let waits = stay(&lab, join());
    assert_eq!((stubborn.status(), waits.status()), (RunStatus::Stopping, RunStatus::Queued));
    settle().await;
    assert_eq!(waits.status(), RunStatus::Running, "it waited for its turn");
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn i36_a_lane_is_busy_with_a_run_that_is_due_later_and_free_when_that_was_stopped() {
    let lab = Lab::paused();
    let later = stay(&lab, in_lane("later", OnBusy::Reject).not_before(now() + secs(60)));
    let again = || in_lane("again", OnBusy::Reject);
    assert_eq!(refusal(&lab, again()), busy(&later));
    let due = again().not_before(now() + secs(30));
    assert_eq!(refusal(&lab, due), busy(&later));
    // It has not the lane yet: who would wait need not.
    let first = stay(&lab, in_lane("first", OnBusy::Enqueue));
    settle().await;
    assert_eq!(first.status(), RunStatus::Running);
    for run in [&first, &later] {
        assert_eq!(refusal(&lab, again()), busy(run), "it is told who holds the lane");
        run.cancel(CancelRequest::because("enough"));
        end("it ends", run).await;
    }
    stay(&lab, again());
    finish(lab).await;
}

#[tokio::test(start_paused = true)]
async fn t6_who_is_stopped_before_it_goes_on_leaves_its_queue_but_not_its_lane() {
    let lab = Lab::paused();
    let run = paused(&lab, clerk().lane("L", OnBusy::Enqueue)).await;
    lab.set_limit(Scope::All, RunLimits::new().running_max(0).queued_max(1));
    run.resume("yes").unwrap();
    assert!(run.queue_position().is_some(), "it waits for a slot");
    let other = || lab.submit(RunSpec::agent("other"), async |_| Ok(()));
    assert!(matches!(other(), Err(SubmitError::QueueFull { max: 1, .. })), "and has the place");
    run.cancel(stop());
    // Its task has had no turn yet.
    assert_eq!(run.status(), RunStatus::Stopping);
    let other = other().unwrap();
    assert_eq!((run.queue_position(), lab.lane("L")), (None, vec![run.clone()]));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    assert!(lab.lane("L").is_empty());
    other.cancel(stop());
    lab.finish().await;
}
