//! Where an engine keeps its runs, and which member of a cluster it is.

use std::sync::Arc;
use std::time::Duration;

use quell_core::cluster::Cluster;
use quell_core::store::Store;

use crate::cluster::{lease, member};
use crate::config::EngineConfig;
use crate::queue::{RunLimits, Scope};

impl EngineConfig {
    /// Keeps what happens to runs in a store: they are accepted, stopped and ended durably, and
    /// what a process left behind is decided by its successor
    /// ([`Engine::recover`](crate::Engine::recover)). Defaults to none: then all is gone with the
    /// process. The store is for this engine alone; close it after
    /// [`shutdown`](crate::Engine::shutdown). One that belongs to a node needs [`node`](Self::node)
    /// instead.
    ///
    /// A root starts when its acceptance is stored. No stop, no end and no child waits for the
    /// store: [`RunRef::stored`](crate::RunRef::stored) tells what is durable.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::{MemoryStore, Store};
    /// use quell::{Engine, EngineConfig, RunSpec, RunStatus};
    ///
    /// let store = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(store.clone()));
    /// let spec = RunSpec::agent("brief");
    /// let run = engine.submit_durably(spec, async |_| Ok(())).await.unwrap().into_ref();
    /// run.ended().await;
    /// run.stored().await.unwrap();
    /// assert_eq!(store.get(run.id()).await.unwrap().unwrap().status, RunStatus::Completed);
    /// # });
    /// ```
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Makes the engine one of several on their store: this node, which keeps its runs and is its
    /// place among the others. It is [`store`](Self::store) and [`cluster`](Self::cluster) at once.
    /// Defaults to none: the engine is alone. Close it after [`shutdown`](crate::Engine::shutdown).
    ///
    /// # Examples
    ///
    /// `quell-postgres` has nodes for several processes, the feature `test-util` for tests:
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{Engine, EngineConfig};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = Engine::with_config(EngineConfig::new().node(nodes.join("node-1")));
    /// assert!(engine.has_store());
    /// # });
    /// ```
    pub fn node<N: Store + Cluster>(self, node: Arc<N>) -> Self {
        let store: Arc<dyn Store> = Arc::<N>::clone(&node);
        self.store(store).cluster(node)
    }

    /// Makes the engine one of several on its store, which belongs to the same member: whoever has
    /// both in one uses [`node`](Self::node). Defaults to none: the engine is alone.
    ///
    /// The engine renews the lease of the member, carries out the stops that others ask of it
    /// ([`Engine::cancel_anywhere`](crate::Engine::cancel_anywhere)), and takes over from a member
    /// that is gone ([`Engine::take_over`](crate::Engine::take_over)). If its own lease is not
    /// renewed in time, it stops all of its runs with cause
    /// [`LeaseLost`](crate::CauseKind::LeaseLost), and stores nothing of that: others may have them
    /// ([`Engine::lease_lost`](crate::Engine::lease_lost)).
    pub fn cluster(mut self, cluster: Arc<dyn Cluster>) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Bounds how many roots of a scope run at once on all nodes together, in number, besides
    /// [`limit`](Self::limit), which bounds those of this one; the last maximum for a scope counts.
    /// Defaults to none. Zero starts none. An engine that is alone has all nodes in it: then this
    /// is as [`RunLimits::running_max`](crate::RunLimits::running_max).
    ///
    /// A root takes a slot of the limit when it starts, and gives it back when it is paused or
    /// quiescent: one that ended non-quiescent still counts. A node takes slots in blocks, so that
    /// most starts ask nobody; it gives back at once what it does not need and another one waits
    /// for, and else after 250 ms. While several wait, each has an equal share in the end, as runs
    /// end elsewhere, and no node waits for ever. Roots that wait for such a slot are queued, and
    /// count for [`queued_max`](Self::queued_max): with zero, a root is refused unless this node
    /// has a slot left.
    ///
    /// A node that is gone keeps its slots until another one takes over ([`Engine::take_over`]), or
    /// it is started again under its name; then they follow its runs, and what no run holds is
    /// given back when these are decided. Its lease leaves it time to stop all of them before that;
    /// what it has abandoned by then, as it does with what cannot be dropped, counts no more. While
    /// the store is away a node makes do with the slots that it has.
    ///
    /// If nodes have different maxima for a scope, that of the node that joined last is right for
    /// all, and the others warn. Nobody is stopped because a maximum is lower than before: slots
    /// fall as runs end.
    ///
    /// [`Engine::take_over`]: crate::Engine::take_over
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::testing::cluster::Nodes;
    /// use quell::{CancelRequest, Engine, EngineConfig, RunContext, RunSpec, RunStatus, Scope};
    ///
    /// let nodes = Nodes::new(Duration::from_secs(15));
    /// let engine = |name| {
    ///     let config = EngineConfig::new().node(nodes.join(name));
    ///     Engine::with_config(config.limit_of_all_nodes(Scope::All, 1))
    /// };
    /// let (a, b) = (engine("a"), engine("b"));
    /// let body = async |ctx: RunContext| Ok(_ = ctx.stopped().await);
    /// let first = a.submit(RunSpec::agent("first"), body).unwrap().into_ref();
    /// while first.status() != RunStatus::Running {
    ///     tokio::task::yield_now().await;
    /// }
    /// let second = b.submit(RunSpec::agent("second"), async |_| Ok(())).unwrap().into_ref();
    /// assert_eq!(second.status(), RunStatus::Queued);
    /// first.cancel(CancelRequest::because("enough"));
    /// assert_eq!(second.ended().await.status, RunStatus::Completed);
    /// # });
    /// ```
    pub fn limit_of_all_nodes(mut self, scope: Scope, running_max: usize) -> Self {
        self.all_nodes.retain(|(of, _)| *of != scope);
        self.all_nodes.push((scope, running_max));
        self
    }

    /// Checks what has to fit together, and makes limits of all nodes those of an engine that is
    /// alone.
    ///
    /// # Panics
    ///
    /// As [`assert_one_member`](Self::assert_one_member).
    pub(crate) fn settle(&mut self) {
        self.assert_one_member();
        if self.cluster.is_some() {
            return;
        }
        for (scope, max) in std::mem::take(&mut self.all_nodes) {
            let limits = match &scope {
                Scope::All => &mut self.all,
                of => {
                    let known = self.scopes.iter().rposition(|(scope, _)| scope == of);
                    let place = known.unwrap_or(self.scopes.len());
                    if known.is_none() {
                        self.scopes.push((of.clone(), RunLimits::new()));
                    }
                    &mut self.scopes[place].1
                }
            };
            limits.running_max = Some(limits.running_max.map_or(max, |own| own.min(max)));
        }
    }

    /// Yields what the lease of a node has to be longer than, with which this makes an engine: five
    /// fourths of the grace, the abort wait and 1 s together, so that all of its runs have ended,
    /// or are abandoned by name, before another node has them.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use quell::EngineConfig;
    ///
    /// let config = EngineConfig::new().grace(Duration::from_secs(5));
    /// let config = config.abort_wait(Duration::from_secs(2));
    /// assert_eq!(config.shortest_lease(), Duration::from_secs(10));
    /// ```
    pub fn shortest_lease(&self) -> Duration {
        lease::shortest(member::reserve(self.to_stop()))
    }

    /// Yields how long a stop of everything takes at most.
    pub(crate) const fn to_stop(&self) -> Duration {
        self.grace.saturating_add(self.abort_wait)
    }

    /// Checks that the store and the cluster are of one node, or of none.
    ///
    /// # Panics
    ///
    /// If they are not: the lease of the node that has the runs would not be renewed, and another
    /// one would execute them as well.
    fn assert_one_member(&self) {
        let member = self.store.as_ref().and_then(|store| store.member());
        let name = self.cluster.as_ref().map(|cluster| cluster.name());
        let said = |name: Option<&str>| name.map_or("no node".into(), |name| format!("`{name}`"));
        assert!(
            member == name,
            "quell: the store of the engine is that of {}, its cluster that of {}: give it both \
             with EngineConfig::node",
            said(member),
            said(name),
        );
    }
}
