//! [`Reads`]: one who reads the log of a root that another node may write.

use std::collections::HashSet;
use std::sync::Arc;

use quell_core::RunId;
use quell_core::cluster::LogWatch;
use quell_core::store::BoxFuture;

use crate::sync::Notify;
use crate::testing::cluster::nodes::Table;

/// One who reads the log of a root.
#[derive(Debug)]
struct Reads(Arc<Notify>);

impl LogWatch for Reads {
    fn heard(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.notified())
    }

    fn is_told(&self) -> bool {
        true
    }
}

impl Table {
    /// Takes in one who reads the log of a root.
    pub(super) fn watch(&mut self, root: RunId) -> Box<dyn LogWatch> {
        let woken = Arc::new(Notify::new());
        self.watches.push((root, Arc::downgrade(&woken)));
        Box::new(Reads(woken))
    }

    /// Yields those who read the logs of these roots: they are told when the lock is free.
    pub(super) fn readers(&mut self, roots: &HashSet<RunId>) -> Vec<Arc<Notify>> {
        self.watches.retain(|(_, reader)| reader.strong_count() > 0);
        let read = self.watches.iter().filter(|(root, _)| roots.contains(root));
        read.filter_map(|(_, reader)| reader.upgrade()).collect()
    }
}
