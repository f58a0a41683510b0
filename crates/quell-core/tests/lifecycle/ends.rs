//! What is promised about the end of a run, and about the way there.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use quell_core::lifecycle::{
    BodyAction, BodyEnd, Effects, HookAction, Input, Stage, StopInput, Trigger, later,
};
use quell_core::{RunStatus, StopDelivery, StopMode};

use crate::requests::Verdict;
use crate::seen::{Body, Step, Trace};

/// I1: no attached child is live when its parent becomes terminal.
pub(crate) fn children_end_before_their_parent(trace: &Trace) -> Verdict {
    for step in &trace.steps {
        prop_assert_eq!(step.after.live_children, step.after.books.children, "{:?}", step);
        let ended = step.after.status.is_terminal();
        prop_assert!(!ended || step.after.books.children == 0, "{step:?}");
    }
    Ok(())
}

/// I3: the end is reported once, and nothing follows but at most one `quiesced`.
pub(crate) fn a_run_ends_once(trace: &Trace) -> Verdict {
    let (mut ended, mut quiesced) = (None, false);
    for step in &trace.steps {
        if let Some(status) = ended {
            let mut rest = step.fx;
            (rest.answer, rest.refused, rest.quiesced) = (None, false, false);
            // A hook that is refused is skipped, whatever the state.
            rest.hooks = HookAction::Leave;
            prop_assert_eq!(rest, Effects::default(), "{:?}", step);
            prop_assert_eq!(step.after.status, status, "{:?}", step);
            prop_assert!(!(quiesced && step.fx.quiesced), "quiesced twice: {step:?}");
        } else {
            prop_assert!(!step.fx.quiesced, "quiesced before the end: {step:?}");
        }
        quiesced |= step.fx.quiesced;
        ended = ended.or(step.fx.ended);
        prop_assert_eq!(ended.is_some(), step.after.status.is_terminal(), "{:?}", step);
    }
    Ok(())
}

/// I4: quiescent means that nothing executes; what ended non-quiescent quiesces once, when the
/// last piece has ended.
pub(crate) fn quiescent_means_that_nothing_executes(trace: &Trace) -> Verdict {
    let mut non_quiescent = false;
    for step in &trace.steps {
        let books = step.after.books;
        let still = books.body == Body::Ended && books.works == 0 && books.non_quiescent == 0;
        let quiescent = step.after.status.is_terminal() && still;
        prop_assert_eq!(step.after.quiescent, quiescent, "{:?}", step);
        if step.fx.ended.is_some() {
            prop_assert_eq!(step.fx.body_abandoned, books.body != Body::Ended, "{:?}", step);
            non_quiescent = !quiescent;
        } else {
            prop_assert_eq!(step.fx.quiesced, non_quiescent && quiescent, "{:?}", step);
            non_quiescent &= !quiescent;
        }
    }
    prop_assert!(!non_quiescent, "all has ended and the run never quiesced");
    Ok(())
}

/// I5: a stop is not a failure. A stopped run does not fail; one that fails says so unstopped.
pub(crate) fn a_stop_is_not_a_failure(trace: &Trace) -> Verdict {
    let mut failing = false;
    let mut stopping = false;
    for step in &trace.steps {
        if let Some(cascade) = step.fx.cascade {
            prop_assert!(!(cascade.failing && stopping), "a stopped run fails: {step:?}");
        }
        stopping |= step.fx.accepted.is_some();
        failing |= is_failure(step);
        if step.fx.ended.is_some_and(|_| !stopping) {
            let expected = if failing { RunStatus::Failed } else { RunStatus::Completed };
            prop_assert_eq!(step.fx.ended, Some(expected), "{:?}", step);
        }
    }
    Ok(())
}

fn is_failure(step: &Step) -> bool {
    match step.input {
        Input::BodyEnded(end) => end != BodyEnd::Ok,
        Input::ChildEnded { unseen_failure, .. } => unseen_failure,
        Input::ChildDisowned => true,
        _ => false,
    }
}

/// I12: from acceptance to the end it takes at most the grace and the abort wait, for every body.
/// The same holds from a failure on, and for each later request that asks for less.
pub(crate) fn a_stop_is_bounded(trace: &Trace) -> Verdict {
    prop_assert!(!trace.stuck, "timers fall due for ever");
    prop_assert!(trace.ended().is_some(), "the run never ended");
    if !trace.punctual {
        return Ok(());
    }
    let mut bound: Option<Instant> = None;
    for step in trace.steps.iter().filter(|step| !step.before.status.is_terminal()) {
        let late = bound.is_some_and(|bound| step.at > bound);
        prop_assert!(!late, "the run is live after its bound: {step:?}");
        bound = bound.into_iter().chain(bound_by(trace, step)).min();
    }
    Ok(())
}

/// Yields the instant by which the run has to be terminal because of this step.
fn bound_by(trace: &Trace, step: &Step) -> Option<Instant> {
    let hard = step.after.hard?.max(step.at);
    match (step.input, step.fx.accepted) {
        (Input::ParentStopped { hard, wait, .. }, _) => Some(later(hard, wait)),
        (Input::Stop(StopInput { mode, grace, wait, .. }), Some(_)) => {
            // A run that fails already may have the earlier hard deadline. Its own abort wait
            // counts from there, the one of the request from the deadline that was asked for.
            let asked = match mode {
                StopMode::Abort => step.at,
                _ => later(step.at, grace.unwrap_or(trace.setup.grace)),
            };
            let hard = if step.before.hard.is_some() { asked } else { hard };
            Some(later(hard, wait.unwrap_or(trace.setup.wait)))
        }
        (Input::Stop(StopInput { wait, .. }), None) if step.after.hard < step.before.hard => {
            Some(later(hard, wait.unwrap_or_else(|| longest_wait(trace))))
        }
        // Only a shutdown names a wait, and it asks roots: they have no ancestor.
        (Input::Stop(_), None) if has_ancestor(trace) => None,
        (Input::Stop(StopInput { mode, grace, wait: Some(wait), escalate_after }), None) => {
            match mode {
                StopMode::Abort => Some(later(step.at, wait)),
                StopMode::Cooperative => grace.map(|grace| later(later(step.at, grace), wait)),
                StopMode::AfterStep if step.before.stopping => {
                    let from = later(step.at, escalate_after);
                    grace.map(|grace| later(later(from, grace), wait))
                }
                _ => None,
            }
        }
        (_, Some(Trigger::Scheduled)) => Some(later(hard, longest_wait(trace))),
        (_, Some(_)) => Some(later(hard, trace.setup.wait)),
        (_, None) if step.fx.cascade.is_some_and(|cascade| cascade.failing) => {
            Some(later(hard, trace.setup.wait))
        }
        // A run that completes, from the start of its hooks on.
        (_, None) if step.fx.hooks == HookAction::Run && step.before.hard.is_none() => {
            Some(later(later(step.at, trace.setup.grace), trace.setup.wait))
        }
        _ => None,
    }
}

fn has_ancestor(trace: &Trace) -> bool {
    trace.steps.iter().any(|step| matches!(step.input, Input::ParentStopped { .. }))
}

fn longest_wait(trace: &Trace) -> Duration {
    let waits = trace.steps.iter().filter_map(|step| match step.input {
        Input::Stop(StopInput { wait, .. }) => wait,
        Input::ParentStopped { wait, .. } => Some(wait),
        _ => None,
    });
    waits.fold(trace.setup.wait, Duration::max)
}

/// I16, I21: hooks run once body and children have ended, without a stop only those of every end,
/// within the grace, or until the second stage if they waited for descendants alone; when a stopped
/// run ends each was run or skipped, and no end comes before those of every end had their turn.
pub(crate) fn every_hook_is_run_or_skipped(trace: &Trace) -> Verdict {
    // What they waited for was live at the hard deadline, and the stage finds it so or is late.
    let (mut waited, mut is_stage_late) = (false, false);
    for step in &trace.steps {
        let (books, seen) = (step.before.books, &step.after);
        let is_gone = matches!(step.input, Input::ChildEnded { .. } | Input::ChildLeft);
        let is_over = step.before.hard.is_some_and(|hard| step.at >= hard);
        is_stage_late |= is_gone && is_over && books.hooks > 0 && books.stage.is_none();
        waited |= is_stage_late || step.fx.hooks == HookAction::AbortRunning;
        match step.fx.hooks {
            HookAction::Run => {
                prop_assert!(books.hooks > 0, "nothing is registered: {step:?}");
                prop_assert_eq!((books.body, seen.live_children), (Body::Ended, 0), "{:?}", step);
                let in_time = books.stage < Some(Stage::Abort)
                    || (books.stage == Some(Stage::Abort) && waited);
                prop_assert!(in_time, "{step:?}");
                if !seen.stopping {
                    let fails = step.before.books.winds_down || step.fx.cascade.is_some();
                    prop_assert!(books.end_hooks > 0, "none of every end: {step:?}");
                    prop_assert!(fails || seen.books.works == 1, "its work goes on: {step:?}");
                }
            }
            HookAction::AbortRunning => {
                prop_assert!(matches!(step.input, Input::Ladder(_)), "{step:?}");
                let waits = books.children > 0 || is_stage_late;
                prop_assert!(step.input == Input::Ladder(Stage::Abort) && waits, "{step:?}");
            }
            HookAction::Abort => {
                let is_first = step.input == Input::Ladder(Stage::Abort);
                prop_assert!(!(is_first && is_stage_late), "they waited: {step:?}");
            }
            HookAction::RunNew => {
                prop_assert!(matches!(step.input, Input::HookAdded { .. }), "{step:?}");
                prop_assert!(seen.stopping && !seen.aborting, "{step:?}");
            }
            HookAction::SkipNew => {
                let is_added = matches!(step.input, Input::HookAdded { .. });
                prop_assert!(step.fx.refused && is_added, "{step:?}");
            }
            HookAction::Skip if !was_abort(trace) => {
                let is_late = books.stage >= Some(Stage::Abort);
                let is_unneeded = !seen.stopping && books.end_hooks == 0 && books.hooks > 0;
                prop_assert!(is_late || is_unneeded, "there was time left: {step:?}");
                prop_assert!(is_late || books.children <= 1, "{step:?}");
            }
            _ => {}
        }
        let ended = step.after.status.is_terminal();
        prop_assert!(!ended || step.after.books.hooks == 0, "{step:?}");
    }
    Ok(())
}

/// I15: under `Auto` a body that listens has the grace, and so has one whose first poll has not
/// returned; one that never asked is dropped.
pub(crate) fn whoever_listens_has_the_grace(trace: &Trace) -> Verdict {
    for step in &trace.steps {
        let (books, policy) = (step.after.books, trace.setup.stop_delivery);
        if books.body != Body::Running || books.stage >= Some(Stage::Abort) {
            continue;
        }
        let is_deaf = match policy {
            StopDelivery::Signal => false,
            StopDelivery::Auto => books.parked && !books.listens,
            _ => true,
        };
        let dropped = step.fx.body != BodyAction::Leave;
        prop_assert!(!dropped || is_deaf || was_deaf(trace, step), "{step:?}");
        let is_judged = step.after.stopping && books.children == 0 && is_deaf;
        let follows = policy == StopDelivery::Auto && step.fx.accepted.is_some();
        prop_assert!(!is_judged || follows || books.wanted != BodyAction::Leave, "{step:?}");
    }
    Ok(())
}

/// The body was judged before it listened, or until now.
fn was_deaf(trace: &Trace, step: &Step) -> bool {
    let judged = trace.steps.iter().find(|step| matches!(step.input, Input::Judged { .. }));
    judged.is_some_and(|judged| judged.input == Input::Judged { listens: false })
        && step.after.stopping
}

/// Somebody asked for an abort, of this run or of one above.
fn was_abort(trace: &Trace) -> bool {
    trace.steps.iter().any(|step| match step.input {
        Input::Stop(StopInput { mode, .. }) | Input::ParentStopped { mode, .. } => {
            mode == StopMode::Abort
        }
        _ => false,
    })
}

/// I20, I21: a run that is stopped before its start is never started, has no grace of its own, and
/// ends as soon as its task says that it will not start.
pub(crate) fn a_stop_before_the_start_polls_nothing(trace: &Trace) -> Verdict {
    let Some((stop, trigger)) = trace.accepted() else { return Ok(()) };
    if stop.before.books.body != Body::Waiting {
        return Ok(());
    }
    prop_assert_eq!(stop.fx.body, BodyAction::Drop, "{:?}", stop);
    if trigger != Trigger::Parent {
        prop_assert_eq!(stop.after.hard, Some(stop.at), "{:?}", stop);
    }
    for step in trace.steps.iter().filter(|step| step.before.stopping) {
        prop_assert!(step.input != Input::Started || step.fx.refused, "{step:?}");
        if let Input::BodyEnded(_) = step.input {
            prop_assert!(step.after.status.is_terminal(), "{step:?}");
        }
    }
    Ok(())
}

/// Only legal transitions, and nothing but `Started` leads to `Running`.
pub(crate) fn only_legal_transitions_happen(trace: &Trace) -> Verdict {
    use RunStatus::{Cancelled, Failed, Queued, Running, Stopping, TimedOut};
    for step in &trace.steps {
        let (from, to) = (step.before.status, step.after.status);
        let legal = match (from, to) {
            (Queued, Running) => step.input == Input::Started,
            (Queued, Stopping | Cancelled | TimedOut) => step.fx.accepted.is_some(),
            // Its runtime is gone.
            (Queued, Failed) => step.input == Input::BodyEnded(BodyEnd::Err),
            (Running, to) => to != Queued,
            (Stopping, to) => matches!(to, Stopping | Cancelled | TimedOut),
            (from, to) => from == to,
        };
        prop_assert!(legal, "{step:?}");
    }
    Ok(())
}

/// Progress: a tick at the next wake-up moves it or ends the run; with a punctual clock it is
/// never in the past.
pub(crate) fn wakeups_make_progress(trace: &Trace) -> Verdict {
    prop_assert!(!trace.stuck, "timers fall due for ever");
    let mut now = trace.born;
    for step in &trace.steps {
        if trace.punctual
            && step.at > now
            && let Some(next) = step.before.next
        {
            prop_assert!(next >= step.at, "a wake-up was missed: {step:?}");
        }
        now = step.at;
        if let Input::Tick { .. } = step.input
            && step.before.next.is_some_and(|next| next <= step.at)
        {
            let decided = step.fx.ladder.is_some() || step.fx.accepted.is_some();
            prop_assert!(decided || step.after.next != step.before.next, "{step:?}");
        }
        if let Input::Tick { .. } = step.input
            && step.before.next.is_none_or(|next| next > step.at)
        {
            prop_assert_eq!(step.fx, Effects::default(), "a tick too early: {:?}", step);
        }
    }
    Ok(())
}
