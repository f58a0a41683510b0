//! Readers of events: slow ones, late ones, and one of the whole engine.

use std::sync::Arc;

use quell::{Engine, EventKind, Limits, RunContext, RunEvent, RunSpec};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{NEVER, because, config, pause, play, shut_down};
use crate::witness::Witness;

/// A ring that is shorter than the story.
fn engine() -> Engine {
    let mut limits = Limits::default();
    (limits.ended_trees_max, limits.events_per_root_max) = (0, 8);
    Engine::with_config(config().grace(NEVER).abort_wait(NEVER).limits(limits))
}

/// Yields how many events were missed; each that was not came once and in its place.
fn missed(read: &[RunEvent]) -> u64 {
    let (mut next, mut missed) = (1, 0);
    for event in read {
        if let EventKind::Lagged { from, to } = event.kind {
            assert_eq!(from, next, "the gap begins where the reader was: {read:#?}");
            missed += to + 1 - from;
            next = to + 1;
        } else {
            assert_eq!(event.seq, next, "{read:#?}");
            next += 1;
        }
    }
    missed
}

#[test]
fn i29_i30_i33_every_reader_sees_each_event_once_or_is_told_and_then_the_end() {
    play("readers against writers against cancel", 2, |seen| {
        let (engine, tree) = (engine(), Witness::new());
        let mut everything = engine.events();
        let run = engine.submit(RunSpec::agent("root"), {
            let tree = Arc::clone(&tree);
            async move |ctx: RunContext| {
                let here = tree.enter(&ctx);
                let child = ctx.spawn(RunSpec::step("child"), {
                    let tree = Arc::clone(&tree);
                    async move |ctx: RunContext| {
                        let here = tree.enter(&ctx);
                        for _ in 0..4 {
                            ctx.emit("word");
                            here.step();
                            yield_now().await;
                        }
                        Ok(())
                    }
                });
                for _ in 0..6 {
                    ctx.emit("word");
                    here.step();
                    yield_now().await;
                }
                child.into_ref().ended().await;
                Ok(())
            }
        });
        let root = run.unwrap().into_ref();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let root = root.clone();
                thread::spawn(move || {
                    pause(300);
                    let mut events = root.events();
                    let mut read = Vec::new();
                    while let Some(event) = block_on(events.next()) {
                        read.push(event);
                        pause(20);
                    }
                    read
                })
            })
            .collect();
        let of_engine = thread::spawn(move || {
            let mut read = Vec::new();
            while let Some(event) = block_on(everything.next()) {
                read.push(event);
            }
            read
        });
        pause(300);
        root.cancel(because("enough"));
        let report = block_on(root.quiescent());
        tree.seal();
        for reader in readers {
            let read = reader.join().unwrap();
            let last = read.last().map(|event| (event.run, event.kind.clone()));
            assert_eq!(last, Some((root.id(), EventKind::Ended(report.status))), "{read:#?}");
            seen.note(usize::from(missed(&read) > 0));
        }
        shut_down(&engine);
        let read = of_engine.join().unwrap();
        assert_eq!(missed(&read), 0, "its backlog is longer than the story");
        tree.agree_with([&*read]);
    });
}
