//! [`Engine::stored_standings`]: how stops stand that other nodes carry out, as far as the store
//! tells.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::{RunNow, RunRecord, StoreError, TreeAsk, TreeNow};
use quell_core::{RunRow, StopMode, Work};

use crate::engine::Engine;
use crate::engine::stops::{CleaningUp, StopStanding, put};

impl Engine {
    /// Tells how the stops of stored roots stand, as far as the store tells, in their order: for
    /// those that another node has. None of one that was not told to stop, and of one of which
    /// nothing executes any more. The trees of the first [`TreeNow::TREES_MAX`] of the others are
    /// looked at, as far as the store comes in a few seconds, the small ones first; of others the
    /// deadline is told, and that there is more.
    ///
    /// Of a live root it is what the records of its tree say: which runs have not ended, and since
    /// when they stop, programs and requests that they have begun, and who was aborted or has left
    /// something. Hooks and closures are known to the node of the run alone. It is late by as much
    /// as that node is with what it stores. Of a root that has ended it is what its report says,
    /// and of what is abandoned what the records still have. A stop that waited for a checkpoint
    /// and was made urgent since has the time of the first one: the store has no other. What still
    /// executes is given up as soon after the hard deadline as this engine would
    /// ([`EngineConfig::abort_wait`](crate::EngineConfig::abort_wait)): nodes are made alike.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{CancelRequest, Engine, EngineConfig, RunContext, RunSpec};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| Engine::with_config(EngineConfig::new().node(nodes.join(name)));
    /// let (a, b) = (engine("a"), engine("b"));
    /// let (begun, begins) = tokio::sync::oneshot::channel();
    /// let body = async move |ctx: RunContext| {
    ///     begun.send(()).unwrap();
    ///     ctx.stopped().await;
    ///     std::future::pending::<Result<(), quell::Failure>>().await
    /// };
    /// let run = a.submit_durably(RunSpec::agent("deaf"), body).await.unwrap().into_ref();
    /// begins.await.unwrap();
    /// run.cancel_durably(CancelRequest::because("enough")).await.1.unwrap();
    ///
    /// let record = b.stored_run(run.id()).await.unwrap().unwrap();
    /// let now = b.stored_standings(&[&record]).await.unwrap().remove(0).unwrap();
    /// assert_eq!((now.live, &*now.cleaning_up[0].name, now.of_store), (1, "deaf", true));
    /// assert!(now.hard_deadline < now.given_up_at);
    /// # });
    /// ```
    pub async fn stored_standings(
        &self,
        roots: &[&RunRecord],
    ) -> Result<Vec<Option<StopStanding>>, StoreError> {
        let under_way = |root: &RunRecord| {
            let stop = root.stop.as_ref().filter(|stop| stop.mode != StopMode::AfterStep);
            stop.filter(|_| !root.quiescent).cloned()
        };
        let asks = roots.iter().filter_map(|root| {
            let stop = under_way(root)?;
            Some(TreeAsk { root: root.run(), stopped_at: stop.cause.at })
        });
        let asks: Vec<_> = asks.take(TreeNow::TREES_MAX).collect();
        let mut trees = match &self.shared().journal {
            Some(journal) if !asks.is_empty() => journal.store.trees_now(asks).await?.into_iter(),
            _ => Vec::new().into_iter(),
        };
        let standings = roots.iter().map(|root| {
            let stop = under_way(root)?;
            let mut standing = StopStanding {
                hard_deadline: stop.hard_deadline,
                given_up_at: stop.hard_deadline.map(|at| self.given_up_at(at)),
                of_store: true,
                ..StopStanding::default()
            };
            let tree = trees.next().unwrap_or_else(TreeNow::unknown);
            if root.status.is_terminal() {
                standing.add_ended(root, tree);
            } else {
                standing.add_tree(root, stop.cause.at, tree);
            }
            Some(standing)
        });
        Ok(standings.collect())
    }

    fn given_up_at(&self, hard: SystemTime) -> SystemTime {
        hard.checked_add(self.shared().config.abort_wait).unwrap_or(hard)
    }
}

impl StopStanding {
    /// Adds a live root, and what the store has of those below it.
    fn add_tree(&mut self, root: &RunRecord, since: SystemTime, tree: TreeNow) {
        let own = RunNow {
            run: root.run(),
            name: Arc::clone(&root.accepted.name),
            since,
            is_leaf: tree.live == 0 && !tree.more,
            holds: root.holds.clone(),
        };
        (self.live, self.signalled) = (1 + tree.live, 1 + tree.signalled);
        (self.omitted, self.more) = (tree.omitted, tree.more);
        for RunNow { run, name, since, is_leaf, holds } in [own].into_iter().chain(tree.working) {
            let mut waits_for = |name: &Arc<str>, what| {
                let one = CleaningUp { run, name: Arc::clone(name), what, since };
                put(&mut self.cleaning_up, &mut self.omitted, one);
            };
            if is_leaf {
                waits_for(&name, Work::Body);
            }
            for hold in &holds {
                waits_for(&hold.name, hold.what);
            }
        }
        (self.aborted, self.abandoned) = (tree.aborted, tree.abandoned);
    }

    /// Adds a root that has ended, and what it and those below it have left. Of a tree that was not
    /// looked at the report tells, as it was at the end.
    fn add_ended(&mut self, root: &RunRecord, tree: TreeNow) {
        let report = root.report_by_now();
        let (mut aborted, mut left) = (Vec::new(), root.left());
        let is_told = |row: &RunRow| row.aborted && (tree.more || row.run == root.run());
        aborted.extend(report.rows.into_iter().filter(is_told).map(|row| (row.run, row.name)));
        if tree.more {
            let below = report.abandoned.into_iter().filter(|left| left.run != root.run());
            left.extend(below);
        }
        (self.omitted, self.more) = (tree.omitted, tree.more);
        for run in aborted.into_iter().chain(tree.aborted) {
            put(&mut self.aborted, &mut self.omitted, run);
        }
        for left in left.into_iter().chain(tree.abandoned) {
            put(&mut self.abandoned, &mut self.omitted, left);
        }
    }
}
