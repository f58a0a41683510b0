use std::future::pending;
use std::sync::{Arc, Mutex};

use quell::{
    CancelRequest, EventKind, HookOutcome, RunContext, RunHandle, RunSpec, RunStatus, StopDelivery,
};

use crate::support::{Lab, Witness, config, listener, ms, naive, now, secs, soon, within};

type Told = Arc<Mutex<Vec<(&'static str, u64)>>>;

async fn outcomes(run: &RunHandle<()>) -> Vec<HookOutcome> {
    let trace = quell::testing::trace(run.run()).await;
    let own = trace.into_iter().filter(|event| event.run == run.id());
    let hooks = own.filter_map(|event| match event.kind {
        EventKind::HookEnded { outcome, .. } => Some(outcome),
        _ => None,
    });
    hooks.collect()
}

/// Registers a hook that takes some time and says when it is through.
fn hook(ctx: &RunContext, told: &Told, name: &'static str, millis: u64) {
    let (told, began) = (Arc::clone(told), now());
    ctx.on_stop(async move |_| {
        tokio::time::sleep(ms(millis)).await;
        let at = u64::try_from((now() - began).as_millis()).unwrap();
        told.lock().unwrap().push((name, at));
    });
}

#[tokio::test(start_paused = true)]
async fn i15_i16_who_registers_a_hook_is_dropped_at_once_and_the_hook_has_the_grace() {
    for policy in [StopDelivery::Auto, StopDelivery::Drop] {
        let lab = Lab::paused();
        let told = Told::default();
        let tell = Arc::clone(&told);
        let spec = RunSpec::agent("hooked").grace(secs(3)).stop_delivery(policy);
        let run = lab
            .submit(spec, async move |ctx| {
                hook(&ctx, &tell, "hook", 2_000);
                // A silent await, as of a client that knows nothing of stops.
                pending::<()>().await;
                Ok(())
            })
            .unwrap();
        tokio::task::yield_now().await;
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        assert_eq!(*told.lock().unwrap(), [("hook", 2_000)], "{policy:?}: it had the grace");
        assert_eq!((report.own_row().hooks_skipped, report.own_row().aborted), (0, false));
        assert_eq!(outcomes(&run).await, [HookOutcome::Finished]);
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i16_the_inner_scope_cleans_up_before_the_outer_one() {
    let lab = Lab::paused();
    let told = Told::default();
    let tell = Arc::clone(&told);
    let run = lab
        .submit(RunSpec::team("outer").grace(secs(5)), async move |ctx| {
            hook(&ctx, &tell, "outer", 500);
            let inner = Arc::clone(&tell);
            let child = ctx.spawn(RunSpec::agent("inner"), async move |ctx| {
                hook(&ctx, &inner, "inner", 1_000);
                let innermost = Arc::clone(&inner);
                let leaf = ctx.spawn(RunSpec::step("leaf"), async move |ctx| {
                    hook(&ctx, &innermost, "leaf", 1_000);
                    naive(ctx).await
                });
                Ok(leaf.await?)
            });
            drop(child.into_ref());
            // Through before its children are.
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    run.ended().await;
    assert_eq!(*told.lock().unwrap(), [("leaf", 1_000), ("inner", 2_000), ("outer", 2_500)]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_a_hook_that_waited_for_descendants_alone_has_half_of_the_abort_wait() {
    // The hook takes so long; how it ends; what the report says of it.
    let cases = [(300, HookOutcome::Finished), (700, HookOutcome::Aborted)];
    for (takes, outcome) in cases {
        let lab = Lab::paused();
        let told = Told::default();
        let tell = Arc::clone(&told);
        let run = lab
            .submit(RunSpec::team("outer").grace(secs(2)), async move |ctx| {
                hook(&ctx, &tell, "outer", takes);
                let child = ctx.spawn(RunSpec::agent("stubborn"), async |ctx| {
                    ctx.stopped().await;
                    pending::<()>().await;
                    Ok(())
                });
                child.await?;
                Ok(())
            })
            .unwrap();
        tokio::task::yield_now().await;
        let began = now();
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        // The child is aborted after 2 s; the hook has until half a second after that.
        assert_eq!(now() - began, secs(2) + ms(takes.min(500)), "{outcome:?}");
        assert_eq!(outcomes(&run).await, [outcome]);
        let errors = &report.own_row().cleanup_errors;
        let named: Vec<&str> = errors.iter().map(|error| &**error).collect();
        let aborted = ["stop hook 0 was aborted: its time was over"];
        let expected: &[&str] = if outcome == HookOutcome::Aborted { &aborted } else { &[] };
        assert_eq!(named, expected);
        assert!(report.quiescent, "{report:#?}");
        lab.finish().await;
    }
}

// A body that is aborted at the deadline may have ended before its parent is taken to that stage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i16_it_has_that_time_whichever_its_run_hears_of_first_the_deadline_or_their_end() {
    let lab = Lab::with(config().grace(ms(1)).abort_wait(secs(600)));
    for _ in 0..100 {
        let witness = Witness::new();
        let seen = witness.clone();
        let run = lab
            .submit(RunSpec::team("outer"), async move |ctx| {
                ctx.on_stop(async |_| tokio::time::sleep(ms(1)).await);
                let child = ctx.spawn(RunSpec::agent("stubborn"), async move |ctx| {
                    assert!(!ctx.is_stopping(), "it listens");
                    let _inside = seen.enter();
                    pending::<()>().await;
                    Ok(())
                });
                child.await?;
                Ok(())
            })
            .unwrap();
        soon("the child is up", || witness.inside() == 1).await;
        run.cancel(CancelRequest::because("enough"));
        within("it ends", run.ended()).await;
        assert_eq!(outcomes(&run).await, [HookOutcome::Finished]);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_a_hook_that_is_aborted_is_named_in_the_report_and_those_behind_it_are_skipped() {
    let lab = Lab::paused();
    let told = Told::default();
    let tell = Arc::clone(&told);
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(1)), async move |ctx| {
            hook(&ctx, &tell, "never reached", 1);
            hook(&ctx, &tell, "too slow", 60_000);
            hook(&ctx, &tell, "quick", 1);
            listener(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(*told.lock().unwrap(), [("quick", 1)]);
    let [error] = &report.own_row().cleanup_errors[..] else { panic!("{report:#?}") };
    assert_eq!(&**error, "stop hook 1 was aborted: its time was over");
    assert_eq!(report.own_row().hooks_skipped, 1);
    let ended = [HookOutcome::Finished, HookOutcome::Skipped, HookOutcome::Aborted];
    assert_eq!(outcomes(&run).await, ended);
    assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_hooks_of_a_body_that_had_to_be_aborted_are_skipped() {
    let lab = Lab::paused();
    let told = Told::default();
    let tell = Arc::clone(&told);
    let run = lab
        .submit(RunSpec::team("stubborn").grace(secs(1)), async move |ctx| {
            hook(&ctx, &tell, "hook", 1);
            let child = ctx.spawn(RunSpec::agent("stubborn, too"), async |ctx| {
                ctx.stopped().await;
                pending::<()>().await;
                Ok(())
            });
            drop(child.into_ref());
            ctx.stopped().await;
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(report.own_row().aborted && told.lock().unwrap().is_empty());
    assert_eq!(outcomes(&run).await, [HookOutcome::Skipped]);
    lab.finish().await;
}
