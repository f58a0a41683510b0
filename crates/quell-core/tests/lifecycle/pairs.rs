//! Inputs whose order, or whose number, must not matter, in whatever state a history leaves a run.

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use quell_core::lifecycle::{Answer, BodyEnd, Effects, Input, Lifecycle, Rules, later};
use quell_core::{RunStatus, StopMode};

use crate::histories::check;
use crate::history::{History, any_stop, histories};
use crate::seen::Body;
use crate::world::World;

#[test]
fn i7_the_same_cancel_again_at_the_same_instant_changes_nothing() {
    check(3_000, (histories(), any_stop(), 1_usize..4), |(history, stop, times)| {
        let world = lived(&history);
        let mut life = world.life.clone();
        life.on(Input::Stop(stop), world.now);
        let once = format!("{life:?}");
        for _ in 0..times {
            let mut fx = life.on(Input::Stop(stop), world.now);
            fx.answer = None;
            prop_assert_eq!(fx, Effects::default());
            prop_assert_eq!(&format!("{life:?}"), &once);
        }
        Ok(())
    });
}

/// Also when another stop, of the run or from above, took hold in between, and a tick was late.
#[test]
fn i7_a_cancel_that_comes_again_later_finds_all_that_it_asks_for() {
    let stops = (any_stop(), any_stop(), any::<bool>());
    let pauses = (0_u64..6, 0_u64..6, any::<bool>());
    check(10_000, (histories(), stops, pauses), |(history, stops, pauses)| {
        let (until_other, until_again, ticks) = pauses;
        let world = lived(&history);
        let (stop, other, from_above) = stops;
        let mut life = world.life.clone();
        let then = later(world.now, Duration::from_millis(until_other));
        let hard = later(then, other.grace.unwrap_or_default());
        let (wait, mode) = (other.wait.unwrap_or_default(), other.mode.max(StopMode::Cooperative));
        let above = Input::ParentStopped { hard, wait, mode, own_grace: None };
        life.on(Input::Stop(stop), world.now);
        life.on(if from_above { above } else { Input::Stop(other) }, then);
        let again = later(then, Duration::from_millis(until_again));
        if ticks {
            life.on(Input::Tick { active_at: world.now }, again);
        }
        let before = format!("{life:?}");
        let mut fx = life.on(Input::Stop(stop), again);
        fx.answer = None;
        prop_assert_eq!(fx, Effects::default());
        prop_assert_eq!(format!("{:?}", life), before);
        Ok(())
    });
}

#[test]
fn i4_the_news_that_a_child_quiesced_may_overtake_the_news_that_it_ended() {
    check(3_000, (histories(), any::<bool>()), |(history, unseen_failure)| {
        let world = lived(&history);
        if world.books().children == 0 {
            return Ok(());
        }
        let ended = Input::ChildEnded { unseen_failure, non_quiescent: true };
        let (in_order, first) = both(&world, ended, Input::ChildQuiesced);
        let (overtaken, second) = both(&world, Input::ChildQuiesced, ended);
        prop_assert_eq!(format!("{:?}", in_order), format!("{:?}", overtaken));
        prop_assert_eq!(first.ended, second.ended);
        prop_assert_eq!(first.body, second.body);
        prop_assert_eq!(first.cascade, second.cascade);
        Ok(())
    });
}

#[test]
fn i15_every_checkpoint_after_the_first_finds_the_stop_and_changes_nothing() {
    check(3_000, histories(), |history| {
        let mut world = lived(&history);
        world.feed(Input::Checkpoint);
        let once = format!("{:?}", world.life);
        let fx = world.feed(Input::Checkpoint);
        prop_assert_eq!(fx, Effects::default());
        prop_assert_eq!(format!("{:?}", world.life), once);
        Ok(())
    });
}

#[test]
fn i9_of_a_completion_and_a_cancel_the_first_wins_and_the_other_is_told() {
    let (completed, stopped) = (Cell::new(0_u32), Cell::new(0_u32));
    check(3_000, (histories(), any_stop(), any::<bool>()), |(history, stop, cancel_first)| {
        let world = lived(&history);
        let books = world.books();
        let idle = books.body == Body::Running && books.children == 0 && books.works == 0;
        if !idle || world.life.status() != RunStatus::Running || stop.mode == StopMode::AfterStep {
            return Ok(());
        }
        let (ended, asked) = (Input::BodyEnded(BodyEnd::Ok), Input::Stop(stop));
        let mut life = world.life.clone();
        if cancel_first {
            prop_assert!(life.on(asked, world.now).accepted.is_some());
            life.on(ended, world.now);
            prop_assert!(matches!(life.status(), RunStatus::Stopping | RunStatus::Cancelled));
            stopped.set(stopped.get() + 1);
        } else {
            let mut status = life.on(ended, world.now).ended;
            if books.hooks > 0 {
                // Its hooks are dropped first.
                prop_assert_eq!(status, None);
                status = life.on(Input::WorkEnded, world.now).ended;
            }
            prop_assert!(matches!(status, Some(RunStatus::Completed | RunStatus::Failed)));
            prop_assert_eq!(life.on(asked, world.now).answer, status.map(Answer::AlreadyTerminal));
            completed.set(completed.get() + 1);
        }
        Ok(())
    });
    let (completed, stopped) = (completed.get(), stopped.get());
    let rarer = completed.min(stopped);
    assert!(rarer * 20 > completed + stopped, "{completed} completed, {stopped} stopped");
}

/// Plays the history, but not its end.
fn lived(history: &History) -> World {
    let mut world = World::new(history);
    for op in &history.ops {
        world.perform(*op);
    }
    world
}

/// Applies two inputs in this order to a copy; yields its state and what was asked for in all.
fn both(world: &World, first: Input, second: Input) -> (Lifecycle, Effects) {
    let mut life = world.life.clone();
    let (one, two) = (life.on(first, world.now), life.on(second, world.now));
    let mut fx = one;
    fx.ended = one.ended.or(two.ended);
    fx.cascade = one.cascade.or(two.cascade);
    fx.body = one.body.max(two.body);
    (life, fx)
}

#[test]
fn a_run_that_was_refused_has_ended_and_nothing_moves_it() {
    let now = Instant::now();
    for (failed, status) in [(false, RunStatus::Cancelled), (true, RunStatus::Failed)] {
        let rules = Rules::new(Duration::from_secs(5), Duration::from_secs(1));
        let mut life = Lifecycle::new(&rules, now);
        assert!(!life.is_quiescent() && !life.is_body_over(), "a live run is neither");
        life.refuse(failed);
        assert_eq!((life.status(), life.next_wakeup()), (status, None));
        assert!(life.is_quiescent() && life.is_body_over() && !life.is_stopping());
        for input in [Input::Started, Input::Checkpoint, Input::WorkAdded { shielded: true }] {
            assert_eq!(life.on(input, now).ended, None);
            assert_eq!((life.status(), life.live_children()), (status, 0));
        }
    }
}

#[test]
fn a_time_beyond_the_end_of_the_clock_is_thirty_years() {
    let now = Instant::now();
    assert_eq!(later(now, Duration::MAX), now + Duration::from_hours(30 * 365 * 24));
    assert_eq!(later(now, Duration::from_secs(1)), now + Duration::from_secs(1));
}
