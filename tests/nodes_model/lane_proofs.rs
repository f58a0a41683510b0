//! What holds of lanes, and what of them each guard is for.

use super::lanes::{Guard, OVERLAP, World};
use super::small_search::{assert_each_is_needed, assert_holds};

const STUCK: &str = "a run of the lane never ends";

#[test]
fn i36_no_interleaving_of_two_nodes_has_two_runs_of_a_lane_execute_or_one_wait_for_ever() {
    assert_holds(World::new(), "a lane", STUCK, 5_000);
}

#[test]
fn i36_without_any_guard_of_lanes_a_promise_is_broken() {
    let guards = [
        (Guard::LaneLock, OVERLAP),
        (Guard::Turn, OVERLAP),
        (Guard::UntilQuiescent, OVERLAP),
        (Guard::FreesLost, STUCK),
        (Guard::YieldsAgain, STUCK),
    ];
    assert_each_is_needed(World::new(), &guards, STUCK);
}
