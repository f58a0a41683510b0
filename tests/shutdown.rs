use std::future::pending;

use quell::testing::held;
use quell::{
    CancelRequest, CauseKind, Engine, Payload, RunContext, RunSpec, RunStatus, Shutdown, StopMode,
    SubmitError,
};

use crate::support::{
    Gate, Lab, Witness, bounded, config, ignorant, listener, ms, naive, now, secs, soon, within,
};

fn plan(after_step: u64, grace: u64, abort_wait: u64) -> Shutdown {
    Shutdown { after_step: secs(after_step), grace: secs(grace), abort_wait: secs(abort_wait) }
}

#[tokio::test(start_paused = true)]
async fn i38_shutdown_closes_admission_and_stops_what_is_live() {
    let lab = Lab::paused();
    let runs = [
        lab.submit(RunSpec::agent("naive"), naive).unwrap(),
        lab.submit(RunSpec::agent("listener"), listener).unwrap(),
        lab.submit(RunSpec::agent("ignorant"), ignorant).unwrap(),
        lab.submit(RunSpec::agent("fails"), async |_| Err(quell::Failure::new("no"))).unwrap(),
    ];
    runs[3].ended().await;
    let began = now();
    let shutdown = lab.shutdown(secs(3));
    let late = async {
        tokio::time::sleep(secs(1)).await;
        lab.submit(RunSpec::agent("late"), naive).unwrap_err()
    };
    let (report, late) = tokio::join!(shutdown, late);
    assert_eq!(late, SubmitError::ShuttingDown);
    assert_eq!((now() - began, report.took), (secs(3), secs(3)));
    assert_eq!((report.roots.cancelled, report.roots.total()), (3, 3), "{report:?}");
    for run in &runs[..3] {
        let cause = run.run().report().cause.clone().unwrap();
        assert_eq!(cause.kind, CauseKind::Shutdown);
    }
    assert!(report.abandoned.is_empty());
    lab.finish().await;
}

/// Goes on for so many steps of a second each, and stops at a checkpoint if it is asked to.
async fn steps(ctx: RunContext, steps: u32) -> Result<(), quell::Failure> {
    for step in 0..steps {
        tokio::time::sleep(secs(1)).await;
        ctx.emit(step.to_string());
        ctx.checkpoint()?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn i38_the_stages_of_a_shutdown_each_have_their_own_instant() {
    let lab = Lab::paused();
    let mut runs = Vec::new();
    let brief = async |_| {
        tokio::time::sleep(secs(1)).await;
        Ok(())
    };
    let single = lab.submit(RunSpec::agent("ends first"), brief).unwrap();
    let many = lab.submit(RunSpec::agent("next checkpoint"), |ctx| steps(ctx, 99)).unwrap();
    runs.extend([single, many]);
    runs.push(lab.submit(RunSpec::agent("cooperative"), listener).unwrap());
    runs.push(lab.submit(RunSpec::agent("abort"), ignorant).unwrap());
    let held = async |ctx: RunContext| {
        let hold = ctx.hold(quell::Work::Process, "held")?;
        tokio::spawn(async move {
            tokio::time::sleep(secs(60)).await;
            drop(hold);
        });
        ctx.stopped().await;
        Ok(())
    };
    runs.push(lab.submit(RunSpec::agent("abandon"), held).unwrap());
    tokio::time::sleep(ms(500)).await;
    let began = now();
    let report = lab.shutdown(plan(2, 3, 4)).await;
    assert_eq!(now() - began, secs(2 + 3 + 4));
    let ends = runs.iter().map(|run| {
        let row = run.run().report().own_row().clone();
        let ended = row.ended_at.unwrap().duration_since(row.queued_at).unwrap();
        (row.status, ended.checked_sub(ms(500)).unwrap())
    });
    let cancelled = RunStatus::Cancelled;
    let expected = [
        (RunStatus::Completed, ms(500)),
        (cancelled, ms(500)),
        (cancelled, secs(2)),
        (cancelled, secs(5)),
        (cancelled, secs(9)),
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    assert_eq!(report.roots.cancelled, 4);
    assert_eq!(report.abandoned.len(), 1, "and at exit it says what still executes");
    runs[4].run().quiescent().await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i38_a_second_call_escalates_to_abort() {
    let lab = Lab::paused();
    let hooked = Witness::new();
    let seen = hooked.clone();
    let run = lab
        .submit(RunSpec::agent("ignorant"), async move |ctx| {
            ctx.on_stop(async move |_| drop(seen.enter()));
            pending::<()>().await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let began = now();
    let first = lab.shutdown(plan(10, 60, 1));
    let second = async {
        tokio::time::sleep(secs(2)).await;
        assert_eq!(run.run().status(), RunStatus::Running, "it waits for a checkpoint");
        lab.shutdown(Shutdown::default()).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(now() - began, secs(2));
    assert_eq!((first.roots.cancelled, second.roots.cancelled), (1, 1));
    let report = run.run().report();
    assert_eq!((report.own_row().hooks_skipped, hooked.entered()), (1, 0), "an abort has no time");
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i38_a_shutdown_that_is_dropped_goes_on_by_itself() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("ignorant"), ignorant).unwrap();
    tokio::task::yield_now().await;
    let began = now();
    let hasty = tokio::time::timeout(secs(1), lab.shutdown(plan(2, 3, 1))).await;
    assert!(hasty.is_err());
    let report = run.ended().await;
    assert_eq!((now() - began, report.status), (secs(5), RunStatus::Cancelled));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i38_a_stop_that_is_under_way_keeps_its_cause_and_its_earlier_deadline() {
    let lab = Lab::paused();
    let run = lab.submit(RunSpec::agent("ignorant"), ignorant).unwrap();
    tokio::task::yield_now().await;
    let began = now();
    run.cancel(CancelRequest::because("mine").grace(secs(1)));
    lab.shutdown(secs(30)).await;
    assert_eq!(now() - began, secs(1));
    let cause = run.run().report().cause.clone().unwrap();
    assert_eq!((cause.kind, cause.message.as_deref()), (CauseKind::UserRequest, Some("mine")));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i38_an_after_step_request_escalates_in_its_own_time() {
    let config = config().control_on_runtime().escalate_after(secs(7));
    let lab = Lab::with(config);
    let run = lab.submit(RunSpec::agent("listener"), listener).unwrap();
    tokio::task::yield_now().await;
    let began = now();
    let answer = run.cancel(CancelRequest::because("when it suits").after_step(None));
    assert_eq!(answer, quell::Disposition::Scheduled { escalate_at: began + secs(7) });
    let sooner = CancelRequest::because("sooner").after_step(Some(secs(3)));
    let answer = run.cancel(sooner);
    assert_eq!(answer, quell::Disposition::Scheduled { escalate_at: began + secs(3) });
    let later = CancelRequest::because("later").after_step(Some(secs(9)));
    let answer = run.cancel(later);
    assert_eq!(answer, quell::Disposition::Scheduled { escalate_at: began + secs(3) });
    run.ended().await;
    assert_eq!(now() - began, secs(3));
    assert!(StopMode::AfterStep < StopMode::Cooperative);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_dropping_the_last_engine_stops_what_is_live() {
    let lab = Lab::with(config().grace(ms(50)).limits(bounded(|_| {})));
    let witness = Witness::new();
    let seen = witness.clone();
    let engine = Engine::new();
    let clone = engine.clone();
    let run = engine
        .submit(RunSpec::team("left behind"), async move |ctx| {
            let _inside = seen.enter();
            let child = ctx.spawn(RunSpec::agent("child"), listener);
            child.ended().await;
            ctx.stopped().await;
            Ok(())
        })
        .unwrap();
    soon("it runs", || witness.inside() == 1).await;
    drop(engine);
    tokio::time::sleep(ms(20)).await;
    assert_eq!(run.run().status(), RunStatus::Running, "a clone is left");
    drop(clone);
    let report = within("it is stopped", run.ended()).await;
    assert_eq!((report.status, witness.inside()), (RunStatus::Cancelled, 0));
    assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::Shutdown);
    let trace = quell::testing::trace(run.run()).await;
    quell::testing::check_trace(&trace).unwrap();
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_submits_that_race_a_shutdown_are_refused_or_stopped() {
    for _ in 0..100 {
        let lab = Lab::real();
        let witness = Witness::new();
        let (engine, seen, go) = ((*lab).clone(), witness.clone(), Gate::new());
        let start = go.clone();
        let submitter = std::thread::spawn(move || {
            start.open();
            let mut runs = Vec::new();
            loop {
                let seen = seen.clone();
                let body = async move |ctx: RunContext| {
                    let _inside = seen.enter();
                    ctx.stopped().await;
                    Ok(())
                };
                match engine.submit(RunSpec::agent("racer"), body) {
                    Ok(run) => runs.push(run.into_ref()),
                    Err(SubmitError::ShuttingDown) => return runs,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        go.spin();
        within("shutdown", lab.shutdown(secs(20))).await;
        let runs = submitter.join().unwrap();
        for run in &runs {
            let report = within("each is stopped", run.ended()).await;
            assert_eq!(report.status, RunStatus::Cancelled);
        }
        assert_eq!(witness.inside(), 0);
        lab.finish().await;
    }
}

/// Waits while it is written.
struct Slow(Gate, Gate);

impl serde::Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.open();
        self.1.spin();
        to.serialize_u8(7)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_nothing_is_accepted_after_shutdown_has_returned() {
    let lab = Lab::real();
    let (is_written, go) = (Gate::new(), Gate::new());
    let submitter = std::thread::spawn({
        let (engine, runtime) = (Engine::clone(&lab), tokio::runtime::Handle::current());
        let input = Payload::json_later(Slow(is_written.clone(), go.clone()), 100);
        move || {
            let _entered = runtime.enter();
            engine.submit(RunSpec::agent("late").input(input), listener).map(|run| run.id())
        }
    });
    soon("its input is written", || is_written.is_open()).await;
    within("shutdown", lab.shutdown(secs(1))).await;
    go.open();
    let late = submitter.join().unwrap();
    assert!(matches!(late, Err(SubmitError::ShuttingDown)), "{late:?}");
    assert_eq!(held(&lab).entries, 0);
    lab.finish().await;
}
