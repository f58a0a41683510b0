//! Many histories against every promise.
//!
//! Each promise has a test of its own name, so that a fault shows by the promise it breaks; one
//! more test plays many more histories against all of them at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use quell_core::RunStatus;
use quell_core::lifecycle::{Answer, HookAction, Input, Lifecycle};

use crate::history::{any_input, histories};
use crate::requests::Verdict;
use crate::seen::{Step, Trace};
use crate::world::play;
use crate::{ends, requests};

type Promise = fn(&Trace) -> Verdict;

const PROMISES: [Promise; 19] = [
    requests::first_cause_wins,
    requests::urgency_only_grows,
    requests::identical_requests_equal_one,
    requests::nothing_starts_after_a_stop,
    requests::acceptance_and_completion_exclude_each_other,
    requests::deadlines_compose_by_the_minimum,
    requests::only_its_own_limit_times_a_run_out,
    requests::a_stop_never_hides,
    requests::cancelling_a_terminal_run_changes_nothing,
    ends::children_end_before_their_parent,
    ends::a_run_ends_once,
    ends::quiescent_means_that_nothing_executes,
    ends::a_stop_is_not_a_failure,
    ends::a_stop_is_bounded,
    ends::every_hook_is_run_or_skipped,
    ends::whoever_listens_has_the_grace,
    ends::a_stop_before_the_start_polls_nothing,
    ends::only_legal_transitions_happen,
    ends::wakeups_make_progress,
];

#[test]
fn i15_a_body_that_listens_has_the_grace_and_one_that_never_did_is_dropped() {
    check(2_000, histories(), |history| ends::whoever_listens_has_the_grace(&play(&history)));
}

#[test]
fn i6_the_first_cause_wins_and_is_never_overwritten() {
    check(2_000, histories(), |history| requests::first_cause_wins(&play(&history)));
}

#[test]
fn i7_modes_only_rise_and_hard_deadlines_only_shrink() {
    check(2_000, histories(), |history| requests::urgency_only_grows(&play(&history)));
}

#[test]
fn i7_n_identical_cancels_equal_one() {
    check(2_000, histories(), |history| requests::identical_requests_equal_one(&play(&history)));
}

#[test]
fn i8_nothing_starts_after_a_stop_except_cleanup_before_the_hard_deadline() {
    check(2_000, histories(), |history| requests::nothing_starts_after_a_stop(&play(&history)));
}

#[test]
fn i9_an_accepted_cancel_never_ends_completed_nor_failed() {
    check(2_000, histories(), |history| {
        requests::acceptance_and_completion_exclude_each_other(&play(&history))
    });
}

#[test]
fn i10_deadlines_compose_by_the_minimum() {
    check(2_000, histories(), |history| {
        requests::deadlines_compose_by_the_minimum(&play(&history))
    });
}

#[test]
fn i11_a_run_is_timed_out_only_by_its_own_limit_when_it_is_due() {
    check(2_000, histories(), |history| {
        requests::only_its_own_limit_times_a_run_out(&play(&history))
    });
}

#[test]
fn i13_i15_a_stop_never_hides_and_shields_end_at_the_hard_deadline() {
    check(2_000, histories(), |history| requests::a_stop_never_hides(&play(&history)));
}

#[test]
fn i23_cancelling_a_terminal_run_changes_nothing_and_says_so() {
    check(2_000, histories(), |history| {
        requests::cancelling_a_terminal_run_changes_nothing(&play(&history))
    });
}

#[test]
fn i1_no_child_is_live_when_its_parent_becomes_terminal() {
    check(2_000, histories(), |history| ends::children_end_before_their_parent(&play(&history)));
}

#[test]
fn i3_a_run_ends_once_and_nothing_but_quiesced_follows() {
    check(2_000, histories(), |history| ends::a_run_ends_once(&play(&history)));
}

#[test]
fn i4_quiescent_means_that_nothing_executes() {
    check(2_000, histories(), |history| {
        ends::quiescent_means_that_nothing_executes(&play(&history))
    });
}

#[test]
fn i5_a_stop_is_not_a_failure() {
    check(2_000, histories(), |history| ends::a_stop_is_not_a_failure(&play(&history)));
}

#[test]
fn i12_a_stop_takes_at_most_the_grace_and_the_abort_wait() {
    check(2_000, histories(), |history| ends::a_stop_is_bounded(&play(&history)));
}

#[test]
fn i16_every_hook_of_a_stopped_run_is_run_after_the_body_or_skipped() {
    check(2_000, histories(), |history| ends::every_hook_is_run_or_skipped(&play(&history)));
}

#[test]
fn i20_i21_a_run_stopped_before_its_start_is_never_started() {
    check(2_000, histories(), |history| {
        ends::a_stop_before_the_start_polls_nothing(&play(&history))
    });
}

#[test]
fn only_legal_transitions_happen() {
    check(2_000, histories(), |history| ends::only_legal_transitions_happen(&play(&history)));
}

#[test]
fn a_tick_at_the_next_wakeup_moves_it_or_ends_the_run() {
    check(2_000, histories(), |history| ends::wakeups_make_progress(&play(&history)));
}

#[test]
fn twenty_thousand_histories_keep_every_promise() {
    check(20_000, histories(), |history| {
        let trace = play(&history);
        PROMISES.iter().try_for_each(|promise| promise(&trace))
    });
}

/// Otherwise the other tests would prove little.
#[test]
fn the_histories_reach_every_ending_by_every_road() {
    let seen = RefCell::new(HashMap::<String, u32>::new());
    let count = |what: String| *seen.borrow_mut().entry(what).or_default() += 1;
    check(20_000, histories(), |history| {
        let trace = play(&history);
        trace.accepted().into_iter().for_each(|(_, trigger)| count(format!("{trigger:?}")));
        for step in &trace.steps {
            step.fx.ended.into_iter().for_each(|status| count(format!("{status:?}")));
            let (fx, books) = (&step.fx, &step.after.books);
            let is_judged = matches!(step.input, Input::Judged { .. });
            let roads = [
                ("body abandoned", fx.body_abandoned),
                ("body aborted", fx.aborted),
                ("quiesced", fx.quiesced),
                ("hooks run", fx.hooks == HookAction::Run),
                ("hook run late", fx.hooks == HookAction::RunNew),
                ("hooks wait for children", fx.hooks == HookAction::AbortRunning),
                ("hooks run after children", fx.hooks == HookAction::Run && step.after.aborting),
                ("hooks run at an end", fx.hooks == HookAction::Run && !step.after.stopping),
                ("hooks run at a failure", runs_at_failure(step)),
                ("hooks cut at an end", is_cut_at_end(step)),
                ("stopped while hooks run", fx.accepted.is_some() && step.before.hard.is_some()),
                ("judged", is_judged),
                ("judged late", is_judged && step.before.hard < Some(step.at)),
                ("children stopped by a failure", fx.cascade.is_some_and(|told| told.failing)),
                ("abandoned with work", fx.ended.is_some() && books.works > 0),
                ("escalated", matches!(fx.answer, Some(Answer::Escalated { .. }))),
            ];
            roads.iter().filter(|(_, is)| *is).for_each(|(road, _)| count((*road).to_owned()));
        }
        Ok(())
    });
    let seen = seen.into_inner();
    // The rarest comes about fourteen times.
    assert_eq!(seen.len(), 4 + 6 + 16, "{seen:?}");
}

fn runs_at_failure(step: &Step) -> bool {
    let fails = step.before.hard.is_some() || step.fx.cascade.is_some();
    step.fx.hooks == HookAction::Run && !step.after.stopping && fails
}

/// A runner is aborted although no stop came.
fn is_cut_at_end(step: &Step) -> bool {
    let aborts = matches!(step.fx.hooks, HookAction::Abort | HookAction::AbortRunning);
    aborts && step.before.books.works > 0 && !step.after.stopping
}

/// Whatever comes, in whatever order, and how often: no panic, one end, no way out of a stop.
#[test]
fn inputs_without_any_discipline_break_neither_i3_nor_i7_nor_i9() {
    let inputs = (histories(), vec((any::<u16>(), any::<u8>()), 0..40));
    check(5_000, inputs, |(history, words)| {
        let start = Instant::now();
        let mut life = Lifecycle::new(&history.setup.rules(), start);
        let (mut stopped, mut ended, mut hard) = (false, None, None);
        for (word, after) in words {
            let now = start + Duration::from_millis(after.into());
            let fx = life.on(any_input(word, start), now);
            prop_assert!(fx.accepted.is_none() || (!stopped && ended.is_none()));
            prop_assert!(fx.ended.is_none() || ended.is_none(), "ended twice");
            stopped |= fx.accepted.is_some();
            ended = ended.or(fx.ended);
            prop_assert!(ended.is_none_or(|status| life.status() == status));
            prop_assert!(ended.is_none_or(|status| is_stop(status) == stopped));
            prop_assert!(hard.is_none_or(|hard| life.hard_deadline().is_some_and(|h| h <= hard)));
            hard = life.hard_deadline();
        }
        Ok(())
    });
}

const fn is_stop(status: RunStatus) -> bool {
    matches!(status, RunStatus::Cancelled | RunStatus::TimedOut)
}

/// Plays random cases; the seed is printed, `QUELL_SEED` repeats it, `QUELL_LONG` plays more.
pub(crate) fn check<S>(cases: u32, strategy: S, promise: impl Fn(S::Value) -> Verdict)
where
    S: Strategy,
    S::Value: Debug,
{
    let seed = seed();
    let long = std::env::var_os("QUELL_LONG").is_some();
    // Miri takes thousands of times as long as a processor.
    let cases = if cfg!(miri) { cases.div_ceil(10_000) } else { cases };
    let config = Config {
        cases: if long { cases.saturating_mul(20) } else { cases },
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&strategy, promise);
    let failure = result.map_or_else(|error| error.to_string(), |()| String::new());
    assert!(failure.is_empty(), "repeat with QUELL_SEED={seed}\n{failure}");
}

fn seed() -> u64 {
    let given = std::env::var("QUELL_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos()) ^ since.as_secs()
    })
}
