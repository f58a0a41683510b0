//! [`search`]: every state that can be reached, breadth first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::steps::steps;
use super::world::{GONE, Guard, Sent, World};

/// What the search has found.
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// States in which a process was told that something is refused.
    pub(super) refused: usize,
    /// A promise that is broken, and the shortest story of it.
    pub(super) broken: Option<(&'static str, Vec<String>)>,
}

/// Visits every state of the protocol without some guards, until a promise is broken that is not
/// left aside. If none is, it looks whether everything is decided in the end, also if only one of
/// the nodes lives on, whichever that is.
pub(super) fn search(off: &[Guard], aside: &[&str]) -> Found {
    let mut graph = Graph { off: off.to_vec(), ..Graph::default() };
    graph.visit(World::new());
    graph.from.push(0);
    let mut nth = 0;
    while nth < graph.worlds.len() {
        let world = graph.worlds[nth];
        if let Some(promise) = world.broken {
            return graph.found(Some((promise, nth)));
        }
        for step in steps(&world, off, false) {
            let mut next = step.world;
            next.broken = next.broken.filter(|promise| !aside.contains(promise));
            let (to, is_mirrored) = graph.visit(next);
            if to == graph.from.len() {
                graph.from.push(nth);
            }
            graph.edges.push(Edge { from: nth, to, is_mirrored, by: step.by });
        }
        nth += 1;
    }
    let stuck = graph.without_way(World::is_decided, |_| true);
    let stuck = stuck.map(|nth| ("what waits is never decided", nth));
    let lost = || graph.without_way(World::is_stopped, World::stop_waits);
    let lost = stuck.or_else(|| lost().map(|nth| ("no node will ever hear of a stop", nth)));
    graph.found(lost)
}

#[derive(Default)]
struct Graph {
    off: Vec<Guard>,
    worlds: Vec<World>,
    numbers: HashMap<World, usize>,
    /// From which state each was reached first.
    from: Vec<usize>,
    edges: Vec<Edge>,
}

/// A step from one state to another.
struct Edge {
    from: usize,
    to: usize,
    /// The names of the other one are the other way round.
    is_mirrored: bool,
    /// The name that has to live for it.
    by: Option<usize>,
}

impl Graph {
    /// Yields the number of a state, and whether it is kept with the names the other way round.
    fn visit(&mut self, world: World) -> (usize, bool) {
        // Once the run is there both names are alike, unless one has two processes.
        let is_alike = world.was_submitted
            && world.processes[2] == GONE
            && world.seats.iter().flatten().all(|seat| seat.process < 2);
        let known = if is_alike { world.min(world.mirrored()) } else { world };
        match self.numbers.entry(known) {
            Entry::Occupied(known) => (*known.get(), self.worlds[*known.get()] != world),
            Entry::Vacant(new) => {
                let number = self.worlds.len();
                new.insert(number);
                self.worlds.push(world);
                (number, false)
            }
        }
    }

    /// Yields the first of some states from which none of those can be reached that are good, if
    /// one of the nodes alone lives on: the other one may die, and stays away.
    fn without_way(
        &self,
        is_good: impl Fn(&World) -> bool,
        is_asked: impl Fn(&World) -> bool,
    ) -> Option<usize> {
        let mut before = vec![Vec::new(); self.worlds.len()];
        for edge in &self.edges {
            before[edge.to].push(edge);
        }
        // Of each state, for each of the two that may live on.
        let mut has_way: Vec<_> = self.worlds.iter().map(|world| [is_good(world); 2]).collect();
        let mut todo: Vec<_> = (0..has_way.len()).filter(|nth| has_way[*nth][0]).collect();
        while let Some(nth) = todo.pop() {
            for edge in &before[nth] {
                for lives in 0..2 {
                    let is_way = has_way[nth][if edge.is_mirrored { 1 - lives } else { lives }];
                    let may = edge.by.is_none_or(|by| by == lives);
                    if is_way && may && !has_way[edge.from][lives] {
                        has_way[edge.from][lives] = true;
                        todo.push(edge.from);
                    }
                }
            }
        }
        (0..has_way.len()).find(|nth| has_way[*nth] != [true; 2] && is_asked(&self.worlds[*nth]))
    }

    fn found(&self, broken: Option<(&'static str, usize)>) -> Found {
        let broken = broken.map(|(promise, nth)| (promise, self.story(nth)));
        let is_refused = |it: &&World| {
            it.processes.iter().any(|process| matches!(process.sent, Sent::Refused(_)))
        };
        let refused = self.worlds.iter().filter(is_refused).count();
        Found { states: self.worlds.len(), steps: self.edges.len(), refused, broken }
    }

    /// Tells how a state is reached.
    fn story(&self, mut nth: usize) -> Vec<String> {
        let mut story = Vec::new();
        while nth > 0 {
            let (from, broken) = (self.from[nth], self.worlds[nth].broken);
            let all = steps(&self.worlds[from], &self.off, true);
            let is_it = |next: World| World { broken, ..next } == self.worlds[nth];
            story.extend(all.into_iter().find(|it| is_it(it.world)).map(|it| it.words));
            nth = from;
        }
        story.reverse();
        story
    }
}
