//! A run that fails, and what it has left behind: holds that wait to be told.

use loom::future::block_on;
use loom::thread::{self, JoinHandle};
use quell_core::lifecycle::BodyEnd;
use quell_core::{CauseKind, Disposition, RunStatus, Work};

use super::{Arc, EVERY, because, checked_log, end_body, engine, explore, started_root};
use crate::body::context::RunContext;
use crate::engine::Engine;
use crate::node::Node;
use crate::step::hold::Hold;

fn held_root(engine: &Engine) -> (Arc<Node>, RunContext, Hold) {
    let node = started_root(engine);
    let ctx = RunContext::new(Arc::clone(&node));
    let hold = ctx.hold(Work::Process, "waits").expect("nothing is stopped");
    (node, ctx, hold)
}

/// The body fails, on a thread of its own.
fn fail(node: &Arc<Node>) -> JoinHandle<()> {
    let node = Arc::clone(node);
    thread::spawn(move || end_body(&node, BodyEnd::Err))
}

#[test]
fn i2_a_hold_that_waits_for_a_stop_is_woken_by_a_failure() {
    explore("failure against a hold that waits", EVERY, 0, |_| {
        let engine = engine();
        let (node, ctx, hold) = held_root(&engine);
        let body = fail(&node);
        let cause = block_on(ctx.stopped());
        assert_eq!(cause.kind, CauseKind::ParentFailed);
        assert!(ctx.is_stopping(), "it reads what it was told");
        drop(hold);
        body.join().unwrap();
        assert_eq!(node.status(), RunStatus::Failed);
        checked_log(&node);
    });
}

#[test]
fn i2_a_token_that_is_made_while_a_run_fails_is_cancelled() {
    explore("failure against a token", EVERY, 0, |_| {
        let engine = engine();
        let (node, ctx, hold) = held_root(&engine);
        let body = fail(&node);
        // Before the failure or after it: a token that nobody cancels is a deadlock.
        block_on(ctx.cancellation_token().cancelled());
        drop(hold);
        body.join().unwrap();
        assert_eq!(node.status(), RunStatus::Failed);
        checked_log(&node);
    });
}

#[test]
fn i2_a_hold_hears_of_whichever_comes_first_a_stop_or_a_failure() {
    explore("failure against a stop and a hold that waits", Some(3), 2, |seen| {
        let engine = engine();
        let (node, ctx, hold) = held_root(&engine);
        let body = fail(&node);
        let other = thread::spawn({
            let node = Arc::clone(&node);
            move || node.cancel(&because("stop"))
        });
        block_on(ctx.cancellation_token().cancelled());
        drop(hold);
        body.join().unwrap();
        let accepted = matches!(other.join().unwrap(), Disposition::Accepted { .. });
        seen.note(usize::from(accepted));
        let status = if accepted { RunStatus::Cancelled } else { RunStatus::Failed };
        assert_eq!(node.status(), status);
        checked_log(&node);
    });
}
