//! The engine: where runs are submitted, found and stopped.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use quell_core::lifecycle::Input;
use quell_core::limits;
use quell_core::{CancelRequest, Cause, CauseKind, Disposition, EventKind, RunId};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::body;
use crate::clock::Clock;
use crate::config::EngineConfig;
use crate::context::RunContext;
use crate::control::{self, Control};
use crate::events::{AllEvents, Log};
use crate::failure::{Failure, SubmitError};
use crate::faults;
use crate::filter::RunFilter;
use crate::handle::{RunHandle, RunRef};
use crate::node::{Node, State};
use crate::registry::{Entered, Registry};
use crate::shield;
use crate::shutdown::Closing;
use crate::spec::RunSpec;
use crate::stream::EventStream;
use crate::sync::{AtomicBool, Mutex, Ordering};

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

/// What every run of an engine shares.
pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) runtime: Handle,
    pub(crate) clock: Clock,
    pub(crate) control: Control,
    pub(crate) registry: Registry,
    pub(crate) events: Arc<AllEvents>,
    pub(crate) closed: AtomicBool,
    pub(crate) closing: Mutex<Option<Closing>>,
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
    /// Panics outside a tokio runtime if the configuration names none, and if the system refuses
    /// the control thread.
    #[expect(clippy::expect_used, reason = "an engine without its thread could not keep a promise")]
    pub fn with_config(mut config: EngineConfig) -> Self {
        let runtime = config.runtime.take().unwrap_or_else(|| {
            Handle::try_current().expect(
                "quell: make the engine inside a tokio runtime, or name one with \
                 EngineConfig::runtime",
            )
        });
        let token = config.parent_token.clone();
        let shared = Arc::new(Shared {
            registry: Registry::new(&config.limits),
            events: Arc::new(AllEvents::new(limits::SUBSCRIBER_BACKLOG_MAX)),
            config,
            runtime,
            clock: Clock::start(),
            control: Control::default(),
            closed: AtomicBool::new(false),
            closing: Mutex::new(None),
        });
        #[cfg(feature = "test-util")]
        let on_runtime = shared.config.control_on_runtime;
        #[cfg(not(feature = "test-util"))]
        let on_runtime = false;
        if on_runtime {
            #[cfg(feature = "test-util")]
            drop(shared.runtime.spawn(control::run(Arc::clone(&shared))));
        } else {
            control::spawn_thread(&shared).expect("quell: the system refuses the control thread");
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
    /// reached.
    pub fn submit<T, F, Fut>(&self, spec: RunSpec, body: F) -> Result<RunHandle<T>, SubmitError>
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let shared = self.shared();
        let node = shared.accept_root(spec)?;
        body::spawn(&node, body);
        Ok(RunHandle::new(node))
    }

    /// Finds a run that is live or kept.
    pub fn get(&self, id: RunId) -> Option<RunRef> {
        self.shared().registry.get(id).map(RunRef::new)
    }

    /// Asks a run to stop. Returns when every live descendant is signalled; the work may still be
    /// ending then. An unknown id is remembered if the request says so.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn cancel(&self, id: RunId, request: CancelRequest) -> Disposition {
        let now = self.shared().clock.now();
        match self.shared().registry.find_or_reserve(id, &request, now) {
            Ok(node) => node.cancel(&request),
            Err(answer) => answer,
        }
    }

    /// Asks every run that a filter lets through to stop: one snapshot, then each.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made to be given away")]
    pub fn cancel_where(
        &self,
        filter: &RunFilter,
        request: CancelRequest,
    ) -> Vec<(RunId, Disposition)> {
        let nodes = self.shared().registry.list(filter);
        nodes.into_iter().map(|node| (node.id, node.cancel(&request))).collect()
    }

    /// Lists the runs that a filter lets through, in order of their ids. A run accepted before the
    /// call is in it; one accepted during it may be.
    pub fn runs(&self, filter: &RunFilter) -> Vec<RunRef> {
        let mut nodes = self.shared().registry.list(filter);
        nodes.sort_by_key(|node| node.id);
        nodes.into_iter().map(RunRef::new).collect()
    }

    /// Reads the events of every tree from now on. In [`EventKind::Lagged`] the numbers are those
    /// of this stream, not of a tree.
    pub fn events(&self) -> EventStream {
        EventStream::of_engine(Arc::clone(&self.shared().events))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.0
    }
}

impl Shared {
    /// Makes a root known.
    fn accept_root(self: &Arc<Self>, mut spec: RunSpec) -> Result<Arc<Node>, SubmitError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(SubmitError::ShuttingDown);
        }
        self.check(&spec)?;
        let (now, token, mut wakers) = (self.clock.now(), spec.link.take(), Vec::new());
        let node = Node::new(self, id_of(&spec), spec, None, now);
        let entered = self.enter(&node, &mut node.lock(), false, now, &mut wakers);
        let stop = entered?;
        wakers.into_iter().for_each(Waker::wake);
        self.stop_at_once(&node, token, stop);
        if self.config.parent_token.as_ref().is_some_and(CancellationToken::is_cancelled) {
            node.cancel(&control::by_token());
        }
        self.stop_if_closed(&node);
        Ok(node)
    }

    /// Makes a child known, if the fence of its parent lets it pass.
    pub(crate) fn accept_child(
        self: &Arc<Self>,
        mut spec: RunSpec,
        parent: &Arc<Node>,
    ) -> Result<Arc<Node>, Refusal> {
        self.check(&spec)?;
        let (now, token, mut wakers) = (self.clock.now(), spec.link.take(), Vec::new());
        let (node, stop) = self.link_child(spec, parent, now, &mut wakers)?;
        wakers.into_iter().for_each(Waker::wake);
        self.stop_at_once(&node, token, stop);
        Ok(node)
    }

    fn check(&self, spec: &RunSpec) -> Result<(), SubmitError> {
        spec.check()?;
        let max = self.config.limits.runs_max;
        if self.registry.live() >= max {
            return Err(SubmitError::LimitReached { what: "live runs", max });
        }
        Ok(())
    }

    /// Links a child and reads the stop of its parent under one lock (I8).
    fn link_child(
        self: &Arc<Self>,
        spec: RunSpec,
        parent: &Arc<Node>,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<(Arc<Node>, Option<CancelRequest>), Refusal> {
        let limits = &self.config.limits;
        if parent.depth >= limits.depth_max {
            let max = limits.depth_max as usize;
            return Err(SubmitError::LimitReached { what: "depth", max }.into());
        }
        let shielded = shield::is_active(parent.id);
        let mut above = parent.lock();
        if above.life.is_fenced(shielded) && !faults::on("skip-fence") {
            return Err(Refusal::Stopped(parent.refusal(&above)));
        }
        if above.life.live_children() >= limits.children_max {
            let max = limits.children_max as usize;
            return Err(SubmitError::LimitReached { what: "live children", max }.into());
        }
        let cleanup = above.life.is_stopping();
        let node = Node::new(self, id_of(&spec), spec, Some((parent, &above)), now);
        let mut state = node.lock();
        let stop = self.enter(&node, &mut state, cleanup, now, wakers)?;
        let added = above.life.on(Input::ChildAdded { shielded }, now);
        debug_assert!(
            !added.refused || faults::on("skip-fence"),
            "the fence was asked under the same lock"
        );
        state.slot = above.kids.link(Arc::clone(&node));
        drop(state);
        Ok((node, stop))
    }

    /// Enters a node in the registry and the log, under its lock: nobody sees it half made.
    fn enter(
        &self,
        node: &Arc<Node>,
        state: &mut State,
        shielded: bool,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<Option<CancelRequest>, SubmitError> {
        let stop = match self.registry.enter(node, state.parent_id.is_none(), now) {
            Entered::InUse => return Err(SubmitError::IdInUse(node.id)),
            Entered::Stopped(request) => Some(request),
            Entered::Yes => None,
        };
        let (parent, kind, name) = (state.parent_id, node.kind, Arc::clone(&node.name));
        node.write(state, now, EventKind::Queued { parent, kind, name, shielded }, wakers);
        if let Some(at) = state.life.next_wakeup() {
            state.armed = self.control.rearm(node, None, Some(at));
        }
        Ok(stop)
    }

    /// Applies what was waiting for the run before its body can start.
    fn stop_at_once(
        &self,
        node: &Arc<Node>,
        token: Option<CancellationToken>,
        stop: Option<CancelRequest>,
    ) {
        if let Some(request) = stop {
            node.cancel(&request);
        }
        let Some(token) = token else { return };
        if token.is_cancelled() {
            node.cancel(&control::by_token());
        } else {
            let link = self.control.link_run(node, token);
            let mut state = node.lock();
            if state.times.ended.is_some() {
                link.abort();
            } else {
                state.extra().link = Some(link);
            }
        }
    }

    pub(crate) fn new_log(&self, root: RunId) -> Log {
        let limits = &self.config.limits;
        let (events_max, rows_max) = (limits.events_per_root_max, limits.report_rows_max);
        Log::new(root, self.clock, events_max, rows_max, Arc::clone(&self.events))
    }

    pub(crate) fn cancel_roots(&self, request: &CancelRequest) {
        for node in self.registry.list(&RunFilter::new().roots().live()) {
            node.cancel(request);
        }
    }

    /// Keeps an ended tree, and forgets those whose time is over.
    pub(crate) fn retire(&self, root: &Arc<Node>) {
        let now = self.clock.now();
        if let Some(at) = self.registry.retire(root, now) {
            self.control.nudge(at);
        }
        self.registry.expire(now);
    }

    /// Says why nothing can start in a run that is over.
    pub(crate) fn cause_of_late(&self, run: RunId) -> Cause {
        let mut cause =
            Cause::new(CauseKind::ParentStopped, self.clock.wall(self.clock.now()), run);
        cause.message = Some("the run has ended".into());
        cause
    }
}

fn id_of(spec: &RunSpec) -> RunId {
    spec.id.unwrap_or_else(|| RunId::from_uuid(Uuid::now_v7()))
}

/// Why a child was not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    Stopped(quell_core::Stopped),
    Submit(SubmitError),
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        Self::Submit(error)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        crate::shutdown::abandon_engine(&self.0);
    }
}

impl Drop for Shared {
    /// Nothing can be due any more: no run is left.
    fn drop(&mut self) {
        self.control.close();
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
