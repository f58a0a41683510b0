//! [`Walk`] finds the circles of a graph, [`Reach`] all that follows from its edges. A graph is a
//! list: for each place the places that it names.

use crate::excerpt::path_text;

/// What one walk along all edges finds.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The circles, each from its first place to the one that names the first again; at most as
    /// many as were asked for.
    pub(crate) circles: Vec<Vec<usize>>,
    /// Every place once, behind those that it names, unless they form a circle with it.
    order: Vec<usize>,
}

/// How far a walk is with a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    /// It is on the path from the start.
    OnPath,
    Done,
}

impl Walk {
    /// Follows every edge once, with an explicit stack, because a chain may be long.
    pub(crate) fn of(edges: &[Vec<usize>], circles_max: usize) -> Self {
        let mut walk = Self { circles: Vec::new(), order: Vec::with_capacity(edges.len()) };
        let mut seen = vec![Seen::No; edges.len()];
        for start in 0..edges.len() {
            if seen[start] != Seen::No {
                continue;
            }
            // The path from the start, with the number of edges of each place that were followed.
            let mut path = vec![(start, 0)];
            seen[start] = Seen::OnPath;
            while let Some((at, followed)) = path.last_mut() {
                let Some(&to) = edges[*at].get(*followed) else {
                    seen[*at] = Seen::Done;
                    walk.order.push(*at);
                    path.pop();
                    continue;
                };
                *followed += 1;
                match seen[to] {
                    Seen::No => {
                        seen[to] = Seen::OnPath;
                        path.push((to, 0));
                    }
                    Seen::OnPath if walk.circles.len() < circles_max => {
                        let places = path.iter().map(|(place, _)| *place);
                        walk.circles.push(places.skip_while(|place| *place != to).collect());
                    }
                    Seen::OnPath | Seen::Done => {}
                }
            }
        }
        walk
    }
}

/// Writes a circle: `a → b → a`. Control characters of names are escaped.
pub(crate) fn shown<'a>(circle: &[usize], name: impl Fn(usize) -> &'a str) -> String {
    let first = circle.first();
    circle.iter().chain(first).map(|place| path_text(name(*place))).collect::<Vec<_>>().join(" → ")
}

/// Which places follow from which, over any number of edges. A bit for each pair: lists would be as
/// long, and there may be ten thousand places.
#[derive(Debug)]
pub(crate) struct Reach(Vec<Vec<u64>>);

impl Reach {
    /// Adds up what each place reaches, in the order of a walk. Within a circle a place may reach
    /// less than it would.
    pub(crate) fn of(edges: &[Vec<usize>], walk: &Walk) -> Self {
        let mut rows = vec![vec![0; edges.len().div_ceil(BITS)]; edges.len()];
        for at in &walk.order {
            let mut row = std::mem::take(&mut rows[*at]);
            for to in &edges[*at] {
                row[to / BITS] |= 1 << (to % BITS);
                for (bits, more) in row.iter_mut().zip(&rows[*to]) {
                    *bits |= more;
                }
            }
            rows[*at] = row;
        }
        Self(rows)
    }

    /// Tells whether a place names another, directly or through others.
    pub(crate) fn has(&self, from: usize, to: usize) -> bool {
        self.0[from][to / BITS] & (1 << (to % BITS)) != 0
    }
}

/// The bits of one number of a row.
const BITS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Edges to anywhere, so that there may be circles.
    fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1..80_usize).prop_flat_map(|n| {
            let to = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(0..n, 1..4)];
            prop::collection::vec(to, n)
        })
    }

    /// Keeps the edges to earlier places.
    fn without_circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let earlier =
            |(at, to): (usize, &Vec<usize>)| to.iter().copied().filter(|to| *to < at).collect();
        edges.iter().enumerate().map(earlier).collect()
    }

    #[test]
    fn a_circle_is_shown_from_its_first_place_to_that_place() {
        let walk = Walk::of(&[vec![1], vec![2, 1], vec![0]], 9);
        assert_eq!(walk.circles, [vec![0, 1, 2], vec![1]]);
        let name = |place| ["a", "b", "c"][place];
        assert_eq!(shown(&walk.circles[0], name), "a → b → c → a");
        assert_eq!(shown(&walk.circles[1], name), "b → b");
        assert_eq!(shown(&[0], |_| "a\u{1b}\nb"), "a\\u{1b}\\nb → a\\u{1b}\\nb");
        assert_eq!(Walk::of(&[vec![0, 0, 0]], 2).circles.len(), 2);
    }

    #[test]
    fn a_long_chain_takes_no_stack() {
        let edges: Vec<Vec<usize>> = (1..10_000).map(|to| vec![to]).chain([vec![]]).collect();
        let reach = Reach::of(&edges, &Walk::of(&edges, 1));
        assert!(reach.has(0, 9_999) && !reach.has(9_999, 0));
    }

    proptest! {
        #[test]
        fn every_circle_has_only_edges_that_there_are(edges in graphs()) {
            for circle in Walk::of(&edges, 99).circles {
                for (from, to) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                    prop_assert!(edges[*from].contains(to), "{circle:?}");
                }
            }
        }

        #[test]
        fn a_graph_has_a_circle_unless_its_places_can_be_taken_away_one_by_one(edges in graphs()) {
            let mut rest: Vec<usize> = (0..edges.len()).collect();
            while let Some(at) = rest.iter().position(|place| {
                edges[*place].iter().all(|to| !rest.contains(to))
            }) {
                rest.remove(at);
            }
            prop_assert_eq!(!Walk::of(&edges, 1).circles.is_empty(), !rest.is_empty());
        }

        #[test]
        fn a_place_reaches_what_it_names_and_all_that_those_reach(edges in graphs()) {
            let edges = without_circles(&edges);
            let reach = Reach::of(&edges, &Walk::of(&edges, 1));
            for from in 0..edges.len() {
                for to in 0..edges.len() {
                    let expected = edges[from].iter().any(|by| *by == to || reach.has(*by, to));
                    prop_assert_eq!(reach.has(from, to), expected, "{} to {}", from, to);
                }
            }
        }
    }
}
