//! I24, T13: what a run has used, and what has ended below it, counts on in a later process.

use std::future::pending;
use std::sync::Arc;

use quell::store::{MemoryStore, RunRecord, Store};
use quell::{
    Budget, CauseKind, Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunId,
    RunReport, RunRow, RunSpec, RunStatus, Shutdown, Usage,
};

use crate::support::{Reopened, Valve, clerk, durable, within};

const USED: Usage = Usage { input_tokens: 12, output_tokens: 3, cost_micros: 40 };

fn times(times: u64) -> Usage {
    let Usage { input_tokens, output_tokens, cost_micros } = USED;
    Usage {
        input_tokens: input_tokens * times,
        output_tokens: output_tokens * times,
        cost_micros: cost_micros * times,
    }
}

/// Has a step use something, and one below it leave an output.
async fn works(ctx: &RunContext, name: &'static str) -> Result<(), Failure> {
    let step = ctx.spawn(RunSpec::step(name), async |ctx: RunContext| {
        ctx.usage(USED);
        let below = ctx.spawn(RunSpec::step("below"), async |ctx: RunContext| {
            let _ = ctx.set_output("done".into());
            Ok(())
        });
        Ok(below.await?)
    });
    Ok(step.await?)
}

/// Works, asks, and works again.
async fn asks(ctx: RunContext) -> Result<(), Failure> {
    if ctx.resumed_with().is_none() {
        works(&ctx, "first").await?;
        return Err(ctx.pause("go on?"));
    }
    works(&ctx, "second").await
}

fn goes_on(_: &RunRecord) -> Recovery {
    Recovery::resumable(clerk(), asks)
}

fn within_budget(most: u64) -> RunSpec {
    clerk().budget(Budget::new().input_tokens(most * 12))
}

fn rows(report: &RunReport) -> Vec<(&str, u32, Usage)> {
    report.rows.iter().map(|row| (&*row.name, row.depth, row.usage)).collect()
}

/// A run, with its parent, status, quiescence and output.
type Known = (RunId, Option<RunId>, RunStatus, bool, Option<Payload>);

/// What a report says of each run below the root, but for instants, which the store rounds.
fn known(report: &RunReport) -> Vec<Known> {
    let of = |row: &RunRow| (row.run, row.parent, row.status, row.quiescent, row.output.clone());
    report.rows[1..].iter().map(of).collect()
}

/// Checks two restarts of a run that is paused, with the store of each process.
async fn check_restarts(mut place: Reopened) {
    let engine = |store| Engine::with_config(EngineConfig::new().store(store));
    let store = place.open();
    let first = engine(Arc::clone(&store));
    let run = first.submit_resumable(clerk(), asks).unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    let before = run.report();
    first.shutdown(Shutdown::default()).await;
    drop((run, first));
    place.close(&store).await;
    let two = [("clerk", 0, times(1)), ("first", 1, times(1)), ("below", 2, times(0))];
    assert_eq!(rows(&before), two);
    for _ in 0..2 {
        let store = place.open();
        let next = engine(Arc::clone(&store));
        let run = next.recover(goes_on).await.unwrap().paused.remove(0);
        assert_eq!(known(&run.report()), known(&before));
        assert_eq!(rows(&run.report()), two);
        drop(run);
        next.shutdown(Shutdown::default()).await;
        place.close(&store).await;
    }
    let last = engine(place.open());
    let run = last.recover(goes_on).await.unwrap().paused.remove(0);
    run.resume("yes").unwrap();
    let report = within("it ends", run.ended()).await;
    let all = [("clerk", 0, times(2)), two[1], two[2], ("second", 1, times(1)), two[2]];
    assert_eq!((report.status, rows(&report)), (RunStatus::Completed, all.to_vec()));
    run.stored().await.unwrap();
    let stored = last.stored_run(run.id()).await.unwrap().unwrap().report.unwrap();
    assert_eq!(rows(&stored), all);
    drop(run);
    last.shutdown(Shutdown::default()).await;
}

#[tokio::test]
async fn i24_a_paused_run_keeps_usage_and_rows_over_restarts_in_memory() {
    check_restarts(Reopened::in_memory()).await;
}

#[tokio::test]
async fn i24_a_paused_run_keeps_usage_and_rows_over_restarts_in_a_file() {
    check_restarts(Reopened::in_a_file("earlier")).await;
}

#[tokio::test]
async fn t13_what_lost_attempts_have_used_counts_in_reports_and_for_the_budget() {
    for (fails, most) in [(true, 0), (false, 0), (false, 2)] {
        let store = Arc::new(MemoryStore::new());
        let before = durable(&Valve::reopened(&store, 1));
        let body = async |ctx: RunContext| {
            works(&ctx, "first").await?;
            pending::<Result<(), Failure>>().await
        };
        let run = before.submit(clerk(), body).unwrap().into_ref();
        while run.report().rows.len() < 3 || !run.report().rows[1].status.is_terminal() {
            tokio::task::yield_now().await;
        }
        run.stored().await.unwrap();
        let _: &'static mut Engine = Box::leak(Box::new(before));
        let after = durable(&Valve::reopened(&store, 2));
        let recovered = after.recover(move |_| {
            if fails {
                return Recovery::Fail;
            }
            Recovery::resume(within_budget(most), async |ctx: RunContext| {
                works(&ctx, "second").await?;
                works(&ctx, "third").await
            })
        });
        for run in recovered.await.unwrap().resumed {
            let report = within("it ends", run.ended()).await;
            let cause = report.cause.as_ref().map(|cause| cause.kind);
            assert_eq!(cause, Some(CauseKind::BudgetExceeded), "{most}: {report}");
            run.stored().await.unwrap();
        }
        let report = store.get(run.id()).await.unwrap().unwrap().report.unwrap();
        // With a bound that was exceeded already it did nothing more.
        let own = if most == 0 { times(1) } else { times(3) };
        assert_eq!(rows(&report)[..2], [("clerk", 0, own), ("first", 1, times(1))]);
    }
}
