use std::future::pending;

use quell::{
    CancelRequest, EventKind, Failure, Payload, RunContext, RunSpec, RunStatus, ToolCall,
    ToolOutcome, limits,
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
        let trace = quell::testing::trace(run.run()).await;
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
    let trace = quell::testing::trace(run.run()).await;
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
    let trace = quell::testing::trace(run.run()).await;
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
        let trace = quell::testing::trace(run.run()).await;
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
