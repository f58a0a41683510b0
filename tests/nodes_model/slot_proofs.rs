//! What holds of limits of all nodes, and what of them each guard is for.

use super::slots::{Guard, MISCOUNTED, OVER, World};
use super::small_search::{assert_each_is_needed, assert_holds};

const STUCK: &str = "a slot never comes back";

#[test]
fn i27_no_interleaving_of_two_nodes_takes_more_slots_than_there_are_or_loses_one() {
    assert_holds(World::new(), "a limit", STUCK, 5_000);
}

#[test]
fn i27_without_any_guard_of_limits_a_promise_is_broken() {
    let guards = [
        (Guard::Room, OVER),
        (Guard::Seat, STUCK),
        (Guard::Number, OVER),
        (Guard::Writes, OVER),
        (Guard::FallsFirst, OVER),
        (Guard::OneStep, STUCK),
        (Guard::Moves, MISCOUNTED),
    ];
    assert_each_is_needed(World::new(), &guards, STUCK);
}
