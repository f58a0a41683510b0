//! [`release`] ends what nodes may have executed that are gone for good, and says of the runs of
//! which nothing executes any more that they have quiesced.
//!
//! A tree that this engine has in memory says so itself ([`Node::release_lost`]), and gives the
//! events their numbers. Of one that is in the store alone its owner writes them behind the last
//! one. A tree whose owner is gone may be written by several engines: the number of an event is
//! stored once, so that one of them is refused, with all that it was about to write.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use quell_core::cluster::ForgottenWork;
use quell_core::store::{BoxFuture, Record, RunRecord, Store, StoreError, StoredHold};
use quell_core::{EventKind, RunId};

use crate::engine::left_behind::read;
use crate::engine::left_log::LeftLog;
use crate::engine::writes::Writes;
use crate::journal::Journal;
use crate::node::forgotten::Released;
use crate::node::{Node, Shared};

/// Ends work of forgotten nodes, for the loop that hears of them: see [`release_all`].
pub(super) fn release(
    engine: Weak<Shared>,
    work: Vec<ForgottenWork>,
) -> BoxFuture<'static, Result<bool, StoreError>> {
    Box::pin(async move { release_all(&engine, work).await })
}

/// Ends work of forgotten nodes. Yields whether nothing of it is left: what is being decided in
/// this moment stays as it is, and is named by the next call.
///
/// # Errors
///
/// Fails with the trouble of the store. A further call goes on with the rest.
///
/// # Cancel safety
///
/// As an error.
async fn release_all(engine: &Weak<Shared>, work: Vec<ForgottenWork>) -> Result<bool, StoreError> {
    let journal = engine.upgrade().and_then(|engine| engine.journal.clone());
    let Some(journal) = journal else { return Ok(true) };
    // What a call before has left for the store is there then: nothing is released twice.
    journal.caught_up().await?;
    let store = &*journal.store;
    let mut trees: Vec<(RunId, HashMap<RunId, Vec<StoredHold>>)> = Vec::new();
    let mut is_all = true;
    for ForgottenWork { run, holds } in work {
        let Some(record) = read(store, run).await? else {
            is_all = false;
            continue;
        };
        let root = record.accepted.root;
        let open = record.holds.into_iter().filter(|hold| holds.contains(&hold.nr)).collect();
        match trees.iter_mut().find(|(known, _)| *known == root) {
            Some((_, released)) => drop(released.insert(run, open)),
            None => trees.push((root, HashMap::from([(run, open)]))),
        }
    }
    for (root, released) in trees {
        is_all &= release_tree(engine, &journal, root, released).await?;
    }
    Ok(is_all)
}

async fn release_tree(
    engine: &Weak<Shared>,
    journal: &Journal<Node>,
    root: RunId,
    released: HashMap<RunId, Vec<StoredHold>>,
) -> Result<bool, StoreError> {
    // Another run may have the id of the root: a repeat that the store is to refuse, or one below
    // another root.
    let is_meant = |node: &Arc<Node>| node.id != root || node.is_root() && !node.is_undecided();
    let here = |run: RunId| {
        let node = engine.upgrade().and_then(|engine| engine.registry.get(run));
        node.filter(is_meant)
    };
    let store = &*journal.store;
    let Some(record) = read(store, root).await? else { return Ok(false) };
    let is_here = here(root).is_some();
    if !is_here && !record.status.is_terminal() {
        return Ok(false);
    }
    let mut log = LeftLog::of(store, &record).await?;
    let mut tree = Tree { root, runs: HashMap::new(), released };
    tree.runs.insert(root, record);
    tree.read(store, &log, |run| here(run).is_some()).await?;
    let quiesced = tree.quiesced(&log);
    // Again: it may have left memory meanwhile, which it does when all of it is stored.
    let node: Option<Arc<Node>> = if is_here { here(root) } else { None };
    if is_here && node.is_none() {
        return Ok(false);
    }
    if let Some(node) = &node {
        let all = tree.released.iter();
        let holds = all.flat_map(|(run, holds)| holds.iter().map(|hold| (*run, hold.clone())));
        let is_new = |run: &RunId| *run != root && !log.has_quiesced(*run);
        let quiesced = quiesced.iter().copied().filter(is_new).collect();
        node.release_lost(&Released { holds: holds.collect(), quiesced });
    }
    let events = if node.is_none() { Some(&mut log) } else { None };
    drop(node);
    match write(journal, tree.records(&quiesced, events)).await {
        // Somebody else has the tree, or has done the same.
        Err(error) if error.is_refusal() => Ok(false),
        done => done.map(|()| true),
    }
}

/// Stores records, many parts in one append.
async fn write(journal: &Journal<Node>, parts: Vec<Vec<Record>>) -> Result<(), StoreError> {
    let mut writes = Writes::new(journal, false);
    for part in parts {
        for record in part {
            writes.add(record);
        }
        writes.flush_if_full().await?;
    }
    writes.flush().await
}

/// What matters of a tree: its root, the runs that may not be quiescent, and those above them.
struct Tree {
    root: RunId,
    /// Those of them that this engine does not execute, but for the root.
    runs: HashMap<RunId, RunRecord>,
    /// Work that has ended, by runs.
    released: HashMap<RunId, Vec<StoredHold>>,
}

impl Tree {
    /// Reads the runs below the root.
    async fn read(
        &mut self,
        store: &dyn Store,
        log: &LeftLog,
        is_here: impl Fn(RunId) -> bool,
    ) -> Result<(), StoreError> {
        let below = log.below().into_iter().map(|(run, _)| run);
        let mut next: Vec<_> = below.filter(|run| log.may_have_left(*run)).collect();
        next.extend(self.released.keys().copied());
        while let Some(run) = next.pop() {
            if self.runs.contains_key(&run) || is_here(run) {
                continue;
            }
            let found = read(store, run).await?;
            // One that has left the tree says so in a log of its own.
            let Some(record) = found.filter(|it| it.accepted.root == self.root) else { continue };
            next.extend(record.accepted.parent);
            self.runs.insert(run, record);
        }
        Ok(())
    }

    /// Yields the runs that quiesce now, children first.
    ///
    /// A run that has ended non-quiescent, and of which no work is stored, had a body or a closure
    /// in a process. That is gone for certain when no node may execute anything of the tree.
    fn quiesced(&self, log: &LeftLog) -> Vec<RunId> {
        let is_open =
            |record: &RunRecord| record.holds.iter().any(|hold| !self.has_ended(record, hold));
        let is_clear = !self.runs.values().any(is_open);
        let mut touched = HashSet::new();
        for run in self.released.keys() {
            self.add_with_those_above(*run, &mut touched);
        }
        let mut in_doubt = HashSet::new();
        for (run, record) in &self.runs {
            let is_known = is_clear || touched.contains(run);
            let executes =
                !record.status.is_terminal() || is_open(record) || !record.quiescent && !is_known;
            if executes {
                self.add_with_those_above(*run, &mut in_doubt);
            }
        }
        let is_over = |record: &&RunRecord| !record.quiescent && !in_doubt.contains(&record.run());
        let mut quiesced: Vec<_> = self.runs.values().filter(is_over).map(RunRecord::run).collect();
        // A parent came before its children, and the root before all.
        quiesced.sort_by_key(|run| std::cmp::Reverse((*run != self.root, log.place(*run))));
        quiesced
    }

    fn has_ended(&self, record: &RunRecord, hold: &StoredHold) -> bool {
        let of_run = self.released.get(&record.run());
        of_run.is_some_and(|ended| ended.iter().any(|it| it.nr == hold.nr))
    }

    fn add_with_those_above(&self, run: RunId, to: &mut HashSet<RunId>) {
        let mut next = Some(run).filter(|run| to.insert(*run));
        while let Some(run) = next {
            let above = self.runs.get(&run).and_then(|record| record.accepted.parent);
            next = above.filter(|above| to.insert(*above));
        }
    }

    /// Makes the records, in parts of which each is stored at once or not at all. What has ended
    /// comes last: a call that is broken off before that finds it again. Without a log the root
    /// says what is about it itself.
    fn records(&self, quiesced: &[RunId], mut log: Option<&mut LeftLog>) -> Vec<Vec<Record>> {
        let (at, mut parts) = (SystemTime::now(), Vec::new());
        let is_in_memory = log.is_none();
        let root_epoch = self.runs.get(&self.root).map(|record| record.epoch);
        let of_store = |run: &RunId| !(is_in_memory && *run == self.root);
        for record in quiesced.iter().filter(|run| of_store(run)).filter_map(|it| self.runs.get(it))
        {
            let (run, epoch, mut part) = (record.run(), record.epoch, Vec::new());
            if let (Some(log), Some(of_log)) = (&mut log, root_epoch)
                && !log.has_quiesced(run)
            {
                let lacks = log.lacks(record);
                let events = lacks.beginning.into_iter().chain(lacks.stop).chain(lacks.end);
                let events = events.chain([(at, EventKind::Quiesced)]).collect::<Vec<_>>();
                part.extend(events.into_iter().map(|event| {
                    let event = log.next(run, event);
                    Record::Event { epoch: of_log, event }
                }));
            }
            part.push(Record::Quiesced { run, epoch, at });
            parts.push(part);
        }
        let open = self.released.iter().filter(|(run, _)| of_store(run));
        for (run, holds) in open {
            let Some(record) = self.runs.get(run) else { continue };
            let (run, epoch) = (record.run(), record.epoch);
            let ended = |hold: &StoredHold| Record::HoldEnded { run, epoch, nr: hold.nr };
            parts.push(holds.iter().map(ended).collect());
        }
        let forgotten = self.runs.get(&self.root).filter(|record| {
            !is_in_memory && record.is_rolled_back() && quiesced.contains(&record.run())
        });
        parts.extend(forgotten.map(|record| {
            let (run, epoch) = (record.run(), record.epoch);
            vec![Record::Forgotten { run, epoch, at }]
        }));
        parts
    }
}
