//! [`Records`]: the transcripts of every run that was started here, while the engine keeps the run,
//! and of those that go on here and that somebody reads.
//!
//! One task per tree follows the log as it grows, so that transcripts outlive the ring of the log.
//! A reader first applies the events that the follower has not read yet: a transcript is never
//! behind the log. What the log in memory does not begin with is taken from the store before
//! ([`Records::begin`]).
//!
//! Records are found by the identity of the root, since another run may have its id once it is
//! deleted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quell::{Engine, EventKind, RunRef, limits};
use tokio::runtime::Handle;
use tracing::Span;

use crate::before_events::Before;
use crate::bounded_map::BoundedMap;
use crate::events::{log_by_now, next_event};
use crate::fold::Fold;
use crate::ids::{Identity, identity};
use crate::ledger::Ledger;
use crate::limits::ServiceLimits;
use crate::run_log;
use crate::transcript::Transcript;

/// The transcripts of the trees that this process has.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    table: Arc<Mutex<Table>>,
    /// Bounds the bytes of the transcripts of live runs.
    live: Ledger,
}

/// The transcripts of one tree.
type Record = Arc<Mutex<Fold>>;

#[derive(Debug)]
struct Table {
    live: HashMap<Identity, Record>,
    ended: BoundedMap<Identity, Record>,
}

impl Records {
    pub(crate) fn new(limits: &ServiceLimits) -> Self {
        let (bytes, share) = (limits.transcripts_bytes_max, limits.owner_share_percent);
        let ended = BoundedMap::new(limits::ENDED_TREES_MAX, bytes, share);
        let table = Arc::new(Mutex::new(Table { live: HashMap::new(), ended }));
        Self { table, live: Ledger::new("transcripts of live runs", bytes, share) }
    }

    /// Follows a tree that was started here from its root until it is over, and tells subscribers
    /// of `tracing` how it ended.
    pub(crate) fn follow(&self, engine: &Engine, root: &RunRef) {
        self.track(engine, root, self.record(root), run_log::ended);
    }

    /// Takes in what the log of the tree of a run has no more, or never had, as far as nobody has
    /// yet: an earlier process, or another node, wrote that, and the store has it. Then the tree is
    /// followed. A store in trouble leaves all as it was, for a later call.
    pub(crate) async fn begin(&self, engine: &Engine, run: &RunRef) {
        let root = run.root();
        let known = self.table.lock().get(&root);
        let position = known.as_ref().map(|record| record.lock().position).unwrap_or_default();
        let Some(mut before) = Before::of(engine, &root, position.seq()) else { return };
        let is_new = known.is_none();
        let record = known.unwrap_or_else(|| self.record(&root));
        loop {
            match before.try_next().await {
                // The store may not have got it yet: whoever follows the tree waits for that.
                Ok(Some(event)) if !record.lock().catch_up(&event) => break,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if is_new {
            self.track(engine, &root, record, |_| {});
        }
    }

    /// Makes the record of a tree, with what it may have.
    fn record(&self, root: &RunRef) -> Record {
        let owner: Option<Arc<str>> = root.owner().map(Into::into);
        let charge = self.live.charge(owner.as_ref(), 0).ok();
        Arc::new(Mutex::new(Fold::charged(charge)))
    }

    /// Keeps a record, and follows its tree from there until it is over, unless somebody does.
    /// What the log has dropped before that was read, it reads from the store.
    fn track(&self, engine: &Engine, root: &RunRef, record: Record, told: fn(&RunRef)) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (owner, id): (Option<Arc<str>>, _) = (root.owner().map(Into::into), identity(root));
        match self.table.lock().live.entry(id) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => drop(place.insert(Arc::clone(&record))),
        }
        let (root, table, engine) = (root.clone(), Arc::clone(&self.table), engine.clone());
        // What is told of the end belongs to the request that has started the run.
        let span = Span::current();
        let told = move |root: &RunRef| span.in_scope(|| told(root));
        let (reads_gaps, began) = (engine.has_store(), root.row().queued_at);
        record.lock().reads_gaps = reads_gaps;
        drop(runtime.spawn(async move {
            let after = record.lock().position.seq();
            let mut events = root.events_since(after);
            let mut is_told = false;
            while let Some(event) = next_event(&mut events).await {
                let gap = Before::of_gap(&engine, &event, began).filter(|_| reads_gaps);
                // On the heap: most runs have no gap.
                match gap.map(|before| Box::pin(read_gap(before, Arc::clone(&record)))) {
                    Some(reading) => reading.await,
                    None => record.lock().apply(&event),
                }
                let is_end = matches!(event.kind, EventKind::Ended(_) | EventKind::Lagged { .. });
                if is_end && !is_told && root.row().status.is_terminal() {
                    is_told = true;
                    told(&root);
                }
            }
            if !is_told {
                told(&root);
            }
            let bytes = record.lock().retire();
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

    /// Looks at what the tree of a run has said by now.
    pub(crate) fn read<T>(&self, run: &RunRef, look: impl FnOnce(&Fold) -> T) -> T {
        let fold = self.fold(run);
        let fold = fold.lock();
        look(&fold)
    }

    /// Yields what the tree of a run has said by now.
    pub(crate) fn fold(&self, run: &RunRef) -> Arc<Mutex<Fold>> {
        let root = run.root();
        let known = self.table.lock().get(&root);
        let record = known.unwrap_or_default();
        catch_up(&record, &root);
        record
    }
}

/// Has a record take in what the log of its tree has by now.
fn catch_up(record: &Record, root: &RunRef) {
    let after = {
        let fold = record.lock();
        if fold.is_whole {
            return;
        }
        fold.position.seq()
    };
    for event in log_by_now(root, after) {
        match event {
            Some(event) if record.lock().catch_up(&event) => {}
            Some(_) => return,
            None => return record.lock().is_whole = true,
        }
    }
}

/// Takes in what is stored of a gap.
async fn read_gap(mut before: Before, record: Record) {
    while let Some(event) = before.next_patiently().await {
        record.lock().apply(&event);
    }
}

impl Table {
    fn get(&self, root: &RunRef) -> Option<Record> {
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
    use std::time::{Duration, SystemTime};

    use quell::store::MemoryStore;
    use quell::{EngineConfig, Limits, RunContext, RunId, RunSpec};
    use quell_flow::Emit;
    use tokio::time::timeout;

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
    async fn what_the_log_has_dropped_before_it_was_read_is_read_from_the_store() {
        const WORDS: usize = 500;
        let limits = Limits::default().events_per_root_max(64);
        let config = EngineConfig::new().store(Arc::new(MemoryStore::new())).limits(limits);
        let engine = Engine::with_config(config);
        let body = async |ctx: RunContext| {
            // Nobody reads meanwhile.
            (0..WORDS).for_each(|_| _ = Emit::content("x").send(&ctx));
            Ok(())
        };
        let run = engine.submit(RunSpec::agent("talker"), body).unwrap().into_ref();
        let records = Records::new(&ServiceLimits::default());
        records.follow(&engine, &run);
        run.quiescent().await;
        let is_read = async {
            while records.transcript(&run).is_cut {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), is_read).await.unwrap();
        assert_eq!(records.transcript(&run).text.len(), WORDS);
    }

    #[tokio::test]
    async fn a_follower_of_a_talkative_body_lets_others_have_their_turn() {
        const WORDS: u64 = 5_000;
        let engine = Engine::new();
        let body = async |ctx: RunContext| {
            for _ in 0..WORDS {
                Emit::content("x").send(&ctx);
            }
            Ok(())
        };
        let handle = engine.submit(RunSpec::agent("talker"), body).unwrap();
        handle.run().quiescent().await;
        let records = Records::new(&ServiceLimits::default());
        records.follow(&engine, handle.run());
        let record =
            records.table.lock().live.get(&identity(handle.run())).map(Arc::clone).unwrap();
        let other = tokio::spawn(async move {
            let (mut turns, mut seq) = (0, 0);
            while seq < WORDS {
                tokio::task::yield_now().await;
                turns += 1;
                seq = record.lock().position.seq();
            }
            turns
        });
        let turns = other.await.unwrap();
        assert!(turns >= WORDS / 256, "another task had {turns} turns meanwhile");
    }
}
