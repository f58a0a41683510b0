//! Many who submit, some who cancel everything, and one who shuts down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quell::{Disposition, Engine, RunContext, RunFilter, RunHandle, RunSpec, SubmitError};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{
    accept_shutdown, assert_nothing_held, because, checked_log, engine, is_stopped, pause, play,
};
use crate::witness::Witness;

/// Submits a root with a child that waits for a stop.
fn submit(engine: &Engine, all: &Arc<Witness>) -> Result<RunHandle<()>, SubmitError> {
    let all = Arc::clone(all);
    engine.submit(RunSpec::agent("root"), async move |ctx: RunContext| {
        let here = all.enter(&ctx);
        let child = ctx.spawn(RunSpec::step("child"), {
            let all = Arc::clone(&all);
            async move |ctx: RunContext| {
                let here = all.enter(&ctx);
                ctx.stopped().await;
                here.step();
                Ok(())
            }
        });
        yield_now().await;
        here.step();
        child.into_ref().ended().await;
        Ok(())
    })
}

#[test]
fn i7_i8_i38_after_a_shutdown_is_accepted_nothing_starts_and_everything_ends() {
    play("submit against cancel_where against shutdown", 4, |seen| {
        let (engine, all) = (engine(), Witness::new());
        let is_closed = Arc::new(AtomicBool::new(false));
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                let (engine, all) = (engine.clone(), Arc::clone(&all));
                let is_closed = Arc::clone(&is_closed);
                thread::spawn(move || -> Vec<_> {
                    let submitted = (0..2).map(|_| {
                        let was_closed = is_closed.load(Ordering::SeqCst);
                        let run = submit(&engine, &all);
                        assert!(!was_closed || run.is_err(), "accepted after the shutdown was");
                        run
                    });
                    submitted.collect()
                })
            })
            .collect();
        let canceller = thread::spawn({
            let engine = engine.clone();
            move || {
                pause(50);
                engine.cancel_where(&RunFilter::new().roots().live(), because("all"))
            }
        });
        pause(200);
        accept_shutdown(&engine, || {
            is_closed.store(true, Ordering::SeqCst);
            let live = engine.runs(&RunFilter::new().roots().live());
            assert!(live.iter().all(|run| run.status().is_terminal() || is_stopped(run.status())));
        });
        for (run, answer) in canceller.join().unwrap() {
            assert!(!matches!(answer, Disposition::Unknown), "{run}: {answer:?}");
            seen.note(usize::from(matches!(answer, Disposition::Accepted { .. })));
        }
        let mut logs = Vec::new();
        for run in submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()) {
            match run {
                Ok(run) => {
                    let root = run.run().clone();
                    drop(block_on(run.outcome()));
                    logs.push(checked_log(&root));
                    seen.note(2);
                }
                Err(refusal) => {
                    assert_eq!(refusal, SubmitError::ShuttingDown);
                    seen.note(3);
                }
            }
        }
        all.seal();
        assert_nothing_held(&engine);
        all.agree_with(logs.iter().map(Vec::as_slice));
    });
}
