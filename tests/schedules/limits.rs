//! Limits that change while runs come and end, and what is seen of a run that is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::{
    Engine, EventKind, EventStream, Limits, OnBusy, Payload, RunHandle, RunId, RunKind, RunLimits,
    RunRef, RunSpec, Scope, SubmitError,
};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::play::{NEVER, because, config, draw, pause, play, shut_down};

/// One that is inside: until it returns, or is dropped.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Submits a run that takes a moment. `started` learns how many are inside with it.
fn submit(
    engine: &Engine,
    inside: &Arc<AtomicUsize>,
    started: impl FnOnce(usize) + Send + 'static,
) -> Result<RunRef, SubmitError> {
    let inside = Arc::clone(inside);
    let run = engine.submit(RunSpec::agent("one").owner("ada"), async move |_| {
        started(inside.fetch_add(1, Ordering::SeqCst) + 1);
        let _inside = Inside(inside);
        yield_now().await;
        Ok(())
    });
    run.map(RunHandle::into_ref)
}

fn drawn_scope() -> Scope {
    match draw(4) {
        0 => Scope::All,
        1 => Scope::Kind(RunKind::Agent),
        2 => Scope::component(RunKind::Agent, "one"),
        _ => Scope::EachOwner,
    }
}

#[test]
fn i21_no_more_run_than_the_limit_at_their_start_and_nobody_waits_for_room_that_is_there() {
    play("limits raised and lowered against submits and an end", 3, |seen| {
        let (scope, running) = (drawn_scope(), |max| RunLimits::new().running_max(max));
        let mut config = config().grace(NEVER).abort_wait(NEVER);
        let has_limit = draw(2) == 0;
        if has_limit {
            config = config.limit(scope.clone(), running(1));
        }
        let engine = Engine::with_config(config);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let note = |most: &Arc<AtomicUsize>| {
            let most = Arc::clone(most);
            move |now| {
                most.fetch_max(now, Ordering::SeqCst);
            }
        };
        let first = submit(&engine, &inside, note(&most)).unwrap();
        let submitters = [(); 2].map(|()| {
            let (engine, inside, note) = (engine.clone(), Arc::clone(&inside), note(&most));
            thread::spawn(move || {
                pause(30);
                submit(&engine, &inside, note).unwrap()
            })
        });
        let stopper = thread::spawn(move || {
            pause(60);
            first.cancel(because("an end"));
            first
        });
        pause(30);
        for max in [2, 0, 1] {
            engine.set_limit(scope.clone(), running(max));
            assert_eq!(engine.limit(&scope), running(max));
        }
        // It comes when one may run, so it starts alone.
        let last = submit(&engine, &inside, |now| assert_eq!(now, 1)).unwrap();
        let mut runs: Vec<_> = submitters.into_iter().map(|it| it.join().unwrap()).collect();
        runs.extend([stopper.join().unwrap(), last]);
        for run in &runs {
            // If somebody waited for room that is there, this would be a deadlock.
            block_on(run.quiescent());
        }
        let most = most.load(Ordering::SeqCst);
        assert!(most <= if has_limit { 2 } else { 3 }, "{most} at once");
        seen.note(most.saturating_sub(1));
        shut_down(&engine);
    });
}

#[test]
fn i33_who_sees_that_a_run_is_over_finds_its_slot_free() {
    play("a submit as soon as a run is seen to be over", 2, |seen| {
        let limits = RunLimits::new().running_max(1).queued_max(0);
        let config = config().grace(NEVER).abort_wait(NEVER).limit(drawn_scope(), limits);
        let (engine, inside) = (Engine::with_config(config), Arc::new(AtomicUsize::new(0)));
        let by_status = draw(2) == 0;
        for _ in 0..3 {
            let run = submit(&engine, &inside, |now| assert_eq!(now, 1)).unwrap();
            if by_status {
                while !run.status().is_terminal() {
                    thread::yield_now();
                }
            } else {
                block_on(run.quiescent());
            }
        }
        seen.note(usize::from(by_status));
        shut_down(&engine);
    });
}

/// Reads events until one of a run that is meant.
fn read_until(events: &mut EventStream, run: RunId, is_meant: impl Fn(&EventKind) -> bool) {
    while let Some(event) = block_on(events.next()) {
        if event.run == run && is_meant(&event.kind) {
            return;
        }
    }
    panic!("the event comes");
}

#[test]
fn i33_who_reads_that_a_run_has_ended_finds_room_for_the_next_one() {
    play("a submit as soon as an end was read", 3, |seen| {
        let mut limits = Limits::default();
        // The share of an owner is one run, and the bytes of one.
        (limits.ended_trees_max, limits.runs_max, limits.live_bytes_max) = (0, 4, 8_000);
        let one = RunLimits::new().running_max(1).queued_max(0);
        let config = config().limits(limits).grace(NEVER).abort_wait(NEVER);
        let engine = Engine::with_config(config.limit(drawn_scope(), one));
        let (mut everything, how) = (engine.events(), draw(3));
        for _ in 0..3 {
            let spec = RunSpec::agent("one").owner("ada").lane("lane", OnBusy::Reject);
            let spec = spec.input(Payload::from("x".repeat(1_500)));
            let run = engine.submit(spec, async |_| {
                yield_now().await;
                Ok(())
            });
            let run = run.unwrap().into_ref();
            let is_end = |kind: &EventKind| matches!(kind, EventKind::Ended(_));
            match how {
                0 => read_until(&mut run.events(), run.id(), is_end),
                1 => read_until(&mut everything, run.id(), is_end),
                _ => drop(block_on(run.quiescent())),
            }
        }
        seen.note(how as usize);
        drop(everything);
        shut_down(&engine);
    });
}

#[test]
fn i36_who_reads_that_a_run_is_stopped_before_its_start_finds_its_lane_free() {
    play("a submit as soon as a stop was read", 1, |seen| {
        let engine = Engine::with_config(config().grace(NEVER).abort_wait(NEVER));
        // The time of one schedule goes on in the next.
        let later = std::time::Instant::now() + 100_000 * NEVER;
        let spec = move || RunSpec::agent("one").lane("lane", OnBusy::Reject).not_before(later);
        let first = engine.submit(spec(), async |_| Ok(())).unwrap().into_ref();
        let mut events = first.events();
        // The log is there from here on, also if the run is forgotten before more is read.
        read_until(&mut events, first.id(), |kind| matches!(kind, EventKind::Queued { .. }));
        let next = thread::spawn({
            let (engine, id) = (engine.clone(), first.id());
            move || {
                read_until(&mut events, id, |kind| matches!(kind, EventKind::Stopping(_)));
                engine.submit(spec(), async |_| Ok(())).unwrap().into_ref()
            }
        });
        first.cancel(because("enough"));
        let next = next.join().unwrap();
        next.cancel(because("over"));
        block_on(next.quiescent());
        seen.note(0);
        shut_down(&engine);
    });
}
