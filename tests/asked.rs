//! I14, I24, I35, I38, I39: what is refused, what races, and what remains of pauses.

use std::sync::{Arc, Mutex};

use quell::testing::{Held, held};
use quell::{
    CauseKind, Disposition, Engine, Failure, OnBusy, ResumeError, RunContext, RunError, RunSpec,
    RunStatus, Shutdown, SubmitError, Work,
};

use crate::support::{
    Captured, Inside, Lab, Witness, asks, body_runtime, clerk, config, paused, secs, stop, within,
};

#[tokio::test(start_paused = true)]
async fn t5_a_run_that_cannot_be_paused_fails_and_says_why() {
    let lab = Lab::paused();
    let plain = lab.submit(clerk(), async |ctx: RunContext| Err::<(), _>(ctx.pause("?"))).unwrap();
    let words = plain.await.unwrap_err().to_string();
    assert!(words.contains("submit_resumable"), "{words}");
    let passes_on = lab.submit(clerk(), async |ctx: RunContext| {
        let asks =
            ctx.spawn(RunSpec::step("asks"), async |ctx: RunContext| Err::<(), _>(ctx.pause("?")));
        Ok(asks.await?)
    });
    let words = passes_on.unwrap().await.unwrap_err().to_string();
    assert!(words.contains("submit_resumable"), "{words}");
    let large = lab.submit_resumable(clerk(), async |ctx: RunContext| {
        Err::<(), _>(ctx.pause("x".repeat(quell::limits::EVENT_BYTES_MAX)))
    });
    let words = large.unwrap().await.unwrap_err().to_string();
    assert!(words.contains("limit is 262144"), "{words}");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t5_only_an_error_pauses_a_run_that_has_asked() {
    let lab = Lab::paused();
    let words = lab.submit_resumable(clerk(), async |ctx: RunContext| {
        if ctx.attempt() == 1 {
            let _ = ctx.pause("?");
            return Err(Failure::new("with words of its own"));
        }
        Ok(())
    });
    let words = words.unwrap();
    assert_eq!(words.run().paused().await, Some("?".into()));
    words.run().resume("!").unwrap();
    words.await.unwrap();
    let completes = lab.submit_resumable(clerk(), async |ctx: RunContext| {
        let _ = ctx.pause("?");
        Ok(7)
    });
    assert_eq!(completes.unwrap().await.unwrap(), 7);
    let panics = lab.submit_resumable(clerk(), async |ctx: RunContext| -> Result<(), Failure> {
        let _ = ctx.pause("?");
        panic!("on purpose")
    });
    assert!(panics.unwrap().await.unwrap_err().to_string().contains("on purpose"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t5_a_stop_that_comes_before_the_pause_ends_the_run() {
    let lab = Lab::paused();
    let dropped = Witness::new();
    // While the body has ended and a child is live; and one that waits for a checkpoint.
    for request in [stop(), stop().after_step(Some(secs(600)))] {
        let captured = Captured(dropped.clone());
        let run = lab.submit_resumable(clerk(), move |ctx: RunContext| {
            let _ = &captured;
            async move {
                drop(ctx.spawn(RunSpec::step("late"), async |_| {
                    tokio::time::sleep(secs(10)).await;
                    Ok(())
                }));
                Err::<(), _>(ctx.pause("?"))
            }
        });
        let run = run.unwrap().into_ref();
        tokio::time::sleep(secs(1)).await;
        run.cancel(request);
        assert_eq!(within("it ends", run.paused()).await, None);
        let report = run.ended().await;
        assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
        assert!(report.own_row().cleanup_errors.is_empty(), "a pause is no error: {report:?}");
    }
    assert_eq!(dropped.entered(), 2);
    // And before the body has ended.
    let run = lab.submit_resumable(clerk(), async |ctx: RunContext| {
        ctx.stopped().await;
        Err::<(), _>(ctx.pause("?"))
    });
    let run = run.unwrap();
    tokio::time::sleep(secs(1)).await;
    run.cancel(stop());
    assert!(matches!(run.await, Err(RunError::Stopped(_))));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i35_what_an_attempt_has_left_behind_is_late_while_the_run_is_paused() {
    let lab = Lab::paused();
    let left: Arc<Mutex<Option<RunContext>>> = Arc::default();
    let leaves = Arc::clone(&left);
    let run = lab.submit_resumable(clerk(), move |ctx: RunContext| {
        *leaves.lock().unwrap() = Some(ctx.clone());
        asks(ctx)
    });
    let run = run.unwrap().into_ref();
    run.paused().await.unwrap();
    let ctx = left.lock().unwrap().take().unwrap();
    assert_eq!(ctx.emit("late"), quell::Written::Late);
    assert_eq!(ctx.set_output("late".into()), quell::Written::Late);
    let child = ctx.spawn(RunSpec::step("late"), async |_| Ok(()));
    let refused = child.await.unwrap_err().to_string();
    assert!(refused.contains("the run is paused"), "{refused}");
    assert!(ctx.hold(Work::Process, "late").is_err());
    let hooked = Witness::new();
    let hook = hooked.clone();
    ctx.on_end(async move |_| drop(hook.enter()));
    assert!(ctx.pause("again").to_string().contains("paused"));
    run.resume("yes").unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    assert_eq!(hooked.entered(), 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i38_a_shutdown_ends_paused_runs() {
    let engine = Engine::with_config(config().control_on_runtime());
    let run = paused(&engine, clerk()).await;
    let report = engine.shutdown(Shutdown::default()).await;
    assert_eq!((report.roots.cancelled, report.abandoned.len()), (1, 0));
    assert_eq!(run.ended().await.cause.as_ref().unwrap().kind, CauseKind::Shutdown);
    assert_eq!(run.resume("late"), Err(ResumeError::NotPaused(RunStatus::Cancelled)));
    let late = engine.submit_resumable(clerk(), asks).unwrap_err();
    assert_eq!(late, SubmitError::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn i39_pauses_stops_and_answers_leave_nothing_behind() {
    let config = config().control_on_runtime().running_max(100);
    let lab = Lab::with(config);
    let captured = Witness::new();
    for round in 0..10 {
        let runs: Vec<_> = (0..1_000)
            .map(|n| {
                let lane = RunSpec::agent("clerk").lane(format!("{n}"), OnBusy::Enqueue);
                let spec = lane.timeout(secs(1_000_000)).owner(format!("owner {}", n % 7));
                let inside = captured.enter();
                let ask = move |ctx: RunContext| {
                    let (_, ask) = (&inside, "x".repeat(1_000));
                    async move { ctx.resumed_with().ok_or_else(|| ctx.pause(ask)) }
                };
                lab.submit_resumable(spec, ask).unwrap().into_ref()
            })
            .collect();
        for run in &runs {
            within("it asks", run.paused()).await.unwrap();
        }
        let now = held(&lab);
        assert_eq!((now.live, captured.inside()), (1_000, 1_000), "round {round}");
        for (n, run) in runs.iter().enumerate() {
            if n % 2 == 0 {
                run.cancel(stop());
            } else {
                run.resume("y".repeat(1_000)).unwrap();
            }
        }
        for run in &runs {
            within("it ends", run.quiescent()).await;
            lab.forget(run.id()).unwrap();
        }
        assert_eq!(held(&lab), Held::default());
        assert_eq!(captured.inside(), 0);
    }
    lab.finish().await;
}

/// Of an answer, a cancel and an expiry that come at once exactly one is the end of the pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i24_of_an_answer_a_stop_and_a_second_answer_exactly_one_wins() {
    let lab = Lab::real();
    let (mut resumed, mut stopped) = (0, 0);
    for round in 0..1_000 {
        let bodies = Witness::new();
        let inside: Arc<Mutex<Vec<Inside>>> = Arc::default();
        let (enters, keeps) = (bodies.clone(), Arc::clone(&inside));
        let run = lab.submit_resumable(clerk(), move |ctx: RunContext| {
            keeps.lock().unwrap().push(enters.enter());
            asks(ctx)
        });
        let run = run.unwrap().into_ref();
        within("it asks", run.paused()).await.unwrap();
        let mut won = [false; 3];
        let threads = [0, 1, 2].map(|n| {
            let (who, run) = ((n + round) % 3, run.clone());
            let thread = std::thread::spawn(move || match who {
                2 => matches!(run.cancel(stop()), Disposition::Accepted { .. }),
                n => run.resume(format!("answer {n}")).is_ok(),
            });
            // In the first rounds each of them wins once, whatever the machine does later.
            while round < 3 && !thread.is_finished() {
                std::thread::yield_now();
            }
            (who, thread)
        });
        for (who, thread) in threads {
            won[who] = thread.join().unwrap();
        }
        let status = within("it ends", run.ended()).await.status;
        assert!(!(won[0] && won[1]), "two answers");
        match (won[0] || won[1], won[2], status) {
            // A stop may also meet the next attempt.
            (true, true, RunStatus::Cancelled) | (true, false, RunStatus::Completed) => {
                resumed += 1;
            }
            (false, true, RunStatus::Cancelled) => {
                assert_eq!(bodies.entered(), 1, "a stopped run has no next attempt");
                stopped += 1;
            }
            other => panic!("{other:?}"),
        }
        assert!(bodies.entered() > 1 || status == RunStatus::Cancelled);
    }
    assert!(resumed > 0 && stopped > 0, "{resumed} resumed, {stopped} stopped");
    lab.finish().await;
}

#[tokio::test]
async fn i14_a_paused_run_is_stopped_while_every_worker_is_blocked() {
    let bodies = body_runtime(1);
    let engine = Engine::with_config(config().runtime(bodies.handle().clone()));
    let run = paused(&engine, clerk()).await;
    let (let_go, gone) = std::sync::mpsc::channel::<()>();
    let blocked = Witness::new();
    let inside = blocked.clone();
    bodies.spawn(async move {
        let _inside = inside.enter();
        gone.recv().unwrap();
    });
    while blocked.inside() == 0 {
        std::thread::yield_now();
    }
    run.cancel(stop());
    assert_eq!(run.status(), RunStatus::Cancelled);
    assert!(run.report().quiescent);
    let_go.send(()).unwrap();
    bodies.shutdown_background();
}
