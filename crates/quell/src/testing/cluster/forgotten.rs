//! [`Forgotten`]: nodes that are gone for good, and what they may have executed. A process that has
//! joined under a name shows that the one before is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quell_core::cluster::ForgottenWork;
use quell_core::store::{StoreError, StoredHold};
use quell_core::{RunId, Work};

use crate::sync;
use crate::testing::cluster::{Node, Nodes};

#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// By their names, up to a boot: who joins under the name later is another one.
    names: HashMap<Arc<str>, u32>,
    /// Who has begun work that has not ended, by the run and the number of the work.
    left: BTreeMap<(RunId, u32), Left>,
}

/// Work that a member has left.
#[derive(Debug)]
struct Left {
    what: Work,
    name: Arc<str>,
    /// The boot with which it joined.
    boot: u32,
    /// Whether it has ended, as a later process of the member shows or says; none if none has. Of
    /// what is in doubt nobody will know it.
    has_ended: Option<bool>,
}

impl Forgotten {
    /// Notes what a process of a member has left that is gone. What others have left before stays
    /// theirs, and what a service does is done elsewhere.
    pub(super) fn note(&mut self, (name, boot): (&Arc<str>, u32), open: Vec<(RunId, StoredHold)>) {
        for (run, hold) in open.into_iter().filter(|(_, hold)| hold.what != Work::Remote) {
            let left = || Left { what: hold.what, name: Arc::clone(name), boot, has_ended: None };
            self.left.entry((run, hold.nr)).or_insert_with(left);
        }
    }

    /// Forgets work that has ended: its number may be given again.
    pub(super) fn end(&mut self, run: RunId, nr: u32) {
        self.left.remove(&(run, nr));
    }

    /// Notes what a process of a member shows or says of such work of those before it. What is
    /// noted first stays so.
    pub(super) fn say(&mut self, (name, boot): (&str, u32), what: Work, have_ended: bool) {
        let of_member = self.left.values_mut().filter(|left| &*left.name == name);
        let before = of_member.filter(|left| left.boot < boot && left.what == what);
        for left in before.filter(|left| left.has_ended.is_none()) {
            left.has_ended = Some(have_ended);
        }
    }

    /// Yields the work of members that were forgotten, and what has ended, as a later process of a
    /// member shows or says.
    fn work(&self) -> impl Iterator<Item = (RunId, u32)> {
        let has_ended = |left: &Left| {
            self.names.get(&left.name).is_some_and(|last| left.boot <= *last)
                || left.has_ended == Some(true)
        };
        let left = self.left.iter().filter(move |(_, left)| has_ended(left));
        left.map(|(work, _)| *work)
    }
}

impl Nodes {
    /// Says that a node is gone for good: what its runs name it for has ended
    /// ([`Work::Node`]). Nodes that join under the name from now on are others. Yields false, and
    /// forgets nobody, while a member has the name whose lease is not over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let _a = nodes.join("a");
    /// assert!(!nodes.forget("a"));
    /// # });
    /// ```
    pub fn forget(&self, name: &str) -> bool {
        let mut table = self.0.table.lock();
        let now = sync::now();
        let is_live = table
            .members
            .values()
            .any(|seat| &*seat.name == name && !seat.is_gone && seat.until > now);
        if is_live {
            return false;
        }
        let boot = table.boot;
        table.forgotten.names.insert(name.into(), boot);
        drop(table);
        self.0.news.notify_waiters();
        true
    }
}

impl Node {
    /// Says what is known of programs that nodes of this name before had begun.
    pub(super) fn say_of_programs(
        &self,
        have_ended: bool,
    ) -> Result<Vec<ForgottenWork>, StoreError> {
        let shared = self.reach()?;
        let mut table = shared.table.lock();
        self.seat(&mut table)?;
        table.forgotten.say((&self.name, self.boot), Work::Process, have_ended);
        drop(table);
        shared.news.notify_waiters();
        self.forgotten_work(usize::MAX)
    }

    /// Yields what of the runs of this node has ended with nodes that were forgotten, of so many.
    pub(super) fn forgotten_work(&self, most: usize) -> Result<Vec<ForgottenWork>, StoreError> {
        let shared = self.reach()?;
        let table = shared.table.lock();
        let mut work: Vec<ForgottenWork> = Vec::new();
        for (run, nr) in table.forgotten.work() {
            let Some((root, open)) = shared.store.open(run)? else { continue };
            if !open.contains(&nr) || table.owners.get(&root) != Some(&self.boot) {
                continue;
            }
            let is_full = work.len() == most;
            match work.last_mut().filter(|last| last.run == run) {
                Some(last) => last.holds.push(nr),
                None if is_full => break,
                None => work.push(ForgottenWork { run, holds: vec![nr] }),
            }
        }
        Ok(work)
    }
}
