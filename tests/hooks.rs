use std::future::pending;
use std::sync::{Arc, Mutex};

use quell::{
    CancelRequest, EventKind, HookOutcome, RunContext, RunHandle, RunSpec, RunStatus, limits,
};

use crate::support::{Lab, Witness, listener, ms, now, secs};

type Told = Arc<Mutex<Vec<String>>>;

async fn outcomes(run: &RunHandle<()>) -> Vec<(u32, HookOutcome)> {
    let trace = quell::testing::trace(run.run()).await;
    let hooks = trace.into_iter().filter_map(|event| match event.kind {
        EventKind::HookEnded { hook, outcome } => Some((hook, outcome)),
        _ => None,
    });
    hooks.collect()
}

#[tokio::test(start_paused = true)]
async fn i16_hooks_run_once_in_reverse_order_after_the_body_and_before_the_end() {
    let lab = Lab::paused();
    let told = Told::default();
    let tell = Arc::clone(&told);
    let body = Witness::new();
    let enter = body.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            let _inside = enter.enter();
            for hook in 0..3 {
                let (tell, body, run) = (Arc::clone(&tell), enter.clone(), ctx.run().clone());
                ctx.on_stop(async move |cause| {
                    assert_eq!(body.inside(), 0, "the body has ended, destructors included");
                    assert_eq!(run.status(), RunStatus::Stopping);
                    tokio::time::sleep(secs(1)).await;
                    tell.lock().unwrap().push(format!("{hook} {cause}"));
                });
            }
            listener(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(CancelRequest::because("enough").by("ada"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(3), "one after the other");
    let words = "user-request: enough (by ada)";
    let expected = [2, 1, 0].map(|hook| format!("{hook} {words}"));
    assert_eq!(*told.lock().unwrap(), expected);
    assert!(report.quiescent && report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    let finished = HookOutcome::Finished;
    assert_eq!(outcomes(&run).await, [(2, finished), (1, finished), (0, finished)]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_hooks_are_isolated_from_each_others_panics() {
    let lab = Lab::paused();
    let ran = Witness::new();
    let seen = ran.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            let (first, last) = (seen.clone(), seen.clone());
            ctx.on_stop(async move |_| drop(first.enter()));
            ctx.on_stop(async |_| panic!("in the future"));
            ctx.on_stop(|_| {
                assert!(ms(1).is_zero(), "in the closure");
                async {}
            });
            let bomb = Bomb;
            ctx.on_stop(async move |_| drop(bomb));
            ctx.on_stop(async move |_| drop(last.enter()));
            listener(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(ran.entered(), 2, "the first and the last have run");
    assert_eq!((report.status, report.own_row().cleanup_errors.len()), (RunStatus::Cancelled, 3));
    let (finished, panicked) = (HookOutcome::Finished, HookOutcome::Panicked);
    let expected = [(4, finished), (3, panicked), (2, panicked), (1, panicked), (0, finished)];
    assert_eq!(outcomes(&run).await, expected);
    lab.finish().await;
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in a destructor");
    }
}

#[tokio::test(start_paused = true)]
async fn i16_at_the_hard_deadline_the_running_hook_is_aborted_and_the_rest_is_skipped() {
    let lab = Lab::paused();
    let witness = Witness::new();
    let seen = witness.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(2)), async move |ctx| {
            for _ in 0..2 {
                let seen = seen.clone();
                ctx.on_stop(async move |_| drop(seen.enter()));
            }
            let forever = seen.clone();
            ctx.on_stop(async move |_| {
                let _inside = forever.enter();
                pending::<()>().await;
            });
            ctx.on_stop(async move |_| drop(seen.enter()));
            listener(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(2));
    assert_eq!((witness.entered(), witness.inside()), (2, 0));
    assert_eq!((report.own_row().hooks_skipped, report.quiescent), (2, true));
    let (finished, skipped) = (HookOutcome::Finished, HookOutcome::Skipped);
    let expected = [(3, finished), (1, skipped), (0, skipped), (2, HookOutcome::Aborted)];
    assert_eq!(outcomes(&run).await, expected);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i26_a_panic_of_a_hook_that_is_aborted_is_an_error_of_its_cleanup() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(2)), async move |ctx| {
            let (unused, bomb) = (Bomb, Bomb);
            ctx.on_stop(async move |_| drop(unused));
            ctx.on_stop(async move |_| {
                let _bomb = bomb;
                pending::<()>().await;
            });
            listener(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    let errors: Vec<_> = report.own_row().cleanup_errors.iter().map(|error| &**error).collect();
    let expected = [
        "stop hook 1: panicked: in a destructor",
        "stop hook 1 was aborted: its time was over",
        "stop hook 0: panicked: in a destructor",
    ];
    assert_eq!(errors, expected);
    assert_eq!(outcomes(&run).await, [(0, HookOutcome::Skipped), (1, HookOutcome::Aborted)]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_an_abort_skips_hooks_and_says_so() {
    let lab = Lab::paused();
    for at_once in [true, false] {
        let witness = Witness::new();
        let seen = witness.clone();
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                for _ in 0..3 {
                    let seen = seen.clone();
                    ctx.on_stop(async move |_| drop(seen.enter()));
                }
                let _ = ctx.is_stopping();
                pending::<()>().await;
                Ok(())
            })
            .unwrap();
        tokio::task::yield_now().await;
        let began = now();
        if !at_once {
            run.cancel(CancelRequest::because("please"));
        }
        run.cancel(CancelRequest::because("now").abort());
        let report = run.ended().await;
        assert_eq!((now() - began, witness.entered()), (secs(0), 0));
        assert_eq!(report.own_row().hooks_skipped, 3);
        let skipped = outcomes(&run).await;
        assert!(skipped.iter().all(|(_, outcome)| *outcome == HookOutcome::Skipped));
        assert_eq!(skipped.len(), 3);
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_no_hook_runs_when_no_stop_came() {
    let lab = Lab::paused();
    for fails in [false, true] {
        let witness = Witness::new();
        let seen = witness.clone();
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                let inside = seen.enter();
                ctx.on_stop(async move |_| {
                    let _inside = inside;
                    drop(seen.enter());
                });
                tokio::time::sleep(secs(1)).await;
                if fails { Err(quell::Failure::new("no idea")) } else { Ok(()) }
            })
            .unwrap();
        let report = run.ended().await;
        assert_eq!((witness.entered(), witness.inside()), (1, 0));
        assert_eq!(report.own_row().hooks_skipped, 0, "it was not skipped: there was no stop");
        assert!(outcomes(&run).await.is_empty());
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i8_nothing_starts_while_the_hooks_of_a_failing_run_are_dropped() {
    struct SpawnsWhenDropped(RunContext, Witness, Told);
    impl Drop for SpawnsWhenDropped {
        fn drop(&mut self) {
            let child = self.1.clone();
            let child = self.0.spawn(RunSpec::step("late"), async move |_| {
                drop(child.enter());
                Ok(())
            });
            let seen = format!("{} {}", child.run().status(), self.0.checkpoint().is_err());
            self.2.lock().unwrap().push(seen);
        }
    }
    let lab = Lab::paused();
    let witness = Witness::new();
    let told = Told::default();
    let (seen, tell) = (witness.clone(), Arc::clone(&told));
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            let late = SpawnsWhenDropped(ctx.clone(), seen, tell);
            ctx.on_stop(async move |_| drop(late));
            Err::<(), _>(quell::Failure::new("no idea"))
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!((report.status, report.rows.len()), (RunStatus::Failed, 1), "{report:#?}");
    assert_eq!(*told.lock().unwrap(), ["cancelled true"], "refused, as what asks is told to end");
    assert_eq!((witness.entered(), report.own_row().cleanup_errors.len()), (0, 0), "{report:#?}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_a_hook_registered_after_the_stop_runs_at_once_and_one_without_time_is_skipped() {
    let lab = Lab::paused();
    let early = Witness::new();
    let seen = early.clone();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(2)), async move |ctx| {
            ctx.stopped().await;
            let (run, hooked) = (ctx.clone(), seen.clone());
            ctx.on_stop(async move |_| {
                drop(hooked.enter());
                run.emit("the body is still there");
            });
            tokio::time::sleep(secs(1)).await;
            assert_eq!(seen.entered(), 1, "it did not wait for the body");
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    assert_eq!(outcomes(&run).await, [(0, HookOutcome::Finished)]);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_dropping_the_body_does_not_cut_its_hooks() {
    let lab = Lab::paused();
    let witness = Witness::new();
    let seen = witness.clone();
    let spec = RunSpec::agent("hooked").stop_delivery(quell::StopDelivery::Drop).grace(secs(4));
    let run = lab
        .submit(spec, async move |ctx| {
            ctx.on_stop(async move |_| {
                tokio::time::sleep(secs(3)).await;
                drop(seen.enter());
            });
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    run.ended().await;
    assert_eq!((now() - began, witness.entered()), (secs(3), 1));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_hooks_are_bounded_before_and_after_the_stop() {
    let lab = Lab::paused();
    for after in [false, true] {
        let witness = Witness::new();
        let seen = witness.clone();
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                if after {
                    ctx.stopped().await;
                }
                for _ in 0..limits::HOOKS_MAX + 10 {
                    let seen = seen.clone();
                    ctx.on_stop(async move |_| drop(seen.enter()));
                }
                listener(ctx).await
            })
            .unwrap();
        tokio::task::yield_now().await;
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        assert_eq!(witness.entered(), limits::HOOKS_MAX, "after the stop: {after}");
        assert_eq!(report.own_row().hooks_skipped, 10, "after the stop: {after}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i16_hooks_are_bounded_also_if_many_threads_register_them_at_once() {
    let (lab, ran) = (Lab::paused(), Witness::new());
    let seen = ran.clone();
    let run = lab
        .submit(RunSpec::agent("hooked"), async move |ctx| {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..limits::HOOKS_MAX / 4 {
                            let seen = seen.clone();
                            ctx.on_end(async move |_| drop(seen.enter()));
                        }
                    });
                }
            });
            Ok(())
        })
        .unwrap();
    let report = run.ended().await;
    assert_eq!(ran.entered(), limits::HOOKS_MAX);
    assert_eq!(report.own_row().hooks_skipped as usize, limits::HOOKS_MAX);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i8_a_hook_spawns_cleanup_from_its_first_line_on() {
    let lab = Lab::paused();
    let told = Told::default();
    let seen = Arc::clone(&told);
    let run = lab.submit(RunSpec::agent("hooked"), async move |ctx| {
        let own = ctx.clone();
        ctx.on_stop(move |_| {
            // Before its future is made.
            let cleanup = own.spawn(RunSpec::step("cleanup"), async |_| Ok(()));
            async move {
                let end = if cleanup.await.is_ok() { "done" } else { "refused" };
                seen.lock().unwrap().push(end.to_owned());
            }
        });
        pending::<()>().await;
        Ok(())
    });
    let run = run.unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    run.ended().await;
    assert_eq!(*told.lock().unwrap(), ["done"]);
    lab.finish().await;
}
