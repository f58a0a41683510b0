use std::future::pending;
use std::sync::Arc;

use quell::{
    BlockingContext, CancelRequest, CauseKind, EventKind, Failure, Outcome, RunHandle, RunSpec,
    RunStatus, Work,
};
use tokio_util::sync::CancellationToken;

use crate::support::{Lab, Witness, ms, naive, now, secs, seeds, within};

#[tokio::test(start_paused = true)]
async fn i1_a_parent_that_is_through_waits_for_every_attached_child() {
    let lab = Lab::paused();
    let began = now();
    let run = lab
        .submit(RunSpec::team("parent"), async |ctx| {
            for seconds in 1..=3 {
                let sleeper = async move |_| {
                    tokio::time::sleep(secs(seconds)).await;
                    Ok(seconds)
                };
                drop(ctx.spawn(RunSpec::agent("child"), sleeper));
            }
            Ok("parent")
        })
        .unwrap();
    tokio::time::sleep(ms(2500)).await;
    assert_eq!(run.run().status(), RunStatus::Running, "the last child is live");
    let report = run.ended().await;
    assert_eq!(now() - began, secs(3));
    assert!(report.rows.iter().all(|row| row.status == RunStatus::Completed), "{report:#?}");
    assert_eq!(run.await.unwrap(), "parent", "the value waits for the end");
    assert_eq!(lab.finish().await.runs, 4);
}

#[tokio::test(start_paused = true)]
async fn i1_a_failing_parent_stops_its_children_and_ends_after_them() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("parent").grace(secs(4)), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                let cause = ctx.stopped().await;
                tokio::time::sleep(secs(2)).await;
                assert_eq!(cause.kind, CauseKind::ParentFailed);
                Ok(())
            });
            drop(child);
            tokio::time::sleep(secs(1)).await;
            Err::<(), _>(Failure::new("no idea"))
        })
        .unwrap();
    let began = now();
    let report = run.ended().await;
    assert_eq!(now() - began, secs(3), "the child had its cleanup");
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(report.error.as_deref(), Some("no idea"));
    let child = &report.rows[1];
    assert_eq!((child.status, child.aborted), (RunStatus::Cancelled, false));
    let cause = child.cause.as_ref().unwrap();
    assert_eq!((cause.kind, cause.origin), (CauseKind::ParentFailed, report.run));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_every_live_descendant_is_signalled_when_cancel_returns() {
    let lab = Lab::real();
    let tokens: Arc<std::sync::Mutex<Vec<CancellationToken>>> = Arc::default();
    let shown = Arc::clone(&tokens);
    let run = lab
        .submit(RunSpec::workflow("root"), async move |ctx| {
            let kids = (0..10).map(|_| {
                let shown = Arc::clone(&shown);
                ctx.spawn(RunSpec::team("middle"), async move |ctx| {
                    let leaves = (0..30).map(|_| {
                        let shown = Arc::clone(&shown);
                        ctx.spawn(RunSpec::agent("leaf"), async move |ctx| {
                            shown.lock().unwrap().push(ctx.cancellation_token());
                            ctx.stopped().await;
                            tokio::time::sleep(ms(20)).await;
                            Ok(())
                        })
                    });
                    quell::join::all(leaves.collect::<Vec<_>>()).await;
                    Ok(())
                })
            });
            quell::join::all(kids.collect::<Vec<_>>()).await;
            Ok(())
        })
        .unwrap();
    crate::support::soon("every leaf is up", || tokens.lock().unwrap().len() == 300).await;
    let middle = run.run().children();
    let leaves: Vec<_> = middle.iter().flat_map(quell::RunRef::children).collect();
    run.cancel(CancelRequest::because("enough"));
    for descendant in middle.iter().chain(&leaves) {
        assert_ne!(descendant.status(), RunStatus::Running, "{descendant:?} was not signalled");
    }
    assert!(tokens.lock().unwrap().iter().all(CancellationToken::is_cancelled));
    let report = run.ended().await;
    assert_eq!(report.rows.len(), 311);
    assert!(report.rows.iter().all(|row| row.status == RunStatus::Cancelled && !row.aborted));
    assert_eq!(lab.finish().await.stopped, 311);
}

#[tokio::test(start_paused = true)]
async fn i3_a_run_has_one_terminal_event_and_only_quiesced_follows() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("stubborn").grace(secs(1)), async |ctx| {
            let hold = ctx.hold(Work::Process, "outside")?;
            tokio::spawn(async move {
                tokio::time::sleep(secs(60)).await;
                drop(hold);
            });
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(!report.quiescent, "the hold is still there");
    let trace = quell::testing::trace(run.run()).await;
    let own = trace.iter().filter(|event| event.run == run.id());
    let ends: Vec<_> = own.map(|event| &event.kind).skip_while(|kind| !is_end(kind)).collect();
    assert!(matches!(ends[..], [EventKind::Ended(_), EventKind::Quiesced]), "{ends:?}");
    assert_eq!(lab.finish().await.non_quiescent, 1);
}

#[tokio::test(start_paused = true)]
async fn i3_whoever_keeps_the_context_of_an_ended_run_adds_nothing_to_its_log() {
    let lab = Lab::paused();
    let (give, take) = tokio::sync::oneshot::channel();
    let run = lab
        .submit(RunSpec::agent("brief"), async move |ctx| {
            drop(give.send(ctx));
            Ok(())
        })
        .unwrap();
    run.ended().await;
    let before = quell::testing::trace(run.run()).await;
    let ctx = take.await.unwrap();
    assert_eq!(ctx.emit("late"), quell::Written::Late);
    assert_eq!(ctx.progress(1.0), quell::Written::Late);
    assert_eq!(ctx.set_output("late".into()), quell::Written::Late);
    let witness = Witness::new();
    let inside = witness.enter();
    ctx.on_stop(async move |_| drop(inside));
    assert_eq!(witness.inside(), 0, "a hook that cannot run any more is dropped at once");
    assert!(ctx.spawn(RunSpec::step("late"), naive).await.is_err());
    assert!(ctx.hold(Work::Process, "late").is_err());
    assert!(ctx.spawn_blocking(|_| ()).await.is_err());
    ctx.checkpoint().unwrap();
    assert_eq!(quell::testing::trace(run.run()).await, before);
    let report = run.run().report();
    assert_eq!((report.own_row().late_output, report.output.as_ref()), (3, None));
    lab.finish().await;
}

const fn is_end(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Ended(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_quiescent_run_has_no_body_destructor_hook_or_closure_running() {
    let lab = Lab::real();
    for (_seed, mut rng) in seeds(100) {
        let linger = rng.u64(0..3);
        let runs: Vec<_> = (0..4).map(|_| thorough(&lab, rng.bool(), linger)).collect();
        crate::support::spin_for(rng.u32(0..30_000));
        for (run, _) in &runs {
            run.cancel(CancelRequest::because("enough"));
        }
        for (run, witness) in runs {
            let report = within("the run ends", run.ended()).await;
            assert!(report.quiescent, "nothing here outlasts the ladder: {report:#?}");
            assert_eq!(witness.inside(), 0, "quiescent, and something still runs");
        }
    }
    lab.finish().await;
}

/// A run with everything that may execute: a body with a slow destructor, a hook, a closure.
fn thorough(lab: &Lab, works: bool, linger: u64) -> (RunHandle<()>, Witness) {
    let witness = Witness::new();
    let (seen, inside) = (witness.clone(), Slow(Some(witness.enter()), linger));
    let run = lab.submit(RunSpec::agent("thorough"), async move |ctx| {
        let _inside = inside;
        if works {
            let inside = Slow(Some(seen.enter()), linger);
            ctx.on_stop(async move |_| drop(inside));
            return Ok(ctx.spawn_blocking(move |ctx| stay(&ctx, &seen)).await?);
        }
        pending::<()>().await;
        Ok(())
    });
    (run.unwrap(), witness)
}

fn stay(ctx: &BlockingContext, seen: &Witness) {
    let _inside = seen.enter();
    while !ctx.is_stopping() {
        std::thread::yield_now();
    }
}

/// Takes its time to go.
struct Slow(Option<crate::support::Inside>, u64);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(ms(self.1));
        drop(self.0.take());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_hooks_that_never_run_are_gone_before_the_run_is_quiescent() {
    let lab = Lab::real();
    for stop in [false, true] {
        let witness = Witness::new();
        let inside = Slow(Some(witness.enter()), 30);
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                ctx.on_stop(async move |_| drop(inside));
                ctx.emit("registered");
                if stop {
                    pending::<()>().await;
                }
                Ok(())
            })
            .unwrap();
        let mut events = run.events();
        while !matches!(events.next().await.unwrap().kind, EventKind::Emitted(_)) {}
        let rough = run.run().clone();
        let thread = std::thread::spawn(move || {
            stop.then(|| rough.cancel(CancelRequest::because("at once").abort()))
        });
        while !run.run().status().is_terminal() {
            std::thread::yield_now();
        }
        assert!(run.run().report().quiescent);
        assert_eq!(witness.inside(), 0, "the hook's captures are code of the run, stop: {stop}");
        thread.join().unwrap();
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i4_a_value_that_nobody_can_read_is_dropped_before_the_run_ends() {
    let lab = Lab::paused();
    for gives_up in [true, false] {
        let witness = Witness::new();
        let inside = witness.enter();
        let body = async move |_| {
            tokio::time::sleep(secs(1)).await;
            Ok(inside)
        };
        let handle = lab.submit(RunSpec::agent("valued"), body).unwrap();
        let run = if gives_up {
            handle.into_ref()
        } else {
            let run = handle.run().clone();
            drop(handle);
            run
        };
        run.ended().await;
        assert_eq!(witness.inside(), 0, "the value outlived the run, into_ref: {gives_up}");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i5_errors_and_panics_while_stopping_are_no_failures() {
    let lab = Lab::paused();
    let bodies = ["error", "panic", "stopped", "fine"];
    for (how, errors) in bodies.into_iter().zip([1, 1, 0, 0]) {
        let run = lab
            .submit(RunSpec::agent(how), async move |ctx| {
                let stopped = ctx.run_until_stopped(pending::<()>()).await;
                match how {
                    "error" => Err(Failure::new("flush failed")),
                    "panic" => panic!("cleanup panicked"),
                    "stopped" => Err(stopped.unwrap_err().into()),
                    _ => Ok(7),
                }
            })
            .unwrap();
        tokio::task::yield_now().await;
        run.cancel(CancelRequest::because("enough"));
        let report = run.ended().await;
        assert_eq!(report.status, RunStatus::Cancelled, "{how}");
        assert_eq!(report.error, None, "{how}");
        assert_eq!(report.own_row().cleanup_errors.len(), errors, "{how}: {report:#?}");
        let partial = (how == "fine").then_some(7);
        let outcome = run.outcome().await;
        assert!(
            matches!(outcome, Outcome::Stopped { partial: kept, .. } if kept == partial),
            "{how}: {outcome:?}"
        );
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i5_a_child_that_was_stopped_alone_fails_nobody_unless_the_parent_says_so() {
    let lab = Lab::paused();
    for (insists, status) in [(false, RunStatus::Completed), (true, RunStatus::Failed)] {
        let run = lab
            .submit(RunSpec::team("parent"), async move |ctx| {
                let child = ctx.spawn(RunSpec::agent("child"), naive);
                child.cancel(CancelRequest::because("not needed"));
                // D3: a stop of the child is no stop of the parent.
                if insists {
                    child.await?;
                }
                Ok(())
            })
            .unwrap();
        let report = run.ended().await;
        assert_eq!((report.status, report.cause.clone()), (status, None));
        assert_eq!(report.rows[1].status, RunStatus::Cancelled);
    }
    lab.finish().await;
}
