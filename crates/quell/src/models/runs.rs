//! One node or two, and two threads that want different things of them.

use loom::future::block_on;
use loom::thread;
use quell_core::lifecycle::BodyEnd;
use quell_core::{Disposition, RunStatus};

use super::{
    Arc, EVERY, because, checked_log, end_body, ends_of, engine, explore, is_stopped, read_all,
    started_child, started_root,
};
use crate::stream::EventStream;
use crate::testing;

#[test]
fn i2_i8_a_spawn_against_a_cancel_is_signalled_or_refused() {
    explore("cancel against spawn", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let spawner = thread::spawn({
            let root = Arc::clone(&root);
            move || started_child(&root, "child")
        });
        let answer = root.cancel(&because("stop"));
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        // The fence is closed: no child joins the list any more.
        let linked: Vec<_> = root.lock().children.iter().map(Arc::clone).collect();
        assert!(linked.iter().all(|child| is_stopped(child.status())), "not signalled: {linked:?}");
        assert!(started_child(&root, "late").is_none(), "the fence is closed");
        let child = spawner.join().unwrap();
        assert_eq!(linked.len(), usize::from(child.is_some()), "linked after the cancel returned");
        seen.note(linked.len());
        end_body(&root, BodyEnd::Dropped);
        if let Some(child) = child {
            end_body(&child, BodyEnd::Dropped);
        }
        assert_eq!(root.status(), RunStatus::Cancelled);
        checked_log(&root);
        assert_eq!(testing::held(&engine), testing::Held::default());
    });
}

#[test]
fn i3_i9_a_cancel_against_the_end_of_the_body_has_one_winner() {
    explore("cancel against end", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let body = thread::spawn({
            let root = Arc::clone(&root);
            move || end_body(&root, BodyEnd::Ok)
        });
        let answer = root.cancel(&because("stop"));
        // I32: whoever has the answer reads nothing older.
        let read = root.status();
        body.join().unwrap();
        match answer {
            Disposition::Accepted { .. } => {
                assert!(is_stopped(read), "{read}");
                assert_eq!(root.status(), RunStatus::Cancelled);
                seen.note(0);
            }
            Disposition::AlreadyTerminal { status } => {
                assert_eq!((status, read), (RunStatus::Completed, RunStatus::Completed));
                assert_eq!(root.status(), RunStatus::Completed);
                seen.note(1);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(ends_of(&checked_log(&root), root.id), 1);
    });
}

#[test]
fn i6_of_two_cancels_the_first_is_the_cause_and_the_other_is_told() {
    explore("cancel against cancel", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let other = thread::spawn({
            let root = Arc::clone(&root);
            move || root.cancel(&because("b"))
        });
        let answers = [root.cancel(&because("a")), other.join().unwrap()];
        let accepted = |answer: &Disposition| matches!(answer, Disposition::Accepted { .. });
        assert_eq!(answers.iter().filter(|answer| accepted(answer)).count(), 1, "{answers:?}");
        let first = usize::from(accepted(&answers[1]));
        seen.note(first);
        let words = root.lock().cause.as_ref().and_then(|cause| cause.message.clone());
        assert_eq!(words.as_deref(), Some(["a", "b"][first]));
        let Disposition::AlreadyStopping { cause, .. } = &answers[1 - first] else {
            panic!("{answers:?}")
        };
        assert_eq!(cause.message.as_deref(), Some(["a", "b"][first]));
        end_body(&root, BodyEnd::Dropped);
        checked_log(&root);
    });
}

#[test]
fn i2_i6_two_cancels_at_two_heights_leave_one_cause_each() {
    explore("cancel of the parent against cancel of the child", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped yet");
        let other = thread::spawn({
            let child = Arc::clone(&child);
            move || child.cancel(&because("child"))
        });
        root.cancel(&because("root"));
        assert!(is_stopped(child.status()), "signalled when cancel returns");
        let answer = other.join().unwrap();
        let origin = child.lock().cause.as_ref().expect("it was stopped").origin;
        let own = matches!(answer, Disposition::Accepted { .. });
        assert_eq!(origin, if own { child.id } else { root.id });
        seen.note(usize::from(own));
        end_body(&child, BodyEnd::Dropped);
        end_body(&root, BodyEnd::Dropped);
        checked_log(&root);
    });
}

#[test]
fn i1_a_parent_that_ends_against_its_child_ends_after_it() {
    explore("end of the parent against end of the child", EVERY, 0, |_| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let other = thread::spawn({
            let child = Arc::clone(&child);
            move || end_body(&child, BodyEnd::Ok)
        });
        end_body(&root, BodyEnd::Ok);
        let (above, below) = (root.status(), child.status());
        assert!(!above.is_terminal() || below.is_terminal(), "parent {above}, child {below}");
        other.join().unwrap();
        assert_eq!(root.status(), RunStatus::Completed, "nobody else will end it");
        checked_log(&root);
    });
}

#[test]
fn i1_i2_a_cancel_against_the_end_of_a_child_ends_both() {
    explore("cancel against end of a child", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let other = thread::spawn({
            let child = Arc::clone(&child);
            move || end_body(&child, BodyEnd::Ok)
        });
        root.cancel(&because("stop"));
        let told = child.status();
        assert!(is_stopped(told) || told == RunStatus::Completed, "{told}");
        other.join().unwrap();
        seen.note(usize::from(child.status() == RunStatus::Completed));
        end_body(&root, BodyEnd::Dropped);
        assert_eq!(root.status(), RunStatus::Cancelled);
        let log = checked_log(&root);
        assert_eq!((ends_of(&log, root.id), ends_of(&log, child.id)), (1, 1));
    });
}

#[test]
fn i25_a_detach_against_a_cancel_is_refused_or_leaves_the_child_alone() {
    explore("detach against cancel", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let other = thread::spawn({
            let child = Arc::clone(&child);
            move || crate::step::detach::detach(&child).is_ok()
        });
        root.cancel(&because("stop"));
        let left = other.join().unwrap();
        seen.note(usize::from(left));
        assert_eq!(is_stopped(child.status()), !left, "the child is {}", child.status());
        end_body(&root, BodyEnd::Dropped);
        if left {
            assert_eq!(root.status(), RunStatus::Cancelled, "nothing holds the parent");
        }
        end_body(&child, if left { BodyEnd::Ok } else { BodyEnd::Dropped });
        checked_log(&root);
        if left {
            // It has a log of its own.
            checked_log(&child);
        }
    });
}

#[test]
fn i1_i3_i30_a_spawn_an_end_and_a_cancel_at_once_leave_one_story_for_a_late_reader() {
    explore("cancel against spawn against end against a subscriber", Some(3), 3, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let spawner = thread::spawn({
            let root = Arc::clone(&root);
            move || {
                let child = started_child(&root, "child")?;
                end_body(&child, BodyEnd::Ok);
                Some(child)
            }
        });
        let ender = thread::spawn({
            let root = Arc::clone(&root);
            move || end_body(&root, BodyEnd::Ok)
        });
        let answer = root.cancel(&because("stop"));
        // It waits for the end, whoever brings it.
        let log = block_on(read_all(EventStream::of_run(&root, 0)));
        ender.join().unwrap();
        let child = spawner.join().unwrap();
        testing::check_trace(&log).unwrap_or_else(|what| panic!("{what}: {log:#?}"));
        assert_eq!(ends_of(&log, root.id), 1);
        let accepted = matches!(answer, Disposition::Accepted { .. });
        let end = if accepted { RunStatus::Cancelled } else { RunStatus::Completed };
        assert_eq!(root.status(), end);
        if let Some(child) = &child {
            assert_eq!(ends_of(&log, child.id), 1, "{log:#?}");
        }
        seen.note(match (accepted, child) {
            (true, None) => 0,
            (true, Some(_)) => 1,
            (false, _) => 2,
        });
    });
}
