//! [`Needs`]: which branches of a parallel step may start, and which never will.
//!
//! It is told which branches started and how they ended, and starts and stops nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::branch::Branch;
use crate::excerpt::excerpt;
use crate::graph::{self, Walk};

/// What the branches of one step wait for, by place.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Those that need no other branch and were not started, the first of them last. Most steps
    /// have only such: a set of them took ten times as long as this list.
    free: Vec<usize>,
    /// Those whose needs are met, and that were not started.
    met: BTreeSet<usize>,
    /// How many of its needs have yet to be met, for each branch; none if it was given up. Empty,
    /// as is `dependants`, if no branch needs another.
    open: Vec<Option<usize>>,
    /// Those that need the branch, in the order of declaration.
    dependants: Vec<Vec<usize>>,
}

/// A branch that never starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) branch: usize,
    /// The branch that it needs, and that did not complete.
    pub(super) need: usize,
}

impl Needs {
    /// Finds the branches that others name. Of several with the same name the first is meant.
    ///
    /// # Errors
    ///
    /// Fails with a message if a name is unknown, or if a branch would wait for itself.
    pub(super) fn of<T>(branches: &[Branch<T>]) -> Result<Self, String> {
        if branches.iter().all(|branch| branch.needed().is_empty()) {
            return Ok(Self::new(branches.len(), &[]));
        }
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(branches.len());
        for (place, Branch { name, .. }) in branches.iter().enumerate() {
            places.entry(name).or_insert(place);
        }
        let mut edges = Vec::with_capacity(branches.len());
        for branch in branches {
            let name = &branch.name;
            let place = |need: &Arc<str>| {
                let unknown = || {
                    format!(
                        "branch `{}` needs `{}`, which there is not",
                        excerpt(name),
                        excerpt(need)
                    )
                };
                places.get(&**need).copied().ok_or_else(unknown)
            };
            edges.push(branch.needed().iter().map(place).collect::<Result<Vec<_>, _>>()?);
        }
        if let Some(circle) = Walk::of(&edges, 1).circles.first() {
            let circle = graph::shown(circle, |place| &branches[place].name);
            return Err(format!("branches would wait for each other: {circle}"));
        }
        Ok(Self::new(branches.len(), &edges))
    }

    /// Takes for each branch those that it needs; nothing if none needs another.
    fn new(branches: usize, needs: &[Vec<usize>]) -> Self {
        let mut dependants = vec![Vec::new(); needs.len()];
        for (branch, needs) in needs.iter().enumerate() {
            for need in needs {
                dependants[*need].push(branch);
            }
        }
        let is_free = |branch: &usize| needs.get(*branch).is_none_or(Vec::is_empty);
        Self {
            free: (0..branches).rev().filter(is_free).collect(),
            met: BTreeSet::new(),
            open: needs.iter().map(|needs| Some(needs.len())).collect(),
            dependants,
        }
    }

    /// Yields the branch that starts next: of those that may, the first in the order of
    /// declaration.
    pub(super) fn next(&self) -> Option<usize> {
        [self.free.last(), self.met.first()].into_iter().flatten().min().copied()
    }

    /// Notes that a branch was started.
    pub(super) fn start(&mut self, branch: usize) {
        if self.free.pop_if(|free| *free == branch).is_none() {
            self.met.remove(&branch);
        }
    }

    /// Notes that a branch completed: those that wait for nothing else may start.
    pub(super) fn meet(&mut self, branch: usize) {
        let Some(dependants) = self.dependants.get(branch) else { return };
        for dependant in dependants {
            if let Some(open) = &mut self.open[*dependant] {
                *open -= 1;
                if *open == 0 {
                    self.met.insert(*dependant);
                }
            }
        }
    }

    /// Notes that a branch ended otherwise. Yields those that need it, directly or through others,
    /// and were not given up before; each behind the one that it needs.
    pub(super) fn fail(&mut self, branch: usize) -> Vec<GivenUp> {
        let (mut given_up, mut open) = (Vec::new(), VecDeque::from([branch]));
        while let Some(need) = open.pop_front() {
            for branch in self.dependants.get(need).into_iter().flatten().copied() {
                if self.open[branch].take().is_some() {
                    given_up.push(GivenUp { branch, need });
                    open.push_back(branch);
                }
            }
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(branches: &[(&str, &[&str])]) -> Result<Needs, String> {
        let branch = |(name, needs): &(&str, &[&str])| {
            Branch::new(*name, async |_| Ok(())).needs(needs.iter().copied())
        };
        Needs::of(&branches.iter().map(branch).collect::<Vec<_>>())
    }

    /// Starts all that may start, and yields it.
    fn start_all(needs: &mut Needs) -> Vec<usize> {
        std::iter::from_fn(|| needs.next().inspect(|branch| needs.start(*branch))).collect()
    }

    #[test]
    fn branches_without_needs_start_in_the_order_of_declaration() {
        let mut needs = of(&[("a", &[]), ("b", &[]), ("a", &[])]).unwrap();
        assert_eq!(start_all(&mut needs), [0, 1, 2]);
        needs.meet(0);
        assert_eq!((needs.fail(1), needs.next()), (vec![], None));
    }

    #[test]
    fn a_branch_starts_when_the_last_of_its_needs_is_met() {
        let mut needs =
            of(&[("d", &["b", "c"]), ("c", &["a"]), ("b", &["a"]), ("a", &[])]).unwrap();
        assert_eq!(start_all(&mut needs), [3]);
        needs.meet(3);
        assert_eq!(start_all(&mut needs), [1, 2]);
        needs.meet(2);
        assert_eq!(needs.next(), None);
        needs.meet(1);
        assert_eq!(start_all(&mut needs), [0]);
    }

    #[test]
    fn a_branch_whose_need_is_not_met_is_given_up_once_with_all_that_need_it() {
        let mut needs = of(&[("a", &[]), ("b", &[]), ("c", &["a", "b"]), ("d", &["c"])]).unwrap();
        let of = |branch, need| GivenUp { branch, need };
        assert_eq!(needs.fail(1), [of(2, 1), of(3, 2)]);
        assert_eq!(needs.fail(0), []);
        needs.meet(0);
        assert_eq!(start_all(&mut needs), [0, 1]);
    }

    #[test]
    fn an_unknown_need_and_a_circle_are_refused() {
        let refused = |branches: &[(&str, &[&str])]| of(branches).unwrap_err();
        assert_eq!(refused(&[("a", &["b"])]), "branch `a` needs `b`, which there is not");
        assert_eq!(refused(&[("a", &["a"])]), "branches would wait for each other: a → a");
        let words = "branches would wait for each other: b → c → b";
        assert_eq!(refused(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]), words);
    }

    /// For each branch those that it needs, in any order of declaration, and how it would end.
    fn worlds() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<bool>)> {
        let places =
            (1..24_usize).prop_flat_map(|n| Just((0..n).collect::<Vec<_>>()).prop_shuffle());
        let drawn = places.prop_flat_map(|places| {
            let n = places.len();
            let needs = prop::collection::vec(prop::collection::btree_set(0..n, 0..4), n);
            let ends = prop::collection::vec(prop::bool::weighted(0.8), n);
            (Just(places), needs, ends)
        });
        drawn.prop_map(|(places, drawn, ends)| {
            let mut needs = vec![Vec::new(); places.len()];
            for (at, drawn) in drawn.iter().enumerate() {
                let earlier = drawn.iter().filter(|to| **to < at);
                needs[places[at]] = earlier.map(|to| places[*to]).collect();
            }
            (needs, ends)
        })
    }

    proptest! {
        #[test]
        fn every_branch_starts_after_its_needs_or_is_given_up(
            (all, ends) in worlds(),
            order in any::<u64>(),
        ) {
            let mut needs = Needs::new(all.len(), &all);
            let mut random = fastrand::Rng::with_seed(order);
            let (mut running, mut ok) = (Vec::new(), vec![false; all.len()]);
            let (mut started, mut given_up) = (vec![false; all.len()], vec![false; all.len()]);
            loop {
                for branch in start_all(&mut needs) {
                    prop_assert!(all[branch].iter().all(|need| ok[*need]), "{branch} is too early");
                    prop_assert!(!started[branch] && !given_up[branch], "{branch} starts again");
                    started[branch] = true;
                    running.push(branch);
                }
                if running.is_empty() {
                    break;
                }
                let branch = running.swap_remove(random.usize(..running.len()));
                if ends[branch] {
                    ok[branch] = true;
                    needs.meet(branch);
                    continue;
                }
                for lost in needs.fail(branch) {
                    prop_assert!(all[lost.branch].contains(&lost.need), "{lost:?}");
                    prop_assert!(lost.need == branch || given_up[lost.need], "{lost:?}");
                    prop_assert!(!started[lost.branch] && !given_up[lost.branch], "{lost:?}");
                    given_up[lost.branch] = true;
                }
            }
            for branch in 0..all.len() {
                let is_lost = all[branch].iter().any(|need| given_up[*need] || !ends[*need]);
                prop_assert_eq!((started[branch], given_up[branch]), (!is_lost, is_lost));
            }
        }
    }
}
