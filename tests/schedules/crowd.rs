//! Many who submit, children that leave, one who cancels everything, and one who shuts down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quell::{Disposition, Engine, RunContext, RunFilter, RunRef, RunSpec, SubmitError};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{
    accept_shutdown, assert_nothing_held, because, checked_log, draw, engine, is_stopped, pause,
    play,
};
use crate::witness::Witness;

/// All that a schedule knows of its runs.
#[derive(Default)]
struct Crowd {
    all: Arc<Witness>,
    /// Roots whose submit has returned, and children that are roots now.
    roots: Mutex<Vec<RunRef>>,
    is_closed: AtomicBool,
}

impl Crowd {
    fn note(&self, root: &RunRef) {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).push(root.clone());
    }

    fn roots(&self) -> Vec<RunRef> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Submits a root with a child that waits for a stop, and may leave before.
    fn submit(self: &Arc<Self>, engine: &Engine) -> Result<RunRef, SubmitError> {
        let crowd = Arc::clone(self);
        let run = engine.submit(RunSpec::agent("root"), async move |ctx: RunContext| {
            let here = crowd.all.enter(&ctx);
            let all = Arc::clone(&crowd.all);
            let child = ctx.spawn(RunSpec::step("child"), async move |ctx: RunContext| {
                let here = all.enter(&ctx);
                ctx.stopped().await;
                here.step();
                Ok(())
            });
            let child = child.into_ref();
            yield_now().await;
            here.step();
            if draw(3) == 0 && child.detach().is_ok() {
                crowd.note(&child);
            } else {
                child.ended().await;
            }
            Ok(())
        });
        let root = run?.into_ref();
        self.note(&root);
        Ok(root)
    }
}

#[test]
fn i7_i8_i25_i38_after_a_shutdown_is_accepted_nothing_starts_and_everything_ends() {
    play("submit against cancel_where against shutdown", 4, |seen| {
        let (engine, crowd) = (engine(), Arc::new(Crowd::default()));
        let submitters = [(); 3].map(|()| {
            let (engine, crowd) = (engine.clone(), Arc::clone(&crowd));
            thread::spawn(move || {
                [(); 2].map(|()| {
                    let was_closed = crowd.is_closed.load(Ordering::SeqCst);
                    let run = crowd.submit(&engine);
                    assert!(!was_closed || run.is_err(), "accepted after the shutdown was");
                    run
                })
            })
        });
        let canceller = thread::spawn({
            let engine = engine.clone();
            move || {
                pause(50);
                engine.cancel_where(&RunFilter::new().roots().live(), because("all"))
            }
        });
        pause(200);
        accept_shutdown(&engine, || {
            crowd.is_closed.store(true, Ordering::SeqCst);
            for root in crowd.roots() {
                let status = root.status();
                assert!(status.is_terminal() || is_stopped(status), "not signalled: {root:?}");
            }
        });
        for (run, answer) in canceller.join().unwrap() {
            assert!(!matches!(answer, Disposition::Unknown), "{run}: {answer:?}");
            seen.note(usize::from(matches!(answer, Disposition::Accepted { .. })));
        }
        for run in submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()) {
            assert!(run.as_ref().err().is_none_or(|why| *why == SubmitError::ShuttingDown));
            seen.note(2 + usize::from(run.is_err()));
        }
        let roots = crowd.roots();
        for root in &roots {
            block_on(root.quiescent());
        }
        crowd.all.seal();
        let logs: Vec<_> = roots.iter().map(checked_log).collect();
        assert_nothing_held(&engine);
        crowd.all.agree_with(logs.iter().map(Vec::as_slice));
    });
}
