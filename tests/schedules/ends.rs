//! How runs end that were stopped: hooks, graces that are over, bodies that do not come back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quell::{Disposition, Engine, EventKind, HookOutcome, RunContext, RunSpec, RunStatus};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{NEVER, SOON, because, checked_log, config, pause, play, shut_down};
use crate::witness::Witness;

#[test]
fn i4_i16_hooks_have_one_outcome_each_whenever_the_grace_is_over() {
    play("hooks against the end of the grace", 3, |seen| {
        let engine = Engine::with_config(config().grace(SOON).abort_wait(NEVER));
        let (tree, hooks) = (Witness::new(), Witness::new());
        let (began, made) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let run = engine.submit(RunSpec::agent("root"), {
            let (tree, hooks) = (Arc::clone(&tree), Arc::clone(&hooks));
            let (began, made) = (Arc::clone(&began), Arc::clone(&made));
            async move |ctx: RunContext| {
                let _here = tree.enter(&ctx);
                for number in 0..3 {
                    let (began, hooks, own) = (Arc::clone(&began), Arc::clone(&hooks), ctx.clone());
                    ctx.on_stop(async move |_| {
                        let here = hooks.enter(&own);
                        began.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                        yield_now().await;
                        here.step();
                    });
                    made.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                }
                ctx.stopped().await;
                Ok(())
            }
        });
        let root = run.unwrap().into_ref();
        pause(100);
        let answer = root.cancel(because("stop"));
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        assert_eq!(block_on(root.quiescent()).status, RunStatus::Cancelled);
        tree.seal();
        hooks.seal();
        let log = checked_log(&root);
        let mut outcomes = Vec::new();
        for event in &log {
            if let EventKind::HookEnded { hook, outcome } = event.kind {
                assert!(outcomes.iter().all(|(other, _)| *other != hook), "{hook} twice: {log:#?}");
                outcomes.push((hook, outcome));
            }
        }
        let finished =
            outcomes.iter().filter(|(_, outcome)| *outcome == HookOutcome::Finished).count();
        let began = began.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut once = began.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), began.len(), "a hook ran twice: {began:?}");
        assert_eq!(outcomes.len(), made.load(Ordering::SeqCst), "{outcomes:?}: {log:#?}");
        assert!(finished <= began.len() && began.len() <= outcomes.len(), "{outcomes:?} {began:?}");
        seen.note(match (outcomes.len(), finished) {
            (0, _) => 0,
            (all, finished) if all == finished => 1,
            _ => 2,
        });
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}

#[test]
fn i16_hooks_of_every_end_run_once_whenever_a_stop_comes() {
    play("hooks of every end against a stop", 3, |seen| {
        let engine = Engine::with_config(config().grace(NEVER).abort_wait(NEVER));
        let (tree, began) = (Witness::new(), Arc::new(Mutex::new(Vec::new())));
        let run = engine.submit(RunSpec::agent("root"), {
            let (tree, began) = (Arc::clone(&tree), Arc::clone(&began));
            async move |ctx: RunContext| {
                let _here = tree.enter(&ctx);
                for number in 0..4 {
                    let began = Arc::clone(&began);
                    let hook = async move {
                        began.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                        yield_now().await;
                    };
                    if number % 2 == 0 {
                        ctx.on_stop(move |_| hook);
                    } else {
                        ctx.on_end(move |_| hook);
                    }
                }
                yield_now().await;
                Ok(())
            }
        });
        let root = run.unwrap().into_ref();
        pause(100);
        let answer = root.cancel(because("stop"));
        let status = block_on(root.quiescent()).status;
        tree.seal();
        let log = checked_log(&root);
        let began = began.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let count = |wanted| {
            let is_it = |kind: &EventKind| match *kind {
                EventKind::HookEnded { outcome, .. } => outcome == wanted,
                _ => false,
            };
            log.iter().filter(|event| is_it(&event.kind)).count()
        };
        assert_eq!(count(HookOutcome::Finished), began.len(), "{began:?}: {log:#?}");
        let was_accepted = matches!(answer, Disposition::Accepted { .. });
        assert_eq!(status == RunStatus::Cancelled, was_accepted, "{answer:?}");
        let mut once = began.clone();
        once.sort_unstable();
        // A stop that comes when the others are dropped, for want of a stop, finds them skipped or
        // gone. A run that is stopped before its start registers none.
        let is_sound = match (&*once, count(HookOutcome::Skipped)) {
            ([1, 3], 0) => true,
            ([1, 3], 2) | ([0, 1, 2, 3] | [], 0) => was_accepted,
            _ => false,
        };
        assert!(is_sound, "{began:?}: {log:#?}");
        seen.note(match &*began {
            [3, 1] => 0,
            [3, 1, ..] => 1,
            _ => 2,
        });
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}

#[test]
fn i4_i12_a_body_that_does_not_come_back_is_abandoned_and_told_of_when_it_does() {
    play("abandon against the return of a body", 2, |seen| {
        let engine = Engine::with_config(config().grace(SOON).abort_wait(SOON));
        let (tree, is_free) = (Witness::new(), Arc::new(AtomicBool::new(false)));
        let run = engine.submit(RunSpec::agent("root"), {
            let (tree, is_free) = (Arc::clone(&tree), Arc::clone(&is_free));
            async move |ctx: RunContext| {
                let here = tree.enter(&ctx);
                while !is_free.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                here.step();
                Ok(())
            }
        });
        let root = run.unwrap().into_ref();
        let other = thread::spawn(move || {
            pause(200);
            is_free.store(true, Ordering::SeqCst);
        });
        pause(20);
        let answer = root.cancel(because("stop"));
        let report = block_on(root.ended());
        if report.quiescent {
            tree.seal();
        }
        seen.note(usize::from(report.abandoned.is_empty()));
        assert!(report.quiescent || !report.abandoned.is_empty(), "{report:?}");
        let was_accepted = matches!(answer, Disposition::Accepted { .. });
        assert_eq!(report.status == RunStatus::Cancelled, was_accepted, "{answer:?}");
        block_on(root.quiescent());
        tree.seal();
        other.join().unwrap();
        let log = checked_log(&root);
        shut_down(&engine);
        tree.agree_with([&*log]);
    });
}
