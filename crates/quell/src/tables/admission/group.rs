//! [`Group`] is the roots that come under one limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::quotas::Quota;
use super::rank::Rank;
use crate::queue::{RunLimits, Scope};

/// The roots that come under one limit.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) scope: Scope,
    /// None while it is being counted: then it has room for all.
    pub(super) limits: Option<RunLimits>,
    pub(super) load: Load,
    /// What this node may use of a limit of all nodes, if there is one.
    pub(super) quota: Option<Quota>,
    /// The next group of the chain; none for that of all.
    pub(super) above: Option<usize>,
    /// The classes and groups below it that could start a run if this one has room, by the rank of
    /// their first runs.
    pub(super) waiting: BTreeMap<Rank, Below>,
    /// The rank under which it stands in `waiting` of the group above.
    pub(super) stands_at: Option<Rank>,
}

/// How many roots run and are queued.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) running: usize,
    pub(super) queued: usize,
}

/// What waits at a group.
#[derive(Clone, Debug)]
pub(super) enum Below {
    Group(usize),
    /// That of the owner with this number.
    Class(usize),
}

/// The owner of a root, or nobody.
pub(super) type Owner = Option<Arc<str>>;

impl Group {
    /// Makes a group that is being counted.
    pub(super) const fn new(scope: Scope, above: Option<usize>) -> Self {
        let load = Load::NONE;
        Self {
            scope,
            limits: None,
            load,
            quota: None,
            above,
            waiting: BTreeMap::new(),
            stands_at: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.limits.is_some_and(|limits| self.load.fills(limits))
            || self.quota.is_some_and(|quota| quota.is_full(self.load))
    }

    /// Yields how many more roots the limits of this node let run in it.
    pub(super) fn own_room(&self) -> usize {
        self.limits.map_or(usize::MAX, |limits| self.load.room(limits))
    }

    /// Moves what stood here under one rank to another.
    pub(super) fn restand(
        &mut self,
        stood: Option<Rank>,
        at: Option<Rank>,
        what: impl FnOnce() -> Below,
    ) {
        if stood == at {
            return;
        }
        if let Some(stood) = stood {
            self.waiting.remove(&stood);
        }
        if let Some(at) = at {
            self.waiting.insert(at, what());
        }
    }
}

impl Load {
    /// Nothing runs or is queued.
    pub(super) const NONE: Self = Self { running: 0, queued: 0 };

    /// Tells whether nothing runs or is queued.
    pub(super) const fn is_none(self) -> bool {
        self.running + self.queued == 0
    }

    /// Yields the number of those that run, or of those that are queued.
    pub(super) const fn of(&mut self, is_running: bool) -> &mut usize {
        if is_running { &mut self.running } else { &mut self.queued }
    }

    /// Tells whether no more roots may run.
    pub(super) const fn fills(self, limits: RunLimits) -> bool {
        matches!(limits.running_max, Some(max) if self.running >= max)
    }

    /// Yields how many more roots may run.
    pub(super) fn room(self, limits: RunLimits) -> usize {
        limits.running_max.map_or(usize::MAX, |max| max.saturating_sub(self.running))
    }
}
