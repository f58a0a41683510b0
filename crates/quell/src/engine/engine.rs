//! [`Engine`] submits, finds and stops runs.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use quell_core::{CancelRequest, Disposition, RunFilter, RunId, limits};
use tokio::runtime::Handle;

use crate::body::context::RunContext;
use crate::body::driver;
use crate::cluster::Member;
use crate::config::EngineConfig;
use crate::control::{membership, turns};
use crate::engine::{filter, forgotten};
use crate::failure::{Failure, ForgetError, SubmitError};
use crate::foreign::couriers::Couriers;
use crate::gate::LaneMark;
use crate::handle::RunHandle;
use crate::idempotency::IdempotencyKey;
use crate::journal::{Journal, Writer};
use crate::log::firehose::AllEvents;
use crate::log::ring::Bounds;
use crate::node::{Control, Node, Shared};
use crate::run::RunRef;
use crate::spec::RunSpec;
use crate::step::cancel::cancel_each;
use crate::stop_scope::StopScope;
use crate::stream::EventStream;
use crate::sync::{AtomicBool, AtomicU64, Mutex, watch};
use crate::tables::admission::Admission;
use crate::tables::claims::{Claims, Submitted};
use crate::tables::coming::Coming;
use crate::tables::ledger::Ledger;
use crate::tables::registry::Registry;
use crate::tables::retention::Retention;
use crate::time::clock::Clock;

/// Runs agents, teams and workflows as trees of runs that stop when told.
///
/// Cheap to clone. When the last clone is dropped, what is live is stopped as by
/// [`shutdown`](Self::shutdown), without waiting for it.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{CancelRequest, Engine, RunSpec, RunStatus};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::agent("sleeper"), async |_ctx| {
///     std::future::pending::<()>().await;
///     Ok(())
/// })?;
/// run.cancel(CancelRequest::because("enough"));
/// assert_eq!(run.ended().await.status, RunStatus::Cancelled);
/// # Ok::<(), quell::SubmitError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Engine {
    owner: Arc<Owner>,
}

/// Stops what is live when the last [`Engine`] goes.
struct Owner(Arc<Shared>);

impl Engine {
    /// Makes an engine with every default. Its bodies run on the current runtime.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime; use [`EngineConfig::runtime`] there.
    pub fn new() -> Self {
        Self::with_config(EngineConfig::new())
    }

    /// Makes an engine.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime if the configuration names none, if the system refuses the
    /// control thread, if its store belongs to a node and its cluster is not that node, or the
    /// other way round, and if the lease is too short for its grace and abort wait.
    #[expect(clippy::expect_used, reason = "an engine without its thread could not keep a promise")]
    pub fn with_config(mut config: EngineConfig) -> Self {
        let runtime = config.runtime.take().unwrap_or_else(|| {
            let words = "quell: make the engine inside a tokio runtime, or name one with \
                         EngineConfig::runtime";
            Handle::try_current().expect(words)
        });
        #[cfg(quell_shuttle)]
        let runtime = crate::sync::Runtime(runtime);
        let token = config.parent_token.clone();
        #[cfg(feature = "test-util")]
        let on_runtime = config.control_on_runtime;
        #[cfg(not(feature = "test-util"))]
        let on_runtime = false;
        config.settle();
        let cluster = config.cluster.take();
        let store = config.store.take();
        let journal = store.map(|store| Journal::new(store, cluster.is_none()));
        let member = cluster.map(|cluster| Member::new(cluster, config.to_stop()));
        let admission = Admission::new(&config.run_limits(), &config.all_nodes);
        let admission = admission.sharing(Member::asks(member.as_ref()));
        let shared = Arc::new(Shared {
            journal,
            member,
            retention: Retention::new(&config.limits),
            ledger: Ledger::new(&config.limits),
            counters: Arc::default(),
            couriers: Couriers::new(on_runtime.then(|| runtime.clone())),
            registry: Registry::new(&config.limits),
            claims: Claims::new(&config.limits),
            coming: Coming::default(),
            admission,
            events: Arc::new(AllEvents::new(Bounds {
                entries: limits::SUBSCRIBER_BACKLOG_MAX,
                bytes: limits::SUBSCRIBER_BACKLOG_BYTES_MAX,
            })),
            config,
            runtime,
            clock: Clock::start(),
            control: Control::default(),
            closed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            closing: Mutex::new(None),
            taken_in: AtomicU64::new(0),
            take_overs: watch::Sender::new(0),
        });
        // A model brings the inputs of the control loop itself, and cannot play loops without end.
        let has_loops = !cfg!(quell_loom);
        if has_loops && on_runtime {
            #[cfg(feature = "test-util")]
            drop(shared.runtime.spawn(turns::run(&shared)));
        } else if has_loops {
            turns::spawn_thread(&shared).expect("quell: the system refuses the control thread");
        }
        if let Some(journal) = shared.journal.as_ref().filter(|_| has_loops) {
            let (couriers, runtime) = (&shared.couriers, &shared.runtime);
            let started = Writer::start(journal, couriers, runtime, shared.hearing());
            started.expect("quell: the system refuses the journal thread");
        }
        if let Some(member) = shared.member.as_ref().filter(|_| has_loops) {
            let started = membership::start(&shared, member, forgotten::release);
            started.expect("quell: the system refuses the cluster thread");
        }
        if let Some(token) = token {
            shared.control.link_engine(token);
        }
        Self { owner: Arc::new(Owner(shared)) }
    }

    /// Starts a run at the root of a tree of its own.
    ///
    /// # Errors
    ///
    /// Fails, and makes nothing, when the engine shuts down, the id is in use, or a bound is
    /// reached; and, before all that, when the spec brings an idempotency key that was used before.
    /// Id, lane, key and the stop that was remembered for the run are claimed in one step.
    pub fn submit<T, F, Fut>(&self, spec: RunSpec, body: F) -> Result<RunHandle<T>, SubmitError>
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let (node, superseded) = self.shared().accept_root(spec)?;
        driver::spawn(&node, body);
        Ok(RunHandle::new(node).superseding(superseded))
    }

    /// As [`submit`](Self::submit), and waits until the acceptance is in the store, so that it
    /// outlives the process, and so are the stops of the runs whose place it takes
    /// ([`OnBusy::CancelExisting`](crate::OnBusy::CancelExisting)): no later process lets them go
    /// on. Without a store it does not wait. If the store is in trouble by then, the run is
    /// accepted all the same, and [`RunRef::stops_stored`] of the others tells of theirs. A repeat
    /// with the same idempotency key waits for the same before it is told of the run.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit); and if the store knows the id or the key already, or cannot
    /// take the run. Then its body was dropped without a poll, and its id, its key and the stop
    /// that was remembered for it are left to the next one.
    ///
    /// # Cancel safety
    ///
    /// The run goes on if it was accepted, although the future was dropped.
    pub async fn submit_durably<T, F, Fut>(
        &self,
        spec: RunSpec,
        body: F,
    ) -> Result<RunHandle<T>, SubmitError>
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let submitted = self.submit(spec, body);
        self.durably(submitted).await
    }

    /// Finds a run that is live or kept.
    pub fn get(&self, id: RunId) -> Option<RunRef> {
        self.shared().registry.get(id).map(RunRef::new)
    }

    /// Asks a run to stop. Returns when every live descendant is signalled; the work may still be
    /// ending then. An unknown id is remembered if the request says so.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn cancel(&self, id: RunId, request: CancelRequest) -> Disposition {
        let shared = self.shared();
        match shared.registry.find_or_reserve((id, None), &request, &shared.clock, |_| true) {
            Ok(node) => node.cancel(&request),
            Err(answer) => answer,
        }
    }

    /// Remembers a stop for the first run that is submitted with this id into this scope
    /// ([`RunSpec::stop_scope`]), for as long as the request says
    /// ([`CancelRequest::remember_for`]). That run ends cancelled, and its body is never polled.
    /// The answer is `Reserved`; or `Unknown` if the request or the engine remembers nothing.
    ///
    /// # Errors
    ///
    /// Fails with the run, and changes nothing, if one with this id and scope is there by now.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::Duration;
    /// use quell::{CancelRequest, Disposition, Engine, RunId, RunSpec, RunStatus, StopScope};
    ///
    /// let (engine, id) = (Engine::new(), RunId::from_text("r-1"));
    /// let stop = CancelRequest::because("early").remember_for(Duration::from_secs(60));
    /// let of_ada = StopScope::new(["ada"]);
    /// assert_eq!(engine.remember_stop(id, of_ada, stop.clone()), Ok(Disposition::Reserved));
    /// let run = engine.submit(RunSpec::agent("hers").id(id).stop_scope(of_ada), async |_| Ok(()));
    /// let run = run.unwrap().into_ref();
    /// assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    /// assert_eq!(engine.remember_stop(id, of_ada, stop), Err(run));
    /// # });
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn remember_stop(
        &self,
        id: RunId,
        scope: StopScope,
        request: CancelRequest,
    ) -> Result<Disposition, RunRef> {
        let shared = self.shared();
        let is_in_scope = |node: &Node| node.stop_scopes().contains(&scope);
        let found = shared.registry.find_or_reserve(
            (id, Some(scope)),
            &request,
            &shared.clock,
            is_in_scope,
        );
        found.map_or_else(Ok, |node| Err(RunRef::new(node)))
    }

    /// Finds the run that an owner has submitted with a key and payload: its id, and the run if it
    /// is live or kept. None if the key is not known, or stands for another payload.
    pub fn submitted_with(
        &self,
        owner: Option<&str>,
        key: &IdempotencyKey,
    ) -> Option<(RunId, Option<RunRef>)> {
        let (shared, owner) = (self.shared(), owner.map(Arc::from));
        let mut keys = shared.claims.lock();
        match keys.find(owner.as_ref(), key, shared.clock.now())?.ok()? {
            Submitted::Kept(id) => Some((id, shared.registry.get(id).map(RunRef::new))),
            Submitted::Forgotten(id) => Some((id, None)),
        }
    }

    /// Asks every run that a filter lets through to stop: one snapshot, then each.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn cancel_where(
        &self,
        filter: &RunFilter,
        request: CancelRequest,
    ) -> Vec<(RunId, Disposition)> {
        let nodes = self.shared().list_for_stop(|node| filter::matches(filter, node));
        let answers = cancel_each(&nodes, &request);
        nodes.iter().map(|node| node.id).zip(answers).collect()
    }

    /// Asks several runs to stop, in an order in which none of them starts because another one has
    /// ended. The answers are in the order of the runs.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{CancelRequest, Engine, OnBusy, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let reply = || RunSpec::agent("reply").lane("thread-1", OnBusy::Enqueue);
    /// let body = async |_| Ok(());
    /// let runs = [0; 2].map(|_| engine.submit(reply(), body).unwrap().into_ref());
    /// engine.cancel_each(&runs, CancelRequest::because("none of them is needed"));
    /// assert_eq!(runs[1].ended().await.own_row().started_at, None);
    /// # });
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn cancel_each(&self, runs: &[RunRef], request: CancelRequest) -> Vec<Disposition> {
        let mut order: Vec<_> = runs.iter().enumerate().collect();
        order.sort_by_cached_key(|(_, run)| self.shared().stop_rank(run.node()));
        let nodes: Vec<_> = order.iter().map(|(_, run)| run.node()).collect();
        let given = cancel_each(&nodes, &request);
        let mut answers: Vec<_> = order.into_iter().map(|(at, _)| at).zip(given).collect();
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Lists the runs that a filter lets through, in order of their ids. A run accepted before the
    /// call is in it; one accepted during it may be.
    pub fn runs(&self, filter: &RunFilter) -> Vec<RunRef> {
        let mut nodes = self.shared().registry.list(|node| filter::matches(filter, node));
        nodes.sort_by_key(|node| node.id);
        nodes.into_iter().map(RunRef::new).collect()
    }

    /// Lists the live roots of a lane here, the newest first. What comes meanwhile may be missing.
    pub fn lane(&self, key: &str) -> Vec<RunRef> {
        self.shared().admission.runs_of(key).into_iter().map(RunRef::new).collect()
    }

    /// Yields the present moment, for
    /// [`RunSpec::lane_unchanged_since`](crate::RunSpec::lane_unchanged_since). It is taken before
    /// the look at a lane.
    pub fn lane_mark(&self) -> LaneMark {
        self.shared().admission.mark()
    }

    /// Forgets a tree that has ended, before its time in memory is over: its id is free again.
    /// References to it go on to show what they showed.
    ///
    /// # Errors
    ///
    /// Fails, and changes nothing, if the run is not known, is not a root, or is not quiescent.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, ForgetError, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::agent("brief"), async |_| Ok(())).unwrap().into_ref();
    /// assert_eq!(engine.forget(run.id()), Err(ForgetError::NotQuiescent));
    /// run.quiescent().await;
    /// assert_eq!(engine.forget(run.id()), Ok(()));
    /// assert_eq!(engine.forget(run.id()), Err(ForgetError::Unknown));
    /// # });
    /// ```
    pub fn forget(&self, id: RunId) -> Result<(), ForgetError> {
        let shared = self.shared();
        shared.forget_root(&shared.registry.get(id).ok_or(ForgetError::Unknown)?)
    }

    /// Reads the events of every tree from now on. The numbers in
    /// [`EventKind::Lagged`](crate::EventKind::Lagged) are those of this stream, not of a tree.
    pub fn events(&self) -> EventStream {
        EventStream::of_engine(&self.shared().events, &self.shared().counters)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        crate::engine::shutdown::abandon_engine(&self.0);
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.shared().registry.live();
        f.debug_struct("Engine").field("live_runs", &live).finish_non_exhaustive()
    }
}
