//! Runs that are paused, against answers and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::{
    Disposition, Engine, Failure, OnBusy, RunContext, RunHandle, RunRef, RunSpec, RunStatus,
};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{NEVER, because, checked_log, config, draw, pause, play, shut_down};

/// Counts the attempts, and what is left of what makes their bodies.
#[derive(Clone, Default)]
struct Counted {
    attempts: Arc<AtomicUsize>,
    makers: Arc<()>,
}

impl Counted {
    fn begin(&self) {
        self.attempts.fetch_add(1, Ordering::SeqCst);
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

/// An engine in which the run has a lane, or needs a slot, or neither.
fn drawn() -> (Engine, RunSpec) {
    let (mut config, mut spec) = (config().grace(NEVER).abort_wait(NEVER), RunSpec::agent("clerk"));
    if draw(2) == 0 {
        config = config.running_max(1);
    }
    if draw(2) == 0 {
        spec = spec.lane("L", OnBusy::Enqueue);
    }
    (Engine::with_config(config), spec)
}

/// Submits a run that asks once, while a child of it may be live.
fn submit(engine: &Engine, spec: RunSpec, counted: &Counted) -> RunRef {
    let counted = counted.clone();
    let run = engine.submit_resumable(spec, move |ctx: RunContext| {
        counted.begin();
        async move {
            if ctx.resumed_with().is_some() {
                yield_now().await;
                return Ok::<_, Failure>(());
            }
            drop(ctx.spawn(RunSpec::step("late"), async |_| {
                yield_now().await;
                Ok(())
            }));
            Err(ctx.pause("?"))
        }
    });
    run.map(RunHandle::into_ref).unwrap()
}

#[test]
fn i24_of_two_answers_and_a_stop_one_is_the_end_of_a_pause() {
    play("two answers and a stop of a paused run", 3, |seen| {
        let ((engine, spec), counted) = (drawn(), Counted::default());
        let run = submit(&engine, spec, &counted);
        block_on(run.paused()).unwrap();
        assert_eq!(counted.attempts(), 1);
        let answers = [0, 1].map(|answer| {
            let run = run.clone();
            thread::spawn(move || {
                pause(20);
                run.resume(answer).is_ok()
            })
        });
        let stopper = {
            let run = run.clone();
            thread::spawn(move || {
                pause(20);
                matches!(run.cancel(because("enough")), Disposition::Accepted { .. })
            })
        };
        let answers = answers.map(|thread| thread.join().unwrap());
        let is_stopped = stopper.join().unwrap();
        let report = block_on(run.quiescent());
        // Before the run is quiescent, whatever it came to (I4).
        assert_eq!(Arc::strong_count(&counted.makers), 1, "nothing makes another body");
        assert!(!(answers[0] && answers[1]), "one answer");
        let outcome = match (answers[0] || answers[1], is_stopped, report.status) {
            (true, false, RunStatus::Completed) => 0,
            (false, true, RunStatus::Cancelled) => 1,
            (true, true, RunStatus::Cancelled) => 2,
            other => panic!("{other:?}"),
        };
        assert!(outcome != 1 || counted.attempts() == 1, "a stopped run has no next attempt");
        seen.note(outcome);
        checked_log(&run);
        shut_down(&engine);
    });
}

#[test]
fn i24_of_a_pause_and_a_stop_either_comes_first_and_the_run_ends() {
    play("a stop of a run that comes to its pause", 2, |seen| {
        let ((engine, spec), counted) = (drawn(), Counted::default());
        let run = submit(&engine, spec, &counted);
        let stopper = {
            let run = run.clone();
            thread::spawn(move || {
                pause(40);
                run.cancel(because("enough"))
            })
        };
        let was_paused = block_on(run.paused()).is_some();
        let disposition = stopper.join().unwrap();
        assert!(matches!(disposition, Disposition::Accepted { .. }), "{disposition:?}");
        let report = block_on(run.quiescent());
        assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
        assert_eq!(Arc::strong_count(&counted.makers), 1, "nothing makes another body");
        assert!(counted.attempts() <= 1);
        seen.note(usize::from(was_paused));
        checked_log(&run);
        shut_down(&engine);
    });
}
