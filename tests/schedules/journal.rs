//! An engine with a store, whose disk writes when the schedule says so and fails at first.

use std::sync::Arc;

use quell::store::Record;
use quell::{
    Disposition, Engine, EventKind, Payload, RunContext, RunHandle, RunId, RunRef, RunSpec,
    RunStatus, Shutdown, SubmitError,
};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::disk::{Disk, OnDisk};
use crate::play::{NEVER, because, config, draw, pause, play};
use crate::witness::Witness;

/// An engine on a disk of which so many appends fail.
fn on(disk: &Arc<Disk>) -> Engine {
    let config = config().grace(NEVER).abort_wait(NEVER);
    Engine::with_config(config.store(Arc::new(OnDisk(Arc::clone(disk)))))
}

/// Submits a run that waits for its stop. It says whether it ran before the disk had it.
fn submit(engine: &Engine, disk: &Arc<Disk>, tree: &Arc<Witness>) -> RunRef {
    let (disk, tree) = (Arc::clone(disk), Arc::clone(tree));
    let run = engine.submit(RunSpec::agent("kept"), async move |ctx: RunContext| {
        let _here = tree.enter(&ctx);
        assert!(is_accepted(&disk, ctx.id()), "a root starts when its acceptance is stored");
        ctx.stopped().await;
        Ok(())
    });
    run.map(RunHandle::into_ref).unwrap()
}

fn is_accepted(disk: &Disk, run: RunId) -> bool {
    disk.has(|record| matches!(record, Record::Accepted(accepted) if accepted.run == run))
}

/// Tells whether a stop is stored, or the end of its run, which has the cause.
fn is_stopped(disk: &Disk, run: RunId, words: &str) -> bool {
    disk.has(|record| match record {
        Record::StopAccepted(stop) => {
            stop.run == run && stop.cause.message.as_deref() == Some(words)
        }
        Record::Ended { run: ended, report, .. } => {
            let cause = report.cause.as_ref().filter(|_| *ended == run);
            cause.is_some_and(|cause| cause.message.as_deref() == Some(words))
        }
        _ => false,
    })
}

fn has_ended(disk: &Disk, run: RunId) -> Option<RunStatus> {
    disk.written().iter().find_map(|record| match record {
        Record::Ended { run: ended, report, .. } if *ended == run => Some(report.status),
        _ => None,
    })
}

/// Shuts an engine down, and yields how much is not stored.
fn shut_down(engine: &Engine) -> usize {
    let plan = Shutdown { grace: NEVER, abort_wait: NEVER, ..Shutdown::default() };
    block_on(engine.shutdown(plan)).unstored
}

#[test]
fn i34_what_is_acknowledged_is_stored_whatever_fails_meanwhile() {
    play("a submit and a stop on a disk that fails", 4, |seen| {
        let (disk, tree) = (Disk::new(draw(3)), Witness::new());
        let engine = on(&disk);
        let run = submit(&engine, &disk, &tree);
        let stopper = {
            let (run, disk) = (run.clone(), Arc::clone(&disk));
            thread::spawn(move || {
                pause(120);
                // So that also the append of a stop alone fails.
                disk.fail(draw(3));
                let (disposition, stored) = block_on(run.cancel_durably(because("enough")));
                let was_accepted = matches!(disposition, Disposition::Accepted { .. });
                if was_accepted && stored.is_ok() {
                    // Of a run that was stopped before it was stored the store may know nothing.
                    let is_there = is_accepted(&disk, run.id());
                    assert!(!is_there || is_stopped(&disk, run.id(), "enough"), "{disk:?}");
                }
                (was_accepted, stored.is_ok())
            })
        };
        let accepted = block_on(run.accepted());
        assert!(accepted.is_err() || is_accepted(&disk, run.id()), "{disk:?}");
        let stop = stopper.join().unwrap();
        let report = block_on(run.quiescent());
        tree.seal();
        let unstored = shut_down(&engine);
        match &accepted {
            Ok(()) => {
                assert_eq!(report.status, RunStatus::Cancelled);
                let ended = has_ended(&disk, run.id());
                assert!(unstored > 0 || ended == Some(RunStatus::Cancelled), "{disk:?}");
                let is_stop_kept = is_stopped(&disk, run.id(), "enough");
                assert!(unstored > 0 || !stop.0 || is_stop_kept, "it is tried again: {disk:?}");
            }
            Err(error) => {
                assert!(matches!(error, SubmitError::NotStored(_)), "{error}");
                assert!(!is_accepted(&disk, run.id()), "a refused run comes back: {disk:?}");
                assert_eq!(tree.entered(), [], "its body is dropped without a poll");
            }
        }
        seen.note(match (accepted.is_ok(), stop) {
            (true, (true, true)) => 0,
            (true, _) => 1,
            (false, (true, _)) => 2,
            (false, _) => 3,
        });
    });
}

#[test]
fn i38_a_tree_is_stored_in_its_order_and_whole_whatever_fails_meanwhile() {
    play("a tree on a disk that fails", 2, |seen| {
        let disk = Disk::new(0);
        let engine = on(&disk);
        let run = engine.submit(RunSpec::team("team"), async |ctx: RunContext| {
            let below = ctx.spawn(RunSpec::agent("member"), async |ctx: RunContext| {
                for word in ["one", "two"] {
                    let _ = ctx.emit(word);
                    yield_now().await;
                }
                Ok(())
            });
            ctx.save(Payload::from("half")).await?;
            below.await?;
            Ok(())
        });
        let run = run.map(RunHandle::into_ref).unwrap();
        block_on(run.accepted()).unwrap();
        disk.fail(draw(4));
        let stopper = {
            let run = run.clone();
            thread::spawn(move || {
                pause(200);
                run.cancel(because("enough"))
            })
        };
        let report = block_on(run.quiescent());
        stopper.join().unwrap();
        if shut_down(&engine) == 0 {
            assert_whole(&disk, &run, report.status);
        }
        seen.note(usize::from(report.status == RunStatus::Cancelled));
    });
}

/// Of each run the acceptance comes first and one end last; of the log no number is missing or
/// twice.
fn assert_whole(disk: &Disk, root: &RunRef, status: RunStatus) {
    let written = disk.written();
    let of = |run: RunId| {
        let own = written.iter().filter(move |record| record.run() == run);
        own.filter(|record| !matches!(record, Record::Event { .. })).collect::<Vec<_>>()
    };
    let runs = written.iter().filter_map(|record| match record {
        Record::Accepted(accepted) => Some(accepted.run),
        _ => None,
    });
    for run in runs {
        let own = of(run);
        assert!(matches!(own[0], Record::Accepted(_)), "{own:#?}");
        let is_end = |record: &&&Record| matches!(record, Record::Ended { .. });
        assert_eq!(own.iter().filter(is_end).count(), 1, "{own:#?}");
        assert!(own.last().is_some_and(|last| is_end(&last)), "{own:#?}");
        let place = |is_it: fn(&Record) -> bool| own.iter().position(|record| is_it(record));
        let started = place(|record| matches!(record, Record::Started { .. }));
        let saved = place(|record| matches!(record, Record::Checkpoint { .. }));
        assert!(saved.is_none() || (started.is_some() && started < saved), "{own:#?}");
    }
    assert_eq!(has_ended(disk, root.id()), Some(status));
    let mut last = 0;
    for record in &written {
        let Record::Event { event, .. } = record else { continue };
        assert!(event.seq > last, "{} after {last}: {written:#?}", event.seq);
        assert!(!matches!(event.kind, EventKind::Lagged { .. }), "nothing is left out");
        last = event.seq;
    }
}
