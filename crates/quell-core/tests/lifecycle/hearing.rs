//! Who has the grace, and which hooks have time left: each case by hand.

use std::time::{Duration, Instant};

use quell_core::lifecycle::{
    BodyAction, BodyEnd, HookAction, Input, Lifecycle, Rules, Stage, StopInput,
};
use quell_core::{RunStatus, StopMode};

const STOP: Input = Input::Stop(StopInput {
    mode: StopMode::Cooperative,
    grace: None,
    wait: None,
    escalate_after: Duration::ZERO,
});
const STOP_HOOK: Input = Input::HookAdded { at_end: false };
const CHILD: Input = Input::ChildAdded { shielded: false };
const CHILD_ENDED: Input = Input::ChildEnded { unseen_failure: false, non_quiescent: false };

/// A run that has started, with some inputs behind it.
fn started(inputs: &[Input]) -> (Lifecycle, Instant) {
    let now = Instant::now();
    let mut life = Lifecycle::new(&Rules::new(Duration::from_secs(5), Duration::from_secs(1)), now);
    life.on(Input::Started, now);
    for input in inputs {
        life.on(*input, now);
    }
    (life, now)
}

#[test]
fn i15_a_stop_within_the_first_poll_leaves_the_body_alone_until_it_is_judged() {
    let (mut life, now) = started(&[]);
    assert_eq!(life.on(STOP, now).body, BodyAction::Leave);
    assert_eq!(life.clone().on(Input::Judged { listens: true }, now).body, BodyAction::Leave);
    assert_eq!(life.on(Input::Judged { listens: false }, now).body, BodyAction::Drop);
    // Once judged it stays so.
    assert_eq!(life.on(Input::Judged { listens: true }, now).body, BodyAction::Leave);
    let ended = life.on(Input::BodyEnded(BodyEnd::Dropped), now);
    assert_eq!((ended.ended, ended.aborted), (Some(RunStatus::Cancelled), false));
}

#[test]
fn i15_a_body_whose_children_ended_before_it_was_judged_is_polled_once_more() {
    let (mut life, now) = started(&[CHILD, STOP, CHILD_ENDED]);
    assert_eq!(life.on(Input::Judged { listens: false }, now).body, BodyAction::PollThenDrop);
    let (mut life, now) = started(&[CHILD, CHILD_ENDED, STOP]);
    assert_eq!(life.on(Input::Judged { listens: false }, now).body, BodyAction::Drop);
    let (mut life, now) = started(&[CHILD, STOP]);
    assert_eq!(life.on(Input::Judged { listens: false }, now).body, BodyAction::Leave);
    assert_eq!(life.on(CHILD_ENDED, now).body, BodyAction::PollThenDrop);
}

#[test]
fn i4_work_that_is_abandoned_holds_nothing_up_and_counts_until_it_ends() {
    let work = Input::WorkAdded { shielded: false };
    let (mut life, now) = started(&[work, Input::WorkAbandoned]);
    let ended = life.on(Input::BodyEnded(BodyEnd::Ok), now);
    assert_eq!((ended.ended, life.is_quiescent()), (Some(RunStatus::Completed), false));
    assert!(life.on(Input::AbandonedEnded, now).quiesced);
    // Without work there is nothing to abandon.
    let (mut life, now) = started(&[Input::WorkAbandoned]);
    life.on(Input::BodyEnded(BodyEnd::Ok), now);
    assert!(life.is_quiescent());
}

#[test]
fn i16_hooks_of_the_outer_scope_wait_for_the_inner_one() {
    let body_ended = Input::BodyEnded(BodyEnd::Ok);
    let (mut life, now) = started(&[STOP_HOOK, CHILD, STOP]);
    assert_eq!(life.on(body_ended, now).hooks, HookAction::Leave);
    assert_eq!(life.on(CHILD_ENDED, now).hooks, HookAction::Run);
    assert_eq!(life.on(Input::WorkEnded, now).ended, Some(RunStatus::Cancelled));
}

#[test]
fn i16_hooks_that_waited_for_descendants_alone_have_half_of_the_abort_wait() {
    let body_ended = Input::BodyEnded(BodyEnd::Ok);
    let (mut life, now) = started(&[STOP_HOOK, CHILD, STOP, body_ended]);
    let aborting = life.on(Input::Ladder(Stage::Abort), now);
    assert_eq!(aborting.hooks, HookAction::AbortRunning);
    assert_eq!(life.clone().on(CHILD_ENDED, now).hooks, HookAction::Run);
    // Later there is no time left.
    assert_eq!(life.on(Input::Ladder(Stage::AbortAll), now).hooks, HookAction::Abort);
    assert_eq!(life.on(CHILD_ENDED, now).hooks, HookAction::Leave);
}

#[test]
fn i16_hooks_that_waited_for_descendants_have_that_time_also_if_the_stage_is_late() {
    let (mut life, now) = started(&[STOP_HOOK, CHILD, STOP]);
    let mut running = life.clone();
    life.on(Input::BodyEnded(BodyEnd::Ok), now);
    let hard = now + Duration::from_secs(5);
    let mut early = life.clone();
    assert_eq!(life.on(CHILD_ENDED, hard).hooks, HookAction::Run);
    assert_eq!(life.on(Input::Tick { active_at: now }, hard).ladder, Some(Stage::Abort));
    assert_eq!(life.on(Input::Ladder(Stage::Abort), hard).hooks, HookAction::Leave);
    assert_eq!(life.on(Input::Ladder(Stage::AbortAll), hard).hooks, HookAction::Abort);
    // A body that goes on is polled once more, as if the child had ended after the stage.
    assert_eq!(running.on(CHILD_ENDED, hard).hooks, HookAction::Leave);
    let aborting = running.on(Input::Ladder(Stage::Abort), hard);
    assert_eq!(
        (aborting.body, aborting.hooks),
        (BodyAction::PollThenDrop, HookAction::AbortRunning)
    );
    assert_eq!(running.on(Input::BodyEnded(BodyEnd::Ok), hard).hooks, HookAction::Run);
    // Those that did not wait until then have no more time than any.
    assert_eq!(early.on(CHILD_ENDED, now).hooks, HookAction::Run);
    assert_eq!(early.on(Input::Ladder(Stage::Abort), hard).hooks, HookAction::Abort);
}

#[test]
fn i16_hooks_of_a_body_that_had_to_be_aborted_are_skipped() {
    let (mut life, now) = started(&[STOP_HOOK, CHILD, STOP, Input::Judged { listens: true }]);
    life.on(Input::Ladder(Stage::Abort), now);
    assert_eq!(life.on(CHILD_ENDED, now).body, BodyAction::PollThenDrop);
    let mut gave_way = life.clone();
    assert_eq!(gave_way.on(Input::BodyEnded(BodyEnd::Ok), now).hooks, HookAction::Run);
    let dropped = life.on(Input::BodyEnded(BodyEnd::Dropped), now);
    assert_eq!((dropped.aborted, dropped.hooks), (true, HookAction::Skip));
}

#[test]
fn i16_a_hook_that_is_refused_takes_no_other_with_it() {
    let (mut life, now) = started(&[STOP_HOOK, CHILD, STOP, Input::Ladder(Stage::Abort)]);
    let late = life.on(STOP_HOOK, now);
    assert_eq!((late.refused, late.hooks), (true, HookAction::SkipNew));
    life.on(Input::BodyEnded(BodyEnd::Ok), now);
    assert_eq!(life.on(CHILD_ENDED, now).hooks, HookAction::Run);
}

#[test]
fn i12_a_stop_that_meets_a_failing_run_ends_by_the_earlier_end_of_the_two_ladders() {
    let ms = Duration::from_millis;
    for (wait, end) in [(ms(0), ms(7_000)), (ms(1_000), ms(8_000)), (ms(9_000), ms(11_000))] {
        // It fails at 0 with work that goes on: aborted at 5 s, abandoned 6 s later.
        let begun = Instant::now();
        let mut life = Lifecycle::new(&Rules::new(ms(5_000), ms(6_000)), begun);
        life.on(Input::Started, begun);
        life.on(Input::WorkAdded { shielded: false }, begun);
        life.on(Input::BodyEnded(BodyEnd::Err), begun);
        // The stop at 2 s has 5 s of grace, so its own abort comes at 7 s.
        let stop = StopInput {
            mode: StopMode::Cooperative,
            grace: None,
            wait: Some(wait),
            escalate_after: Duration::ZERO,
        };
        life.on(Input::Stop(stop), begun + ms(2_000));
        let mut ended = None;
        while let (None, Some(at)) = (ended, life.next_wakeup()) {
            let reached = life.on(Input::Tick { active_at: begun }, at).ladder;
            let ends = reached.and_then(|stage| life.on(Input::Ladder(stage), at).ended);
            ended = ends.map(|status| (status, at - begun));
        }
        assert_eq!(ended, Some((RunStatus::Cancelled, end)), "abort wait {wait:?}");
    }
}
