//! A change of limits, and what else wants the run at the same moment.

use std::time::Duration;

use loom::thread;
use quell_core::lifecycle::{BodyEnd, Input};
use quell_core::{Disposition, LimitsOutcome, NewLimits, RunStatus};

use super::{
    Arc, EVERY, Engine, Node, StopOrigin, because, checked_log, end_body, engine, explore, fire,
    started_child, started_root,
};
use crate::spec::RunSpec;
use crate::step::detach::detach;
use crate::testing;

/// Longer than any model takes.
const HOUR: Duration = Duration::from_hours(1);

/// A root that is over its timeout as soon as it runs: the timer is armed, and has not fired.
fn root_that_is_due(engine: &Engine) -> Arc<Node> {
    let spec = RunSpec::agent("root").timeout(Duration::ZERO);
    let root = engine.shared().accept_root(spec).expect("a root is accepted").0;
    root.apply(Input::Started, StopOrigin::default(), |_, _| {});
    root
}

#[test]
fn i9_i10_a_longer_timeout_against_the_firing_of_the_old_one_has_one_winner() {
    explore("longer timeout against old timeout", EVERY, 2, |seen| {
        let engine = engine();
        let root = root_that_is_due(&engine);
        let changer = thread::spawn({
            let root = Arc::clone(&root);
            move || root.set_limits(NewLimits::new().timeout(HOUR))
        });
        fire(&engine);
        match changer.join().unwrap() {
            LimitsOutcome::Changed { deadline } => {
                assert!(deadline.is_some());
                assert_eq!(root.status(), RunStatus::Running, "the old timeout fires no more");
                // Whoever fires for the old instant once more finds nothing due.
                fire(&engine);
                assert_eq!(root.status(), RunStatus::Running);
                assert_eq!(testing::held(&engine).timers, 1);
                end_body(&root, BodyEnd::Ok);
                assert_eq!(root.status(), RunStatus::Completed);
                seen.note(0);
            }
            LimitsOutcome::AlreadyStopping { .. } => {
                end_body(&root, BodyEnd::Dropped);
                assert_eq!(root.status(), RunStatus::TimedOut);
                seen.note(1);
            }
            other => panic!("{other:?}"),
        }
        checked_log(&root);
        assert_eq!(testing::held(&engine), testing::Held::default());
    });
}

#[test]
fn i6_i9_a_timeout_that_is_over_against_a_cancel_leaves_one_cause() {
    explore("timeout of zero against cancel", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let changer = thread::spawn({
            let root = Arc::clone(&root);
            move || root.set_limits(NewLimits::new().timeout(Duration::ZERO))
        });
        let answer = root.cancel(&because("stop"));
        let outcome = changer.join().unwrap();
        end_body(&root, BodyEnd::Dropped);
        match (answer, outcome) {
            (Disposition::Accepted { .. }, LimitsOutcome::AlreadyStopping { cause, .. }) => {
                assert_eq!(cause.message.as_deref(), Some("stop"));
                assert_eq!(root.status(), RunStatus::Cancelled);
                seen.note(0);
            }
            (Disposition::AlreadyStopping { .. }, LimitsOutcome::Exceeded { .. }) => {
                assert_eq!(root.status(), RunStatus::TimedOut);
                seen.note(1);
            }
            other => panic!("{other:?}"),
        }
        checked_log(&root);
        assert_eq!(testing::held(&engine), testing::Held::default());
    });
}

#[test]
fn i9_i23_a_change_against_the_end_of_the_body_is_made_or_says_that_it_is_late() {
    explore("timeout of zero against end", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let changer = thread::spawn({
            let root = Arc::clone(&root);
            move || root.set_limits(NewLimits::new().timeout(Duration::ZERO))
        });
        end_body(&root, BodyEnd::Ok);
        match changer.join().unwrap() {
            LimitsOutcome::Exceeded { .. } => {
                assert_eq!(root.status(), RunStatus::TimedOut);
                seen.note(0);
            }
            LimitsOutcome::AlreadyTerminal { status } => {
                assert_eq!((status, root.status()), (RunStatus::Completed, RunStatus::Completed));
                seen.note(1);
            }
            other => panic!("{other:?}"),
        }
        checked_log(&root);
        assert_eq!(testing::held(&engine), testing::Held::default());
    });
}

#[test]
fn i10_i25_a_change_above_against_a_detach_counts_for_who_is_still_there() {
    explore("timeout of the parent against detach", EVERY, 0, |_| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let other = thread::spawn({
            let child = Arc::clone(&child);
            move || detach(&child).is_ok()
        });
        let outcome = root.set_limits(NewLimits::new().timeout(HOUR));
        assert!(matches!(outcome, LimitsOutcome::Changed { deadline: Some(_) }), "{outcome:?}");
        assert!(other.join().unwrap(), "no stop keeps it");
        assert_eq!(child.deadline(), None, "it has lost what it inherited");
        end_body(&child, BodyEnd::Ok);
        end_body(&root, BodyEnd::Ok);
        checked_log(&root);
        checked_log(&child);
        assert_eq!(testing::held(&engine), testing::Held::default());
    });
}

#[test]
fn i11_an_idle_limit_that_comes_later_against_a_spawn_and_a_detach_is_shown_what_is_below() {
    explore("idle limit against spawn and detach", Some(3), 0, |_| {
        let engine = engine();
        let root = started_root(&engine);
        let old = started_child(&root, "old").expect("nothing is stopped");
        let other = thread::spawn({
            let (root, old) = (Arc::clone(&root), Arc::clone(&old));
            move || {
                let young = started_child(&old, "young").expect("nothing is stopped");
                detach(&old).expect("nothing is stopped");
                (started_child(&root, "last").expect("nothing is stopped"), young)
            }
        });
        root.set_limits(NewLimits::new().idle(HOUR));
        let watch = root.lock().idle.clone().expect("it has a limit");
        let (last, young) = other.join().unwrap();
        let shows = |node: &Arc<Node>| {
            node.lock().idle.as_ref().is_some_and(|idle| Arc::ptr_eq(idle, &watch))
        };
        assert!(shows(&last), "it is below the limit");
        assert!(!shows(&old) && !shows(&young), "they have left");
        for node in [&young, &old, &last, &root] {
            end_body(node, BodyEnd::Ok);
        }
        checked_log(&root);
        checked_log(&old);
        assert_eq!(testing::held(&engine), testing::Held::default());
    });
}
