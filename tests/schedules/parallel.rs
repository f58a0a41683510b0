//! The parallel step: its policies against stops from outside and from within.

use std::sync::{Arc, Mutex};

use quell::{Disposition, Engine, Failure, Outcome, RunContext, RunHandle, RunRef, RunSpec};
use quell_flow::{CountedAs, OnCancelled, OnLoser, Parallel, Policy, Settled, StartNext};
use shuttle::future::{block_on, yield_now};

use crate::play::{
    assert_nothing_held, because, checked_log, draw, engine, pause, play, shut_down,
};
use crate::witness::Witness;

/// Submits a flow of one step, and yields how the step came out, whatever happened. The witness of
/// the branches is asked for quiet when the step is settled.
fn submit(
    engine: &Engine,
    flow: &Arc<Witness>,
    branches: Option<&Arc<Witness>>,
    step: Parallel<u32>,
) -> RunHandle<Result<Settled<u32>, Failure>> {
    let (flow, branches) = (Arc::clone(flow), branches.map(Arc::clone));
    let run = engine.submit(RunSpec::workflow("flow"), async move |ctx: RunContext| {
        let here = flow.enter(&ctx);
        let settled = step.run(&ctx).await;
        if let Some(branches) = branches {
            branches.seal();
        }
        here.step();
        Ok(settled)
    });
    run.unwrap()
}

/// A branch that takes a few turns and yields its number.
async fn value(ctx: RunContext, branches: Arc<Witness>, number: u32) -> Result<u32, Failure> {
    let here = branches.enter(&ctx);
    for _ in 0..draw(4) {
        yield_now().await;
        here.step();
    }
    Ok(number)
}

/// One that fails.
async fn failure(ctx: RunContext, branches: Arc<Witness>) -> Result<u32, Failure> {
    value(ctx, branches, 0).await?;
    Err(Failure::new("drawn"))
}

/// One that ends when it is stopped, with a child of its own that does the same.
async fn listener(ctx: RunContext, branches: Arc<Witness>) -> Result<u32, Failure> {
    let here = branches.enter(&ctx);
    let child = ctx.spawn(RunSpec::step("below"), {
        let branches = Arc::clone(&branches);
        async move |ctx: RunContext| {
            let here = branches.enter(&ctx);
            ctx.stopped().await;
            here.step();
            Ok(())
        }
    });
    ctx.stopped().await;
    here.step();
    child.into_ref().ended().await;
    Err(ctx.checkpoint().expect_err("it was stopped").into())
}

/// Waits for the flow, and holds the witnesses to the log of its tree.
fn end(
    engine: &Engine,
    run: RunHandle<Result<Settled<u32>, Failure>>,
    witnesses: [&Arc<Witness>; 2],
) -> (RunRef, Option<Result<Settled<u32>, Failure>>) {
    let root = run.run().clone();
    let outcome = match block_on(run.outcome()) {
        Outcome::Completed(outcome) => Some(outcome),
        Outcome::Stopped { .. } => None,
        Outcome::Failed(error) => panic!("{error}"),
    };
    block_on(root.quiescent());
    for witness in witnesses {
        witness.seal();
    }
    let log = checked_log(&root);
    shut_down(engine);
    for witness in witnesses {
        witness.agree_with([&*log]);
    }
    (root, outcome)
}

#[test]
fn i1_i28_all_or_the_first_failure_against_a_cancel_of_the_flow() {
    play("all against failure against cancel", 2, |seen| {
        let (engine, flow, branches) = (engine(), Witness::new(), Witness::new());
        let own = || Arc::clone(&branches);
        let (a, b, c) = (own(), own(), own());
        let step = Parallel::new("all")
            .branch("value", move |ctx| value(ctx, a, 1))
            .branch("failure", move |ctx| failure(ctx, b))
            .branch("listener", move |ctx| listener(ctx, c));
        let run = submit(&engine, &flow, Some(&branches), step);
        pause(400);
        let answer = run.cancel(because("outside"));
        let (_, outcome) = end(&engine, run, [&flow, &branches]);
        let was_stopped = matches!(answer, Disposition::Accepted { .. });
        assert_eq!(outcome.is_none(), was_stopped, "{answer:?}: {outcome:?}");
        if let Some(outcome) = outcome {
            let failure = outcome.expect_err("a branch fails always");
            assert!(failure.stopped().is_none(), "nobody stopped it: {failure}");
        }
        seen.note(usize::from(was_stopped));
    });
}

#[test]
fn i27_a_quorum_with_a_limit_against_a_cancel_of_a_branch_keeps_both() {
    play("quorum with a limit against cancel of a branch", 3, |seen| {
        let (engine, flow, branches) = (engine(), Witness::new(), Witness::new());
        let step = (0..5).fold(Parallel::new("quorum"), |step, number| {
            let branches = Arc::clone(&branches);
            step.branch(format!("{number}"), move |ctx| value(ctx, branches, number))
        });
        let step = step.policy(Policy::quorum(3)).limit(2).on_branch_cancelled(OnCancelled::Skip);
        let run = submit(&engine, &flow, Some(&branches), step);
        let root = run.run().clone();
        pause(400);
        let step = root.children().into_iter().next();
        let branch = step.and_then(|step| {
            let branches = step.children();
            branches.get(draw(3) as usize).cloned()
        });
        let answer = branch.as_ref().map(|branch| branch.cancel(because("this one")));
        let (_, outcome) = end(&engine, run, [&flow, &branches]);
        assert!(branches.most() <= 2, "{} at once", branches.most());
        let settled = outcome.expect("nobody stopped the flow").expect("three of four are enough");
        let values = settled.values.iter().flatten().count();
        assert_eq!(values, 3, "{settled:?}");
        for (number, (value, row)) in (0..).zip(settled.values.iter().zip(&*settled.rows)) {
            assert_eq!(value.is_some(), row.counted_as == CountedAs::Ok, "{settled:?}");
            assert!(value.is_none_or(|value| value == number), "{settled:?}");
            assert_ne!(row.counted_as, CountedAs::Pending, "{settled:?}");
        }
        seen.note(match answer {
            None => 0,
            Some(Disposition::Accepted { .. }) => {
                let branch = branch.expect("it was cancelled");
                let row = settled.rows.iter().find(|row| row.run == Some(branch.id())).unwrap();
                assert_ne!(row.counted_as, CountedAs::Ok, "{settled:?}");
                1
            }
            Some(_) => 2,
        });
    });
}

#[test]
fn i25_i28_the_first_success_lets_go_of_the_losers_against_a_cancel_of_the_flow() {
    play("first success and detach against cancel", 3, |seen| {
        let (engine, flow, branches) = (engine(), Witness::new(), Witness::new());
        let own = || Arc::clone(&branches);
        let (a, b, c) = (own(), own(), own());
        let begun = Arc::new(Mutex::new(Vec::new()));
        let tell = |ctx: &RunContext, begun: &Mutex<Vec<RunRef>>| {
            begun.lock().unwrap().push(ctx.run().clone());
        };
        let (first, second) = (Arc::clone(&begun), Arc::clone(&begun));
        let step = Parallel::new("race")
            .policy(Policy::first_success())
            .on_loser(OnLoser::Detach)
            .start_next(StartNext::Decided)
            .branch("value", move |ctx| value(ctx, a, 1))
            .branch("failure", async move |ctx: RunContext| {
                tell(&ctx, &first);
                failure(ctx, b).await
            })
            .branch("loser", async move |ctx: RunContext| {
                tell(&ctx, &second);
                listener(ctx, c).await
            });
        let run = submit(&engine, &flow, None, step);
        let root = run.run().clone();
        pause(400);
        let answer = root.cancel(because("outside"));
        let outcome = block_on(run.outcome());
        block_on(root.quiescent());
        flow.seal();
        let mut logs = vec![checked_log(&root)];
        let mut left = std::mem::take(&mut *begun.lock().unwrap());
        left.retain(|branch| branch.parent().is_none());
        let is_left = |name: &str| left.iter().any(|branch| branch.name() == name);
        match &outcome {
            Outcome::Completed(settled) => {
                let settled = settled.as_ref().expect("one branch yields a value");
                assert_eq!(settled.values, [Some(1), None, None]);
                for name in ["failure", "loser"] {
                    assert_eq!(settled.row(name).unwrap().detached, is_left(name), "{settled:?}");
                }
                seen.note(0);
            }
            Outcome::Stopped { .. } => {
                assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
                seen.note(if left.is_empty() { 2 } else { 1 });
            }
            Outcome::Failed(error) => panic!("{error}"),
        }
        shut_down(&engine);
        assert_nothing_held(&engine);
        branches.seal();
        logs.extend(left.iter().map(checked_log));
        flow.agree_with(logs.iter().map(Vec::as_slice));
        branches.agree_with(logs.iter().map(Vec::as_slice));
    });
}
