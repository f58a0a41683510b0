//! Plans that run: the tree they become, their outputs, their stops.

use std::sync::Arc;

use quell::{
    CancelRequest, CauseKind, Outcome, RunKind, RunReport, RunSpec, RunStatus, StopMode, testing,
};
use quell_flow::Plan;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// The tree of a report: name, kind and depth in pre-order.
fn tree(report: &RunReport) -> Vec<(&str, RunKind, u32)> {
    report.rows.iter().map(|row| (&*row.name, row.kind, row.depth)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plan_becomes_a_tree_of_runs_and_yields_their_outputs_by_name_in_order() {
    let start = Instant::now();
    let (output, report, script) = run_plan(
        r#"
        name = "tour"
        [[steps]]
        name = "z"
        run = ["say", "hello"]
        [[steps]]
        name = "work"
        parallel = {}
        [[steps.branches]]
        name = "slow"
        run = ["wait", "2000"]
        [[steps.branches]]
        name = "both"
        sequence = [{ name = "b", run = ["say", "1"] }, { name = "a", run = ["wait", "1000"] }]
        [[steps]]
        name = "last"
        [[steps.sequence]]
        name = "inner"
        parallel = {}
        branches = [{ name = "x", run = ["say", "2"] }]
    "#,
    )
    .await;
    let expected = concat!(
        r#"{"z":"hello","work":{"slow":"2000","both":{"b":"1","a":"1000"}},"#,
        r#""last":{"inner":{"x":"2"}}}"#
    );
    assert_eq!(output.unwrap(), expected);
    assert_eq!(since(start), secs(2));
    assert_eq!(
        tree(&report),
        [
            ("tour", RunKind::Workflow, 0),
            ("z", RunKind::Step, 1),
            ("work", RunKind::Step, 1),
            ("slow", RunKind::Branch, 2),
            ("both", RunKind::Branch, 2),
            ("b", RunKind::Step, 3),
            ("a", RunKind::Step, 3),
            ("last", RunKind::Step, 1),
            ("inner", RunKind::Step, 2),
            ("x", RunKind::Branch, 3),
        ]
    );
    assert_eq!(report.output.as_ref().unwrap().as_json(), expected);
    assert_eq!(row(&report, "slow").output.as_ref().unwrap().as_json(), "\"2000\"");
    assert_eq!(json(row(&report, "work").summary.as_ref())["policy"], "all");
    assert_eq!(script.started().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_fails_its_sequences_by_name_and_what_follows_is_not_started() {
    let (output, report, script) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "good"
        run = ["say", "fine"]
        [[steps]]
        name = "outer"
        sequence = [{ name = "inner", run = ["fail", "boom"] }, { name = "n1", run = ["say", "1"] }]
        [[steps]]
        name = "n2"
        run = ["say", "2"]
    "#,
    )
    .await;
    let words = "run `p` failed: step `outer` failed: step `inner` failed: boom";
    assert_eq!(output.unwrap_err(), words);
    assert_eq!(script.started(), ["say fine", "fail boom"]);
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(report.partial.as_ref().unwrap().as_json(), r#"{"good":"fine"}"#);
    assert_eq!(report.rows.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_times_out_fails_its_sequence_after_its_grace() {
    let start = Instant::now();
    let (output, report, script) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "slow"
        run = ["tidy", "500", "half"]
        timeout = "2s"
        grace = "1s"
        [[steps]]
        name = "next"
        run = ["say", "2"]
    "#,
    )
    .await;
    let words = "run `p` failed: step `slow` was stopped (deadline: timeout over)";
    assert_eq!(output.unwrap_err(), words);
    assert_eq!(since(start), millis(2_500));
    assert_eq!(script.started().len(), 1);
    let slow = row(&report, "slow");
    assert_eq!(slow.status, RunStatus::TimedOut);
    assert_eq!(slow.partial.as_ref().unwrap().as_json(), "\"half\"");
}

#[tokio::test(start_paused = true)]
async fn an_idle_step_is_stopped_and_a_deaf_one_is_dropped_at_once() {
    let start = Instant::now();
    let (output, ..) = run_plan(
        r#"
        name = "p"
        steps = [{ name = "s", run = ["half", "x"], idle = "3s" }]
    "#,
    )
    .await;
    assert!(output.unwrap_err().contains("step `s` was stopped (idle-timeout"));
    assert_eq!(since(start), secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_cancelled_keeps_what_is_finished_and_starts_nothing_more() {
    let start = Instant::now();
    let engine = engine();
    let (run, script) = submit_plan(
        &engine,
        r#"
        name = "p"
        [[steps]]
        name = "first"
        run = ["say", "done"]
        [[steps]]
        name = "work"
        parallel = { limit = 2 }
        branches = [
            { name = "a", run = ["wait", "1000"] },
            { name = "b", run = ["tidy", "1500", "partly"] },
            { name = "c", run = ["half", "some"] },
            { name = "d", run = ["say", "never"] },
        ]
        [[steps]]
        name = "last"
        run = ["say", "never"]
    "#,
    );
    sleep(secs(2)).await;
    run.cancel(CancelRequest::because("enough"));
    let root = run.run().clone();
    assert!(matches!(run.outcome().await, Outcome::Stopped { .. }));
    assert_eq!(since(start), millis(3_500));
    assert_eq!(script.started(), ["say done", "wait 1000", "tidy 1500 partly", "half some"]);
    let report = root.quiescent().await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
    assert_eq!(report.partial.as_ref().unwrap().as_json(), r#"{"first":"done"}"#);
    assert_eq!(row(&report, "b").partial.as_ref().unwrap().as_json(), "\"partly\"");
    assert_eq!(row(&report, "c").partial.as_ref().unwrap().as_json(), "\"some\"");
    let summary = json(row(&report, "work").summary.as_ref());
    assert_eq!(branch(&summary, "a")["output"], "1000");
    assert_eq!(branch(&summary, "d")["run"], serde_json::Value::Null);
    for row in &report.rows {
        assert!(row.cleanup_errors.is_empty(), "{row:?}");
    }
    testing::check_trace(&testing::trace(&root).await).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_step_takes_hold_between_two_steps() {
    let start = Instant::now();
    let engine = engine();
    let (run, script) = submit_plan(
        &engine,
        r#"
        name = "p"
        steps = [{ name = "a", run = ["wait", "2000"] }, { name = "b", run = ["wait", "2000"] }]
    "#,
    );
    sleep(secs(1)).await;
    run.cancel(CancelRequest::because("when you can").after_step(None));
    let report = run.ended().await;
    assert_eq!(since(start), secs(2));
    assert_eq!(report.status, RunStatus::Cancelled);
    assert_eq!(report.partial.as_ref().unwrap().as_json(), r#"{"a":"2000"}"#);
    assert_eq!(row(&report, "a").status, RunStatus::Completed);
    assert_eq!(script.started(), ["wait 2000"]);
    assert_eq!(StopMode::AfterStep.as_str(), "after_step");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_and_the_grace_of_a_plan_are_those_of_its_run() {
    let start = Instant::now();
    let (output, report, _) = run_plan(
        r#"
        name = "p"
        timeout = "2s"
        grace = "1s"
        steps = [{ name = "a", run = ["tidy", "5000", "never"] }]
    "#,
    )
    .await;
    assert!(output.is_err());
    assert_eq!(since(start), secs(3));
    assert_eq!(report.status, RunStatus::TimedOut);
    assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Deadline);
    assert_eq!(row(&report, "a").status, RunStatus::Cancelled);
}

/// A parallel step with these options over a slow command, a slow sequence and a quick command.
async fn with_options(options: &str) -> (Result<String, String>, Arc<RunReport>) {
    let (output, report, _) = run_plan(&format!(
        r#"
        name = "p"
        [[steps]]
        name = "s"
        parallel = {{ {options} }}
        [[steps.branches]]
        name = "half"
        run = ["half", "some"]
        timeout = "2s"
        [[steps.branches]]
        name = "returns"
        run = ["tidy", "100", "returned"]
        [[steps.branches]]
        name = "seq"
        sequence = [{{ name = "a", run = ["say", "1"] }}, {{ name = "b", run = ["half", "x"] }}]
        [[steps.branches]]
        name = "par"
        parallel = {{}}
        branches = [{{ name = "a", run = ["say", "2"] }}, {{ name = "b", run = ["half", "x"] }}]
        [[steps.branches]]
        name = "quick"
        run = ["wait", "500"]
    "#
    ))
    .await;
    (output, report)
}

#[tokio::test(start_paused = true)]
async fn branches_of_a_plan_that_time_out_can_hand_over_what_they_have() {
    let start = Instant::now();
    let (output, report) =
        with_options(r#"branch_timeout = "1s", on_branch_timeout = "partial""#).await;
    let expected = concat!(
        r#"{"s":{"half":"some","returns":"returned","seq":{"a":"1"},"par":{"a":"2"},"#,
        r#""quick":"500"}}"#
    );
    assert_eq!(output.unwrap(), expected);
    assert_eq!(since(start), secs(2));
    assert_eq!(row(&report, "half").status, RunStatus::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn branches_of_a_plan_that_time_out_can_be_skipped_or_have_a_default() {
    let (output, _) = with_options(r#"branch_timeout = "1s", on_branch_timeout = "skip""#).await;
    assert_eq!(output.unwrap(), r#"{"s":{"quick":"500"}}"#);
    let word = r#"branch_timeout = "1s", on_branch_timeout = { default = [0] }"#;
    let (output, _) = with_options(word).await;
    let expected = r#"{"s":{"half":[0],"returns":[0],"seq":[0],"par":[0],"quick":"500"}}"#;
    assert_eq!(output.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_a_plan_decides_over_its_branches() {
    let start = Instant::now();
    let (output, report) = with_options(r#"policy = "first_success""#).await;
    assert_eq!(output.unwrap(), r#"{"s":{"quick":"500"}}"#);
    assert_eq!(since(start), millis(600));
    assert_eq!(row(&report, "seq").cause.as_ref().unwrap().kind, CauseKind::RaceLost);
    assert_eq!(row(&report, "seq").partial.as_ref().unwrap().as_json(), r#"{"a":"1"}"#);

    let (output, _) = with_options(r#"branch_timeout = "1s""#).await;
    let error = output.unwrap_err();
    assert!(error.starts_with("run `p` failed: step `s` failed: branch `"), "{error}");
    assert!(error.ends_with("` failed: timed out (deadline: timeout over)"), "{error}");

    let options = r#"policy = "settle", branch_timeout = "1s", branch_grace = "50ms""#;
    let (output, report) = with_options(options).await;
    assert_eq!(output.unwrap(), r#"{"s":{"quick":"500"}}"#);
    assert!(row(&report, "returns").aborted);
}

#[tokio::test(start_paused = true)]
async fn an_output_over_its_bound_fails_the_step() {
    let (output, ..) = run_plan(
        r#"
        name = "p"
        steps = [{ name = "a", run = ["large"] }]
    "#,
    )
    .await;
    let words = "step `a` failed: output has 16777218 bytes; the limit is 16777216";
    assert_eq!(output.unwrap_err(), format!("run `p` failed: {words}"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_runs_as_deep_as_plans_nest() {
    let mut step = r#"{"name": "s", "run": ["say", "deep"]}"#.to_owned();
    for level in 1..quell_flow::limits::PLAN_DEPTH_MAX {
        step = match level % 2 {
            0 => format!(r#"{{"name": "s", "sequence": [{step}]}}"#),
            _ => format!(r#"{{"name": "s", "parallel": {{}}, "branches": [{step}]}}"#),
        };
    }
    let plan = Plan::from_json(&format!(r#"{{"name": "p", "steps": [{step}]}}"#)).unwrap();
    let engine = engine();
    let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, Script::default())).unwrap();
    let root = run.run().clone();
    let output = run.await.unwrap();
    assert!(output.as_json().starts_with(r#"{"s":{"s":{"s":"#));
    assert_eq!(root.ended().await.rows.len(), quell_flow::limits::PLAN_DEPTH_MAX + 1);
}

#[test]
fn the_run_of_a_plan_is_a_workflow_of_its_name() {
    let plan = r#"{"name": "p", "steps": [{"name": "a", "run": ["ls"]}]}"#;
    let spec: RunSpec = Plan::from_json(plan).unwrap().spec();
    assert_eq!((spec.name(), spec.kind()), ("p", RunKind::Workflow));
}

#[tokio::test(start_paused = true)]
async fn a_name_of_several_lines_is_one_line_of_an_error() {
    let name = r"a\n\u001b[2J";
    for step in [
        format!("name = \"{name}\"\nrun = ['fail']"),
        format!("name = 'x'\nsequence = [{{ name = \"{name}\", run = ['fail'] }}]"),
        format!("name = 'x'\nroute = \"'{name}'\"\nroutes = [{{ name = 'y', run = ['z'] }}]"),
        format!("name = 'x'\nroute = 'input'\nroutes = [{{ name = \"{name}\", run = ['z'] }}]"),
    ] {
        let plan = format!("name = 'p'\n[[steps]]\n{step}\n");
        let Ok(read) = Plan::from_toml(&plan) else { continue };
        let error = run_plan(&plan).await.0.unwrap_err();
        assert!(!error.contains(char::is_control), "{read:?}: {error}");
    }
}
