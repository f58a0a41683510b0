//! What is promised to those who ask a run to stop, or ask something of a run that stops.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use quell_core::lifecycle::{Answer, Effects, Input, Stage, StopInput, Trigger, later};
use quell_core::{RunStatus, StopMode};

use crate::seen::{Body, Trace};

pub(crate) type Verdict = Result<(), TestCaseError>;

/// I6: the first cause wins. One stop is accepted, with the cause that was recorded first.
pub(crate) fn first_cause_wins(trace: &Trace) -> Verdict {
    let (mut scheduled, mut accepted) = (false, false);
    for step in &trace.steps {
        if step.fx.scheduled {
            prop_assert!(!scheduled && !accepted, "a cause was overwritten: {step:?}");
            scheduled = true;
        }
        if let Some(trigger) = step.fx.accepted {
            prop_assert!(!accepted, "a second stop was accepted: {step:?}");
            accepted = true;
            prop_assert_eq!(trigger == Trigger::Scheduled, scheduled, "{:?}", step);
        }
    }
    Ok(())
}

/// I7: modes only rise, hard deadlines only shrink, and every answer says what holds.
pub(crate) fn urgency_only_grows(trace: &Trace) -> Verdict {
    let (mut mode, mut told) = (None, None);
    for step in &trace.steps {
        if let (Some(before), Some(after)) = (step.before.hard, step.after.hard) {
            prop_assert!(after <= before, "the hard deadline moved away: {step:?}");
        }
        prop_assert!(step.before.hard.is_none() || step.after.hard.is_some(), "{step:?}");
        if let Some(cascade) = step.fx.cascade {
            prop_assert!(told.is_none_or(|told| cascade.hard <= told), "{step:?}");
            prop_assert!(mode.is_none_or(|mode| cascade.mode >= mode), "{step:?}");
            prop_assert_eq!(Some(cascade.hard), step.after.hard, "{:?}", step);
            (told, mode) = (Some(cascade.hard), Some(cascade.mode));
        }
        match step.fx.answer {
            Some(Answer::Escalated { from, to }) => prop_assert!(from < to, "{step:?}"),
            Some(Answer::Accepted { hard } | Answer::AlreadyStopping { hard }) => {
                prop_assert_eq!(Some(hard), step.after.hard, "{:?}", step);
            }
            _ => {}
        }
    }
    Ok(())
}

/// I7: a request that was made before, word for word, changes nothing.
pub(crate) fn identical_requests_equal_one(trace: &Trace) -> Verdict {
    let mut made: Vec<StopInput> = Vec::new();
    for step in &trace.steps {
        let Input::Stop(stop) = step.input else { continue };
        if !made.contains(&stop) {
            made.push(stop);
            continue;
        }
        prop_assert_eq!(step.fx, only_answer(step.fx.answer), "{:?}", step);
        prop_assert!(step.unchanged, "{step:?}");
        let answered_alike = matches!(
            step.fx.answer,
            Some(
                Answer::Scheduled { .. }
                    | Answer::AlreadyStopping { .. }
                    | Answer::AlreadyTerminal(_)
            )
        );
        prop_assert!(answered_alike, "{step:?}");
    }
    Ok(())
}

/// I8: after a stop nothing starts, except what belongs to cleanup, before the hard deadline; the
/// same holds while a run fails.
pub(crate) fn nothing_starts_after_a_stop(trace: &Trace) -> Verdict {
    for step in &trace.steps {
        let books = step.before.books;
        let ended = step.before.status.is_terminal();
        let cleanup_over = books.stage >= Some(Stage::Abort);
        let refuses = |shielded: bool| ended || (books.winds_down && (!shielded || cleanup_over));
        prop_assert_eq!(step.before.fenced, refuses(false), "{:?}", step);
        prop_assert_eq!(step.before.fenced_shielded, refuses(true), "{:?}", step);
        match step.input {
            Input::ChildAdded { shielded } | Input::WorkAdded { shielded } => {
                prop_assert_eq!(step.fx.refused, refuses(shielded), "{:?}", step);
            }
            Input::Started => {
                // Zero leaves no time to start, and a late timer gives none.
                let [_, within, _] = books.limits;
                let too_late = within.is_some_and(|within| step.at >= later(trace.born, within));
                let waits = books.body == Body::Waiting && !too_late;
                prop_assert_eq!(step.fx.refused, refuses(false) || !waits, "{:?}", step);
            }
            Input::LimitsChanged { .. } => {
                // The cause and the bounds of an accepted stop stand (I6, I23).
                let too_late = ended || step.before.stopping;
                prop_assert_eq!(step.fx.refused, too_late, "{:?}", step);
                prop_assert!(step.unchanged || !too_late, "{step:?}");
            }
            _ => prop_assert!(
                !step.fx.refused || matches!(step.input, Input::HookAdded { .. }),
                "{step:?}"
            ),
        }
    }
    Ok(())
}

/// I9: `Accepted` means `Cancelled` or `TimedOut`; `Completed` and `Failed` mean that no stop was
/// accepted, and that every later request was told so.
pub(crate) fn acceptance_and_completion_exclude_each_other(trace: &Trace) -> Verdict {
    let accepted = trace.accepted();
    let stopped = |status| matches!(status, RunStatus::Cancelled | RunStatus::TimedOut);
    if let Some((_, status)) = trace.ended() {
        prop_assert_eq!(stopped(status), accepted.is_some(), "{:?}, {:?}", status, accepted);
    }
    for step in &trace.steps {
        let Some(answer) = step.fx.answer else { continue };
        match answer {
            Answer::Accepted { .. } => {
                prop_assert!(step.fx.accepted.is_some(), "{step:?}");
            }
            Answer::Scheduled { .. } => prop_assert!(!step.before.stopping, "{step:?}"),
            Answer::AlreadyStopping { .. } => prop_assert!(step.before.stopping, "{step:?}"),
            Answer::Escalated { .. } => prop_assert!(step.after.stopping, "{step:?}"),
            Answer::AlreadyTerminal(status) => prop_assert_eq!(status, step.before.status),
        }
    }
    Ok(())
}

/// I10: deadlines compose by the minimum: nobody has longer than an ancestor grants, than it asks
/// for itself, or than its own spec says.
pub(crate) fn deadlines_compose_by_the_minimum(trace: &Trace) -> Verdict {
    let (mut started, mut granted) = (None, None);
    for step in trace.steps.iter().filter(|step| !step.before.status.is_terminal()) {
        match step.input {
            Input::Started if !step.fx.refused => started = Some(step.at),
            Input::ParentStopped { hard, own_grace, .. } => {
                let own = own_grace.map(|grace| later(step.at, grace));
                let given = own.map_or(hard, |own| own.min(hard));
                granted = Some(granted.map_or(given, |granted| given.min(granted)));
            }
            _ => {}
        }
        let timeout_at =
            step.before.books.limits[0].and_then(|time| started.map(|at| later(at, time)));
        prop_assert_eq!(step.after.timeout_at, timeout_at, "{:?}", step);
        if let Some(granted) = granted {
            prop_assert!(step.after.hard.is_some_and(|hard| hard <= granted), "{step:?}");
        }
        if step.fx.accepted.is_some_and(|trigger| trigger != Trigger::Parent) {
            let asked = match step.input {
                Input::Stop(StopInput { mode: StopMode::Abort, .. }) => Duration::ZERO,
                Input::Stop(StopInput { grace: Some(grace), .. }) => grace,
                Input::Stop(_) => trace.setup.grace,
                _ => continue,
            };
            let latest = later(step.at, asked);
            prop_assert!(step.after.hard.is_some_and(|hard| hard <= latest), "{step:?}");
        }
    }
    Ok(())
}

/// I11: a run is `TimedOut` exactly if its own limit was what stopped it, and no limit stops a run
/// before its time or, with a punctual clock, after it.
pub(crate) fn only_its_own_limit_times_a_run_out(trace: &Trace) -> Verdict {
    for step in &trace.steps {
        let books = step.before.books;
        let [_, start_within, idle] = books.limits;
        let over = |from: Option<_>, time: Option<_>| {
            from.zip(time).is_some_and(|(from, time)| later(from, time) <= step.at)
        };
        let start_over = books.body == Body::Waiting && over(Some(trace.born), start_within);
        let timeout_over = step.after.timeout_at.is_some_and(|at| at <= step.at);
        let started = books.body != Body::Waiting;
        let idle_over = started && over(books.active_at, idle);
        let due = match step.fx.accepted {
            Some(Trigger::Timeout) => timeout_over,
            Some(Trigger::StartWithin) => start_over,
            Some(Trigger::Idle) => idle_over,
            _ => true,
        };
        prop_assert!(due, "a limit stopped a run before its time: {step:?}");
        let live = !step.after.status.is_terminal() && !step.after.stopping;
        if matches!(step.input, Input::Tick { .. } | Input::LimitsChanged { .. }) && live {
            let missed = timeout_over || start_over || idle_over;
            prop_assert!(!missed, "a tick, or a change, overlooked a limit: {step:?}");
        }
    }
    if let (Some((_, status)), Some((_, trigger))) = (trace.ended(), trace.accepted()) {
        let own = matches!(trigger, Trigger::Timeout | Trigger::StartWithin | Trigger::Idle);
        prop_assert_eq!(status == RunStatus::TimedOut, own, "{:?} by {:?}", status, trigger);
    }
    Ok(())
}

/// I13, I15: a stop is there until the end, in a shield too, and shields end at the hard deadline.
pub(crate) fn a_stop_never_hides(trace: &Trace) -> Verdict {
    for step in &trace.steps {
        prop_assert!(!step.before.stopping || step.after.stopping, "{step:?}");
        prop_assert!(!step.before.aborting || step.after.aborting, "{step:?}");
        let reached = step.before.books.stage >= Some(Stage::Abort);
        if reached && step.before.books.winds_down {
            prop_assert!(step.before.fenced_shielded, "{step:?}");
        }
    }
    Ok(())
}

/// I23: cancelling a terminal run changes nothing and says so.
pub(crate) fn cancelling_a_terminal_run_changes_nothing(trace: &Trace) -> Verdict {
    for step in trace.steps.iter().filter(|step| step.before.status.is_terminal()) {
        if let Input::Stop(_) = step.input {
            let answer = Some(Answer::AlreadyTerminal(step.before.status));
            prop_assert_eq!(step.fx, only_answer(answer), "{:?}", step);
            prop_assert!(step.unchanged, "{step:?}");
        }
    }
    Ok(())
}

fn only_answer(answer: Option<Answer>) -> Effects {
    let mut fx = Effects::default();
    fx.answer = answer;
    fx
}
