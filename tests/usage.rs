use std::sync::{Arc, Mutex};

use quell::testing::trace;
use quell::{
    Budget, CancelRequest, CauseKind, EventKind, RunContext, RunId, RunRef, RunReport, RunRow,
    RunSpec, RunStatus, Usage, Written,
};

use crate::support::{
    Gate, Lab, Witness, chain, config, listener, ms, naive, secs, seeds, soon, within,
};

const fn tokens(input: u64, output: u64) -> Usage {
    Usage { input_tokens: input, output_tokens: output, cost_micros: 0 }
}

const fn cost(micros: u64) -> Usage {
    Usage { input_tokens: 0, output_tokens: 0, cost_micros: micros }
}

fn row<'a>(report: &'a RunReport, name: &str) -> &'a RunRow {
    report.rows.iter().find(|row| &*row.name == name).expect("the run has a row")
}

fn why(row: &RunRow) -> (RunStatus, CauseKind, RunId, &str) {
    let cause = row.cause.as_ref().expect("it was stopped");
    (row.status, cause.kind, cause.origin, cause.message.as_deref().unwrap_or_default())
}

/// Each row has the sum of its subtree, which is what the log says.
async fn check_sums(root: &RunRef) {
    let report = root.report();
    let mut told = vec![Usage::default(); report.rows.len()];
    let place = |run: RunId| report.rows.iter().position(|row| row.run == run);
    for event in trace(root).await {
        let EventKind::Used(used) = event.kind else { continue };
        let mut next = place(event.run);
        while let Some(place_of) = next {
            told[place_of].add(used);
            next = report.rows[place_of].parent.and_then(place);
        }
    }
    for (row, told) in report.rows.iter().zip(told) {
        assert_eq!(row.usage, told, "{}", row.name);
    }
}

#[tokio::test(start_paused = true)]
async fn usage_adds_up_the_tree_exactly_and_other_runs_show_none() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("root"), async |ctx| {
            let left = ctx.spawn(RunSpec::step("left"), async |ctx| {
                ctx.usage(tokens(100, 10));
                let leaf = ctx.spawn(RunSpec::agent("leaf"), async |ctx| {
                    ctx.usage(cost(7));
                    ctx.usage(tokens(1, 1));
                    Ok(())
                });
                Ok(leaf.await?)
            });
            let right = ctx.spawn(RunSpec::step("right"), async |_| Ok(()));
            left.await?;
            right.await?;
            assert_eq!(ctx.usage(tokens(0, 5)), Written::Recorded);
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    let sum = |name| row(&report, name).usage;
    assert_eq!(sum("leaf"), Usage { input_tokens: 1, output_tokens: 1, cost_micros: 7 });
    assert_eq!(sum("left"), Usage { input_tokens: 101, output_tokens: 11, cost_micros: 7 });
    assert_eq!(sum("root"), Usage { input_tokens: 101, output_tokens: 16, cost_micros: 7 });
    assert!(sum("right").is_zero());
    check_sums(run.run()).await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i5_beyond_its_budget_the_run_that_declared_it_is_stopped_and_nobody_else() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::workflow("root"), async |ctx| {
            let other = ctx.spawn(RunSpec::step("other"), async |_| {
                tokio::time::sleep(secs(9)).await;
                Ok(())
            });
            let team = RunSpec::team("team").budget(Budget::new().tokens(100));
            let team = ctx.spawn(team, async |ctx| {
                let spender = ctx.spawn(RunSpec::agent("spender"), async |ctx| {
                    ctx.usage(tokens(60, 40));
                    assert!(ctx.checkpoint().is_ok(), "as much as the budget is within it");
                    tokio::time::sleep(secs(1)).await;
                    ctx.usage(tokens(1, 0));
                    assert!(ctx.checkpoint().is_err(), "the stop is there when the call returns");
                    ctx.usage(tokens(0, 2));
                    Ok(())
                });
                let sibling = ctx.spawn(RunSpec::agent("sibling"), listener);
                spender.await?;
                Ok(sibling.await?)
            });
            assert_eq!(team.outcome().await.into_value(), None);
            Ok(other.await?)
        })
        .unwrap();
    let report = run.ended().await;
    let team = row(&report, "team");
    let words = "101 of 100 tokens";
    assert_eq!(why(team), (RunStatus::Cancelled, CauseKind::BudgetExceeded, team.run, words));
    for name in ["spender", "sibling"] {
        let stopped = row(&report, name);
        let inherited = (RunStatus::Cancelled, CauseKind::ParentStopped, team.run, words);
        assert_eq!(why(stopped), inherited);
    }
    assert_eq!(row(&report, "other").status, RunStatus::Completed);
    assert_eq!((report.status, &report.cause), (RunStatus::Completed, &None));
    // What was used after the stop counts.
    assert_eq!(report.own_row().usage, tokens(61, 42));
    check_sums(run.run()).await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn every_bound_of_a_budget_counts_and_zero_stops_at_the_first_use() {
    let lab = Lab::paused();
    let cases = [
        (Budget::new().input_tokens(10), tokens(10, 90), tokens(1, 0), "11 of 10 input tokens"),
        (Budget::new().output_tokens(10), tokens(90, 10), tokens(0, 1), "11 of 10 output tokens"),
        (Budget::new().tokens(10), tokens(5, 5), tokens(0, 1), "11 of 10 tokens"),
        (
            Budget::new().cost_micros(1_500_000),
            cost(1_500_000),
            cost(1),
            "cost 1.500001 of 1.500000",
        ),
        (Budget::new().cost_micros(0), tokens(9, 9), cost(1), "cost 0.000001 of 0.000000"),
        (
            Budget::new().tokens(9),
            tokens(0, 0),
            tokens(u64::MAX, 9),
            "18446744073709551615 of 9 tokens",
        ),
    ];
    for (budget, within, beyond, words) in cases {
        let body = async move |ctx: RunContext| {
            ctx.usage(within);
            assert!(!ctx.is_stopping(), "{words}");
            ctx.usage(beyond);
            listener(ctx).await
        };
        let run = lab.submit(RunSpec::agent("spender").budget(budget), body).unwrap();
        let report = run.ended().await;
        let id = report.run;
        assert_eq!(
            why(report.own_row()),
            (RunStatus::Cancelled, CauseKind::BudgetExceeded, id, words)
        );
        assert!(report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_of_two_budgets_that_are_exceeded_at_once_each_stops_its_own_run() {
    let lab = Lab::paused();
    let budget = Budget::new().tokens(1);
    let run = lab
        .submit(RunSpec::workflow("outer").budget(budget), async move |ctx| {
            let inner = ctx.spawn(RunSpec::agent("inner").budget(budget), async |ctx| {
                ctx.usage(tokens(1, 1));
                listener(ctx).await
            });
            Ok(inner.await?)
        })
        .unwrap();
    let report = run.ended().await;
    for row in &report.rows {
        let cause = (RunStatus::Cancelled, CauseKind::BudgetExceeded, row.run, "2 of 1 tokens");
        assert_eq!(why(row), cause);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i6_a_budget_that_is_exceeded_while_stopping_changes_neither_cause_nor_deadline() {
    let lab = Lab::paused();
    let spec = RunSpec::agent("spender").budget(Budget::new().tokens(10)).grace(secs(3));
    let run = lab
        .submit(spec, async |ctx| {
            ctx.stopped().await;
            ctx.on_stop({
                let ctx = ctx.clone();
                async move |_| {
                    ctx.usage(tokens(5, 0));
                }
            });
            tokio::time::sleep(secs(1)).await;
            ctx.usage(tokens(0, 8));
            tokio::time::sleep(secs(9)).await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = crate::support::now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(crate::support::now() - began, secs(3));
    assert_eq!(why(report.own_row()).1, CauseKind::UserRequest);
    assert_eq!(report.own_row().usage, tokens(5, 8), "{report:#?}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_a_detached_run_loses_the_budget_that_it_inherited_and_keeps_its_own() {
    let lab = Lab::paused();
    let kept: Arc<Mutex<Option<RunRef>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let spec = RunSpec::team("parent").budget(Budget::new().tokens(10));
    let parent = lab
        .submit(spec, async move |ctx| {
            let own = RunSpec::agent("child").budget(Budget::new().tokens(50));
            let child = ctx.spawn(own, async |ctx| {
                ctx.usage(tokens(10, 0));
                tokio::time::sleep(secs(2)).await;
                // A child of the detached run counts for it, and no further up.
                let below = ctx.spawn(RunSpec::step("below"), async |ctx| {
                    ctx.usage(tokens(40, 0));
                    Ok(())
                });
                below.await?;
                tokio::time::sleep(secs(1)).await;
                ctx.usage(tokens(1, 0));
                listener(ctx).await
            });
            tokio::time::sleep(secs(1)).await;
            child.run().detach()?;
            *keep.lock().unwrap() = Some(child.into_ref());
            tokio::time::sleep(secs(9)).await;
            Ok(())
        })
        .unwrap();
    let above = parent.ended().await;
    assert_eq!((above.status, above.own_row().usage), (RunStatus::Completed, tokens(10, 0)));
    let child = kept.lock().unwrap().take().unwrap();
    let report = child.ended().await;
    let words = "51 of 50 tokens";
    let stopped = (RunStatus::Cancelled, CauseKind::BudgetExceeded, child.id(), words);
    assert_eq!(why(report.own_row()), stopped);
    assert_eq!(report.own_row().usage, tokens(51, 0));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i27_what_an_abandoned_body_uses_is_refused_by_its_run_and_counts_above_it() {
    let lab = Lab::with(config().grace(ms(20)).abort_wait(ms(20)));
    let (gate, up) = (Gate::new(), Witness::new());
    let _open = gate.at_end();
    let (hold, seen) = (gate.clone(), up.clone());
    let run = lab
        .submit(RunSpec::team("team"), async move |ctx| {
            let body = async move |ctx: RunContext| {
                let _inside = seen.enter();
                ctx.usage(tokens(1, 0));
                hold.spin();
                assert_eq!(ctx.usage(tokens(0, 1)), Written::Late);
                Ok(())
            };
            let stuck = ctx.spawn(RunSpec::agent("stuck"), body).into_ref();
            stuck.quiescent().await;
            Ok(())
        })
        .unwrap();
    soon("it blocks", || up.inside() == 1).await;
    let stuck = run.run().children().remove(0);
    stuck.cancel(CancelRequest::because("enough"));
    within("it is abandoned", stuck.ended()).await;
    gate.open();
    let report = within("the team ends", run.ended()).await;
    let late = row(&report, "stuck");
    // Late are the use, and what the body returned.
    assert_eq!((late.usage, late.late_output), (tokens(1, 0), 2));
    assert_eq!(report.own_row().usage, tokens(1, 1));
    check_sums_but_late(run.run(), tokens(1, 1)).await;
    lab.finish().await;
}

/// The log has all of it, whichever run it counted for.
async fn check_sums_but_late(root: &RunRef, sum: Usage) {
    let mut told = Usage::default();
    for event in trace(root).await {
        if let EventKind::Used(used) = event.kind {
            told.add(used);
        }
    }
    assert_eq!(told, sum);
}

#[tokio::test(start_paused = true)]
async fn usage_is_a_sign_of_life() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("busy").idle(secs(2)), async |ctx| {
            for _ in 0..5 {
                tokio::time::sleep(ms(1_500)).await;
                ctx.usage(tokens(1, 0));
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn usage_ten_thousand_runs_deep_reaches_the_root_without_recursion() {
    let lab = Lab::paused();
    let leaf = async |ctx: RunContext| {
        ctx.usage(tokens(3, 0));
        naive(ctx).await
    };
    let spec = RunSpec::workflow("root").budget(Budget::new().tokens(2));
    let run = lab.submit(spec, chain(9_998, leaf)).unwrap();
    let report = run.ended().await;
    assert_eq!(why(report.own_row()).1, CauseKind::BudgetExceeded);
    assert!(report.rows.iter().all(|row| row.usage == tokens(3, 0)));
    assert_eq!(report.rows.len(), 9_999);
    lab.finish().await;
}

/// Bodies on two threads use up one budget: the sums are exact and the stop comes once, whichever
/// of them exceeds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_from_many_threads_is_exact_and_the_budget_stops_once() {
    let lab = Lab::real();
    let (mut exceeded, mut rounds) = (0, 0);
    for (_seed, mut rng) in seeds(200) {
        let spenders = rng.u64(2..6);
        let each = rng.u64(1..60);
        let most = rng.u64(20..300);
        let spec = RunSpec::team("team").budget(Budget::new().input_tokens(most));
        let body = async move |ctx: RunContext| {
            let spend = async move |ctx: RunContext| {
                for _ in 0..each {
                    ctx.usage(tokens(1, 0));
                }
                Ok(())
            };
            let all = (0..spenders).map(|_| ctx.spawn(RunSpec::agent("spender"), spend));
            quell::join::all(all.collect::<Vec<_>>()).await;
            Ok(())
        };
        let run = lab.submit(spec, body).unwrap();
        let report = within("the team ends", run.ended()).await;
        check_sums(run.run()).await;
        let used = report.own_row().usage.input_tokens;
        rounds += 1;
        if report.status == RunStatus::Cancelled {
            exceeded += 1;
            assert!(used > most, "{used} of {most}");
            let stops = trace(run.run()).await.into_iter();
            let by_budget = |event: &quell::RunEvent| match &event.kind {
                EventKind::Stopping(cause) => cause.kind == CauseKind::BudgetExceeded,
                _ => false,
            };
            assert_eq!(stops.filter(by_budget).count(), 1);
        } else {
            assert_eq!(report.status, RunStatus::Completed);
            assert!(used <= most && used == spenders * each, "{used} of {most}");
        }
    }
    let share = f64::from(exceeded) / f64::from(rounds);
    assert!((0.05..=0.95).contains(&share), "{exceeded} of {rounds} went beyond");
    lab.finish().await;
}
