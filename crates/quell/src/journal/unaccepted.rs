//! [`Unaccepted`] knows the roots that were refused, and keeps what they left out of the store.

use std::collections::HashMap;

use quell_core::RunId;

use crate::journal::{Entry, Recorded};
use crate::sync::RandomState;

/// Roots whose acceptance was not stored, and of which entries may be behind it in the queue: they
/// were left before their node knew of the refusal. They are of no run, or, if the id is taken,
/// would be written of another one: a stop and an end would be its own.
///
/// Each is known until all that was in the queue when it was refused is through: no entry of it
/// comes later ([`Recorded::refused`]). So there are never more than entries. The value is how many
/// entries are through when its own are.
///
/// After trouble nobody knows whether the store has it: the last that it leaves takes it out again
/// ([`Recorded::doubted`]), and is kept.
#[derive(Debug, Default)]
pub(super) struct Unaccepted(HashMap<RunId, u64, RandomState>);

impl Unaccepted {
    /// Notes that a root was refused, and how many entries are through when its own are.
    pub(super) fn note(&mut self, root: RunId, through: u64) {
        self.0.insert(root, through);
    }

    /// Tells whether an event is of such a root.
    pub(super) fn has(&self, root: RunId) -> bool {
        self.0.contains_key(&root)
    }

    /// Forgets those of which no entry can come any more. The first so many entries are through,
    /// and no other one.
    pub(super) fn are_through(&mut self, through: u64) {
        self.0.retain(|_, own| *own > through);
    }

    /// Takes what such roots have left out of the entries that come next.
    pub(super) fn take<R: Recorded>(&mut self, entries: &mut Vec<Entry<R>>) -> Vec<Entry<R>> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let is_of_refused = |entry: &mut Entry<R>| match entry {
            Entry::Event(_, event) => self.0.contains_key(&event.root),
            // Another run has the id by now: all entries of the first one came before.
            Entry::Accepted { run, parent: None, .. } => {
                self.0.remove(&run.id());
                false
            }
            Entry::TakenBack(..) => false,
            entry => entry.run().is_some_and(|run| self.0.contains_key(&run.id())),
        };
        entries.extract_if(.., is_of_refused).collect()
    }
}
