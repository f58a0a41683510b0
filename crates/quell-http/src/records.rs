//! The notes of every run that was started here, for as long as the engine keeps the run.
//!
//! A follower per tree reads the log as it grows, so that what was said is still there when the
//! ring of the log has moved on. Whoever looks first takes in what the follower has not read yet:
//! notes are never behind the log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use parking_lot::Mutex;
use quell::{RunId, RunRef, limits};
use tokio::runtime::Handle;

use crate::events::next_event;
use crate::notes::{Fold, Notes};

/// The notes of the trees that were started here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    trees: HashMap<RunId, Arc<Record>>,
    /// Trees that are over, oldest first.
    ended: VecDeque<Ended>,
    ended_bytes: usize,
}

/// A tree that is over: since when, and what is kept of it.
#[derive(Debug)]
struct Ended {
    since: Instant,
    root: RunId,
    record: Arc<Record>,
    bytes: usize,
}

/// The notes of one tree, and the scopes in which stops were remembered for it.
#[derive(Debug, Default)]
struct Record {
    fold: Mutex<Fold>,
    scopes: Vec<String>,
}

impl Records {
    /// Follows a tree from its root until it is over.
    pub(crate) fn follow(&self, root: &RunRef, scopes: Vec<String>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let record = Arc::new(Record { fold: Mutex::default(), scopes });
        self.0.lock().trees.insert(root.id(), Arc::clone(&record));
        let (root, table) = (root.clone(), Arc::clone(&self.0));
        drop(runtime.spawn(async move {
            let mut events = root.events();
            while let Some(event) = next_event(&mut events).await {
                record.fold.lock().apply(&event);
            }
            let bytes = record.fold.lock().bytes;
            table.lock().retire(root.id(), record, bytes);
        }));
    }

    /// Yields what a run has said so far.
    pub(crate) fn notes(&self, run: &RunRef) -> Notes {
        self.read(run, |fold| fold.of(run.id())).unwrap_or_else(|| {
            let parent = run.parent().map(|parent| parent.id());
            let mut notes = Notes::new(run.id(), parent, run.kind(), run.name().into());
            notes.is_cut = true;
            notes
        })
    }

    /// Yields what every run of a tree has said so far, parents before children.
    pub(crate) fn tree(&self, run: &RunRef) -> Vec<Notes> {
        self.read(run, Fold::all)
    }

    /// Yields how far a run has come.
    pub(crate) fn progress(&self, run: &RunRef) -> Option<f32> {
        self.read(run, |fold| fold.progress(run.id()))
    }

    /// Tells whether a run is of a tree that was started in a scope.
    pub(crate) fn has_scope(&self, run: &RunRef, scope: &str) -> bool {
        let root = root_of(run).id();
        let table = self.0.lock();
        table
            .trees
            .get(&root)
            .is_some_and(|record| record.scopes.iter().any(|known| known == scope))
    }

    fn read<T>(&self, run: &RunRef, look: impl FnOnce(&Fold) -> T) -> T {
        let root = root_of(run);
        let known = self.0.lock().trees.get(&root.id()).map(Arc::clone);
        let record = known.unwrap_or_default();
        record.catch_up(&root);
        let fold = record.fold.lock();
        look(&fold)
    }
}

impl Record {
    /// Takes in what is in the log by now.
    fn catch_up(&self, root: &RunRef) {
        let mut events = root.events_since(self.fold.lock().seq);
        // As many as a log may hold, so that a body that never stops talking does not keep us.
        for _ in 0..=limits::EVENTS_PER_ROOT_MAX {
            let Some(Some(event)) = events.next().now_or_never() else { break };
            self.fold.lock().apply(&event);
        }
    }
}

impl Table {
    fn retire(&mut self, root: RunId, record: Arc<Record>, bytes: usize) {
        let since = Instant::now();
        self.ended.push_back(Ended { since, root, record, bytes });
        self.ended_bytes += bytes;
        while let Some(oldest) = self.ended.front() {
            let is_kept = since.duration_since(oldest.since) < limits::ENDED_TREES_FOR
                && self.ended.len() <= limits::ENDED_TREES_MAX
                && (self.ended_bytes <= ENDED_BYTES_MAX || self.ended.len() == 1);
            if is_kept {
                break;
            }
            let Some(oldest) = self.ended.pop_front() else { break };
            self.ended_bytes -= oldest.bytes;
            // A later run may have the id by now.
            if self.trees.get(&oldest.root).is_some_and(|it| Arc::ptr_eq(it, &oldest.record)) {
                self.trees.remove(&oldest.root);
            }
        }
    }
}

/// Yields the root of a run's tree.
pub(crate) fn root_of(run: &RunRef) -> RunRef {
    let mut root = run.clone();
    while let Some(parent) = root.parent() {
        root = parent;
    }
    root
}

/// Notes kept of all ended trees together, in bytes. The oldest leave first.
const ENDED_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use quell_flow::Emit;

    use super::*;

    fn id(number: usize) -> RunId {
        RunId::from_text(&format!("r{number}"))
    }

    fn end(table: &mut Table, root: RunId, bytes: usize) {
        let record = Arc::<Record>::default();
        table.trees.insert(root, Arc::clone(&record));
        table.retire(root, record, bytes);
    }

    #[test]
    fn no_more_ended_trees_have_notes_than_the_bound() {
        let mut table = Table::default();
        for number in 0..limits::ENDED_TREES_MAX + 10 {
            end(&mut table, id(number), 1);
        }
        assert_eq!(table.trees.len(), limits::ENDED_TREES_MAX);
        assert_eq!(table.ended_bytes, limits::ENDED_TREES_MAX);
        assert!(!table.trees.contains_key(&id(9)) && table.trees.contains_key(&id(10)));
    }

    #[test]
    fn notes_of_ended_trees_are_bounded_in_bytes_together() {
        let mut table = Table::default();
        for number in 0..100 {
            end(&mut table, id(number), 16 << 20);
        }
        assert_eq!((table.trees.len(), table.ended_bytes), (16, ENDED_BYTES_MAX));
    }

    #[tokio::test]
    async fn a_follower_of_a_talkative_body_lets_others_have_their_turn() {
        const WORDS: u64 = 5_000;
        let engine = quell::Engine::new();
        let body = async |ctx: quell::RunContext| {
            for _ in 0..WORDS {
                Emit::content("x").send(&ctx);
            }
            Ok(())
        };
        let handle = engine.submit(quell::RunSpec::agent("talker"), body).unwrap();
        handle.run().quiescent().await;
        let records = Records::default();
        records.follow(handle.run(), Vec::new());
        let record = records.0.lock().trees.get(&handle.run().id()).map(Arc::clone).unwrap();
        let other = tokio::spawn(async move {
            let (mut turns, mut seq) = (0, 0);
            while seq < WORDS {
                tokio::task::yield_now().await;
                turns += 1;
                seq = record.fold.lock().seq;
            }
            turns
        });
        let turns = other.await.unwrap();
        assert!(turns >= WORDS / 256, "another task had {turns} turns meanwhile");
    }

    #[test]
    fn a_later_run_of_the_same_id_keeps_its_notes() {
        let mut table = Table::default();
        end(&mut table, id(1), ENDED_BYTES_MAX);
        table.trees.insert(id(1), Arc::default());
        end(&mut table, id(2), ENDED_BYTES_MAX);
        assert_eq!(table.ended.len(), 1, "the first one was forgotten");
        assert!(table.trees.contains_key(&id(1)));
    }
}
