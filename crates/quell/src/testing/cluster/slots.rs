//! [`Quotas`]: the slots of limits that all members keep together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use quell_core::cluster::{SlotShare, SlotsAsked, SlotsHeld, share};

use crate::testing::cluster::Node;
use crate::testing::cluster::nodes::Table;

/// Who has which slots.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// The maxima of scopes, and by whom each was set.
    scopes: HashMap<Arc<str>, Maximum>,
    limits: BTreeMap<Arc<str>, Limit>,
    /// What members have to look at; an empty set is all.
    moved: HashMap<u32, BTreeSet<Arc<str>>>,
    clock: u64,
}

#[derive(Clone, Debug)]
struct Maximum {
    max: usize,
    boot: u32,
    by: Arc<str>,
}

#[derive(Debug, Default)]
struct Limit {
    scope: Arc<str>,
    /// By the boots with which members joined.
    shares: BTreeMap<u32, SlotShare>,
}

impl Quotas {
    /// Exchanges slots of one limit.
    fn exchange(&mut self, (boot, name): (u32, &Arc<str>), asked: &SlotsAsked) -> SlotsHeld {
        if let Some(max) = asked.max {
            let set = Maximum { max, boot, by: Arc::clone(name) };
            let known = self.scopes.entry(Arc::clone(&asked.scope)).or_insert_with(|| set.clone());
            if known.boot <= boot {
                *known = set;
            }
        }
        let limit = self.limits.entry(Arc::clone(&asked.limit)).or_default();
        limit.scope = Arc::clone(&asked.scope);
        let own = limit.shares.remove(&boot).unwrap_or_default();
        let others: Vec<_> = limit.shares.values().copied().collect();
        let (max, _) = self.scopes.get(&asked.scope).map_or((0, 0), |it| (it.max, it.boot));
        let shared = share(max, own, &others, (asked.give, asked.want, asked.spare));
        self.clock += 1;
        let since = if shared.is_last { self.clock } else { own.since };
        let held = own.held - shared.gave + shared.got;
        limit.shares.insert(boot, SlotShare { held, wants: shared.wants, since });
        if shared.tells {
            let others: Vec<_> = limit.shares.keys().copied().filter(|it| *it != boot).collect();
            for other in others {
                let moved = self.moved.entry(other);
                // One that is to look at all does so.
                let names = moved.or_insert_with(|| BTreeSet::from([Arc::clone(&asked.limit)]));
                if !names.is_empty() {
                    names.insert(Arc::clone(&asked.limit));
                }
            }
        }
        let stands = self.stands(boot, &asked.limit);
        SlotsHeld { may_keep: shared.may_keep, ..stands }
    }

    fn stands(&self, boot: u32, name: &Arc<str>) -> SlotsHeld {
        let limit = self.limits.get(name);
        let own = limit.and_then(|limit| limit.shares.get(&boot)).copied().unwrap_or_default();
        let taken = limit.map_or(0, |it| it.shares.values().map(|share| share.held).sum());
        let maximum = limit.and_then(|limit| self.scopes.get(&limit.scope));
        SlotsHeld {
            limit: Arc::clone(name),
            max: maximum.map_or(0, |maximum| maximum.max),
            set_by: maximum.map_or_else(|| "".into(), |maximum| Arc::clone(&maximum.by)),
            held: own.held,
            taken,
            waits: own.wants > 0,
            may_keep: None,
        }
    }

    /// Gives what one member has to another, which is to look at all of it.
    pub(super) fn give(&mut self, from: u32, to: u32) {
        for limit in self.limits.values_mut() {
            let Some(gone) = limit.shares.remove(&from) else { continue };
            if gone.held > 0 {
                limit.shares.entry(to).or_default().held += gone.held;
                self.moved.insert(to, BTreeSet::new());
            }
        }
        self.moved.remove(&from);
    }

    /// Takes what a member has to look at; an empty list is all.
    pub(super) fn take_moved(&mut self, boot: u32) -> Option<Vec<Arc<str>>> {
        Some(self.moved.remove(&boot)?.into_iter().collect())
    }
}

impl Node {
    /// Exchanges slots of limits; without any, yields those of which this has slots.
    pub(super) fn exchange(&self, table: &mut Table, asked: &[SlotsAsked]) -> Vec<SlotsHeld> {
        let quotas = &mut table.quotas;
        if asked.is_empty() {
            let names: Vec<_> = quotas.limits.keys().cloned().collect();
            let all = names.iter().map(|name| quotas.stands(self.boot, name));
            return all.filter(|stands| stands.held > 0).collect();
        }
        asked.iter().map(|asked| quotas.exchange((self.boot, &self.name), asked)).collect()
    }
}
