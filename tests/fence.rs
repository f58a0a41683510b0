use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use quell::{
    CancelRequest, CauseKind, EventKind, Failure, Outcome, RunContext, RunError, RunFilter, RunRef,
    RunSpec, RunStatus, Work, Written, limits, testing,
};

use crate::support::{Lab, Witness, listener, ms, now, secs, seeds, soon, spin_for, within};

#[tokio::test(start_paused = true)]
async fn i8_after_a_stop_nothing_of_the_run_starts_and_the_refusal_says_why() {
    let lab = Lab::paused();
    let witness = Witness::new();
    let seen = witness.clone();
    let run = lab
        .submit(RunSpec::agent("late starter"), async move |ctx| {
            let cause = ctx.stopped().await;
            let child = ctx.spawn(RunSpec::step("child"), {
                let seen = seen.clone();
                async move |_| {
                    let _inside = seen.enter();
                    Ok(())
                }
            });
            assert_eq!(child.run().status(), RunStatus::Cancelled, "over before it began");
            let Err(RunError::Stopped(stopped)) = child.await else { panic!("it was refused") };
            assert_eq!(stopped.cause, cause);
            let closure = ctx.spawn_blocking(move |_| drop(seen.enter())).await;
            assert_eq!(closure.unwrap_err().cause, cause);
            assert_eq!(ctx.hold(Work::Process, "make").unwrap_err().cause, cause);
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    assert_eq!(report.rows.len(), 1, "what was refused is in no report");
    assert_eq!(lab.runs(&RunFilter::new()).len(), 1, "and in no list");
    assert_eq!(witness.entered(), 0);
    assert_eq!(lab.finish().await.runs, 1, "and in no log");
}

#[tokio::test(start_paused = true)]
async fn i8_a_failing_run_starts_nothing_either() {
    let lab = Lab::paused();
    let late: Arc<Mutex<Option<RunContext>>> = Arc::default();
    let kept = Arc::clone(&late);
    let run = lab
        .submit(RunSpec::team("failing"), async move |ctx| {
            drop(ctx.spawn(RunSpec::agent("slow"), async |ctx| {
                ctx.stopped().await;
                tokio::time::sleep(secs(1)).await;
                Ok(())
            }));
            tokio::task::yield_now().await;
            *kept.lock().unwrap() = Some(ctx);
            Err::<(), _>(Failure::new("no idea"))
        })
        .unwrap();
    tokio::time::sleep(ms(500)).await;
    let ctx = late.lock().unwrap().take().unwrap();
    assert_eq!(run.run().status(), RunStatus::Running, "it winds down");
    let Outcome::Stopped { cause, .. } = ctx.spawn(RunSpec::step("late"), listener).outcome().await
    else {
        panic!("the run fails: its fence is closed");
    };
    assert_eq!(cause.kind, CauseKind::ParentFailed);
    assert_eq!(run.ended().await.status, RunStatus::Failed);
    lab.finish().await;
}

/// Spawns children as fast as it can, and theirs, until it is told not to.
fn flood(ctx: RunContext, polled: Arc<AtomicUsize>, depth: u32) -> Boxed {
    Box::pin(flood_on(ctx, polled, depth))
}

/// Fewer than a report has rows, all together.
const FLOOD_MAX: usize = 80;

type Boxed = futures::future::BoxFuture<'static, Result<(), Failure>>;

async fn flood_on(ctx: RunContext, polled: Arc<AtomicUsize>, depth: u32) -> Result<(), Failure> {
    polled.fetch_add(1, Ordering::SeqCst);
    let mut kids = Vec::new();
    loop {
        let polled = Arc::clone(&polled);
        let body = move |ctx| match depth {
            0 => Box::pin(listener(ctx)),
            _ => flood(ctx, polled, depth - 1),
        };
        let kid = ctx.spawn(RunSpec::step("kid"), body);
        if kid.run().status() == RunStatus::Cancelled || kids.len() > FLOOD_MAX {
            break;
        }
        kids.push(kid);
        if kids.len() % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    quell::join::all(kids).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_no_child_is_left_behind_when_spawning_as_fast_as_possible() {
    for (_seed, mut rng) in seeds(20) {
        let lab = Lab::real();
        let polled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&polled);
        let run = lab.submit(RunSpec::team("root"), move |ctx| flood(ctx, count, 1)).unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(rng.u64(0..3_000))).await;
        run.cancel(CancelRequest::because("enough").grace(secs(20)));
        let known = lab.runs(&RunFilter::new()).len();
        let live = lab.runs(&RunFilter::new().live());
        let stopped = |run: &RunRef| {
            run.status() == RunStatus::Stopping || run.status() == RunStatus::Cancelled
        };
        assert!(live.iter().all(stopped), "{live:?}");
        let report = within("the flood dries up", run.ended()).await;
        assert!(report.rows.iter().all(|row| row.status == RunStatus::Cancelled && row.quiescent));
        let started = report.rows.iter().filter(|row| row.started_at.is_some()).count();
        assert!(polled.load(Ordering::SeqCst) <= started, "a body ran that never started");
        assert_eq!(lab.runs(&RunFilter::new()).len(), known, "nothing came after the cancel");
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_a_cancel_that_races_a_spawn_lets_no_child_start_after_it() {
    let lab = Lab::real();
    let mut servo = crate::support::Servo::new(200);
    for (_seed, mut rng) in seeds(1_500) {
        let (for_spawn, for_cancel) = servo.handicaps(&mut rng);
        let witness = Witness::new();
        let seen = witness.clone();
        let up = crate::support::Gate::new();
        let ready = up.clone();
        let run = lab
            .submit(RunSpec::team("racer"), async move |ctx| {
                ready.open();
                spin_for(for_spawn);
                let child = ctx.spawn(RunSpec::step("child"), async move |ctx| {
                    let _inside = seen.enter();
                    ctx.stopped().await;
                    Ok(())
                });
                Ok(child.await?)
            })
            .unwrap();
        up.spin();
        spin_for(for_cancel);
        run.cancel(CancelRequest::because("race").grace(secs(20)));
        let report = within("the run ends", run.ended()).await;
        let spawned = report.rows.len() == 2;
        servo.first_won(spawned);
        assert!(report.quiescent && report.status == RunStatus::Cancelled);
        let started = report.rows.get(1).is_some_and(|child| child.started_at.is_some());
        // A run that has started may be dropped before its first poll, not the other way round.
        assert!(witness.entered() <= usize::from(started), "{report:#?}");
        assert_eq!(witness.inside(), 0);
    }
    servo.assert_raced("cancel against spawn");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i8_a_shield_may_spawn_within_its_own_bound() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("tidy").grace(secs(3)), async |ctx| {
            ctx.stopped().await;
            let tidied = ctx.shield(async {
                let tidy = async |_| {
                    tokio::time::sleep(secs(1)).await;
                    Ok("tidied")
                };
                ctx.spawn(RunSpec::step("tidy up"), tidy).await
            });
            ctx.emit(tidied.await??);
            let forever = async |_| {
                pending::<()>().await;
                Ok(())
            };
            let late = ctx.shield(async { ctx.spawn(RunSpec::step("forever"), forever).await });
            late.await??;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!(now() - began, secs(3), "the bound of the shield is the hard deadline");
    let statuses: Vec<_> = report.rows.iter().map(|row| (&*row.name, row.status)).collect();
    assert_eq!(
        statuses,
        [
            ("tidy", RunStatus::Cancelled),
            ("tidy up", RunStatus::Completed),
            ("forever", RunStatus::Cancelled)
        ]
    );
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i8_a_hook_may_spawn_and_a_task_that_a_shield_spawns_may_not() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("tidy"), async |ctx| {
            let hooked = ctx.clone();
            ctx.on_stop(async move |_| {
                let child = hooked.spawn(RunSpec::step("from a hook"), async |_| Ok(()));
                child.await.unwrap();
            });
            ctx.stopped().await;
            let elsewhere = ctx.clone();
            let outside = async move {
                elsewhere.spawn(RunSpec::step("from a task"), async |_| Ok(())).await
            };
            let refused = ctx.shield(async { tokio::spawn(outside).await.unwrap() }).await?;
            assert!(matches!(refused, Err(RunError::Stopped(_))), "the mark is lexical");
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert!(report.own_row().cleanup_errors.is_empty(), "{report:#?}");
    assert_eq!(report.rows.len(), 2);
    assert_eq!(report.rows[1].status, RunStatus::Completed);
    soon("nothing is live", || lab.runs(&RunFilter::new().live()).is_empty()).await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i9_after_a_stop_no_outcome_is_known_and_all_may_still_be_settled() {
    let lab = Lab::paused();
    let long = "x".repeat(limits::LABEL_BYTES_MAX + 1);
    let (settled_at, name) = (SystemTime::UNIX_EPOCH, long.clone());
    let knows = lab
        .submit(RunSpec::agent("knows"), async move |ctx| {
            ctx.emit_decided(settled_at, Some(name.into()))?;
            pending::<Result<(), Failure>>().await
        })
        .unwrap();
    let asks = lab
        .submit(RunSpec::agent("asks"), async move |ctx| {
            let cause = ctx.stopped().await;
            assert_eq!(ctx.emit_decided(settled_at, None).unwrap_err().cause, cause);
            assert_eq!(ctx.emit_settled(settled_at), Written::Recorded);
            Ok(ctx)
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    for run in [knows.run(), asks.run()] {
        run.cancel(CancelRequest::because("enough").grace(secs(5)));
        run.ended().await;
    }
    assert_eq!(now(), began, "what says that it has decided is no listener");
    let stages = async |run: &RunRef| {
        let mut stages = testing::trace(run).await;
        stages.retain(|event| {
            matches!(event.kind, EventKind::Decided { .. } | EventKind::Settled { .. })
        });
        stages.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let cut = limits::cut(&long, limits::LABEL_BYTES_MAX).into_owned();
    let decided = EventKind::Decided { decided_at: settled_at, decided_by: Some(cut.into()) };
    assert_eq!(stages(knows.run()).await, [decided]);
    assert_eq!(stages(asks.run()).await, [EventKind::Settled { settled_at }]);
    let Outcome::Stopped { partial: Some(ctx), .. } = asks.outcome().await else { panic!() };
    assert!(ctx.emit_decided(settled_at, None).is_err());
    assert_eq!(ctx.emit_settled(settled_at), Written::Late);
    lab.finish().await;
}
