//! [`Unaccepted`] knows the runs that were refused, and keeps what they left out of the store.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use quell_core::RunId;
use quell_core::store::StoreError;

use crate::journal::{Entry, Journal, Recorded};
use crate::sync::RandomState;

/// Runs whose acceptance was not stored, and that leave entries all the same. These are of no run,
/// or, if the id is taken, would be written of another one: a stop and an end would be its own.
///
/// A root leaves some behind its acceptance, before its node knows of the refusal. It is known
/// until all that was in the queue when it was refused is through: no entry of it comes later
/// ([`Recorded::refused`]). After trouble nobody knows whether the store has it: the last that it
/// leaves takes it out again ([`Recorded::doubted`]), and is kept.
///
/// A run below a root has begun by then, and goes on: it is known as long as it is in memory, and
/// so are those below it. What they do is in the log of their tree, which is stored.
#[derive(Debug)]
pub(super) struct Unaccepted<R>(HashMap<RunId, Until<R>, RandomState>);

/// Until when a refused run is known.
#[derive(Debug)]
enum Until<R> {
    /// So many entries are through.
    Through(u64),
    /// It has left memory.
    Gone(Weak<R>),
}

impl<R> Unaccepted<R> {
    pub(super) fn new() -> Self {
        Self(HashMap::default())
    }
}

impl<R: Recorded> Unaccepted<R> {
    /// Notes that a root was refused, and how many entries are through when its own are.
    pub(super) fn note(&mut self, root: RunId, through: u64) {
        self.0.insert(root, Until::Through(through));
    }

    /// Tells whether entries of such a root are still to come behind the first so many.
    pub(super) fn is_before(&self, root: RunId, through: u64) -> bool {
        self.0.get(&root).is_some_and(|until| match until {
            Until::Through(own) => *own > through,
            Until::Gone(_) => false,
        })
    }

    /// Notes that a run below a root was refused.
    pub(super) fn note_below(&mut self, run: &Arc<R>) {
        self.0.insert(run.id(), Until::Gone(Arc::downgrade(run)));
    }

    /// Tells whether an event is of such a root.
    pub(super) fn has(&self, root: RunId) -> bool {
        self.0.contains_key(&root)
    }

    /// Forgets those of which no entry can come any more. The first so many entries are through,
    /// and no other one.
    pub(super) fn are_through(&mut self, through: u64) {
        self.0.retain(|_, until| match until {
            Until::Through(own) => *own > through,
            Until::Gone(run) => run.strong_count() > 0,
        });
    }

    /// Tells whether a run below a root is known that was refused.
    fn has_below(&self, run: RunId) -> bool {
        matches!(self.0.get(&run), Some(Until::Gone(_)))
    }

    /// Takes what such runs have left out of the entries that come next.
    pub(super) fn take(&mut self, entries: &mut Vec<Entry<R>>) -> Vec<Entry<R>> {
        if self.0.is_empty() {
            return Vec::new();
        }
        entries.extract_if(.., |entry| self.is_of_refused(entry)).collect()
    }

    fn is_of_refused(&mut self, entry: &Entry<R>) -> bool {
        match entry {
            Entry::Event(_, event) => self.has(event.root),
            Entry::Accepted { run, parent, .. } => {
                let is_below = parent.is_some_and(|parent| self.has(parent));
                if is_below {
                    self.note_below(run);
                } else {
                    // Another run has the id by now: all entries of the first one came before.
                    self.0.remove(&run.id());
                }
                is_below
            }
            Entry::TakenBack(..) => false,
            entry => entry.run().is_some_and(|run| self.has(run.id())),
        }
    }
}

impl<R: Recorded> Journal<R> {
    /// Notes that a root is taken in, whose id a run below another root had that was refused.
    /// Somebody may hold that one still; the engine knows it no longer, and nothing more of it
    /// comes: what comes from now on is of the root.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    pub(crate) async fn let_go_below(&self, root: RunId) -> Result<(), StoreError> {
        if self.lock().unaccepted.has_below(root) {
            self.caught_up().await?;
            self.lock().unaccepted.0.remove(&root);
        }
        Ok(())
    }
}
