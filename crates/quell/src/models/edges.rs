//! Where models used to end: detach against the stages of a stop, two who stop the same tree, and
//! the first words of a body against a stop.

use std::future::pending;

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use quell_core::lifecycle::BodyEnd;
use quell_core::{Disposition, RunStatus};

use super::{
    Arc, because, checked_log, end_body, engine, explore, fire, is_stopped, started_child,
    started_root,
};
use crate::handle::Outcome;
use crate::spec::RunSpec;

#[test]
fn i25_a_run_that_left_is_stopped_by_no_stage() {
    explore("detach against the stages of a stop", Some(3), 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let leaf = started_child(&child, "leaf").expect("nothing is stopped");
        let other = thread::spawn({
            let leaf = Arc::clone(&leaf);
            move || crate::step::detach::detach(&leaf).is_ok()
        });
        // The abort is due at once: its stage walks as soon as the tree is told.
        root.cancel(&because("now").abort());
        fire(&engine);
        let left = other.join().unwrap();
        seen.note(usize::from(left));
        assert_eq!(is_stopped(leaf.status()), !left, "the leaf is {}", leaf.status());
        end_body(&leaf, if left { BodyEnd::Ok } else { BodyEnd::Dropped });
        end_body(&child, BodyEnd::Dropped);
        end_body(&root, BodyEnd::Dropped);
        checked_log(&root);
        if left {
            assert_eq!(leaf.status(), RunStatus::Completed);
            checked_log(&leaf);
        }
    });
}

#[test]
fn i2_each_of_two_cancels_returns_when_every_descendant_is_signalled() {
    explore("cancel against cancel above a child", Some(4), 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let stop = |words: &'static str| {
            let (root, child) = (Arc::clone(&root), Arc::clone(&child));
            move || {
                let answer = root.cancel(&because(words));
                assert!(is_stopped(child.status()), "not signalled when {words} returned");
                answer
            }
        };
        let other = thread::spawn(stop("a"));
        let own = stop("b")();
        let first = matches!(other.join().unwrap(), Disposition::Accepted { .. });
        assert_eq!(matches!(own, Disposition::Accepted { .. }), !first);
        seen.note(usize::from(first));
        end_body(&child, BodyEnd::Dropped);
        end_body(&root, BodyEnd::Dropped);
        checked_log(&root);
    });
}

#[test]
fn i15_whoever_listens_before_a_stop_is_accepted_has_the_grace() {
    explore("cancel against the first question about stops", Some(3), 2, |seen| {
        let engine = engine();
        let listened = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&listened);
        let run = engine.submit(RunSpec::agent("asks"), async move |ctx| {
            if ctx.is_stopping() {
                return Ok(false);
            }
            tell.store(true, Ordering::SeqCst);
            // It has asked, so it hears of the stop, and is not dropped.
            ctx.stopped().await;
            Ok(true)
        });
        let run = run.expect("a root is accepted");
        run.cancel(because("stop"));
        let Outcome::Stopped { partial, .. } = block_on(run.outcome()) else {
            panic!("an accepted cancel never completes")
        };
        // Stopped before its start, it was never asked; otherwise it had its time.
        let has_asked = listened.load(Ordering::SeqCst);
        assert!(!has_asked || partial == Some(true), "a listener was dropped: {partial:?}");
        seen.note(usize::from(has_asked));
    });
}

#[test]
fn i15_whoever_never_asks_is_dropped_whenever_the_stop_comes() {
    explore("cancel against a first poll", Some(4), 0, |_| {
        let engine = engine();
        let run = engine.submit(RunSpec::agent("silent"), async |_| {
            pending::<()>().await;
            Ok(())
        });
        let run = run.expect("a root is accepted").into_ref();
        run.cancel(because("stop"));
        // No timer fires here: this returns only if the body was dropped at once.
        assert_eq!(block_on(run.ended()).status, RunStatus::Cancelled);
    });
}

#[test]
fn i30_of_two_that_leave_one_below_the_other_each_takes_its_own_along() {
    explore("detach against detach below it", Some(3), 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let below = started_child(&child, "below").expect("nothing is stopped");
        let leaf = started_child(&below, "leaf").expect("nothing is stopped");
        let other = thread::spawn({
            let below = Arc::clone(&below);
            move || crate::step::detach::detach(&below).expect("it leaves")
        });
        crate::step::detach::detach(&child).expect("it leaves");
        other.join().unwrap();
        assert_eq!((child.log().root, below.log().root), (child.id, below.id));
        assert_eq!(leaf.log().root, below.id, "the leaf is in the tree of the run above it");
        seen.note(usize::from(below.log().before().is_some_and(|log| log.root == root.id)));
        for run in [&leaf, &below, &child, &root] {
            end_body(run, BodyEnd::Ok);
        }
        for root in [&root, &child, &below] {
            checked_log(root);
        }
    });
}
