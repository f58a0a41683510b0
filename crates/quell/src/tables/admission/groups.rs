//! [`Groups`] counts roots by the limits that they come under, and finds the one to start next.
//!
//! The groups of a root are a chain: its component, if that has a limit, its kind, if that has one,
//! and all. Its owner counts besides. The roots that wait for a slot and have the same chain and
//! the same owner are a class: any of them could start if the first could.
//!
//! Invariants:
//!
//! 1. A class stands in `waiting` of the first group of its chain, under the rank of its first run,
//!    exactly as long as it has runs and its owner has room. While a new limit of each owner is on
//!    its way to all of them, one that is full by it may stand there yet, and one that has room by
//!    it may not ([`super::change`]): the first is found out when it is popped.
//! 2. A group that is not the last of its chain stands in `waiting` of the next one, under the
//!    first rank in its own `waiting`, exactly as long as it has that and has room. So a root that
//!    waits for a full limit is parked there, and what is first in `waiting` of all may start.
//! 3. An owner has an entry exactly as long as runs of it run or are queued.
//! 4. A root is counted in the class that its entry in `counted` names, and where that leads, also
//!    if it would belong elsewhere by now: a change moves one root after the other.
//! 5. The group of a component is there as long as it has a bound, is being counted, or has roots.
//!
//! Of n waiting roots, one comes, starts, leaves, or ends in O(log n). Only when an owner becomes
//! full or has room again, that is done for each of its classes: one per component and kind with a
//! limit, at most. No waiting root is looked at that does not start.

use std::collections::HashMap;
use std::iter::successors;
use std::mem;
use std::sync::Arc;

use quell_core::{RunKind, limits};
use slab::Slab;

use super::Candidate;
use super::group::{Below, Group, Load, Owner};
use super::held::{Counted, Held, Kind, Ticket};
use super::quotas::Quotas;
use super::rank::Rank;
use crate::queue::{RunLimits, Scope};

/// The groups that limits are set for, and the roots that are counted in them; `R` is what a run
/// is.
#[derive(Debug)]
pub(super) struct Groups<R> {
    /// The group of all, and every other one that has limits, but for owners.
    pub(super) arena: Slab<Group>,
    /// Where the groups of a kind are.
    pub(super) kinds: HashMap<RunKind, Kind>,
    /// Roots are counted by their owners. If not, nobody has all of them.
    pub(super) by_owner: bool,
    /// The limits of each owner, if they were ever set and all roots are counted.
    pub(super) each_owner: Option<RunLimits>,
    /// Where the owners are that have roots.
    pub(super) owners: HashMap<Owner, usize>,
    pub(super) held: Slab<Held>,
    /// The roots that are queued or run.
    pub(super) counted: Slab<Counted<R>>,
    /// The limits of all nodes, if any were set.
    pub(super) quotas: Option<Box<Quotas>>,
    /// How often a chain, a root or a limit of all nodes was looked at under this lock, and at most
    /// under any.
    #[cfg(test)]
    pub(super) work: usize,
    #[cfg(test)]
    pub(super) largest_piece: usize,
}

impl<R: Candidate> Groups<R> {
    pub(super) fn new() -> Self {
        let mut arena = Slab::new();
        let all = arena.insert(Group::new(Scope::All, None));
        debug_assert_eq!(all, ALL);
        arena[ALL].limits = Some(RunLimits::new());
        Self {
            arena,
            kinds: HashMap::new(),
            by_owner: false,
            each_owner: None,
            owners: HashMap::new(),
            held: Slab::new(),
            counted: Slab::new(),
            quotas: None,
            #[cfg(test)]
            work: 0,
            #[cfg(test)]
            largest_piece: 0,
        }
    }

    /// Yields the limits of a scope, if they are set.
    pub(super) fn limits(&self, scope: &Scope) -> Option<RunLimits> {
        match scope {
            Scope::EachOwner => self.each_owner,
            _ => self.arena[self.index_of(scope)?].limits,
        }
    }

    /// Counts a root as queued.
    pub(super) fn queue(&mut self, run: &Arc<R>) -> Ticket {
        self.add(run, false)
    }

    /// Gives a root a slot of each of its groups, full or not.
    pub(super) fn occupy(&mut self, run: &Arc<R>) -> Ticket {
        self.add(run, true)
    }

    /// Gives a queued root a slot of each of its groups.
    pub(super) fn start(&mut self, ticket: Ticket) {
        self.counted[ticket].is_running = true;
        self.count(ticket, |load| {
            load.queued -= 1;
            load.running += 1;
        });
    }

    /// Counts a root no longer, as queued or as running. It waits for no slot.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.count_out(ticket);
        self.counted.remove(ticket);
    }

    /// Tells whether a root has slots.
    pub(super) fn is_running(&self, ticket: Ticket) -> bool {
        self.counted[ticket].is_running
    }

    /// Has a queued root wait for a slot.
    pub(super) fn park(&mut self, ticket: Ticket, rank: Rank) {
        let Counted { first, owner, .. } = self.counted[ticket];
        self.counted[ticket].rank = Some(rank);
        self.held[owner].classes.entry(first).or_default().runs.insert(rank, ticket);
        self.refresh_class(owner, first);
        self.touch_chain(owner, first);
    }

    /// Has a root wait for a slot no longer. It is queued still.
    pub(super) fn unpark(&mut self, ticket: Ticket) {
        let Counted { first, owner, .. } = self.counted[ticket];
        let Some(rank) = self.counted[ticket].rank.take() else { return };
        if let Some(class) = self.held[owner].classes.get_mut(&first) {
            class.runs.remove(&rank);
        }
        self.refresh_class(owner, first);
    }

    /// Takes out the root that is to start next, if one may start. It is queued still. Each look
    /// takes one of `left`; none are left if there may be more.
    pub(super) fn pop(&mut self, left: &mut usize) -> Option<Arc<R>> {
        while *left > 0 && !self.arena[ALL].is_full() {
            let (rank, index, owner) = self.first_waiting()?;
            *left -= 1;
            if self.is_full(owner) {
                // By a limit that has come meanwhile.
                self.refresh_owner(owner);
                continue;
            }
            let ticket = *self.held[owner].classes.get(&index)?.runs.get(&rank)?;
            self.unpark(ticket);
            return Some(Arc::clone(&self.counted[ticket].run));
        }
        None
    }

    fn first_waiting(&self) -> Option<(Rank, usize, usize)> {
        let mut index = ALL;
        loop {
            match self.arena[index].waiting.first_key_value()? {
                (_, Below::Group(below)) => index = *below,
                (rank, Below::Class(owner)) => return Some((*rank, index, *owner)),
            }
        }
    }

    /// Tells whether each group of a root that comes has room.
    pub(super) fn has_room(&self, run: &R) -> bool {
        let owner = self.owner_of(run);
        let is_full = match self.owners.get(&owner) {
            Some(owner) => self.is_full(*owner),
            None => {
                self.each_owner.is_some_and(|limits| Load::NONE.fills(limits))
                    || self.is_full_to(&owner)
            }
        };
        !is_full && self.chain(self.first_of(run)).all(|index| !self.arena[index].is_full())
    }

    /// Yields the first group of a root that lets no more roots wait, and how many it lets. Those
    /// that are about to leave do not count.
    pub(super) fn full_queue(&self, run: &R, leaving: &[Ticket]) -> Option<(Scope, usize)> {
        let owner = self.owners.get(&self.owner_of(run)).copied();
        let gone = leaving.iter().filter(|ticket| Some(self.counted[**ticket].owner) == owner);
        let queued = owner.map_or(0, |owner| self.held[owner].load.queued) - gone.count();
        if let Some(max) = self.each_owner.and_then(|limits| limits.queued_max)
            && queued >= max
        {
            return Some((Scope::EachOwner, max));
        }
        self.chain(self.first_of(run)).find_map(|index| {
            let Group { scope, limits, load, .. } = &self.arena[index];
            let is_below = |ticket: &Ticket| {
                self.chain(self.counted[*ticket].first).any(|above| above == index)
            };
            let queued = || load.queued - leaving.iter().filter(|it| is_below(it)).count();
            let max = limits.and_then(|it| it.queued_max).filter(|max| queued() >= *max)?;
            Some((scope.clone(), max))
        })
    }

    /// Yields the first full group of a root that waits for a slot, and how many of those that wait
    /// for the same come before it, as far as they are counted: each step of the walk but one for
    /// each group counts at least one of them.
    pub(super) fn standing(&self, ticket: Ticket, rank: Rank) -> Option<(Scope, usize)> {
        let Counted { first, owner, .. } = self.counted[ticket];
        if self.is_full(owner) {
            let classes = self.held[owner].classes.values();
            let ahead = classes.map(|class| class.count(rank)).sum();
            return Some((Scope::EachOwner, ahead));
        }
        let full = self.chain(first).find(|index| self.arena[*index].is_full())?;
        let (mut ahead, mut next) = (0, vec![full]);
        while let Some(index) = next.pop() {
            for below in self.arena[index].waiting.range(..rank).map(|(_, below)| below) {
                match below {
                    Below::Group(below) => next.push(*below),
                    Below::Class(owner) => {
                        let class = self.held[*owner].classes.get(&index);
                        ahead += class.map_or(0, |class| class.count(rank));
                    }
                }
                if ahead >= limits::QUEUE_AHEAD_MAX {
                    return Some((self.arena[full].scope.clone(), ahead));
                }
            }
        }
        Some((self.arena[full].scope.clone(), ahead))
    }

    /// How many roots wait for a slot, and how many have one.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn totals(&self) -> (usize, usize) {
        let of = |is_meant: fn(&Counted<R>) -> bool| {
            self.counted.iter().filter(|(_, it)| is_meant(it)).count()
        };
        (of(|it| it.rank.is_some()), of(|it| it.is_running))
    }

    /// Yields the first group of the chain to which a root belongs.
    fn first_of(&self, run: &R) -> usize {
        let first = self.kinds.get(&run.kind()).and_then(|kind| {
            let component = kind.components.get(run.name()).copied();
            component.or(kind.group)
        });
        first.unwrap_or(ALL)
    }

    fn owner_of(&self, run: &R) -> Owner {
        if self.by_owner { run.owner().map(Arc::clone) } else { None }
    }

    pub(super) fn index_of(&self, scope: &Scope) -> Option<usize> {
        match scope {
            Scope::All => Some(ALL),
            Scope::Kind(kind) => self.kinds.get(kind)?.group,
            Scope::Component(kind, name) => self.kinds.get(kind)?.components.get(name).copied(),
            Scope::EachOwner => None,
        }
    }

    pub(super) fn chain(&self, first: usize) -> impl Iterator<Item = usize> + use<'_, R> {
        successors(Some(first), |index| self.arena[*index].above)
    }

    fn is_full(&self, owner: usize) -> bool {
        let held = &self.held[owner];
        self.each_owner.is_some_and(|limits| held.load.fills(limits))
            || held.quota.is_some_and(|quota| quota.is_full(held.load))
    }

    fn add(&mut self, run: &Arc<R>, is_running: bool) -> Ticket {
        let run = Arc::clone(run);
        let counted = Counted { run, first: ALL, owner: 0, is_running, rank: None };
        let ticket = self.counted.insert(counted);
        self.count_in(ticket);
        ticket
    }

    /// Counts a root where it belongs.
    fn count_in(&mut self, ticket: Ticket) {
        let Counted { run, is_running, .. } = &self.counted[ticket];
        let (first, owner, is_running) = (self.first_of(run), self.owner_of(run), *is_running);
        let owner = self.entry_of(owner);
        (self.counted[ticket].first, self.counted[ticket].owner) = (first, owner);
        self.count(ticket, |load| *load.of(is_running) += 1);
    }

    fn count_out(&mut self, ticket: Ticket) {
        let is_running = self.counted[ticket].is_running;
        self.count(ticket, |load| *load.of(is_running) -= 1);
    }

    /// Counts a root elsewhere, if it belongs there by now.
    pub(super) fn recount(&mut self, ticket: Ticket) {
        #[cfg(test)]
        {
            self.work += 1;
        }
        let Some(Counted { run, first, owner, rank, .. }) = self.counted.get(ticket) else {
            return;
        };
        if *first == self.first_of(run) && self.held[*owner].owner == self.owner_of(run) {
            return;
        }
        let rank = *rank;
        self.unpark(ticket);
        self.count_out(ticket);
        self.count_in(ticket);
        if let Some(rank) = rank {
            self.park(ticket, rank);
        }
    }

    fn count(&mut self, ticket: Ticket, change: impl Fn(&mut Load)) {
        let Counted { first, owner, .. } = self.counted[ticket];
        let mut next = Some(first);
        while let Some(index) = next {
            change(&mut self.arena[index].load);
            self.touch_group(index);
            next = self.arena[index].above;
        }
        let was_full = self.is_full(owner);
        let held = &mut self.held[owner];
        change(&mut held.load);
        if held.load.is_none() {
            debug_assert!(held.classes.is_empty(), "a run that waits is queued");
            self.owners.remove(&held.owner);
            let Held { owner, quota, .. } = self.held.remove(owner);
            self.keep_quota(&owner, quota);
        } else {
            if self.is_full(owner) != was_full {
                self.refresh_owner(owner);
            }
            self.touch_owner(owner);
        }
        self.refresh_chain(first);
        self.remove_if_idle(first);
    }

    /// Has every class of an owner stand where it belongs.
    pub(super) fn refresh_owner(&mut self, owner: usize) {
        let Some(held) = self.held.get(owner) else { return };
        let classes: Vec<_> = held.classes.keys().copied().collect();
        for first in classes {
            self.refresh_class(owner, first);
        }
    }

    /// Has a class stand where it belongs, and the groups of its chain.
    fn refresh_class(&mut self, owner: usize, first: usize) {
        let is_full = self.is_full(owner);
        let held = &mut self.held[owner];
        let Some(class) = held.classes.get_mut(&first) else { return };
        let best = class.runs.keys().next().copied().filter(|_| !is_full);
        let stood = mem::replace(&mut class.stands_at, best);
        if class.runs.is_empty() {
            held.classes.remove(&first);
        }
        self.arena[first].restand(stood, best, || Below::Class(owner));
        self.refresh_chain(first);
    }

    /// Has each group of a chain stand where it belongs.
    pub(super) fn refresh_chain(&mut self, first: usize) {
        #[cfg(test)]
        {
            self.work += 1;
        }
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

    /// The lock was taken anew.
    #[cfg(test)]
    pub(super) fn begin_piece(&mut self) {
        self.largest_piece = self.largest_piece.max(mem::take(&mut self.work));
    }
}

/// Where the group of all is.
pub(super) const ALL: usize = 0;
