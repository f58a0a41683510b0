//! Cleanup of plans and steps: after a failure, after a stop, and within which time.

use std::future::ready;
use std::sync::{Arc, Mutex};

use quell::{
    CancelRequest, Failure, Outcome, Payload, RunContext, RunRef, RunReport, RunStatus, Work,
    testing,
};
use quell_flow::{CommandStep, Plan, Runner, SkipReason};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// Submits a plan, cancels it after a time, and waits until nothing of it is left.
async fn cancelled_after(ms: u64, toml: &str) -> (Arc<RunReport>, Script) {
    let engine = engine();
    let (run, script) = submit_plan(&engine, toml);
    let root: RunRef = run.run().clone();
    drop(run);
    sleep(millis(ms)).await;
    root.cancel(CancelRequest::because("enough"));
    let report = root.quiescent().await;
    testing::check_trace(&testing::trace(&root).await).unwrap();
    (report, script)
}

const RELEASE: &str = r#"
    name = "release"
    grace = "2s"
    on_failure = [{ name = "tell", run = ["say", "failed: {{ error }}"] }]
    on_stop = [
        { name = "withdraw", run = ["say", "{{ cause.message }}: {{ steps.make.output }}"] },
        { name = "rest", run = ["wait", "500"] },
    ]
    [[steps]]
    name = "make"
    run = ["say", "box 7"]
    [[steps]]
    name = "ship"
    run = ["tidy", "300", "half way"]
    [[steps]]
    name = "bill"
    run = ["say", "bill"]
"#;

#[tokio::test(start_paused = true)]
async fn a_stop_starts_nothing_that_follows_cleans_up_in_its_grace_and_keeps_what_was_finished() {
    let start = Instant::now();
    let (report, script) = cancelled_after(1_000, RELEASE).await;
    assert_eq!(
        script.started(),
        ["say box 7", "tidy 300 half way", "say enough: box 7", "wait 500"]
    );
    assert_eq!(report.status, RunStatus::Cancelled);
    assert_eq!(since(start), millis(1_800), "the step tidies up first, then the plan");
    assert_eq!(json(row(&report, "release").partial.as_ref()), json!({"make": "box 7"}));
    assert_eq!(row(&report, "on_stop").status, RunStatus::Completed);
    assert!(report.quiescent && report.rows.iter().all(|row| &*row.name != "bill"));
    assert_eq!(skipped(&report, "release"), [("bill".into(), SkipReason::Stopped)]);
    assert_eq!(skipped(&report, "on_stop"), []);
}

#[tokio::test(start_paused = true)]
async fn cleanup_ends_at_the_hard_deadline_like_everything_else() {
    let start = Instant::now();
    let plan = RELEASE.replace("\"wait\", \"500\"", "\"wait\", \"60000\"");
    let (report, _) = cancelled_after(1_000, &plan).await;
    assert_eq!(since(start), secs(3));
    assert_eq!(row(&report, "rest").status, RunStatus::Cancelled);
    assert_eq!(report.status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_cleaned_up_and_stays_the_failure() {
    let plan = RELEASE.replace("\"tidy\", \"300\", \"half way\"", "\"fail\", \"no van\"");
    let (output, report, script) = run_plan(&plan).await;
    let error = output.unwrap_err();
    assert!(error.ends_with("step `ship` failed: no van"), "{error}");
    let told = "say failed: step `ship` failed: no van";
    assert_eq!(script.started(), ["say box 7", "fail no van", told]);
    assert_eq!(row(&report, "on_failure").status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn cleanup_that_fails_or_takes_too_long_is_told_beside_the_failure() {
    for (command, words, after) in [
        (r#"["fail", "no ink"]"#, "; cleanup failed: step `tell` failed: no ink", 0),
        (r#"["wait", "9000"]"#, "; cleanup failed: it was stopped (deadline", 2_000),
    ] {
        let start = Instant::now();
        let plan = format!(
            r#"
            name = "p"
            [[steps]]
            name = "a"
            grace = "2s"
            run = ["fail", "no"]
            on_failure = [{{ name = "tell", run = {command} }}]
            "#
        );
        let (output, ..) = run_plan(&plan).await;
        let error = output.unwrap_err();
        assert!(error.contains(&format!("step `a` failed: no{words}")), "{error}");
        assert_eq!(since(start), millis(after));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_failure_is_cleaned_up_lets_the_rest_of_it_run() {
    let plan = r#"
        name = "p"
        grace = "2s"
        steps = [{ name = "a", run = ["fail", "no"] }]
        on_failure = [
            { name = "one", run = ["say", "one"] },
            { name = "two", run = ["wait", "700"] },
            { name = "three", run = ["say", "three {{ steps.one.output }} {{ error }}"] },
        ]
    "#;
    let start = Instant::now();
    let (report, script) = cancelled_after(500, plan).await;
    let three = "say three one step `a` failed: no";
    assert_eq!(script.started(), ["fail no", "say one", "wait 700", "wait 700", three]);
    assert_eq!((since(start), report.status), (millis(1_200), RunStatus::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_has_not_begun_has_nothing_to_clean_up() {
    let plan = r#"
        name = "p"
        [[steps]]
        name = "a"
        run = ["wait", "1000"]
        [[steps]]
        name = "b"
        run = ["say", "b"]
        on_stop = [{ name = "c", run = ["say", "c"] }]
    "#;
    let (_, script) = cancelled_after(500, plan).await;
    assert_eq!(script.started(), ["wait 1000"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_listen_leaves_the_grace_to_its_cleanup() {
    let plan = r#"
        name = "p"
        [[steps]]
        name = "a"
        grace = "1s"
        run = ["half", "x"]
        on_stop = [{ name = "c", run = ["wait", "900"] }]
    "#;
    let start = Instant::now();
    let (report, script) = cancelled_after(500, plan).await;
    assert_eq!(script.started(), ["half x", "wait 900"]);
    assert_eq!(since(start), millis(1_400));
    assert_eq!(json(row(&report, "a").partial.as_ref()), json!("x"));
}

#[tokio::test(start_paused = true)]
async fn cleanup_that_a_command_leaves_no_time_is_said_to_be_skipped() {
    let plan = r#"
        name = "p"
        [[steps]]
        name = "a"
        grace = "1s"
        run = ["tidy", "60000", "x"]
        on_stop = [{ name = "c", run = ["say", "never"] }]
    "#;
    let (report, script) = cancelled_after(500, plan).await;
    assert_eq!(script.started(), ["tidy 60000 x"]);
    assert!(row(&report, "work").aborted, "{report:#?}");
    let over = SkipReason::GraceOver;
    assert_eq!(skipped(&report, "a"), [("c".to_owned(), over)]);
}

/// Gives way at once, and leaves a job that goes on for 300 ms after a stop, or a failure. Other
/// commands than `job` and `broken` only note themselves.
#[derive(Clone, Default)]
struct Jobs(Arc<Mutex<Vec<String>>>);

impl Jobs {
    fn leave(&self, ctx: &RunContext, until: impl Future<Output = ()> + Send + 'static) {
        let (hold, noted) = (ctx.hold(Work::Process, "job").unwrap(), Arc::clone(&self.0));
        tokio::spawn(async move {
            until.await;
            sleep(millis(300)).await;
            noted.lock().unwrap().push("the job has ended".into());
            drop(hold);
        });
    }
}

impl Runner for Jobs {
    async fn run(&self, ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        match step.command[0].as_str() {
            "job" => {
                let own = ctx.clone();
                self.leave(&ctx, async move { drop(own.stopped().await) });
                ctx.stopped().await;
                Ok(Payload::from("given way"))
            }
            "broken" => {
                self.leave(&ctx, ready(()));
                Err(Failure::new("no connection"))
            }
            _ => {
                self.0.lock().unwrap().push(step.command.join(" "));
                Ok(Payload::from("said"))
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cleanup_begins_when_what_the_command_left_has_ended() {
    for (command, status) in [("job", RunStatus::Cancelled), ("broken", RunStatus::Failed)] {
        let engine = engine();
        let plan = format!(
            r#"
            name = "p"
            [[steps]]
            name = "a"
            run = ["{command}"]
            on_stop = [{{ name = "c", run = ["say", "cleanup"] }}]
            on_failure = [{{ name = "c", run = ["say", "cleanup"] }}]
            "#
        );
        let plan = Plan::from_toml(&plan).unwrap();
        let jobs = Jobs::default();
        let runner = jobs.clone();
        let run = engine.submit(plan.spec(), move |ctx| plan.run(ctx, runner)).unwrap();
        if command == "job" {
            sleep(millis(100)).await;
            run.cancel(CancelRequest::because("enough"));
        }
        let report = run.run().quiescent().await;
        assert_eq!(report.status, status);
        assert_eq!(*jobs.0.lock().unwrap(), ["the job has ended", "say cleanup"]);
    }
}

// The hook starts when the body and the children have ended, which took all of the grace: for the
// rest of it nothing may be started.
#[tokio::test(start_paused = true)]
async fn cleanup_that_a_child_leaves_no_time_is_listed_as_skipped() {
    let plan = r#"
        name = "p"
        grace = "1s"
        steps = [{ name = "a", run = ["tidy", "60000", "x"] }, { name = "b", run = ["say", "b"] }]
        on_stop = [{ name = "c", run = ["say", "c"] }, { name = "d", run = ["say", "d"] }]
    "#;
    let (report, script) = cancelled_after(500, plan).await;
    assert_eq!(script.started(), ["tidy 60000 x"]);
    let over = SkipReason::GraceOver;
    let expected = [("b", SkipReason::Stopped), ("c", over), ("d", over)];
    assert_eq!(skipped(&report, "p"), expected.map(|(name, why)| (name.to_owned(), why)));
    assert_eq!(report.own_row().hooks_skipped, 0, "the hook ran, and could start nothing");
}

#[tokio::test(start_paused = true)]
async fn a_branch_cleans_up_alone_when_it_times_out() {
    let (output, report, script) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "s"
        parallel = { branch_timeout = "1s", on_branch_timeout = "skip" }
        [[steps.branches]]
        name = "slow"
        sequence = [{ name = "w", run = ["wait", "5000"] }]
        on_stop = [{ name = "c", run = ["say", "cleaned"] }]
        [[steps.branches]]
        name = "fast"
        run = ["say", "f"]
        on_stop = [{ name = "c", run = ["say", "never"] }]
        "#,
    )
    .await;
    assert_eq!(output.unwrap(), r#"{"s":{"fast":"f"}}"#);
    let started = script.started();
    assert!(started.iter().any(|one| one == "say cleaned"), "{started:?}");
    assert!(!started.iter().any(|one| one == "say never"), "{started:?}");
    assert_eq!(row(&report, "slow").status, RunStatus::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_cleaned_up_after_the_last_attempt_only() {
    let (output, _, script) = run_plan(
        r#"
        name = "p"
        [[steps]]
        name = "a"
        run = ["fail", "no"]
        retry = { attempts = 3, backoff = "1ms" }
        on_failure = [{ name = "c", run = ["say", "c"] }]
        "#,
    )
    .await;
    assert!(output.is_err());
    assert_eq!(script.started(), ["fail no", "fail no", "fail no", "say c"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_cancelled_before_it_starts_runs_no_cleanup() {
    let engine = engine();
    let (run, script) = submit_plan(&engine, RELEASE);
    run.cancel(CancelRequest::because("never mind"));
    assert!(matches!(run.outcome().await, Outcome::Stopped { partial: None, .. }));
    assert!(script.started().is_empty());
}
