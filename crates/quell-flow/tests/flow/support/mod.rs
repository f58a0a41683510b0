//! What several tests need: an engine on the paused clock, and bodies with a known course.

mod own_words;
mod plans;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{
    Engine, EngineConfig, Failure, Payload, RunContext, RunHandle, RunRef, RunReport, RunRow,
    RunSpec, testing,
};
use quell_flow::{Parallel, Settled, SkipReason, SkippedStep};
use serde_json::Value;
use tokio::time::{Instant, sleep};

pub(crate) use quell_test_support::{Witness, secs};

pub(crate) use own_words::assert_own_words_stay;
pub(crate) use plans::{Script, run_plan, submit_plan};

/// An engine whose deadlines follow the paused clock of the test.
pub(crate) fn engine() -> Engine {
    Engine::with_config(EngineConfig::new().control_on_runtime())
}

pub(crate) const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Milliseconds of virtual time since an instant: timers of the paused clock round up to one.
pub(crate) fn since(start: Instant) -> Duration {
    millis(u64::try_from(start.elapsed().as_millis()).unwrap())
}

/// The same between two instants of a report.
pub(crate) fn between(from: SystemTime, to: SystemTime) -> Duration {
    let exact = to.duration_since(from).unwrap();
    millis(u64::try_from(exact.as_millis()).unwrap())
}

/// A body that yields a value after a time and does not listen.
pub(crate) async fn value_after<T>(time: Duration, value: T) -> Result<T, Failure> {
    sleep(time).await;
    Ok(value)
}

/// A body that fails after a time and does not listen.
pub(crate) async fn failure_after<T>(time: Duration, words: &'static str) -> Result<T, Failure> {
    sleep(time).await;
    Err(Failure::new(words))
}

/// A body that waits to be stopped and then takes a time to clean up before it ends.
pub(crate) async fn cleanup_for<T>(
    ctx: RunContext,
    time: Duration,
    end: Result<T, Failure>,
) -> Result<T, Failure> {
    ctx.stopped().await;
    sleep(time).await;
    end
}

/// Submits a workflow of one step and yields how the step came out, whatever happened.
pub(crate) fn submit<T: Send + 'static>(
    engine: &Engine,
    step: Parallel<T>,
) -> RunHandle<Result<Settled<T>, Failure>> {
    let body = async move |ctx: RunContext| Ok(step.run(&ctx).await);
    engine.submit(RunSpec::workflow("flow"), body).unwrap()
}

/// How a step came out, the summary in its report, and the report of the whole flow.
pub(crate) struct Ran<T> {
    pub(crate) outcome: Result<Settled<T>, Failure>,
    pub(crate) summary: Value,
    pub(crate) report: Arc<RunReport>,
}

/// Runs a step called `step` in a workflow of its own, and checks the trace.
pub(crate) async fn run<T: Send + 'static>(step: Parallel<T>) -> Ran<T> {
    let engine = engine();
    let run = submit(&engine, step);
    let root = run.run().clone();
    let outcome = run.await.unwrap();
    let report = root.quiescent().await;
    testing::check_trace(&testing::trace(&root).await).unwrap();
    Ran { outcome, summary: summary(&report), report }
}

/// The summary of the step called `step`.
pub(crate) fn summary(report: &RunReport) -> Value {
    let step = row(report, "step");
    json(step.summary.as_ref())
}

/// Finds a run of the tree by its name.
pub(crate) fn find(root: &RunRef, name: &str) -> RunRef {
    let mut stack = vec![root.clone()];
    while let Some(run) = stack.pop() {
        if run.name() == name {
            return run;
        }
        stack.extend(run.children());
    }
    panic!("no run is called {name}");
}

/// The row of the run of that name.
pub(crate) fn row<'a>(report: &'a RunReport, name: &str) -> &'a RunRow {
    report.rows.iter().find(|row| &*row.name == name).expect("the run has a row")
}

/// The steps that were not started according to the row of the run of that name.
pub(crate) fn skipped(report: &RunReport, name: &str) -> Vec<(String, SkipReason)> {
    let steps = SkippedStep::all_of(row(report, name)).into_iter();
    steps.map(|step| (step.name.to_string(), step.reason)).collect()
}

/// What a payload says, as a JSON value.
pub(crate) fn json(payload: Option<&Payload>) -> Value {
    payload.expect("there is a payload").parse().expect("a payload is JSON")
}

/// The branch of that name in a summary.
pub(crate) fn branch<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let branches = summary["branches"].as_array().expect("a summary has branches");
    branches.iter().find(|row| row["name"] == name).expect("the branch has a row")
}
