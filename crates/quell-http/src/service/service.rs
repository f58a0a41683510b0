//! [`Service`]: the engine, the catalog, access, and the state that all contracts share.

use std::fmt;
use std::sync::Arc;

use quell::{Engine, RunId, RunRef, RunReport};
use quell_flow::{Catalog, Contract};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Principal};
use crate::events::RunEvents;
use crate::ledger::Ledger;
use crate::limits::ServiceLimits;
use crate::long_requests::{LongRequestPermit, LongRequests, ShortRequestPermit};
use crate::readers::Readers;
use crate::records::Records;
use crate::run_view::RunView;
use crate::service::guard::{Clients, DisconnectGuard, OnDisconnect};
use crate::service::view::View;

/// The engine, the catalog and access that every contract is served from. Cheap to clone.
///
/// Bodies run on the runtime of the engine. Name that runtime by
/// [`EngineConfig::runtime`](quell::EngineConfig::runtime), and serve HTTP on another one: then a
/// body that blocks its worker delays no request, no stream and no cancel.
///
/// # Examples
///
/// ```
/// use quell::{Engine, EngineConfig, Payload};
/// use quell_flow::{Catalog, Component};
/// use quell_http::Service;
///
/// let bodies = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
/// let engine = Engine::with_config(EngineConfig::new().runtime(bodies.handle().clone()));
/// let catalog = Catalog::new()
///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let service = Service::new(engine, catalog);
/// let app: axum::Router = quell_http::router(service);
/// # drop(app);
/// # bodies.shutdown_background();
/// ```
#[derive(Clone)]
#[must_use = "a service does nothing until it is served"]
pub struct Service {
    engine: Engine,
    catalog: Arc<Catalog>,
    access: Arc<Access>,
    shared: Arc<Shared>,
}

/// The state that all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    is_draining: watch::Sender<bool>,
    pub(super) batches: TaskTracker,
    pub(crate) limits: ServiceLimits,
    pub(crate) requests: Ledger,
    pub(crate) kept: Ledger,
    pub(crate) streams: Ledger,
    pub(crate) clients: Clients,
    long_requests: LongRequests,
    /// The cancels that wait for a slow store.
    pub(super) slow_stops: LongRequests,
    pub(crate) records: Records,
    pub(crate) readers: Readers,
}

impl Service {
    /// Serves the components of a catalog. Access is open.
    pub fn new(engine: Engine, catalog: Catalog) -> Self {
        let (catalog, access) = (Arc::new(catalog), Arc::new(Access::open()));
        let shared = Arc::new(Shared::new(ServiceLimits::default()));
        Self { engine, catalog, access, shared }
    }

    /// Sets the credentials that are accepted. Defaults to [`Access::open`]: only for loopback.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Arc::new(access);
        self
    }

    /// Sets the bounds. Defaults to [`ServiceLimits::default`]. Call it before the service is used:
    /// it forgets the transcripts of before.
    pub fn limits(mut self, limits: ServiceLimits) -> Self {
        self.shared = Arc::new(Shared::new(limits));
        self
    }

    /// Yields the bounds.
    pub fn limits_of(&self) -> &ServiceLimits {
        &self.shared.limits
    }

    /// Yields the ledger of values that contracts keep for callers besides the engine, as the
    /// metadata of a thread.
    pub fn kept(&self) -> &Ledger {
        &self.shared.kept
    }

    /// Takes the permit that a request needs to hold its connection for long; `None` if all are
    /// taken ([`ServiceLimits::long_requests_max`]), or if with the short ones a sixth more are
    /// under way: of a server three quarters of whose connections may be held for long an eighth is
    /// left then, for cancels.
    pub fn long_request_permit(&self) -> Option<LongRequestPermit> {
        self.shared.long_requests.try_acquire()
    }

    /// Counts a request in that does not hold its connection for long; `None` if as many are under
    /// way as [`long_request_permit`](Self::long_request_permit) says.
    pub fn short_request_permit(&self) -> Option<ShortRequestPermit> {
        self.shared.long_requests.try_count(6)
    }

    /// As [`short_request_permit`](Self::short_request_permit), of a request that asks how the
    /// server is: up to a quarter more may be under way.
    pub fn probe_permit(&self) -> Option<ShortRequestPermit> {
        self.shared.long_requests.try_count(4)
    }

    /// Counts the requests that hold their connection for long at this moment: streams, waits and
    /// starts.
    pub fn long_requests(&self) -> usize {
        self.shared.long_requests.taken()
    }

    /// Yields the engine.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Yields the catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Yields the credentials that are accepted.
    pub fn access_of(&self) -> &Access {
        &self.access
    }

    /// Yields the service as one principal sees it through one contract.
    pub fn view(&self, contract: Contract, principal: Principal) -> View {
        View::new(self.clone(), contract, principal)
    }

    /// Refuses new runs from now on, and is not ready any more. Live runs go on until the engine is
    /// shut down.
    pub fn drain(&self) {
        self.shared.is_draining.send_replace(true);
    }

    /// Tells whether it refuses new runs.
    pub fn is_draining(&self) -> bool {
        *self.shared.is_draining.borrow()
    }

    /// Tells whether the store may have live runs that are not here: other nodes have some, or this
    /// process ends, and has left some to the next one. A stop that means all has to look there.
    pub fn has_others(&self) -> bool {
        let engine = self.engine();
        engine.node().is_some() || engine.has_store() && self.is_draining()
    }

    /// Waits until it refuses new runs: for what would otherwise stay open, as a web socket.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn draining(&self) {
        // The sender lives as long as this service.
        let _ = self.shared.is_draining.subscribe().wait_for(|is_draining| *is_draining).await;
    }

    /// Makes the guard of an answer that follows a run. Give it the charge of the stream, which the
    /// caller takes before ([`View::charge_stream`], [`DisconnectGuard::holding`]).
    pub fn guard(&self, run: impl Into<RunView>, policy: OnDisconnect) -> DisconnectGuard {
        self.shared.clients.guard(&self.engine, &run.into(), policy)
    }

    /// Waits for the end of a run on behalf of a client.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the client has gone, and the policy decides about the run.
    pub async fn ended(&self, run: &RunRef, policy: OnDisconnect) -> Arc<RunReport> {
        let _guard = self.guard(run, policy);
        run.ended().await
    }

    /// Reads the events of a run after the one with this `seq`, for a client.
    pub fn events(&self, run: &RunRef, after: u64) -> RunEvents {
        RunEvents::new(self.engine.clone(), run, after)
    }

    /// Yields the id of a run as its caller knows it.
    pub fn external_id(&self, id: RunId) -> String {
        self.engine
            .get(id)
            .map_or_else(|| id.to_string(), |run| crate::external_id(&run).into_owned())
    }

    pub(crate) fn access_shared(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    fn new(limits: ServiceLimits) -> Self {
        let share = limits.owner_share_percent;
        Self {
            is_draining: watch::Sender::new(false),
            batches: TaskTracker::new(),
            limits,
            requests: Ledger::new(REQUESTS, limits.requests_bytes_max, share),
            kept: Ledger::new(KEPT, limits.kept_bytes_max, share),
            streams: Ledger::counting(STREAMS, limits.streams_max, share),
            clients: Clients::default(),
            long_requests: LongRequests::new(limits.long_requests_max),
            slow_stops: LongRequests::new((limits.long_requests_max / 12).max(1)),
            records: Records::new(&limits),
            readers: Readers::default(),
        }
    }
}

const REQUESTS: &str = "requests and answers under way";

const STREAMS: &str = "streams and waits";

const KEPT: &str = "metadata and values kept";

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("access", &self.access).finish_non_exhaustive()
    }
}
