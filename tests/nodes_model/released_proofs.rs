//! What holds of runs that are given up, and what each guard is for.

use super::released::{GOES_ON, Guard, World};
use super::small_search::{assert_each_is_needed, assert_holds};

const STUCK: &str = "what was given up is never decided";

#[test]
fn i34_no_interleaving_has_a_run_go_on_whose_stop_was_asked_for_while_it_was_given_up() {
    assert_holds(World::new(), "a run that is given up", STUCK, 50);
}

#[test]
fn i34_without_any_guard_of_what_is_given_up_a_promise_is_broken() {
    let guards = [(Guard::Still, GOES_ON), (Guard::Stops, GOES_ON), (Guard::Behind, GOES_ON)];
    assert_each_is_needed(World::new(), &guards, STUCK);
}
