//! [`Group`] is the roots that come under one limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rank::Rank;
use crate::queue::{RunLimits, Scope};

/// The roots that come under one limit.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) scope: Scope,
    pub(super) limits: RunLimits,
    pub(super) load: Load,
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
    Class(Owner),
}

/// The owner of a root, or nobody.
pub(super) type Owner = Option<Arc<str>>;

impl Group {
    pub(super) const fn new(scope: Scope, limits: RunLimits, above: Option<usize>) -> Self {
        let load = Load::NONE;
        Self { scope, limits, load, above, waiting: BTreeMap::new(), stands_at: None }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.load.fills(self.limits)
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

    /// Tells whether no more roots may run.
    pub(super) const fn fills(self, limits: RunLimits) -> bool {
        matches!(limits.running_max, Some(max) if self.running >= max)
    }
}
