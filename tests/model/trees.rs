//! Many random trees.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use quell::HookOutcome;

use super::agree::agree;
use super::oracle::{Oracle, Told};
use super::played::play;
use super::promises;
use super::shapes::plans;

#[test]
fn random_trees_and_commands_end_as_the_oracle_says_and_keep_every_promise() {
    let (cases, exact) = (Cell::new(0_u32), Cell::new(0_u32));
    check(5_000, plans(), |plan| {
        let played = play(&plan)?;
        promises::keep(&plan, &played)?;
        let (story, race) = Oracle::play(&plan);
        cases.set(cases.get() + 1);
        if race.is_none() {
            exact.set(exact.get() + 1);
            agree(&plan, &played.story, &story)?;
        }
        Ok(())
    });
    let (cases, exact) = (cases.get(), exact.get());
    assert!(exact * 2 > cases, "only {exact} of {cases} cases were free of races");
}

/// Otherwise the other test would prove little.
#[test]
fn the_plans_reach_every_ending_by_every_road() {
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    let count = |what: String| *seen.borrow_mut().entry(what).or_default() += 1;
    check(1_500, plans(), |plan| {
        let played = play(&plan)?;
        for told in played.story.runs.iter().flatten() {
            told.status.iter().for_each(|status| count(format!("{status}")));
            told.cause.iter().for_each(|(kind, _)| count(format!("{kind}")));
            told.hooks.iter().for_each(|(_, outcome)| count(format!("hook {outcome:?}")));
            let roads = [
                ("abandoned", told.abandoned > 0),
                ("detached", told.detached),
                ("never started", told.started.is_none()),
                ("late output", told.late > 0),
                ("hooks without a stop", told.stopped.is_none() && !told.hooks.is_empty()),
                ("aborted without a stop", told.stopped.is_none() && was_aborted(told)),
                ("partial output", told.output.is_some() && told.stopped.is_some()),
            ];
            roads.iter().filter(|(_, is)| *is).for_each(|(road, _)| count((*road).to_owned()));
        }
        for said in &played.story.said {
            let said = format!("{said:?}");
            count(said.split('(').next().unwrap_or_default().to_owned());
        }
        played.books.iter().filter(|books| books.is_cleanup).for_each(|_| count("cleanup".into()));
        Ok(())
    });
    let seen = seen.into_inner();
    let rare: Vec<_> = seen.iter().filter(|(_, times)| **times < 5).collect();
    assert!(rare.is_empty(), "{rare:?}");
    assert_eq!(seen.len(), 4 + 5 + 4 + 7 + 13 + 1, "{seen:#?}");
}

fn was_aborted(told: &Told) -> bool {
    told.hooks.iter().any(|(_, outcome)| *outcome == HookOutcome::Aborted)
}

/// Plays random cases; a failure names the seed, `QUELL_SEED` repeats it, `QUELL_LONG=1` plays
/// twenty times as many.
fn check<S>(cases: u32, strategy: S, promise: impl Fn(S::Value) -> Result<(), String>)
where
    S: Strategy,
    S::Value: Debug,
{
    check_with(cases, 20_000, strategy, promise);
}

/// As [`check`]; a case that fails is made smaller in so many trials.
pub(crate) fn check_with<S>(
    cases: u32,
    trials: u32,
    strategy: S,
    promise: impl Fn(S::Value) -> Result<(), String>,
) where
    S: Strategy,
    S::Value: Debug,
{
    let given = std::env::var("QUELL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    let long = std::env::var("QUELL_LONG").is_ok_and(|long| long == "1");
    let config = Config {
        cases: if long { cases.saturating_mul(20) } else { cases },
        failure_persistence: None,
        max_shrink_iters: trials,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let result =
        TestRunner::new(config).run(&strategy, |case| promise(case).map_err(TestCaseError::fail));
    let failure = result.map_or_else(|error| error.to_string(), |()| String::new());
    assert!(failure.is_empty(), "repeat with QUELL_SEED={seed}\n{failure}");
}
