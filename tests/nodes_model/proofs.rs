//! What holds of the protocol, and what of it each guard is for.

#![expect(clippy::print_stdout, reason = "it tells how many states there are, and its stories")]

use super::search::search;
use super::world::Guard;

#[test]
fn i34_i35_no_interleaving_of_two_nodes_breaks_a_promise() {
    let found = search(&[], &[]);
    println!("two nodes, a run and a stop: {} states, {} steps", found.states, found.steps);
    if let Some((promise, story)) = found.broken {
        panic!("{promise}:\n{}", story.join("\n"));
    }
    assert!(found.states > 100_000, "{} states: some step is never taken", found.states);
    // The fence and the lock of the seat are enough: epochs and `status < 3` refuse nothing then.
    assert_eq!(found.refused, 0);
}

/// Leaves guards out, and has the search break a promise, but for some that are left aside.
fn breaks(off: &[Guard], aside: &[&str], expected: &str) {
    let found = search(off, aside);
    let Some((promise, story)) = found.broken else {
        panic!("{} states without {off:?}, and nothing is broken", found.states);
    };
    println!("\nwithout {off:?}, in {} states: {promise}", found.states);
    for (nth, words) in (1..).zip(&story) {
        println!("  {nth:2}. {words}");
    }
    assert_eq!(promise, expected, "without {off:?}");
}

const SUPERSEDED: &str = "a node writes whose runs another one has";
const OVERLAP: &str = "another node has the run while its owner, never frozen, executes it";
const GOES_ON: &str = "a run goes on whose stop was acknowledged";
const REFUSED: &str = "what is stored is told as refused";

#[test]
fn i34_i35_without_any_guard_of_the_protocol_a_promise_is_broken() {
    for (guard, promise) in [
        (Guard::Seat, SUPERSEDED),
        (Guard::RowLock, SUPERSEDED),
        (Guard::CountsFromSent, OVERLAP),
        (Guard::Reserve, OVERLAP),
        (Guard::NameLock, OVERLAP),
        (Guard::Revoke, "a run is cancelled that nobody has stopped"),
        (Guard::Doubt, "a run is called quiescent that a process may execute still"),
        (Guard::OneStep, GOES_ON),
        (Guard::PutLock, GOES_ON),
        (Guard::RecoverAsked, GOES_ON),
        (Guard::Rests, "a live run is called unknown"),
        (Guard::AnswerStored, "a run is called ended that is not"),
        (Guard::ReadBack, REFUSED),
    ] {
        breaks(&[guard], &[], promise);
    }
    breaks(&[Guard::AnswerStored], &["a run is called ended that is not"], GOES_ON);
}

#[test]
fn i34_a_stop_that_is_not_handed_on_is_never_answered() {
    breaks(&[Guard::HandOn], &[], "what waits is never decided");
}

/// A run that ends twice needs all of three guards to be left out, or that a lost answer is not
/// read back besides.
#[test]
fn i35_the_epoch_and_the_status_of_a_run_are_second_locks_on_one_door() {
    let twice = "a run ends twice";
    breaks(&[Guard::Seat, Guard::Epoch, Guard::EndsOnce], &[SUPERSEDED], twice);
    breaks(&[Guard::ReadBack, Guard::EndsOnce], &[REFUSED], twice);
}

/// The lock of a name is that of a session: it says nothing of a process that lives on without one.
/// So whoever starts a process under a name has to know that the one before is gone.
#[test]
fn i4_a_second_process_of_a_name_calls_quiescent_what_the_first_one_executes() {
    let aside = [OVERLAP, SUPERSEDED];
    breaks(
        &[Guard::NameLock],
        &aside,
        "a run is called quiescent that a process may execute still",
    );
}
