use std::future::{Future, pending};

use quell::{
    CancelRequest, EventKind, Failure, Hold, Payload, RunContext, RunSpec, RunStatus, ToolCall,
    ToolOutcome, Work, limits, testing,
};

use crate::support::{Gate, Lab, Witness, config, ms, secs, seeds, soon, within};

fn call(name: &'static str) -> ToolCall {
    ToolCall::new("call", name, Payload::from("input"))
}

/// What the log of a run says of its tool calls: name and outcome, in order of their starts.
fn calls(trace: &[quell::RunEvent]) -> Vec<(String, Vec<ToolOutcome>)> {
    let mut calls: Vec<(String, Vec<ToolOutcome>)> = Vec::new();
    for event in trace {
        match &event.kind {
            EventKind::ToolStarted { name, .. } => calls.push((name.to_string(), Vec::new())),
            EventKind::ToolEnded { outcome, .. } => {
                let open = calls.iter_mut().find(|(_, outcomes)| outcomes.is_empty());
                open.expect("a call ends that has begun").1.push(outcome.clone());
            }
            _ => {}
        }
    }
    calls
}

async fn tool(ctx: &RunContext, name: &'static str) -> Result<(), Failure> {
    let large = || Payload::from("x".repeat(limits::EVENT_BYTES_MAX));
    let future = async {
        match name {
            "result" => Ok(Payload::from("found")),
            "large result" => Ok(large()),
            "error" => Err(Failure::new("not found")),
            "panic" => panic!("tool panicked"),
            "gives way" => Ok(ctx.run_until_stopped(pending::<Payload>()).await?),
            _ => pending().await,
        }
    };
    ctx.tool(call(name), future).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn i18_every_recorded_call_has_exactly_one_recorded_outcome() {
    let lab = Lab::paused();
    let cases = [
        ("result", ToolOutcome::Result(Some(Payload::from("found")))),
        ("large result", ToolOutcome::Result(None)),
        ("error", ToolOutcome::Error("not found".into())),
        ("panic", ToolOutcome::Error("panicked".into())),
        ("gives way", ToolOutcome::Cancelled),
        ("dropped", ToolOutcome::Cancelled),
    ];
    for (name, outcome) in cases {
        let run = lab.submit(RunSpec::agent(name), async move |ctx| tool(&ctx, name).await);
        let run = run.unwrap();
        tokio::task::yield_now().await;
        run.cancel(CancelRequest::because("enough"));
        run.ended().await;
        let trace = testing::trace(run.run()).await;
        assert_eq!(calls(&trace), [(name.to_owned(), vec![outcome])]);
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i18_the_outcome_of_a_call_that_is_abandoned_is_unknown_for_ever() {
    let lab = Lab::with(config().grace(ms(20)).abort_wait(ms(20)));
    let gate = Gate::new();
    let _open = gate.at_end();
    let up = Witness::new();
    let (hold, seen) = (gate.clone(), up.clone());
    let run = lab
        .submit(RunSpec::agent("blocks"), async move |ctx| {
            let blocks = async {
                let _inside = seen.enter();
                hold.spin();
                Ok(Payload::from("too late"))
            };
            ctx.tool(call("blocks"), blocks).await?;
            Ok(())
        })
        .unwrap();
    soon("it blocks", || up.inside() == 1).await;
    run.cancel(CancelRequest::because("enough"));
    let report = within("the run ends", run.ended()).await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, false));
    gate.open();
    within("the body ends", run.run().quiescent()).await;
    let trace = testing::trace(run.run()).await;
    assert_eq!(calls(&trace), [("blocks".to_owned(), vec![ToolOutcome::Unknown])]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i8_no_call_is_recorded_after_the_stop_outside_a_shield() {
    let lab = Lab::paused();
    let witness = Witness::new();
    let seen = witness.clone();
    let run = lab
        .submit(RunSpec::agent("late caller"), async move |ctx| {
            ctx.stopped().await;
            let late = async {
                drop(seen.enter());
                Ok(Payload::from("late"))
            };
            let refused = ctx.tool(call("late"), late).await.unwrap_err();
            assert!(refused.stopped().is_some());
            ctx.shield(ctx.tool(call("cleanup"), async { Ok(Payload::from("clean")) })).await??;
            let huge = Payload::from("x".repeat(limits::EVENT_BYTES_MAX));
            let huge = ToolCall::new("huge", "huge", huge);
            let refused = ctx.shield(ctx.tool(huge, async { Ok(Payload::from("")) })).await?;
            assert!(refused.unwrap_err().to_string().contains("limit"));
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    assert_eq!(witness.entered(), 0);
    let trace = testing::trace(run.run()).await;
    let clean = ToolOutcome::Result(Some(Payload::from("clean")));
    assert_eq!(calls(&trace), [("cleanup".to_owned(), vec![clean])]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i18_calls_that_race_a_stop_have_one_outcome_each() {
    let lab = Lab::real();
    for (_seed, mut rng) in seeds(300) {
        let steps: Vec<u32> = (0..20).map(|_| rng.u32(0..300)).collect();
        let run = lab
            .submit(RunSpec::agent("caller"), async move |ctx| {
                for spins in steps {
                    let work = async {
                        crate::support::spin_for(spins);
                        tokio::task::yield_now().await;
                        Ok(Payload::from("done"))
                    };
                    // The same id, side by side: an id tells calls apart, it does not join them.
                    let (one, two) = tokio::join!(
                        ctx.tool(call("one"), work),
                        ctx.tool(call("two"), async { pending_until(&ctx).await })
                    );
                    one.and(two)?;
                }
                Ok(())
            })
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(rng.u64(0..500))).await;
        run.cancel(CancelRequest::because("enough").grace(secs(20)));
        within("the run ends", run.ended()).await;
        let trace = testing::trace(run.run()).await;
        for (name, outcomes) in calls(&trace) {
            assert_eq!(outcomes.len(), 1, "{name}: {outcomes:?}");
        }
    }
    lab.finish().await;
}

async fn pending_until(ctx: &RunContext) -> Result<Payload, Failure> {
    tokio::task::yield_now().await;
    ctx.checkpoint()?;
    Ok(Payload::from("checked"))
}

/// The outcome of a call that is dropped while what it has started, if anything, goes on.
async fn outcome_of_dropped<F, Fut>(lab: &Lab, tool: F) -> (ToolOutcome, RunStatus)
where
    F: FnOnce(RunContext) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let run = lab
        .submit(RunSpec::agent("caller"), async move |ctx| {
            let inside = tool(ctx.clone());
            let dropped = ctx.tool(call("drops"), async {
                inside.await;
                pending().await
            });
            drop(tokio::time::timeout(ms(50), dropped).await);
            Ok(())
        })
        .unwrap();
    let status = within("the run ends", run.ended()).await.status;
    let trace = testing::trace(run.run()).await;
    let calls = calls(&trace);
    let last = calls.last().expect("there was a call");
    (last.1[0].clone(), status)
}

/// Starts something inside a tool call that executes until the gate is open.
async fn start(what: &'static str, ctx: RunContext, gate: Gate) {
    let opened = gate.clone();
    let drop_later = |hold: Hold| {
        tokio::spawn(async move {
            soon("the gate is open", || opened.is_open()).await;
            drop(hold);
        });
    };
    match what {
        "closure" => {
            let closure = ctx.spawn_blocking(move |_| gate.spin());
            drop(tokio::time::timeout(ms(20), closure).await);
        }
        "hold" => drop_later(ctx.hold(Work::Process, "indexer").unwrap()),
        "child" => {
            let child = ctx.spawn(RunSpec::step("child"), async move |_| {
                soon("the gate is open", || gate.is_open()).await;
                Ok(())
            });
            drop(child);
        }
        "what has ended" => {
            drop(ctx.hold(Work::Process, "brief").unwrap());
            ctx.spawn_blocking(|_| ()).await.unwrap();
            let child = ctx.spawn(RunSpec::step("child"), async |_| Ok(()));
            child.await.unwrap();
        }
        _ => {
            // Started by a task that the call does not poll.
            let other = tokio::spawn(async move { ctx.hold(Work::Process, "other").unwrap() });
            drop_later(other.await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i18_a_call_whose_work_goes_on_is_unknown_and_not_cancelled() {
    let lab = Lab::real();
    let cases = [
        ("closure", ToolOutcome::Unknown),
        ("hold", ToolOutcome::Unknown),
        ("child", ToolOutcome::Unknown),
        ("what has ended", ToolOutcome::Cancelled),
        ("what another task has started", ToolOutcome::Cancelled),
    ];
    for (what, outcome) in cases {
        let gate = Gate::new();
        let opens = gate.clone();
        let opened = tokio::spawn(async move {
            tokio::time::sleep(ms(200)).await;
            opens.open();
        });
        let (seen, status) =
            outcome_of_dropped(&lab, async |ctx| start(what, ctx, gate).await).await;
        assert_eq!((seen, status), (outcome, RunStatus::Completed), "{what}");
        opened.await.unwrap();
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i18_the_work_of_a_call_within_a_call_is_work_of_both() {
    let lab = Lab::real();
    let gate = Gate::new();
    let (held, _open) = (gate.clone(), gate.at_end());
    let run = lab.submit(RunSpec::agent("caller"), async move |ctx| {
        let outer = ctx.tool(call("outer"), async {
            let inner = ctx.tool(call("inner"), async {
                start("hold", ctx.clone(), held).await;
                Ok(Payload::from("returned"))
            });
            inner.await?;
            pending().await
        });
        drop(tokio::time::timeout(ms(50), outer).await);
        Ok(())
    });
    let run = run.unwrap();
    let is_over = || testing::held(&lab).live == 0;
    tokio::time::sleep(ms(100)).await;
    assert!(!is_over(), "the hold keeps it");
    gate.open();
    within("the run ends", run.ended()).await;
    let trace = testing::trace(run.run()).await;
    let ends = trace.iter().filter_map(|event| match &event.kind {
        EventKind::ToolEnded { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    let returned = ToolOutcome::Result(Some(Payload::from("returned")));
    assert_eq!(ends.collect::<Vec<_>>(), [returned, ToolOutcome::Unknown]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i18_a_call_that_a_stop_drops_is_unknown_while_its_hold_is_held() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("caller"), async |ctx| {
            let inside = ctx.clone();
            let tool = async move {
                let hold = inside.hold(Work::Process, "program").unwrap();
                tokio::spawn(async move {
                    tokio::time::sleep(secs(3)).await;
                    drop(hold);
                });
                Ok(inside.run_until_stopped(pending::<Payload>()).await?)
            };
            ctx.tool(call("gives way"), tool).await?;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    let trace = testing::trace(run.run()).await;
    assert_eq!(calls(&trace), [("gives way".to_owned(), vec![ToolOutcome::Unknown])]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i18_many_calls_and_holds_at_once_are_told_apart() {
    const MANY: usize = 20_000;
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("many"), async |ctx| {
            let mut holds: Vec<_> = (0..MANY).map(|_| ctx.hold(Work::Process, "p")).collect();
            let calls = (0..MANY).map(|at| {
                let sleeps = async move {
                    tokio::time::sleep(ms(((at * 7_919) % MANY) as u64)).await;
                    Ok(Payload::from(at.to_string()))
                };
                let call = ToolCall::new(at.to_string(), "sleep", Payload::from(""));
                ctx.tool(call, sleeps)
            });
            futures::future::join_all(calls).await;
            while !holds.is_empty() {
                drop(holds.swap_remove(holds.len() / 2));
            }
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!((report.status, report.quiescent), (RunStatus::Completed, true));
    let trace = testing::trace(run.run()).await;
    let mut ended = 0;
    for event in &trace {
        let EventKind::ToolEnded { call, outcome } = &event.kind else { continue };
        let result = Payload::from(call.to_string());
        assert_eq!(*outcome, ToolOutcome::Result(Some(result)));
        ended += 1;
    }
    assert_eq!(ended, MANY);
    lab.finish().await;
}
