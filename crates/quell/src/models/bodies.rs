//! The task of a body, with the waker that its executor gives it: a wake-up that is lost is a
//! deadlock of the model.

use std::future::pending;

use loom::future::block_on;
use loom::thread;
use quell_core::lifecycle::BodyEnd;
use quell_core::{Disposition, RunStatus};

use super::{Arc, EVERY, because, checked_log, engine, explore, is_stopped, started_root};
use crate::body::context::RunContext;
use crate::handle::Outcome;
use crate::run::RunRef;
use crate::spec::RunSpec;

#[test]
fn i2_i9_a_listener_hears_of_every_accepted_cancel() {
    explore("cancel against a listener", Some(3), 1, |seen| {
        let engine = engine();
        let run = engine.submit(RunSpec::agent("listener"), async |ctx| {
            ctx.stopped().await;
            Ok(())
        });
        let run = run.expect("a root is accepted");
        let answer = run.cancel(because("stop"));
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        let node = Arc::clone(run.run().node());
        let Outcome::Stopped { partial, .. } = block_on(run.outcome()) else {
            panic!("an accepted cancel never completes")
        };
        // It was stopped before its start, or it heard.
        seen.note(usize::from(partial.is_some()));
        assert_eq!(node.status(), RunStatus::Cancelled);
        if node.is_over() {
            checked_log(&node);
        }
    });
}

#[test]
fn i2_i32_a_body_that_waits_for_a_stop_is_woken_by_it() {
    explore("cancel against a body that waits", EVERY, 0, |_| {
        let engine = engine();
        let node = started_root(&engine);
        let canceller = thread::spawn({
            let node = Arc::clone(&node);
            move || node.cancel(&because("stop"))
        });
        let cause = block_on(RunContext::new(Arc::clone(&node)).stopped());
        assert_eq!(cause.message.as_deref(), Some("stop"));
        assert!(is_stopped(node.status()), "it reads what it was told");
        canceller.join().unwrap();
        super::end_body(&node, BodyEnd::Ok);
        checked_log(&node);
    });
}

#[test]
fn i9_a_cancel_against_a_body_that_returns_has_one_winner() {
    explore("cancel against a return", EVERY, 2, |seen| {
        let engine = engine();
        let run = engine.submit(RunSpec::agent("quick"), async |_| Ok(7)).expect("accepted");
        let answer = run.cancel(because("stop"));
        match block_on(run.outcome()) {
            Outcome::Completed(7) => {
                assert!(matches!(answer, Disposition::AlreadyTerminal { .. }), "{answer:?}");
                seen.note(0);
            }
            Outcome::Stopped { .. } => {
                assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
                seen.note(1);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn i12_an_abort_wakes_a_body_that_ignores_a_stop() {
    explore("abort against a body", Some(3), 0, |_| {
        let engine = engine();
        let run = engine.submit(RunSpec::agent("stubborn"), async |ctx| {
            let _ = ctx.is_stopping();
            pending::<()>().await;
            Ok(())
        });
        let run = run.expect("a root is accepted").into_ref();
        run.cancel(because("now").abort());
        super::fire(&engine);
        // Nobody else wakes it: this returns only if the abort did.
        assert_eq!(block_on(run.ended()).status, RunStatus::Cancelled);
    });
}

#[test]
fn i12_an_abort_reaches_a_body_that_ignores_a_stop_whenever_it_comes() {
    explore("cancel against abort", Some(2), 2, |seen| {
        let engine = engine();
        let run = engine.submit(RunSpec::agent("stubborn"), async |ctx| {
            let _ = ctx.is_stopping();
            pending::<()>().await;
            Ok(())
        });
        let run = run.expect("a root is accepted").into_ref();
        let other = thread::spawn({
            let (engine, run) = (engine.clone(), run.clone());
            move || {
                let answer = run.cancel(because("now").abort());
                // What the control thread does as soon as it is woken.
                super::fire(&engine);
                answer
            }
        });
        run.cancel(because("please"));
        let report = block_on(run.ended());
        assert_eq!(report.status, RunStatus::Cancelled);
        let first = matches!(other.join().unwrap(), Disposition::Accepted { .. });
        seen.note(usize::from(first));
    });
}

#[test]
fn i33_a_waiter_is_told_of_the_end_and_not_before() {
    explore("waiter against end", EVERY, 0, |_| {
        let engine = engine();
        let run = RunRef::new(started_root(&engine));
        let body = thread::spawn({
            let run = run.clone();
            move || super::end_body(run.node(), BodyEnd::Ok)
        });
        assert_eq!(block_on(run.ended()).status, RunStatus::Completed);
        body.join().unwrap();
    });
}

#[test]
fn i33_two_waiters_and_a_late_one_are_told_of_the_end() {
    explore("waiters against end", Some(3), 0, |_| {
        let engine = engine();
        let run = engine.submit(RunSpec::agent("short"), async |_| Ok(())).expect("accepted");
        let run = run.into_ref();
        let other = thread::spawn({
            let run = run.clone();
            move || {
                block_on(run.quiescent());
                assert!(run.node().is_over(), "quiescent and not over");
            }
        });
        let report = block_on(run.ended());
        assert_eq!(report.status, RunStatus::Completed);
        other.join().unwrap();
        // One that comes late finds it so.
        block_on(run.ended());
    });
}

#[test]
fn i33_waiters_that_a_stop_has_woken_are_told_of_the_end() {
    explore("waiters against stop and end", Some(2), 0, |_| {
        let engine = engine();
        let run = RunRef::new(started_root(&engine));
        let other = thread::spawn({
            let run = run.clone();
            move || block_on(run.ended_status())
        });
        let body = thread::spawn({
            let run = run.clone();
            move || {
                run.cancel(because("stop"));
                super::end_body(run.node(), BodyEnd::Dropped);
            }
        });
        // The stop wakes both, and neither must take the other's place when it waits again.
        assert_eq!(block_on(run.ended_status()), RunStatus::Cancelled);
        assert_eq!(other.join().unwrap(), RunStatus::Cancelled);
        body.join().unwrap();
    });
}

#[test]
fn i32_reads_never_go_back() {
    explore("reads against cancel", EVERY, 0, |_| {
        let engine = engine();
        let run = RunRef::new(started_root(&engine));
        let reader = thread::spawn({
            let run = run.clone();
            move || [run.status(), run.status()]
        });
        let answer = run.cancel(because("stop").abort());
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        assert!(is_stopped(run.status()) && is_stopped(run.row().status));
        let [first, second] = reader.join().unwrap();
        assert!(!is_stopped(first) || is_stopped(second), "{first} and then {second}");
        super::end_body(run.node(), BodyEnd::Dropped);
    });
}
