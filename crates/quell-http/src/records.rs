//! [`Records`]: the transcripts of every run that was started here, while the engine keeps the run.
//!
//! One task per tree follows the log as it grows, so that transcripts outlive the ring of the log.
//! A reader first applies the events that the follower has not read yet: a transcript is never
//! behind the log.
//!
//! Records are found by the identity of the root, since another run may have its id once it is
//! deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quell::{EventKind, RunRef, limits};
use tokio::runtime::Handle;

use crate::bounded_map::BoundedMap;
use crate::events::next_event;
use crate::fold::Fold;
use crate::ids::{Identity, identity};
use crate::ledger::Ledger;
use crate::limits::ServiceLimits;
use crate::run_log;
use crate::transcript::Transcript;

/// The transcripts of the trees that were started here.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    table: Arc<Mutex<Table>>,
    /// Bounds the bytes of the transcripts of live runs.
    live: Ledger,
}

#[derive(Debug)]
struct Table {
    live: HashMap<Identity, Arc<Record>>,
    ended: BoundedMap<Identity, Arc<Record>>,
}

/// The transcripts of one tree.
#[derive(Debug, Default)]
struct Record {
    fold: Mutex<Fold>,
}

impl Records {
    pub(crate) fn new(limits: &ServiceLimits) -> Self {
        let (bytes, share) = (limits.transcripts_bytes_max, limits.owner_share_percent);
        let ended = BoundedMap::new(limits::ENDED_TREES_MAX, bytes, share);
        let table = Arc::new(Mutex::new(Table { live: HashMap::new(), ended }));
        Self { table, live: Ledger::new("transcripts of live runs", bytes, share) }
    }

    /// Follows a tree from its root until it is over.
    pub(crate) fn follow(&self, root: &RunRef) {
        let Ok(runtime) = Handle::try_current() else { return };
        let owner: Option<Arc<str>> = root.owner().map(Into::into);
        let charge = self.live.charge(owner.as_ref(), 0).ok();
        let record = Arc::new(Record { fold: Mutex::new(Fold::charged(charge)) });
        let id = identity(root);
        self.table.lock().live.insert(id, Arc::clone(&record));
        let (root, table) = (root.clone(), Arc::clone(&self.table));
        drop(runtime.spawn(async move {
            let mut events = root.events();
            let mut is_told = false;
            while let Some(event) = next_event(&mut events).await {
                record.fold.lock().apply(&event);
                let is_end = matches!(event.kind, EventKind::Ended(_) | EventKind::Lagged { .. });
                if is_end && !is_told && root.row().status.is_terminal() {
                    is_told = true;
                    run_log::ended(&root);
                }
            }
            if !is_told {
                run_log::ended(&root);
            }
            let bytes = record.fold.lock().retire();
            table.lock().retire(owner.as_ref(), id, bytes);
        }));
    }

    /// Yields the transcript of a run so far.
    pub(crate) fn transcript(&self, run: &RunRef) -> Transcript {
        self.read(run, |fold| fold.of(run.id())).unwrap_or_else(|| {
            let parent = run.parent().map(|parent| parent.id());
            let mut transcript = Transcript::new(run.id(), parent, run.kind(), run.name().into());
            transcript.is_cut = true;
            transcript
        })
    }

    /// Yields the transcript of every run of a tree so far, parents before children.
    pub(crate) fn tree(&self, run: &RunRef) -> Vec<Transcript> {
        self.read(run, Fold::all)
    }

    /// Tells whether a part of a run's transcript is missing.
    pub(crate) fn is_cut(&self, run: &RunRef) -> bool {
        self.read(run, |fold| fold.is_cut(run.id()))
    }

    /// Yields how far a run has come.
    pub(crate) fn progress(&self, run: &RunRef) -> Option<f32> {
        self.read(run, |fold| fold.progress(run.id()))
    }

    /// Yields the bytes of the transcripts of a tree.
    pub(crate) fn bytes(&self, run: &RunRef) -> usize {
        self.read(run, |fold| fold.bytes)
    }

    fn read<T>(&self, run: &RunRef, look: impl FnOnce(&Fold) -> T) -> T {
        let root = run.root();
        let known = self.table.lock().get(&root);
        let record = known.unwrap_or_default();
        record.catch_up(&root);
        let fold = record.fold.lock();
        look(&fold)
    }
}

impl Record {
    /// Applies the events that are in the log by now.
    fn catch_up(&self, root: &RunRef) {
        let position = self.fold.lock().position;
        for event in position.unread(root) {
            self.fold.lock().apply(&event);
        }
    }
}

impl Table {
    fn get(&self, root: &RunRef) -> Option<Arc<Record>> {
        let owner: Option<Arc<str>> = root.owner().map(Into::into);
        let id = identity(root);
        let ended = || self.ended.get(owner.as_ref(), &id);
        self.live.get(&id).or_else(ended).map(Arc::clone)
    }

    fn retire(&mut self, owner: Option<&Arc<str>>, root: Identity, bytes: usize) {
        if let Some(record) = self.live.remove(&root) {
            let until = Instant::now() + limits::ENDED_TREES_TTL;
            self.ended.put(owner, root, record, bytes, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::RunId;
    use quell_flow::Emit;

    use super::*;

    fn id(number: usize) -> Identity {
        (RunId::from_text(&format!("r{number}")), SystemTime::UNIX_EPOCH)
    }

    fn end(records: &Records, owner: &str, root: Identity, bytes: usize) {
        let mut table = records.table.lock();
        table.live.insert(root, Arc::default());
        table.retire(Some(&owner.into()), root, bytes);
    }

    fn has(records: &Records, owner: &str, root: Identity) -> bool {
        records.table.lock().ended.get(Some(&owner.into()), &root).is_some()
    }

    #[test]
    fn an_owner_has_notes_of_a_share_of_the_ended_trees() {
        let records = Records::new(&ServiceLimits::default());
        end(&records, "ben", id(1), 1);
        let share = limits::ENDED_TREES_MAX / 4;
        for number in 0..share + 10 {
            end(&records, "ada", id(number), 1);
        }
        assert_eq!(records.table.lock().ended.len(), share + 1);
        assert!(has(&records, "ben", id(1)), "another owner's state stays");
        assert!(!has(&records, "ada", id(9)) && has(&records, "ada", id(10)));
        for number in 0..100 {
            end(&records, "ada", id(number), 16 << 20);
        }
        assert_eq!(records.table.lock().ended.bytes(), (64 << 20) + 1);
        assert!(has(&records, "ben", id(1)) && has(&records, "ada", id(99)));
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
        let records = Records::new(&ServiceLimits::default());
        records.follow(handle.run());
        let record =
            records.table.lock().live.get(&identity(handle.run())).map(Arc::clone).unwrap();
        let other = tokio::spawn(async move {
            let (mut turns, mut seq) = (0, 0);
            while seq < WORDS {
                tokio::task::yield_now().await;
                turns += 1;
                seq = record.fold.lock().position.seq();
            }
            turns
        });
        let turns = other.await.unwrap();
        assert!(turns >= WORDS / 256, "another task had {turns} turns meanwhile");
    }
}
