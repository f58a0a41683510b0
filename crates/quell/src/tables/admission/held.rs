//! [`Counted`] is a root that is queued or runs, and [`Held`] what its owner has of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quell_core::limits;

use super::group::{Load, Owner};
use super::quotas::Quota;
use super::rank::Rank;

/// Where the group of a kind is, and those of its components.
#[derive(Debug, Default)]
pub(super) struct Kind {
    pub(super) group: Option<usize>,
    pub(super) components: HashMap<Arc<str>, usize>,
}

/// What an owner has.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) load: Load,
    /// What this node may use of a limit of all nodes for each owner, if there is one.
    pub(super) quota: Option<Quota>,
    /// Its roots that wait for a slot, by the first groups of their chains.
    pub(super) classes: BTreeMap<usize, Class>,
}

/// The waiting roots of one owner and one chain, by their tickets.
#[derive(Debug, Default)]
pub(super) struct Class {
    pub(super) runs: BTreeMap<Rank, Ticket>,
    /// The rank under which it stands in `waiting` of the first group of its chain.
    pub(super) stands_at: Option<Rank>,
}

/// A root that is queued or runs.
#[derive(Debug)]
pub(super) struct Counted<R> {
    pub(super) run: Arc<R>,
    /// The first group of the chain in which it is counted.
    pub(super) first: usize,
    /// The owner with whom it is counted.
    pub(super) owner: usize,
    /// It has slots. If not, it is queued.
    pub(super) is_running: bool,
    /// Its rank while it waits for slots.
    pub(super) rank: Option<Rank>,
}

/// Where a root is counted: good until it is counted no more.
pub(super) type Ticket = usize;

impl Class {
    /// Counts the runs before a rank, as far as a position tells of them.
    pub(super) fn count(&self, before: Rank) -> usize {
        self.runs.range(..before).take(limits::QUEUE_AHEAD_MAX).count()
    }
}

impl Held {
    pub(super) const fn new(owner: Owner, quota: Option<Quota>) -> Self {
        Self { owner, load: Load::NONE, quota, classes: BTreeMap::new() }
    }
}
