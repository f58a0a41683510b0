//! What is promised whatever happens at one instant: checked in every case.

use std::collections::{HashMap, HashSet};

use quell::testing::{self, Held};
use quell::{EventKind, RunEvent, RunId};

use super::plan::Plan;
use super::played::Played;

type Verdict = Result<(), String>;

/// Checks every promise.
pub(crate) fn keep(plan: &Plan, played: &Played) -> Verdict {
    if let Some(what) = played.contradictions.first() {
        return Err(what.clone());
    }
    logs_are_sound(played)?;
    stops_are_bounded(plan, played)?;
    nothing_runs_when_quiescent(played)?;
    hooks_run_once_in_reverse_order(played)?;
    what_was_written_is_kept(played)?;
    unstarted_runs_polled_nothing(played)?;
    waiters_are_told_at_once(played)?;
    readers_see_their_subtree(plan, played)?;
    nothing_is_held(plan, played)
}

/// I1, I3, I8, I9, I11, I21, I30: the trace checker on every tree.
fn logs_are_sound(played: &Played) -> Verdict {
    for (root, log) in &played.logs {
        testing::check_trace(log).map_err(|what| format!("log of {root}: {what}"))?;
    }
    Ok(())
}

/// I12: who was promised a hard deadline is terminal an abort wait later.
fn stops_are_bounded(plan: &Plan, played: &Played) -> Verdict {
    for (run, hard) in &played.promised {
        let ended = played.story.runs[*run].as_ref().and_then(|told| told.ended);
        if ended.is_none_or(|ended| ended > hard + plan.wait) {
            return Err(format!("I12: run {run}, promised {hard} + {}: {ended:?}", plan.wait));
        }
    }
    for (run, told) in played.story.runs.iter().enumerate() {
        let Some((told, stopped)) = told.as_ref().and_then(|told| Some((told, told.stopped?)))
        else {
            continue;
        };
        let longest = plan.longest_grace();
        if told.ended.is_none_or(|ended| ended > stopped + longest + plan.wait) {
            return Err(format!("I12: run {run} took too long: {told:?}"));
        }
    }
    Ok(())
}

/// I4: a quiescent run is silent: no poll, no destructor, no hook, no work after it.
fn nothing_runs_when_quiescent(played: &Played) -> Verdict {
    for (run, (books, told)) in played.books.iter().zip(&played.story.runs).enumerate() {
        let (Some(told), Some(active_at)) = (told, books.active_at) else { continue };
        if told.quiesced.is_none_or(|quiesced| active_at > quiesced) {
            return Err(format!("I4: run {run} was active at {active_at}: {told:?}"));
        }
        let abandoned = told.ended != told.quiesced;
        let row = played.rows[run].as_ref();
        if abandoned && !played.logs.values().flatten().any(|event| is_quiesced(event, run)) {
            return Err(format!("I4: run {run} never said that it quiesced: {row:?}"));
        }
    }
    Ok(())
}

fn is_quiesced(event: &RunEvent, run: usize) -> bool {
    event.run == Plan::id(run) && matches!(event.kind, EventKind::Quiesced)
}

/// I16: every hook is run or skipped, once; those registered before the stop in reverse order, but
/// that those of every end may have run before it; and without a stop only those of every end.
fn hooks_run_once_in_reverse_order(played: &Played) -> Verdict {
    for (run, (books, told)) in played.books.iter().zip(&played.story.runs).enumerate() {
        let Some(told) = told else { continue };
        let is_end_hook = |hook: &u32| books.end_hooks.contains(hook);
        let mut ran = books.hooks_run.clone();
        let first_late = books.hooks_late.unwrap_or(u32::MAX);
        let early: Vec<_> = ran.iter().copied().filter(|hook| *hook < first_late).collect();
        let before_stop = early.windows(2).take_while(|pair| pair[0] > pair[1]).count() + 1;
        let (first, then) = early.split_at(before_stop.min(early.len()));
        let may_be_first = then.is_empty() || first.iter().all(is_end_hook);
        if !then.is_sorted_by(|a, b| a > b) || !may_be_first {
            return Err(format!("I16: hooks of {run} ran in the order {ran:?}"));
        }
        ran.sort_unstable();
        let count = ran.len();
        ran.dedup();
        if ran.len() != count {
            return Err(format!("I16: a hook of {run} ran twice: {ran:?}"));
        }
        let all = u32::try_from(count).unwrap_or(u32::MAX) + told.hooks_skipped;
        let numbers = 0..books.hooks;
        let expected: Vec<_> =
            numbers.filter(|hook| told.stopped.is_some() || is_end_hook(hook)).collect();
        if all as usize != expected.len() {
            return Err(format!("I16: {expected:?} of hooks of {run}, {ran:?} ran: {told:?}"));
        }
        let mut ended: Vec<_> = told.hooks.iter().map(|(hook, _)| *hook).collect();
        ended.sort_unstable();
        // One that is still dropped at the end of an exhausted ladder has no event.
        if told.ended == told.quiesced && ended != expected {
            return Err(format!("I16: the log does not tell of every hook of {run}: {told:?}"));
        }
    }
    Ok(())
}

/// I17: what was written before the end is there; what came later was refused and counted.
fn what_was_written_is_kept(played: &Played) -> Verdict {
    for (run, (books, told)) in played.books.iter().zip(&played.story.runs).enumerate() {
        let Some(told) = told else { continue };
        let kept = (books.emitted, books.late, books.output);
        if kept != (told.emitted, told.late, told.output) {
            return Err(format!("I17: run {run} wrote {kept:?}: {told:?}"));
        }
    }
    Ok(())
}

/// I21: what never started polled no user code, and what was polled had started.
fn unstarted_runs_polled_nothing(played: &Played) -> Verdict {
    for (run, (books, told)) in played.books.iter().zip(&played.story.runs).enumerate() {
        let started = told.as_ref().is_some_and(|told| told.started.is_some());
        if books.polled != started {
            return Err(format!("I21: run {run} polled {}: {told:?}", books.polled));
        }
    }
    Ok(())
}

/// I33: `ended` and `quiescent` return then, and only then.
fn waiters_are_told_at_once(played: &Played) -> Verdict {
    for watched in &played.watched {
        let Some(told) = &played.story.runs[watched.run] else { continue };
        let at = |instant: Option<u64>| instant.map(|at| at.max(watched.since));
        if at(told.ended) != Some(watched.ended) || at(told.quiesced) != Some(watched.quiescent) {
            let (ended, quiescent) = (watched.ended, watched.quiescent);
            return Err(format!("I33: told at {ended} and {quiescent}: {told:?}"));
        }
    }
    Ok(())
}

/// I30: a reader of a run sees every event of its subtree, in order, and the end of the stream.
fn readers_see_their_subtree(plan: &Plan, played: &Played) -> Verdict {
    if played.story.runs.iter().flatten().any(|told| told.detached) {
        // Two logs would have to be put together; tests of `detach` do that.
        return Ok(());
    }
    for watched in &played.watched {
        let root = plan.root(watched.run);
        let Some(log) = played.logs.get(&root) else { continue };
        let members = plan.subtree(watched.run);
        let concerns =
            |event: &&RunEvent| event.seq > watched.after && members.contains(&event.run);
        let expected: Vec<_> = log.iter().filter(concerns).collect();
        let seen: Vec<_> = watched.events.iter().collect();
        if seen != expected {
            let run = watched.run;
            let numbers = |events: &[&RunEvent]| -> Vec<u64> {
                events.iter().map(|event| event.seq).collect()
            };
            let (seen, expected) = (numbers(&seen), numbers(&expected));
            return Err(format!("I30: a reader of {run} saw {seen:?}, not {expected:?}"));
        }
    }
    Ok(())
}

/// I39: what is over leaves nothing behind but what is kept on purpose.
fn nothing_is_held(plan: &Plan, played: &Played) -> Verdict {
    let Held { live, entries, timers, .. } = played.held;
    let runs = played.story.runs.iter().flatten().count();
    let kept = if plan.keeps { runs } else { 0 };
    let expected = kept + remembered(plan, played);
    if (live, timers, entries) != (0, 0, expected) {
        return Err(format!("I39: holds {:?}, not {expected} entries", played.held));
    }
    Ok(())
}

/// Counts the stops that are remembered and were never used.
fn remembered(plan: &Plan, played: &Played) -> usize {
    let mut waiting = HashMap::new();
    for ((at, command), said) in plan.commands.iter().zip(&played.story.said) {
        if let (super::plan::Command::Cancel(run, _), super::oracle::Said::Reserved) =
            (command, said)
        {
            waiting.insert(*run, *at);
        }
    }
    let used =
        |run: usize, at: u64| played.story.runs[run].as_ref().is_some_and(|told| told.queued >= at);
    waiting.into_iter().filter(|(run, at)| !used(*run, *at)).count()
}

impl Plan {
    fn longest_grace(&self) -> u64 {
        let specs = self.runs.iter().filter_map(|run| run.grace);
        let requests = self.commands.iter().filter_map(|(_, command)| match command {
            super::plan::Command::Cancel(_, request) => request.grace,
            _ => None,
        });
        specs.chain(requests).fold(self.grace, u64::max)
    }

    fn subtree(&self, run: usize) -> HashSet<RunId> {
        let is_below = |mut member: usize| {
            while member != run {
                match self.parent(member) {
                    Some(parent) => member = parent,
                    None => return false,
                }
            }
            true
        };
        (0..self.runs.len()).filter(|member| is_below(*member)).map(Self::id).collect()
    }
}
