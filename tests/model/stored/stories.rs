//! Many random stories.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::rules::Said;
use super::script::{Command, scripts};
use super::stage::{Played, play};
use super::stores::Kept;
use crate::model::trees::check_with;

type Seen = RefCell<BTreeMap<String, u32>>;

#[test]
fn i24_i34_i36_random_stories_of_lanes_pauses_and_crashes_on_a_store_in_memory() {
    let seen = Seen::default();
    check_with(500, TRIALS, scripts(40), |script| {
        play(&script, Kept::in_memory()).map(|played| count(&seen, &played))
    });
    let seen = seen.into_inner();
    let times = |what: &str| seen.get(what).copied().unwrap_or_default();
    assert!(times("whole") > times("vague"), "most stories are played to their end: {seen:#?}");
    for what in ["Superseded", "Resumed", "Crash"] {
        assert!(times(what) > 0, "{what} was never met: {seen:#?}");
    }
}

#[test]
fn i24_i34_i36_random_stories_of_lanes_pauses_and_crashes_on_a_store_in_a_file() {
    check_with(75, TRIALS, scripts(40), |script| play(&script, Kept::in_a_file()?).map(drop));
}

/// Counts what was met: a test that meets nothing proves nothing.
fn count(seen: &Seen, played: &Played) {
    let count = |what: &str| *seen.borrow_mut().entry(what.to_owned()).or_default() += 1;
    count(if played.is_vague { "vague" } else { "whole" });
    for (command, said) in &played.steps {
        match (command, said) {
            (Command::Submit { .. }, Said::Submitted(runs)) if !runs.is_empty() => {
                count("Superseded");
            }
            (Command::Crash { .. }, _) => count("Crash"),
            (_, Said::Resumed) => count("Resumed"),
            _ => {}
        }
    }
}

/// Each trial of a smaller story takes its time.
const TRIALS: u32 = 150;
