//! [`search`] visits every state of a small model, and looks whether each has a way to a decided
//! one, also if only one of the nodes lives on, whichever that is.

#![expect(clippy::print_stdout, reason = "it tells how many states there are, and its stories")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// What may happen: in words, by which name, if one has to live for it, and what comes of it.
pub(super) type Step<W> = (String, Option<usize>, W);

/// A state of a model.
pub(super) trait Model: Copy + Eq + Hash {
    /// What of the protocol can be left out.
    type Guard: Copy + Debug + PartialEq;

    /// What may happen next, without some guards.
    fn steps(&self, off: &[Self::Guard]) -> Vec<Step<Self>>;

    /// The promise that is broken here.
    fn broken(&self) -> Option<&'static str>;

    /// Tells whether nothing is left to be done.
    fn is_decided(&self) -> bool;
}

/// What may happen next in a state, without some guards.
pub(super) struct Next<'a, W: Model> {
    pub(super) world: &'a W,
    pub(super) off: &'a [W::Guard],
    pub(super) steps: Vec<Step<W>>,
}

impl<'a, W: Model> Next<'a, W> {
    pub(super) const fn new(world: &'a W, off: &'a [W::Guard]) -> Self {
        Self { world, off, steps: Vec::new() }
    }

    pub(super) fn has(&self, guard: W::Guard) -> bool {
        !self.off.contains(&guard)
    }

    pub(super) fn push(&mut self, words: String, by: Option<usize>, change: impl FnOnce(&mut W)) {
        let mut world = *self.world;
        change(&mut world);
        self.steps.push((words, by, world));
    }
}

/// What a search has found.
struct Found {
    states: usize,
    broken: Option<(&'static str, Vec<String>)>,
}

/// Visits every state behind a first one, until a promise is broken. `stuck` is the promise that
/// each has a way to an end.
fn search<W: Model>(first: W, off: &[W::Guard], stuck: &'static str) -> Found {
    let (mut worlds, mut numbers) = (vec![first], HashMap::from([(first, 0)]));
    // From which state each was reached first, in words; and all ways from one state to another.
    let (mut from, mut edges) = (vec![(0, String::new())], Vec::new());
    let (mut nth, mut broken) = (0, None);
    while nth < worlds.len() {
        // The first one that is come to is the nearest.
        broken = worlds[nth].broken().map(|promise| (promise, nth));
        if broken.is_some() {
            break;
        }
        for (words, by, world) in worlds[nth].steps(off) {
            let to = *numbers.entry(world).or_insert(worlds.len());
            if to == worlds.len() {
                worlds.push(world);
                from.push((nth, words));
            }
            edges.push((nth, to, by));
        }
        nth += 1;
    }
    let story = |mut nth: usize| {
        let mut story = Vec::new();
        while nth > 0 {
            story.push(from[nth].1.clone());
            nth = from[nth].0;
        }
        story.reverse();
        story
    };
    let without = || without_way(&worlds, &edges).map(|nth| (stuck, nth));
    let broken = broken.or_else(without).map(|(promise, nth)| (promise, story(nth)));
    Found { states: worlds.len(), broken }
}

/// Yields the first state from which no decided one can be reached, if one node alone lives on.
fn without_way<W: Model>(worlds: &[W], edges: &[(usize, usize, Option<usize>)]) -> Option<usize> {
    let mut has_way: Vec<_> = worlds.iter().map(|world| [world.is_decided(); 2]).collect();
    loop {
        let mut is_new = false;
        for (from, to, by) in edges.iter().rev() {
            let onward = has_way[*to];
            for (lives, way) in has_way[*from].iter_mut().enumerate() {
                let may = by.is_none_or(|by| by == lives) && onward[lives];
                is_new |= may && !*way;
                *way |= may;
            }
        }
        if !is_new {
            return has_way.iter().position(|ways| *ways != [true; 2]);
        }
    }
}

/// Checks that no promise is broken in any state, and that there are so many at least. `what` is in
/// the model.
pub(super) fn assert_holds<W: Model>(first: W, what: &str, stuck: &'static str, least: usize) {
    let Found { states, broken } = search(first, &[], stuck);
    println!("two nodes and {what}: {states} states");
    if let Some((promise, story)) = broken {
        panic!("{promise}:\n{}", story.join("\n"));
    }
    assert!(states > least, "{states} states: some step is never taken");
}

/// Checks that without each of the guards the promise beside it is broken, and tells the shortest
/// story.
pub(super) fn assert_each_is_needed<W: Model>(
    first: W,
    guards: &[(W::Guard, &'static str)],
    stuck: &'static str,
) {
    for (guard, expected) in guards {
        let Found { states, broken } = search(first, &[*guard], stuck);
        let Some((promise, story)) = broken else {
            panic!("{states} states without {guard:?}, and nothing is broken");
        };
        println!("\nwithout {guard:?}, of {states} states: {promise}\n{}", story.join("\n"));
        assert_eq!(promise, *expected, "without {guard:?}");
    }
}
