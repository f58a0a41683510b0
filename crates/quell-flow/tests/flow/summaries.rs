//! [`StepSummary`] reads back the rows that a report has of branches which are over in an unusual
//! way: abandoned, detached, omitted.

use quell::{Abandoned, Failure, RunContext, RunReport, RunStatus, Work, testing};
use quell_flow::{CountedAs, OnLoser, OnTimeout, Parallel, Policy, StepSummary};
use tokio::time::sleep;

use crate::support::{Ran, engine, row, run, secs, submit, value_after};

/// What the report says of the step called `step`, checked to say the same as its text.
fn read(report: &RunReport) -> StepSummary {
    let row = row(report, "step");
    let read = StepSummary::of(row).unwrap();
    let text: serde_json::Value = row.summary.as_ref().unwrap().parse().unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), text);
    read
}

#[tokio::test(start_paused = true)]
async fn what_a_branch_abandoned_is_read_with_its_run_its_name_and_its_sort() {
    let engine = engine();
    let step = Parallel::new("step")
        .branch_timeout(secs(1))
        .branch_grace(secs(1))
        .on_branch_timeout(OnTimeout::Skip)
        .branch("tidy", async |_| Ok(1))
        .branch("stuck", async |ctx: RunContext| {
            let holds = [ctx.hold(Work::Process, "make")?, ctx.hold(Work::Blocking, "sum")?];
            tokio::spawn(async move {
                sleep(secs(60)).await;
                drop(holds);
            });
            value_after(secs(60), 2).await
        });
    let flow = submit(&engine, step);
    let report = flow.run().ended().await;
    let step = read(&report);
    let stuck = step.row("stuck").unwrap();
    let of = |what, name: &str| Abandoned::new(stuck.run.unwrap(), name.into(), what);
    assert_eq!(stuck.abandoned, [of(Work::Process, "make"), of(Work::Blocking, "sum")]);
    assert_eq!((stuck.status, stuck.counted_as), (RunStatus::TimedOut, CountedAs::Skipped));
    assert_eq!(step.row("tidy").unwrap().abandoned, []);
    assert_eq!(step.settled_at, stuck.ended_at, "a branch that ended non-quiescent has ended");
    flow.run().quiescent().await;
    testing::check_trace(&testing::trace(flow.run()).await).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_was_detached_is_read_as_it_stood_at_the_decision() {
    let engine = engine();
    let step = Parallel::new("step")
        .policy(Policy::first_success())
        .on_loser(OnLoser::Detach)
        .branch("first", async |_| value_after(secs(1), 1).await)
        .branch("loser", async |_| value_after(secs(4), 2).await);
    let flow = submit(&engine, step);
    let report = flow.run().ended().await;
    let step = read(&report);
    let left = step.row("loser").unwrap();
    assert_eq!((left.status, left.counted_as), (RunStatus::Running, CountedAs::Ignored));
    assert_eq!((left.detached, left.ended_at), (true, None));
    assert_eq!((step.decided_by.as_deref(), step.settled_at), (Some("first"), step.decided_at));
    let first = step.row("first").unwrap();
    assert_eq!((first.detached, first.ended_at), (false, step.decided_at));
    let loser = engine.get(left.run.unwrap()).unwrap();
    assert_eq!(loser.ended().await.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_over_the_bound_of_a_summary_are_counted() {
    // Errors, unlike values, are in the summary until it leaves out its rows.
    let bytes = quell::limits::FAILURE_BYTES_MAX;
    let branches = quell::limits::PAYLOAD_BYTES_MAX / bytes + 1;
    let bodies = (0..branches).map(|n| {
        let body = async move |_| Err::<u32, _>(Failure::new("x".repeat(bytes)));
        (n.to_string(), body)
    });
    let step = Parallel::new("step").policy(Policy::settle()).branches(bodies);
    let Ran { report, outcome, .. } = run(step).await;
    let step = read(&report);
    assert_eq!((step.branches.len(), step.branches_omitted), (0, branches));
    assert_eq!(outcome.unwrap().rows.len(), branches, "the caller gets all of them");
    assert_eq!(&*step.policy, "settle");
    assert!(step.decided_at.is_some() && step.settled_at.is_some());
    assert_eq!(step.row("0"), None);
}
