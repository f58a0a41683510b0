//! The log of a tree, its writers and its readers.

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use quell_core::lifecycle::BodyEnd;
use quell_core::{EventKind, Payload, RunEvent};

use super::{
    Arc, EVERY, because, end_body, engine, engine_with, explore, read_all, started_child,
    started_root,
};
use crate::node::Node;
use crate::run::RunRef;
use crate::stream::EventStream;

/// Writes what a body emits.
fn emit(node: &Arc<Node>, number: u64) {
    let payload = Payload::from(number.to_string());
    node.write_emitted(payload);
}

/// Fails unless every number from 1 on was read once, or told as missed; yields the latter.
fn assert_dense(events: &[RunEvent]) -> u64 {
    let (mut next, mut missed) = (1, 0);
    for event in events {
        if let EventKind::Lagged { from, to } = event.kind {
            assert_eq!((event.seq, from), (0, next), "{events:#?}");
            assert!(to >= from, "{events:#?}");
            (next, missed) = (to + 1, missed + to + 1 - from);
        } else {
            assert_eq!(event.seq, next, "{events:#?}");
            next += 1;
        }
    }
    missed
}

#[test]
fn i29_i30_a_reader_gets_every_event_once_or_is_told_what_it_missed() {
    explore("append against subscribe against lag", Some(4), 2, |seen| {
        let engine = engine_with(|limits| limits.events_per_root_max = 3);
        let root = started_root(&engine);
        let reader = thread::spawn({
            let run = RunRef::new(Arc::clone(&root));
            move || block_on(read_all(run.events()))
        });
        emit(&root, 1);
        emit(&root, 2);
        end_body(&root, BodyEnd::Ok);
        let events = reader.join().unwrap();
        let missed = assert_dense(&events);
        seen.note(usize::from(missed > 0));
        let last = events.last().expect("the end is held");
        assert!(matches!(last.kind, EventKind::Ended(_)) && last.seq == 5, "{events:#?}");
    });
}

#[test]
fn i30_two_writers_and_a_late_reader_agree_on_one_order() {
    explore("append against append against a late subscriber", EVERY, 2, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let writer = thread::spawn({
            let root = Arc::clone(&root);
            move || emit(&root, 1)
        });
        let mut stream = EventStream::of_run(&root, 1);
        root.cancel(&because("stop").abort());
        let first = block_on(stream.next()).expect("something follows");
        assert_eq!(first.seq, 2);
        writer.join().unwrap();
        end_body(&root, BodyEnd::Dropped);
        let rest = block_on(read_all(stream));
        let whole = block_on(read_all(EventStream::of_run(&root, 0)));
        assert_eq!(assert_dense(&whole), 0, "all of them are held");
        assert_eq!(whole[1], first);
        assert_eq!(&whole[2..], rest, "both readers see the same");
        let emitted = |event: &RunEvent| matches!(event.kind, EventKind::Emitted(_));
        let order = whole.iter().position(emitted).expect("it was written");
        let stop = whole.iter().position(|event| matches!(event.kind, EventKind::Stopping(_)));
        seen.note(usize::from(Some(order) < stop));
    });
}

#[test]
fn i30_a_reader_that_waits_is_woken_by_what_is_written() {
    explore("append against a reader that waits", EVERY, 0, |_| {
        let engine = engine();
        let root = started_root(&engine);
        let (mut of_run, mut of_engine) = (EventStream::of_run(&root, 2), engine.events());
        let writer = thread::spawn({
            let root = Arc::clone(&root);
            move || emit(&root, 1)
        });
        // Nothing else is written, and nothing ends: only the writer can wake the reader.
        for stream in [&mut of_run, &mut of_engine] {
            let event = block_on(stream.next()).expect("it is written");
            assert!(event.seq == 3 && matches!(event.kind, EventKind::Emitted(_)), "{event:?}");
        }
        writer.join().unwrap();
    });
}

#[test]
fn i30_a_reader_that_has_read_all_is_told_that_nothing_follows() {
    explore("end against a reader that is through", EVERY, 0, |_| {
        let engine = engine();
        let root = started_root(&engine);
        let body = thread::spawn({
            let root = Arc::clone(&root);
            move || end_body(&root, BodyEnd::Ok)
        });
        // The third event is the end: who comes after it waits for the run to be over.
        assert_eq!(block_on(EventStream::of_run(&root, 3).next()), None);
        assert!(root.is_over());
        body.join().unwrap();
    });
}

#[test]
fn i30_a_reader_of_the_engine_gets_each_event_from_its_coming_on() {
    explore("append against readers of the engine", Some(4), 3, |seen| {
        let engine = engine();
        let root = started_root(&engine);
        let has_come = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (engine, has_come) = (engine.clone(), Arc::clone(&has_come));
            move || {
                let events = engine.events();
                has_come.store(true, Ordering::SeqCst);
                block_on(read_all(events))
            }
        });
        let come = || usize::from(has_come.load(Ordering::SeqCst));
        let mut owed = come();
        emit(&root, 1);
        owed += come();
        end_body(&root, BodyEnd::Ok);
        // The streams of readers end after what they have not read yet.
        engine.shared().events.close(&engine.shared().couriers);
        let read = reader.join().unwrap();
        assert!(read.len() >= owed, "{owed} were written after it had come: {read:#?}");
        let expected = |event: &RunEvent| match event.kind {
            EventKind::Emitted(_) => event.seq == 3,
            EventKind::Ended(_) => event.seq == 4,
            _ => false,
        };
        assert!(read.iter().all(expected), "{read:#?}");
        assert!(read.is_sorted_by_key(|event| event.seq), "{read:#?}");
        assert!(read.last().is_none_or(|last| last.seq == 4), "{read:#?}");
        seen.note(read.len());
    });
}

#[test]
fn i30_a_reader_follows_a_run_out_of_a_log_that_forgets() {
    // A log that holds nothing; and one that holds an event, with a writer on it.
    for events in [0, 1] {
        explore("detach against a reader that is behind", Some(2), 0, move |_| {
            let engine = engine_with(|limits| limits.events_per_root_max = events);
            let root = started_root(&engine);
            let child = started_child(&root, "child").expect("nothing is stopped");
            let mover = thread::spawn({
                let child = Arc::clone(&child);
                move || {
                    crate::step::detach::detach(&child).expect("it leaves");
                    end_body(&child, BodyEnd::Ok);
                }
            });
            let writer = (events > 0).then(|| {
                let root = Arc::clone(&root);
                thread::spawn(move || emit(&root, 1))
            });
            // A wake-up that is lost is a deadlock.
            block_on(read_all(RunRef::new(child).events()));
            mover.join().unwrap();
            if let Some(writer) = writer {
                writer.join().unwrap();
            }
            end_body(&root, BodyEnd::Ok);
        });
    }
}
