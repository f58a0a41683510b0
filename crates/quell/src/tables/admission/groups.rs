//! [`Groups`] counts roots by the limits that they come under, and finds the one to start next.
//!
//! The groups of a root are a chain: its component, if that has a limit, its kind, if that has one,
//! and all. Its owner counts besides. The roots that wait for a slot and have the same chain and
//! the same owner are a class: any of them could start if the first could.
//!
//! Invariants:
//!
//! 1. A class stands in `waiting` of the first group of its chain, under the rank of its first run,
//!    exactly as long as it has runs and its owner has room.
//! 2. A group that is not the last of its chain stands in `waiting` of the next one, under the
//!    first rank in its own `waiting`, exactly as long as it has that and has room. So a root that
//!    waits for a full limit is parked there, and what is first in `waiting` of all may start.
//! 3. An owner has an entry exactly as long as runs of it run or are queued.
//!
//! Of n waiting roots, one comes, starts, leaves, or ends in O(log n). Only when an owner becomes
//! full or has room again, that is done for each of its classes: one per component and kind with a
//! limit, at most. No waiting root is looked at that does not start.

use std::collections::{BTreeMap, HashMap};
use std::iter::successors;
use std::mem;
use std::sync::Arc;

use quell_core::{RunKind, limits};

use super::Candidate;
use super::group::{Below, Group, Load, Owner};
use super::rank::Rank;
use crate::queue::{RunLimits, Scope};

/// The groups that limits are set for, and the roots that wait for a slot; `R` is what a run is.
#[derive(Debug)]
pub(super) struct Groups<R> {
    /// The group of all, and every other one that has limits, but for owners.
    arena: Vec<Group>,
    /// Where the groups of a kind are.
    kinds: HashMap<RunKind, Kind>,
    /// The limits of each owner, if they were ever set.
    each_owner: Option<RunLimits>,
    /// The owners that have roots; nobody has all of them, unless owners have limits.
    owners: HashMap<Owner, Held<R>>,
}

/// Where the group of a kind is, and those of its components.
#[derive(Debug, Default)]
struct Kind {
    group: Option<usize>,
    components: HashMap<Arc<str>, usize>,
}

/// What an owner has.
#[derive(Debug)]
struct Held<R> {
    load: Load,
    /// Its roots that wait for a slot, by the first groups of their chains.
    classes: BTreeMap<usize, Class<R>>,
}

/// The waiting roots of one owner and one chain.
#[derive(Debug)]
struct Class<R> {
    runs: BTreeMap<Rank, Arc<R>>,
    /// The rank under which it stands in `waiting` of the first group of its chain.
    stands_at: Option<Rank>,
}

impl<R: Candidate> Groups<R> {
    pub(super) fn new() -> Self {
        let all = Group::new(Scope::All, RunLimits::new(), None);
        let (kinds, owners) = (HashMap::new(), HashMap::new());
        Self { arena: vec![all], kinds, each_owner: None, owners }
    }

    /// Yields the limits of a scope, if they were ever set.
    pub(super) fn limits(&self, scope: &Scope) -> Option<RunLimits> {
        match scope {
            Scope::EachOwner => self.each_owner,
            _ => Some(self.arena[self.index_of(scope)?].limits),
        }
    }

    /// Makes a group for a scope that has none. No root is counted or waits here meanwhile.
    pub(super) fn add(&mut self, scope: &Scope, limits: RunLimits) {
        debug_assert!(self.owners.is_empty(), "the roots are elsewhere meanwhile");
        let next = self.arena.len();
        match scope {
            // Its group is always there.
            Scope::All => {}
            Scope::EachOwner => self.each_owner = Some(limits),
            Scope::Kind(kind) => {
                let kind = self.kinds.entry(*kind).or_default();
                kind.group = Some(next);
                for component in kind.components.values() {
                    self.arena[*component].above = Some(next);
                }
                self.arena.push(Group::new(scope.clone(), limits, Some(ALL)));
            }
            Scope::Component(kind, name) => {
                let kind = self.kinds.entry(*kind).or_default();
                kind.components.insert(Arc::clone(name), next);
                let above = kind.group.unwrap_or(ALL);
                self.arena.push(Group::new(scope.clone(), limits, Some(above)));
            }
        }
    }

    /// Changes the limits of a scope that has a group. For owners, each class of them is looked at.
    pub(super) fn set(&mut self, scope: &Scope, limits: RunLimits) {
        if let Some(index) = self.index_of(scope) {
            self.arena[index].limits = limits;
            return self.refresh_chain(index);
        }
        self.each_owner = Some(limits);
        let owners: Vec<_> = self.owners.keys().cloned().collect();
        for owner in &owners {
            self.refresh_owner(owner);
        }
    }

    /// Takes every root out, counts included. Yields those that wait for a slot.
    pub(super) fn drain(&mut self) -> Vec<(Rank, Arc<R>)> {
        for group in &mut self.arena {
            (group.load, group.stands_at) = (Load::default(), None);
            group.waiting.clear();
        }
        let classes = mem::take(&mut self.owners).into_values().flat_map(|held| held.classes);
        classes.flat_map(|(_, class)| class.runs).collect()
    }

    /// Counts a root as queued.
    pub(super) fn queue(&mut self, run: &R) {
        self.recount(run, |load| load.queued += 1);
    }

    /// Counts a root as queued no longer.
    pub(super) fn unqueue(&mut self, run: &R) {
        self.recount(run, |load| load.queued -= 1);
    }

    /// Gives a root a slot of each of its groups, full or not.
    pub(super) fn occupy(&mut self, run: &R) {
        self.recount(run, |load| load.running += 1);
    }

    /// Takes back the slots of a root.
    pub(super) fn vacate(&mut self, run: &R) {
        self.recount(run, |load| load.running -= 1);
    }

    /// Has a queued root wait for a slot.
    pub(super) fn insert(&mut self, run: Arc<R>, rank: Rank) {
        let (first, owner) = self.class_of(&*run);
        if let Some(held) = self.owners.get_mut(&owner) {
            let class = held.classes.entry(first).or_insert_with(Class::new);
            class.runs.insert(rank, run);
        }
        self.refresh_class(&owner, first);
    }

    /// Takes out a root that waits for a slot.
    pub(super) fn remove(&mut self, run: &R, rank: Rank) -> Option<Arc<R>> {
        let (first, owner) = self.class_of(run);
        self.remove_from(first, &owner, rank)
    }

    /// Takes out the root that is to start next, if one may start.
    pub(super) fn pop(&mut self) -> Option<Arc<R>> {
        let mut index = ALL;
        if self.arena[index].is_full() {
            return None;
        }
        loop {
            match self.arena[index].waiting.first_key_value()? {
                (_, Below::Group(below)) => index = *below,
                (rank, Below::Class(owner)) => {
                    let (rank, owner) = (*rank, owner.clone());
                    return self.remove_from(index, &owner, rank);
                }
            }
        }
    }

    /// Tells whether each group of a root has room.
    pub(super) fn has_room(&self, run: &R) -> bool {
        let (first, owner) = self.class_of(run);
        !self.is_full(&owner) && self.chain(first).all(|index| !self.arena[index].is_full())
    }

    /// Yields the first group of a root that lets no more roots wait, and how many it lets.
    pub(super) fn full_queue(&self, run: &R) -> Option<(Scope, usize)> {
        let (first, owner) = self.class_of(run);
        let queued = self.owners.get(&owner).map_or(0, |held| held.load.queued);
        if let Some(max) = self.each_owner.and_then(|limits| limits.queued_max)
            && queued >= max
        {
            return Some((Scope::EachOwner, max));
        }
        self.chain(first).find_map(|index| {
            let Group { scope, limits, load, .. } = &self.arena[index];
            let max = limits.queued_max.filter(|max| load.queued >= *max)?;
            Some((scope.clone(), max))
        })
    }

    /// Yields the first full group of a root that waits for a slot, and how many of those that wait
    /// for the same come before it, as far as they are counted: each step of the walk but one for
    /// each group counts at least one of them.
    pub(super) fn standing(&self, run: &R, rank: Rank) -> Option<(Scope, usize)> {
        let (first, owner) = self.class_of(run);
        if self.is_full(&owner) {
            let classes = self.owners.get(&owner)?.classes.values();
            let ahead = classes.map(|class| count(&class.runs, rank)).sum();
            return Some((Scope::EachOwner, ahead));
        }
        let full = self.chain(first).find(|index| self.arena[*index].is_full())?;
        let (mut ahead, mut next) = (0, vec![full]);
        while let Some(index) = next.pop() {
            for below in self.arena[index].waiting.range(..rank).map(|(_, below)| below) {
                match below {
                    Below::Group(below) => next.push(*below),
                    Below::Class(owner) => {
                        let class = self.owners.get(owner).and_then(|it| it.classes.get(&index));
                        ahead += class.map_or(0, |class| count(&class.runs, rank));
                    }
                }
                if ahead >= limits::QUEUE_AHEAD_MAX {
                    return Some((self.arena[full].scope.clone(), ahead));
                }
            }
        }
        Some((self.arena[full].scope.clone(), ahead))
    }

    /// How many roots wait for a slot.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn waiting(&self) -> usize {
        let classes = self.owners.values().flat_map(|held| held.classes.values());
        classes.map(|class| class.runs.len()).sum()
    }

    /// Yields the first group of a root's chain, and its owner if owners have limits.
    fn class_of(&self, run: &R) -> (usize, Owner) {
        let first = self.kinds.get(&run.kind()).and_then(|kind| {
            let component = kind.components.get(run.name()).copied();
            component.or(kind.group)
        });
        let owner = self.each_owner.and_then(|_| run.owner().map(Arc::clone));
        (first.unwrap_or(ALL), owner)
    }

    fn index_of(&self, scope: &Scope) -> Option<usize> {
        match scope {
            Scope::All => Some(ALL),
            Scope::Kind(kind) => self.kinds.get(kind)?.group,
            Scope::Component(kind, name) => self.kinds.get(kind)?.components.get(name).copied(),
            Scope::EachOwner => None,
        }
    }

    fn chain(&self, first: usize) -> impl Iterator<Item = usize> + use<'_, R> {
        successors(Some(first), |index| self.arena[*index].above)
    }

    fn is_full(&self, owner: &Owner) -> bool {
        let Some(limits) = self.each_owner else { return false };
        self.owners.get(owner).map_or(Load::NONE, |held| held.load).fills(limits)
    }

    fn remove_from(&mut self, first: usize, owner: &Owner, rank: Rank) -> Option<Arc<R>> {
        let removed = self.owners.get_mut(owner)?.classes.get_mut(&first)?.runs.remove(&rank);
        self.refresh_class(owner, first);
        removed
    }

    fn recount(&mut self, run: &R, change: impl Fn(&mut Load)) {
        let (first, owner) = self.class_of(run);
        let mut next = Some(first);
        while let Some(index) = next {
            change(&mut self.arena[index].load);
            next = self.arena[index].above;
        }
        let was_full = self.is_full(&owner);
        let held = self.owners.entry(owner.clone()).or_insert_with(Held::new);
        change(&mut held.load);
        if held.load.running + held.load.queued == 0 {
            debug_assert!(held.classes.is_empty(), "a run that waits is queued");
            self.owners.remove(&owner);
        } else if self.is_full(&owner) != was_full {
            self.refresh_owner(&owner);
        }
        self.refresh_chain(first);
    }

    /// Has every class of an owner stand where it belongs.
    fn refresh_owner(&mut self, owner: &Owner) {
        let Some(held) = self.owners.get(owner) else { return };
        let classes: Vec<_> = held.classes.keys().copied().collect();
        for first in classes {
            self.refresh_class(owner, first);
        }
    }

    /// Has a class stand where it belongs, and the groups of its chain.
    fn refresh_class(&mut self, owner: &Owner, first: usize) {
        let is_full = self.is_full(owner);
        let Some(held) = self.owners.get_mut(owner) else { return };
        let Some(class) = held.classes.get_mut(&first) else { return };
        let best = class.runs.keys().next().copied().filter(|_| !is_full);
        let stood = mem::replace(&mut class.stands_at, best);
        if class.runs.is_empty() {
            held.classes.remove(&first);
        }
        self.arena[first].restand(stood, best, || Below::Class(owner.clone()));
        self.refresh_chain(first);
    }

    /// Has each group of a chain stand where it belongs.
    fn refresh_chain(&mut self, first: usize) {
        let mut index = first;
        while let Some(above) = self.arena[index].above {
            let group = &mut self.arena[index];
            let has_room = !group.is_full();
            let best = group.waiting.keys().next().copied().filter(|_| has_room);
            let stood = mem::replace(&mut group.stands_at, best);
            self.arena[above].restand(stood, best, || Below::Group(index));
            index = above;
        }
    }
}

/// Counts the runs before a rank, as far as a position tells of them.
fn count<R>(runs: &BTreeMap<Rank, Arc<R>>, before: Rank) -> usize {
    runs.range(..before).take(limits::QUEUE_AHEAD_MAX).count()
}

impl<R> Held<R> {
    const fn new() -> Self {
        Self { load: Load::NONE, classes: BTreeMap::new() }
    }
}

impl<R> Class<R> {
    const fn new() -> Self {
        Self { runs: BTreeMap::new(), stands_at: None }
    }
}

/// Where the group of all is.
const ALL: usize = 0;
