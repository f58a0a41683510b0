//! How a limit changes: in pieces, so that the lock of admission is never held for long, however
//! many roots there are. The control thread takes that lock, too (I14).
//!
//! A scope that has no group is first *being counted*: its group is there and counts the roots that
//! come, but has no limits, so that nobody waits for it or is refused for it. Roots that were there
//! before are moved into it, [`PIECE`] of them under one lock. When all are counted, the limits
//! apply. Between two pieces every count is right for what it counts: a root is counted out where
//! its ticket says that it is counted.
//!
//! A change of the limits of each owner applies at once to those that come, and to what is popped;
//! then the owners are gone through, in pieces.
//!
//! One change is made at a time: the caller holds the lock of changes.

use std::sync::Arc;

use super::Candidate;
use super::group::Group;
use super::groups::{ALL, Groups};
use crate::queue::{RunLimits, Scope};

/// What is left to be done of a change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    /// The groups of components from this one on are to be put under the new group of their kind.
    Groups(usize),
    /// The roots from this ticket on are to be counted.
    Roots(usize),
    /// The owners from this one on are to be looked at.
    Owners(usize),
}

impl<R: Candidate> Groups<R> {
    /// Begins to change the limits of a scope. Yields what is left to be done.
    pub(super) fn change(&mut self, scope: &Scope, limits: RunLimits) -> Option<Rest> {
        if self.limits(scope).is_some() {
            return self.apply(scope, limits);
        }
        match scope {
            Scope::All => {}
            Scope::EachOwner => self.by_owner = true,
            Scope::Kind(kind) => {
                let group = self.arena.insert(Group::new(scope.clone(), Some(ALL)));
                self.kinds.entry(*kind).or_default().group = Some(group);
                return Some(Rest::Groups(0));
            }
            Scope::Component(kind, name) => {
                let kind = self.kinds.entry(*kind).or_default();
                let group = Group::new(scope.clone(), Some(kind.group.unwrap_or(ALL)));
                kind.components.insert(Arc::clone(name), self.arena.insert(group));
            }
        }
        Some(Rest::Roots(0))
    }

    /// Changes the limits of a scope while there are no roots.
    pub(super) fn change_whole(&mut self, scope: &Scope, limits: RunLimits) {
        let mut rest = self.change(scope, limits);
        while let Some(next) = rest {
            rest = self.go_on(scope, limits, next);
        }
    }

    /// Goes on with a change. Yields what is left to be done.
    pub(super) fn go_on(&mut self, scope: &Scope, limits: RunLimits, rest: Rest) -> Option<Rest> {
        match rest {
            Rest::Groups(from) => {
                let end = from.saturating_add(PIECE);
                (from..end).for_each(|index| self.put_under(index, scope));
                let is_over = end >= self.arena.capacity();
                Some(if is_over { Rest::Roots(0) } else { Rest::Groups(end) })
            }
            Rest::Roots(from) => {
                let end = from.saturating_add(PIECE).min(self.counted.capacity());
                (from..end).for_each(|ticket| self.recount(ticket));
                if end < self.counted.capacity() {
                    return Some(Rest::Roots(end));
                }
                self.apply(scope, limits)
            }
            Rest::Owners(from) => {
                let end = from.saturating_add(PIECE).min(self.held.capacity());
                (from..end).for_each(|owner| self.refresh_owner(owner));
                (end < self.held.capacity()).then_some(Rest::Owners(end))
            }
        }
    }

    /// Sets the limits of a scope of which all roots are counted.
    fn apply(&mut self, scope: &Scope, limits: RunLimits) -> Option<Rest> {
        match scope {
            Scope::EachOwner => {
                self.each_owner = Some(limits);
                Some(Rest::Owners(0))
            }
            Scope::All | Scope::Kind(_) | Scope::Component(..) => {
                // It has had a group since the change began.
                let index = self.index_of(scope)?;
                self.arena[index].limits = Some(limits);
                self.refresh_chain(index);
                self.remove_if_idle(index);
                None
            }
        }
    }

    /// Puts the group of a component under the new one of its kind, with what it counts.
    fn put_under(&mut self, index: usize, scope: &Scope) {
        let Some(Group { scope: Scope::Component(kind, _), above, load, stands_at, .. }) =
            self.arena.get_mut(index)
        else {
            return;
        };
        let Some(new) = self.kinds.get(&*kind).and_then(|kind| kind.group) else { return };
        if Scope::Kind(*kind) != *scope || *above == Some(new) {
            return;
        }
        let (load, stood) = (*load, stands_at.take());
        *above = Some(new);
        if let Some(stood) = stood {
            self.arena[ALL].waiting.remove(&stood);
        }
        let group = &mut self.arena[new];
        group.load.running += load.running;
        group.load.queued += load.queued;
        self.refresh_chain(index);
    }

    /// Removes the group of a component that has no bound and no roots.
    pub(super) fn remove_if_idle(&mut self, index: usize) {
        let Group { scope, limits, load, quota, .. } = &self.arena[index];
        if let Scope::Component(kind, name) = scope
            && load.is_none()
            && quota.is_none()
            && *limits == Some(RunLimits::new())
        {
            if let Some(kind) = self.kinds.get_mut(kind) {
                kind.components.remove(name);
            }
            self.arena.remove(index);
        }
    }
}

/// How many roots are looked at under one lock: some tenths of a millisecond.
pub(super) const PIECE: usize = 256;
