//! The events `Skipped`, `Decided` and `Settled` of a parallel step say what its summary says,
//! once, in this order, and nothing is decided after a stop.

use std::sync::{Arc, OnceLock};

use quell::{
    CancelRequest, EventKind, Failure, RunContext, RunEvent, RunId, RunRef, RunReport, Work,
    testing,
};
use quell_flow::{Branch, OnLoser, Parallel, Policy, StartNext};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    cleanup_for, engine, failure_after, millis, row, secs, submit, summary, value_after,
};

/// A branch that is Ok after 1 s, one after 2 s, one that fails after 3 s, and one that takes
/// 300 ms to clean up after its stop, or else ends after 10 s.
fn step(policy: Policy<u32>) -> Parallel<u32> {
    Parallel::new("step")
        .policy(policy)
        .branch("a", async |_| value_after(secs(1), 1).await)
        .branch("b", async |_| value_after(secs(2), 2).await)
        .branch("bad", async |_| failure_after(secs(3), "boom").await)
        .branch("loser", async |ctx: RunContext| {
            if ctx.run_until_stopped(sleep(secs(10))).await.is_err() {
                sleep(millis(300)).await;
            }
            Ok(4)
        })
}

fn policies() -> Vec<Policy<u32>> {
    vec![
        Policy::all(),
        Policy::settle(),
        Policy::first_success(),
        Policy::first_settled(),
        Policy::quorum(2),
        Policy::quorum(4),
        Policy::quorum(0),
        Policy::until(|so_far| so_far.ok == 2),
        Policy::best_effort(millis(2_500), 1),
        Policy::hedge(secs(5)),
    ]
}

/// What the log says of the stages of a run, with what comes with it.
fn stages(trace: &[RunEvent], run: RunId) -> Vec<Value> {
    let own = trace.iter().filter(|event| event.run == run).filter(|event| {
        matches!(event.kind, EventKind::Decided { .. } | EventKind::Settled { .. })
    });
    let told = own.map(|event| serde_json::to_value(event).unwrap());
    told.map(|event| json!({ "event": event["event"], "data": event["data"] })).collect()
}

fn decided(summary: &Value) -> Value {
    let (at, by) = (&summary["decided_at"], &summary["decided_by"]);
    json!({ "event": "decided", "data": { "decided_at": at, "decided_by": by } })
}

fn settled(summary: &Value) -> Value {
    json!({ "event": "settled", "data": { "settled_at": summary["settled_at"] } })
}

/// Waits for the end of a flow, and yields its report and its log, which is checked.
async fn over(flow: &RunRef) -> (Arc<RunReport>, Vec<RunEvent>) {
    let (report, trace) = (flow.quiescent().await, testing::trace(flow).await);
    testing::check_trace(&trace).unwrap();
    (report, trace)
}

/// The place of the first event of a run that is of this kind.
fn place(trace: &[RunEvent], run: RunId, is: fn(&EventKind) -> bool) -> usize {
    trace.iter().position(|event| event.run == run && is(&event.kind)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_step_is_decided_once_and_then_settled_once_as_its_summary_says() {
    let ways = |policy: Policy<u32>| {
        let of =
            |on_loser, start_next| step(policy.clone()).on_loser(on_loser).start_next(start_next);
        let losers = [OnLoser::Cancel, OnLoser::LetFinish, OnLoser::Detach];
        let all =
            losers.map(|loser| [StartNext::Settled, StartNext::Decided].map(|n| of(loser, n)));
        all.into_iter().flatten().collect::<Vec<_>>()
    };
    for policy in policies() {
        for step in ways(policy.clone()) {
            let engine = engine();
            let (report, trace) = over(submit(&engine, step).run()).await;
            let summary = summary(&report);
            assert!(summary["decided_at"].is_string(), "{}", policy.name());
            let expected = [decided(&summary), settled(&summary)];
            assert_eq!(stages(&trace, row(&report, "step").run), expected, "{}", policy.name());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_follows_the_end_that_it_comes_from_and_goes_before_the_stops_of_the_losers() {
    let engine = engine();
    let (report, trace) = over(submit(&engine, step(Policy::first_success())).run()).await;
    let run = |name| row(&report, name).run;
    let decided = place(&trace, run("step"), |kind| matches!(kind, EventKind::Decided { .. }));
    let won = place(&trace, run("a"), |kind| matches!(kind, EventKind::Ended(_)));
    assert!(won < decided);
    for loser in ["b", "bad", "loser"] {
        let stopped = place(&trace, run(loser), |kind| matches!(kind, EventKind::Stopping(_)));
        assert!(decided < stopped, "{loser}");
    }
    let settled = place(&trace, run("step"), |kind| matches!(kind, EventKind::Settled { .. }));
    assert!(place(&trace, run("loser"), |kind| matches!(kind, EventKind::Ended(_))) < settled);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_stopped_before_it_is_decided_is_settled_only() {
    for policy in [Policy::all(), Policy::first_success(), Policy::best_effort(secs(5), 1)] {
        let engine = engine();
        let flow = submit(&engine, step(policy));
        sleep(millis(500)).await;
        flow.cancel(CancelRequest::because("enough"));
        let (report, trace) = over(flow.run()).await;
        let summary = summary(&report);
        assert_eq!(summary["decided_at"], Value::Null);
        assert!(summary["settled_at"].is_string());
        assert_eq!(stages(&trace, row(&report, "step").run), [settled(&summary)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_comes_while_the_policy_is_asked_is_first_and_nothing_is_decided() {
    let (engine, flow) = (engine(), Arc::new(OnceLock::<RunRef>::new()));
    let stops = Arc::clone(&flow);
    let until = Policy::until(move |so_far| {
        let is_enough = so_far.ok == 1;
        if is_enough {
            stops.get().unwrap().cancel(CancelRequest::because("enough"));
        }
        is_enough
    });
    let handle = submit(&engine, step(until));
    flow.set(handle.run().clone()).unwrap();
    let (report, trace) = over(handle.run()).await;
    let summary = summary(&report);
    assert_eq!(summary["decided_at"], Value::Null);
    assert_eq!(stages(&trace, row(&report, "step").run), [settled(&summary)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_the_decision_changes_neither_event() {
    let engine = engine();
    let flow = submit(&engine, step(Policy::first_success()));
    sleep(millis(1_100)).await;
    flow.cancel(CancelRequest::because("enough"));
    let (report, trace) = over(flow.run()).await;
    let (summary, step) = (summary(&report), row(&report, "step").run);
    assert_eq!(stages(&trace, step), [decided(&summary), settled(&summary)]);
    let decided = place(&trace, step, |kind| matches!(kind, EventKind::Decided { .. }));
    let stopped = place(&trace, step, |kind| matches!(kind, EventKind::Stopping(_)));
    let settled = place(&trace, step, |kind| matches!(kind, EventKind::Settled { .. }));
    assert!(decided < stopped && stopped < settled);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_dropped_before_its_branches_end_is_not_settled() {
    let engine = engine();
    let step = Parallel::new("step").branch("stuck", async |ctx: RunContext| {
        let hold = ctx.hold(Work::Process, "stuck")?;
        tokio::spawn(async move {
            sleep(secs(100)).await;
            drop(hold);
        });
        cleanup_for::<u32>(ctx, secs(60), Err(Failure::new("late"))).await
    });
    let flow = submit(&engine, step);
    sleep(secs(1)).await;
    flow.cancel(CancelRequest::because("now").grace(secs(2)));
    let (report, trace) = over(flow.run()).await;
    assert_eq!(summary(&report)["settled_at"], Value::Null);
    assert_eq!(stages(&trace, row(&report, "step").run), Vec::<Value>::new());
    assert_eq!(row(&report, "step").late_output, 0);
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_has_to_leave_out_rows_is_settled_once() {
    let bytes = quell::limits::FAILURE_BYTES_MAX;
    let branches = quell::limits::PAYLOAD_BYTES_MAX / bytes + 1;
    let bodies = (0..branches).map(|n| {
        let body = async move |_| match n {
            0 => Ok(1),
            _ => Err(Failure::new("x".repeat(bytes))),
        };
        (n.to_string(), body)
    });
    let step = Parallel::new("step").policy(Policy::settle()).branches(bodies);
    let engine = engine();
    let (report, trace) = over(submit(&engine, step).run()).await;
    let summary = summary(&report);
    assert_eq!(summary["branches_omitted"], branches);
    let expected = [decided(&summary), settled(&summary)];
    assert_eq!(stages(&trace, row(&report, "step").run), expected);
}

#[tokio::test(start_paused = true)]
async fn a_branch_whose_need_is_not_met_is_skipped_once_before_the_decision() {
    let never = |name: &str, need: &str| {
        Branch::new(name, async |_| value_after(secs(1), 9).await).needs([need])
    };
    let step = Parallel::new("step")
        .policy(Policy::settle())
        .branch("bad", async |_| failure_after(secs(1), "boom").await)
        .with_branch(never("next", "bad"))
        .with_branch(never("last", "next"))
        .branch("long", async |_| value_after(secs(2), 2).await);
    let engine = engine();
    let (report, trace) = over(submit(&engine, step).run()).await;
    let (mut skipped, mut decided) = (Vec::new(), false);
    for event in &trace {
        match &event.kind {
            EventKind::Skipped { name, unmet } => {
                assert!(!decided && event.run == row(&report, "step").run, "{event:?}");
                skipped.push((name.to_string(), unmet.to_string()));
            }
            EventKind::Decided { .. } => decided = true,
            _ => {}
        }
    }
    let pair = |name: &str, unmet: &str| (name.to_owned(), unmet.to_owned());
    assert_eq!(skipped, [pair("next", "bad"), pair("last", "next")]);
    assert!(decided);
}
