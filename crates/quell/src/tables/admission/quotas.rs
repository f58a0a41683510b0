//! [`Quotas`] bounds groups by the slots that this node has of limits of all nodes.
//!
//! Of such a limit a node may use as many slots as an [`Allowance`] says, which changes as slots
//! are got and given back; else it is as any other bound of a group: a root that waits for it is
//! parked there, and takes its slots when each of its groups has room. What is needed of a limit
//! are the roots that run, and those that would start if it had room. So slots of a limit are
//! asked for only for roots that have room in every limit before it: that of the owner comes
//! first, then those of the component, of the kind, and of all. A node that waits for a limit may
//! hold slots of one before it, and never of one behind it: no two nodes wait for each other.
//!
//! Invariants, under the lock of admission:
//!
//! 1. An allowance is changed in the same step in which the need is read that it was decided from:
//!    no root takes a slot in between that is about to be given back.
//! 2. What asks for a look stands in `looks`, and the bell is rung after the lock: the loop that
//!    has the accounts comes then, or was about to come.
//! 3. The allowance of an owner is with its entry, and in `idle_owners` while it has none.

use std::collections::HashMap;
use std::task::Waker;

use super::Candidate;
use super::change::PIECE;
use super::group::{Below, Load, Owner};
use super::groups::Groups;
use super::held::Held;
use crate::queue::Scope;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// One limit of all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SlotKey {
    /// The one with this number, of those that are set.
    Scope(usize),
    /// That of this owner.
    Owner(Owner),
}

/// What an engine needs of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Roots that hold a slot.
    pub(crate) running: usize,
    /// The most of them at once since the last look.
    pub(crate) most: usize,
    /// Roots that would start if they got one.
    pub(crate) waiting: usize,
}

/// What admission may give away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// How many roots may run; those that do, do.
    pub(crate) max: usize,
    /// Whether a root that ends is to be heard of at once.
    pub(crate) hears_ends: bool,
    /// Whether more were asked for: a root that waits need not say so.
    pub(crate) is_asking: bool,
    /// Whether it is known that there are more than needed: a root that ends need not say so.
    pub(crate) is_idling: bool,
}

/// What this node may use of limits of all nodes.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// The groups of the limits that are set; none for that of each owner.
    places: Vec<Option<usize>>,
    /// Each owner has a limit.
    pub(super) by_owner: bool,
    idle_owners: HashMap<Owner, Quota>,
    /// What has changed under this lock.
    touched: Vec<SlotKey>,
    /// What is to be looked at.
    looks: Vec<SlotKey>,
}

/// What this node may use of one limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quota {
    /// The number of the limit, if it is not that of an owner.
    nth: usize,
    allowed: Allowance,
    /// The most roots that ran at once since the last look.
    most: usize,
    /// It stands in `looks`.
    is_told: bool,
}

/// Wakes the loop that looks at limits.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    has_rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Wakes the loop, if it has heard of the last time. Called when the lock of admission is free.
    pub(crate) fn ring(&self) {
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            let waker = self.waker.lock().take();
            // Not foreign code: the loop is ours.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Has the loop be woken from now on, and tells whether it is to look.
    pub(crate) fn hear(&self, waker: &Waker) -> bool {
        // First the waker: who rings between the two finds it.
        *self.waker.lock() = Some(waker.clone());
        self.has_rung.swap(false, Ordering::SeqCst)
    }
}

impl Quota {
    /// Tells whether no more roots may run.
    pub(super) const fn is_full(&self, load: Load) -> bool {
        self.room(load) == 0
    }

    /// Yields how many more roots may run.
    pub(super) const fn room(&self, load: Load) -> usize {
        self.allowed.max.saturating_sub(load.running)
    }

    const fn note(&mut self, load: Load) {
        if load.running > self.most {
            self.most = load.running;
        }
    }

    /// Tells whether the loop is to look, if anything waits for just this.
    fn is_news(&self, load: Load, has_waiting: bool) -> bool {
        let Allowance { max, hears_ends, is_asking, is_idling } = self.allowed;
        let lacks = load.running >= max && has_waiting && !is_asking;
        let idles = load.running < max && !is_idling;
        !self.is_told && (lacks || idles || hears_ends && load.running < self.most)
    }

    fn set(&mut self, allowed: Allowance, load: Load) {
        (self.allowed, self.most, self.is_told) = (allowed, load.running, false);
    }
}

impl<R: Candidate> Groups<R> {
    /// Sets the limits of all nodes, once, while there are no roots. The groups are there.
    pub(super) fn set_quotas(&mut self, scopes: &[(Scope, usize)]) {
        if scopes.is_empty() {
            return;
        }
        let mut quotas = Quotas::default();
        for (nth, (scope, _)) in scopes.iter().enumerate() {
            let place = self.index_of(scope);
            quotas.by_owner |= *scope == Scope::EachOwner;
            quotas.places.push(place);
            if let Some(index) = place {
                self.arena[index].quota = Some(Quota { nth, ..Quota::default() });
            }
        }
        self.quotas = Some(Box::new(quotas));
    }

    /// Tells whether a root of an owner without an entry may not run.
    pub(super) fn is_full_to(&self, owner: &Owner) -> bool {
        let quotas = self.quotas.as_ref().filter(|quotas| quotas.by_owner);
        quotas.is_some_and(|quotas| {
            quotas.idle_owners.get(owner).is_none_or(|quota| quota.is_full(Load::NONE))
        })
    }

    /// Notes that a group counts another number of roots, or that others wait there.
    pub(super) fn touch_group(&mut self, index: usize) {
        let Self { arena, quotas: Some(quotas), .. } = self else { return };
        let group = &mut arena[index];
        if let Some(quota) = &mut group.quota {
            quota.note(group.load);
            quotas.touched.push(SlotKey::Scope(quota.nth));
        }
    }

    /// Notes the same of an owner.
    pub(super) fn touch_owner(&mut self, index: usize) {
        let Self { held, quotas: Some(quotas), .. } = self else { return };
        let held = &mut held[index];
        if let Some(quota) = &mut held.quota {
            quota.note(held.load);
            quotas.touched.push(SlotKey::Owner(held.owner.clone()));
        }
    }

    /// Notes that a root waits for a slot.
    pub(super) fn touch_chain(&mut self, owner: usize, first: usize) {
        if self.quotas.is_none() {
            return;
        }
        self.touch_owner(owner);
        let mut next = Some(first);
        while let Some(index) = next {
            self.touch_group(index);
            next = self.arena[index].above;
        }
    }

    /// Finds the entry of an owner, or makes it.
    pub(super) fn entry_of(&mut self, owner: Owner) -> usize {
        if let Some(index) = self.owners.get(&owner) {
            return *index;
        }
        let quota = self.quota_of(&owner);
        let index = self.held.insert(Held::new(owner.clone(), quota));
        self.owners.insert(owner, index);
        index
    }

    /// Yields what a new entry of an owner may use.
    fn quota_of(&mut self, owner: &Owner) -> Option<Quota> {
        let quotas = self.quotas.as_mut().filter(|quotas| quotas.by_owner)?;
        Some(quotas.idle_owners.remove(owner).unwrap_or_default())
    }

    /// Keeps what an owner may use that has no entry any more.
    pub(super) fn keep_quota(&mut self, owner: &Owner, quota: Option<Quota>) {
        let (Some(quotas), Some(quota)) = (&mut self.quotas, quota) else { return };
        if quota.allowed != Allowance::default() || quota.is_told || quota.most > 0 {
            quotas.touched.push(SlotKey::Owner(owner.clone()));
            quotas.idle_owners.insert(owner.clone(), quota);
        }
    }

    /// Looks at what has changed under this lock. Tells whether the bell is to be rung.
    pub(super) fn judge_quotas(&mut self) -> bool {
        let Some(quotas) = &mut self.quotas else { return false };
        let mut touched = std::mem::take(&mut quotas.touched);
        let mut rings = false;
        for key in touched.drain(..) {
            rings |= self.judge(&key);
        }
        if let Some(quotas) = &mut self.quotas {
            quotas.touched = touched;
        }
        rings
    }

    fn judge(&mut self, key: &SlotKey) -> bool {
        #[cfg(test)]
        {
            self.work += 1;
        }
        let Some((quota, load, has_waiting)) = self.find_quota(key) else { return false };
        if !quota.is_news(load, has_waiting) {
            return false;
        }
        quota.is_told = true;
        if let Some(quotas) = &mut self.quotas {
            quotas.looks.push(key.clone());
        }
        true
    }

    /// Finds what may be used of a limit, what its roots are, and whether any waits for a slot.
    fn find_quota(&mut self, key: &SlotKey) -> Option<(&mut Quota, Load, bool)> {
        match key {
            SlotKey::Scope(nth) => {
                let index = (*self.quotas.as_ref()?.places.get(*nth)?)?;
                let group = &mut self.arena[index];
                Some((group.quota.as_mut()?, group.load, !group.waiting.is_empty()))
            }
            SlotKey::Owner(owner) => {
                if let Some(index) = self.owners.get(owner) {
                    let held = &mut self.held[*index];
                    Some((held.quota.as_mut()?, held.load, !held.classes.is_empty()))
                } else {
                    let quota = self.quotas.as_mut()?.idle_owners.get_mut(owner)?;
                    Some((quota, Load::NONE, false))
                }
            }
        }
    }

    /// Takes the limits that are to be looked at.
    pub(super) fn take_looks(&mut self) -> Vec<SlotKey> {
        self.quotas.as_mut().map(|quotas| std::mem::take(&mut quotas.looks)).unwrap_or_default()
    }

    /// Changes what may be used of a limit, by what is needed of it.
    pub(super) fn allow(&mut self, key: &SlotKey, decide: impl FnOnce(Need) -> Allowance) {
        let waiting = self.waiting_for(key);
        let found = self.find_quota(key).map(|(quota, load, _)| (quota.most, load));
        let (most, load) = found.unwrap_or((0, Load::NONE));
        let need = Need { running: load.running, most: most.max(load.running), waiting };
        let allowed = decide(need);
        match self.find_quota(key) {
            Some((quota, load, _)) => quota.set(allowed, load),
            None if allowed == Allowance::default() => return,
            None => {
                // An owner of whom there is nothing here: what was taken over.
                if let (SlotKey::Owner(owner), Some(quotas)) = (key, &mut self.quotas) {
                    let quota = Quota { allowed, ..Quota::default() };
                    quotas.idle_owners.insert(owner.clone(), quota);
                }
                return;
            }
        }
        match key {
            SlotKey::Scope(nth) => {
                let place = self.quotas.as_ref().and_then(|quotas| quotas.places[*nth]);
                if let Some(index) = place {
                    self.refresh_chain(index);
                }
            }
            SlotKey::Owner(owner) => match self.owners.get(owner).copied() {
                Some(index) => self.refresh_owner(index),
                None if allowed == Allowance::default() => {
                    if let Some(quotas) = &mut self.quotas {
                        quotas.idle_owners.remove(owner);
                    }
                }
                None => {}
            },
        }
    }

    /// Counts the roots that would start if a limit had room: up to [`PIECE`] of them, and no more
    /// than have room here in what else bounds them.
    fn waiting_for(&self, key: &SlotKey) -> usize {
        match key {
            SlotKey::Scope(nth) => {
                let place = self.quotas.as_ref().and_then(|quotas| *quotas.places.get(*nth)?);
                place.map_or(0, |index| self.reach(index).min(self.room_from(index)))
            }
            SlotKey::Owner(owner) => {
                let Some(held) = self.owners.get(owner).and_then(|it| self.held.get(*it)) else {
                    return 0;
                };
                let waiting = held
                    .classes
                    .iter()
                    .map(|(first, class)| class.runs.len().min(PIECE).min(self.room_from(*first)));
                let room = self.each_owner.map_or(usize::MAX, |limits| held.load.room(limits));
                waiting.sum::<usize>().min(room)
            }
        }
    }

    /// Counts the roots below a group that would start if it had room.
    fn reach(&self, index: usize) -> usize {
        let mut count = 0;
        for below in self.arena[index].waiting.values() {
            count += match below {
                Below::Group(below) => self.reach(*below).min(self.room_of(*below)),
                Below::Class(owner) => {
                    let held = &self.held[*owner];
                    let class = held.classes.get(&index).map_or(0, |class| class.runs.len());
                    let quota = held.quota.map_or(usize::MAX, |quota| quota.room(held.load));
                    let own = self.each_owner.map_or(usize::MAX, |limits| held.load.room(limits));
                    class.min(quota).min(own)
                }
            };
            if count >= PIECE {
                return PIECE;
            }
        }
        count
    }

    /// How many more roots may run in a group.
    fn room_of(&self, index: usize) -> usize {
        let group = &self.arena[index];
        let quota = group.quota.map_or(usize::MAX, |quota| quota.room(group.load));
        group.own_room().min(quota)
    }

    /// How many more roots the limits of this node let run in a chain.
    fn room_from(&self, first: usize) -> usize {
        self.chain(first).map(|index| self.arena[index].own_room()).min().unwrap_or(usize::MAX)
    }
}
