//! Hooks that run at every end, of a run that no stop has come to: each case by hand.

use std::time::{Duration, Instant};

use quell_core::lifecycle::{
    Answer, BodyEnd, Effects, HookAction, Input, Lifecycle, Rules, Stage, StopInput,
};
use quell_core::{RunStatus, StopMode};

const GRACE: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(1);
const END_HOOK: Input = Input::HookAdded { at_end: true };
const STOP_HOOK: Input = Input::HookAdded { at_end: false };
const CHILD: Input = Input::ChildAdded { shielded: false };
const CHILD_ENDED: Input = Input::ChildEnded { unseen_failure: false, non_quiescent: false };
const WORK: Input = Input::WorkAdded { shielded: false };

/// A run that has started, with some inputs behind it, and what the last of them has led to.
fn lived(inputs: &[Input]) -> (Lifecycle, Instant, Effects) {
    let now = Instant::now();
    let (mut life, mut fx) = (Lifecycle::new(&Rules::new(GRACE, WAIT), now), Effects::default());
    for input in [Input::Started].iter().chain(inputs) {
        fx = life.on(*input, now);
    }
    (life, now, fx)
}

fn stop(mode: StopMode) -> Input {
    let escalate_after = Duration::ZERO;
    Input::Stop(StopInput { mode, grace: None, wait: None, escalate_after })
}

#[test]
fn i16_hooks_of_every_end_run_before_a_run_completes_or_fails() {
    for (end, status) in [(BodyEnd::Ok, RunStatus::Completed), (BodyEnd::Err, RunStatus::Failed)] {
        let (mut life, now, fx) = lived(&[STOP_HOOK, END_HOOK, Input::BodyEnded(end)]);
        assert_eq!((fx.hooks, fx.ended), (HookAction::Run, None));
        assert_eq!((life.status(), life.is_stopping()), (RunStatus::Running, false));
        assert_eq!(life.next_wakeup(), Some(now + GRACE), "their grace counts from their start");
        assert!(life.is_fenced(false) && !life.is_fenced(true), "cleanup alone may start");
        assert_eq!(life.on(Input::WorkEnded, now).ended, Some(status));
    }
}

#[test]
fn i16_hooks_of_every_end_wait_for_children_and_for_the_work_of_a_run_that_completes() {
    let (mut life, now, fx) = lived(&[END_HOOK, CHILD, WORK, Input::BodyEnded(BodyEnd::Ok)]);
    assert_eq!((fx.hooks, life.next_wakeup()), (HookAction::Leave, None));
    assert_eq!(life.on(CHILD_ENDED, now).hooks, HookAction::Leave);
    assert_eq!(life.next_wakeup(), None, "that work has all the time of the world");
    assert_eq!(life.on(Input::WorkEnded, now).hooks, HookAction::Run);
    // The work of one that fails has its grace, and the hooks have the same.
    let (mut life, now, fx) = lived(&[END_HOOK, CHILD, WORK, Input::BodyEnded(BodyEnd::Err)]);
    assert_eq!((fx.hooks, life.next_wakeup()), (HookAction::Leave, Some(now + GRACE)));
    assert_eq!(life.on(CHILD_ENDED, now).hooks, HookAction::Run);
}

#[test]
fn i12_i16_hooks_of_every_end_are_aborted_and_abandoned_by_the_ladder() {
    let (mut life, mut now, _) = lived(&[END_HOOK, Input::BodyEnded(BodyEnd::Ok)]);
    let mut reach = |life: &mut Lifecycle, stage, after| {
        now += after;
        let fx = life.on(Input::Tick { active_at: now }, now);
        assert_eq!(fx.ladder, Some(stage));
        life.on(Input::Ladder(stage), now)
    };
    assert_eq!(reach(&mut life, Stage::Abort, GRACE).hooks, HookAction::Abort);
    let late = life.on(END_HOOK, Instant::now());
    assert_eq!((late.refused, late.hooks), (true, HookAction::SkipNew));
    assert_eq!(reach(&mut life, Stage::AbortAll, WAIT / 2).ended, None);
    let ended = reach(&mut life, Stage::Abandon, WAIT / 2);
    assert_eq!(ended.ended, Some(RunStatus::Completed));
    assert!(!life.is_quiescent());
    assert!(life.on(Input::WorkEnded, now).quiesced);
}

#[test]
fn i16_a_stop_while_hooks_of_every_end_run_only_takes_time_from_them() {
    let (mut life, start, _) = lived(&[END_HOOK, Input::BodyEnded(BodyEnd::Ok)]);
    let now = start + Duration::from_secs(4);
    let fx = life.on(stop(StopMode::Cooperative), now);
    assert_eq!(fx.answer, Some(Answer::Accepted { hard: start + GRACE }));
    assert_eq!(fx.hooks, HookAction::Leave, "they run already");
    let mut aborted = life.clone();
    assert_eq!(life.on(Input::WorkEnded, now).ended, Some(RunStatus::Cancelled));
    aborted.on(stop(StopMode::Abort), now);
    assert_eq!(aborted.next_wakeup(), Some(now));
}

#[test]
fn i16_hooks_that_were_not_run_at_an_end_run_if_a_stop_follows() {
    // The runner registers again what it has not run.
    let (mut life, now, _) = lived(&[END_HOOK, Input::BodyEnded(BodyEnd::Ok), STOP_HOOK]);
    let mut unstopped = life.clone();
    assert_eq!(unstopped.on(Input::WorkEnded, now).hooks, HookAction::Skip);
    assert_eq!(unstopped.on(Input::WorkEnded, now).ended, Some(RunStatus::Completed));
    assert_eq!(life.on(stop(StopMode::Cooperative), now).hooks, HookAction::Run);
}

#[test]
fn i16_a_hook_of_every_end_that_comes_while_they_run_runs_at_once() {
    let (mut life, now, _) = lived(&[END_HOOK, Input::BodyEnded(BodyEnd::Ok)]);
    assert_eq!(life.on(END_HOOK, now).hooks, HookAction::Run);
    assert_eq!(life.on(Input::WorkEnded, now).ended, None);
    assert_eq!(life.on(Input::WorkEnded, now).ended, Some(RunStatus::Completed));
}

#[test]
fn i16_an_abort_skips_hooks_of_every_end() {
    let (mut life, now, _) = lived(&[END_HOOK]);
    assert_eq!(life.on(stop(StopMode::Abort), now).hooks, HookAction::Skip);
    assert_eq!(life.on(Input::BodyEnded(BodyEnd::Dropped), now).hooks, HookAction::Leave);
    assert_eq!(life.on(Input::WorkEnded, now).ended, Some(RunStatus::Cancelled));
}

#[test]
fn i16_children_that_hooks_of_every_end_have_spawned_are_taken_to_the_stages_too() {
    let cleanup = Input::ChildAdded { shielded: true };
    let inputs = [END_HOOK, Input::BodyEnded(BodyEnd::Ok), cleanup, Input::WorkEnded];
    let (mut life, now, fx) = lived(&inputs);
    assert_eq!(fx.ended, None, "a child is a child");
    let now = now + GRACE;
    assert_eq!(life.on(Input::Tick { active_at: now }, now).ladder, Some(Stage::Abort));
    assert_eq!(life.on(CHILD_ENDED, now).ended, Some(RunStatus::Completed));
}
