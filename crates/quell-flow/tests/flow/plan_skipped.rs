//! Steps that were not started are in the report, with the reason.

use quell::{CancelRequest, RunStatus};
use quell_flow::{SkipReason, StepSummary};
use tokio::time::sleep;

use crate::support::*;

/// Makes what `skipped` yields.
fn all<const N: usize>(reason: SkipReason, names: [&str; N]) -> Vec<(String, SkipReason)> {
    names.map(|name| (name.to_owned(), reason)).into()
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_failure_is_skipped_in_every_list_around() {
    let (output, report, _) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "list"
        sequence = [
            { name = "a", run = ["say", "a"] },
            { name = "b", run = ["fail", "no"] },
            { name = "c", run = ["say", "c"] },
        ]
        [[steps]]
        name = "d"
        run = ["say", "d"]
        [[steps]]
        name = "e"
        run = ["say", "e"]
        "#,
    )
    .await;
    assert!(output.is_err());
    let failed = SkipReason::StepFailed;
    assert_eq!(skipped(&report, "list"), all(failed, ["c"]));
    assert_eq!(skipped(&report, "p"), all(failed, ["d", "e"]));
    let text = serde_json::to_value(&report.own_row().summary).unwrap();
    assert_eq!(text["skipped"][1], serde_json::json!({ "name": "e", "reason": "step-failed" }));
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_stop_is_skipped_even_if_the_body_is_dropped() {
    let plan = r#"
        name = "p"
        grace = "1s"
        steps = [
            { name = "a", run = ["say", "a"] },
            { name = "b", run = ["tidy", "TIME", "b"] },
            { name = "c", run = ["say", "c"] },
        ]
    "#;
    for time in ["10", "60000"] {
        let engine = engine();
        let (run, _) = submit_plan(&engine, &plan.replace("TIME", time));
        let root = run.run().clone();
        sleep(secs(1)).await;
        root.cancel(CancelRequest::because("enough"));
        let report = root.quiescent().await;
        assert_eq!(report.status, RunStatus::Cancelled);
        assert_eq!(skipped(&report, "p"), all(SkipReason::Stopped, ["c"]), "{time}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_condition_or_a_route_leaves_out_is_skipped() {
    let plan = r#"
        name = "p"
        [[steps]]
        name = "i"
        if = "CONDITION"
        then = [{ name = "a", run = ["say", "a"] }, { name = "b", run = ["say", "b"] }]
        else = [{ name = "c", run = ["fail", "no"] }, { name = "d", run = ["say", "d"] }]
        [[steps]]
        name = "r"
        route = "'f'"
        routes = [{ name = "e", run = ["say", "e"] }, { name = "f", run = ["say", "f"] }]
    "#;
    let (output, report, _) = run_plan(&plan.replace("CONDITION", "1 == 1")).await;
    assert!(output.is_ok(), "{output:?}");
    assert_eq!(skipped(&report, "i"), all(SkipReason::ConditionTrue, ["c", "d"]));
    assert_eq!(skipped(&report, "r"), all(SkipReason::OtherRoute, ["e"]));
    assert_eq!(skipped(&report, "p"), []);
    let (_, report, _) = run_plan(&plan.replace("CONDITION", "1 == 2")).await;
    let mut both = all(SkipReason::ConditionFalse, ["a", "b"]);
    both.extend(all(SkipReason::StepFailed, ["d"]));
    assert_eq!(skipped(&report, "i"), both);
    assert_eq!(skipped(&report, "p"), all(SkipReason::StepFailed, ["r"]));
}

#[tokio::test(start_paused = true)]
async fn a_parallel_step_whose_cleanup_had_no_time_keeps_its_branches_in_the_summary() {
    let engine = engine();
    let (run, _) = submit_plan(
        &engine,
        r#"
        name = "p"
        [[steps]]
        name = "s"
        grace = "1s"
        parallel = {}
        branches = [{ name = "a", run = ["tidy", "60000", "a"] }]
        on_stop = [{ name = "c", run = ["say", "c"] }]
        "#,
    );
    let root = run.run().clone();
    sleep(secs(1)).await;
    root.cancel(CancelRequest::because("enough"));
    let report = root.quiescent().await;
    assert_eq!(skipped(&report, "s"), all(SkipReason::GraceOver, ["c"]));
    let summary = StepSummary::of(row(&report, "s")).unwrap();
    assert_eq!(summary.row("a").unwrap().status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn cleanup_after_a_stop_that_did_not_come_is_not_listed() {
    let plan = r#"
        name = "p"
        on_stop = [{ name = "c", run = ["say", "c"] }]
        [[steps]]
        name = "s"
        parallel = { policy = "first_success", start_next = "decided", on_loser = "let_finish" }
        branches = [
            { name = "fast", run = ["say", "f"] },
            { name = "slow", run = ["wait", "1000"] },
        ]
        [[steps]]
        name = "a"
        run = COMMAND
        on_stop = [{ name = "d", run = ["say", "d"] }]
    "#;
    for command in [r#"["say", "a"]"#, r#"["fail", "no"]"#] {
        let (_, report, _) = run_plan(&plan.replace("COMMAND", command)).await;
        assert_eq!(skipped(&report, "p"), []);
        assert_eq!(skipped(&report, "a"), []);
    }
}
