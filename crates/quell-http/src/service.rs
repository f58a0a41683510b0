//! What every contract is served from: the engine, the catalog, access, and what they share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quell::{Engine, RunId, RunRef, RunReport};
use quell_flow::{Catalog, Contract};

use crate::access::{Access, Principal};
use crate::events::RunEvents;
use crate::guard::{Clients, DisconnectGuard, OnDisconnect};
use crate::idempotency::Keys;
use crate::ledger::Ledger;
use crate::limits::ServiceLimits;
use crate::places::{LongPlace, Places};
use crate::readers::Readers;
use crate::records::Records;
use crate::reserve::Reservations;
use crate::view::View;

/// The engine, the catalog and access, as every contract is served from them. Cheap to clone.
///
/// Bodies run on the runtime of the engine. Make it with
/// [`EngineConfig::runtime`](quell::EngineConfig::runtime) naming one runtime, and serve HTTP on
/// another: then a body that blocks its worker delays no request, no stream and no cancel.
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

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    is_draining: AtomicBool,
    pub(crate) limits: ServiceLimits,
    pub(crate) requests: Ledger,
    pub(crate) kept: Ledger,
    pub(crate) streams: Ledger,
    pub(crate) clients: Clients,
    long: Places,
    pub(crate) keys: Keys,
    pub(crate) reservations: Reservations,
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

    /// Says who may do what. Defaults to [`Access::open`]: only for loopback.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Arc::new(access);
        self
    }

    /// Sets the bounds. Defaults to [`ServiceLimits::default`]. Before it is served: what was there
    /// by then is forgotten.
    pub fn limits(mut self, limits: ServiceLimits) -> Self {
        self.shared = Arc::new(Shared::new(limits));
        self
    }

    /// Yields the bounds.
    pub fn limits_of(&self) -> &ServiceLimits {
        &self.shared.limits
    }

    /// Yields the ledger of what contracts keep for callers besides the engine: the metadata of a
    /// thread, a parsed input.
    pub fn kept(&self) -> &Ledger {
        &self.shared.kept
    }

    /// Takes the place of a request that holds its connection for long; none if all are taken
    /// ([`ServiceLimits::long_requests_max`]).
    pub fn long_place(&self) -> Option<LongPlace> {
        self.shared.long.take()
    }

    /// Yields the engine.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Yields the catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Yields who may do what.
    pub fn access_of(&self) -> &Access {
        &self.access
    }

    /// Sees the service through a contract with the eyes of a principal.
    pub fn view(&self, contract: Contract, principal: Principal) -> View {
        View::new(self.clone(), contract, principal)
    }

    /// Takes no new runs from here on, and is not ready any more. What is live goes on until the
    /// engine is shut down.
    pub fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::SeqCst);
    }

    /// Tells whether it takes no new runs.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining.load(Ordering::SeqCst)
    }

    /// Makes the guard of an answer that follows a run. It holds the place of the client, which is
    /// taken before ([`View::stream_place`], [`DisconnectGuard::holding`]).
    pub fn guard(&self, run: &RunRef, policy: OnDisconnect) -> DisconnectGuard {
        self.shared.clients.guard(&self.engine, run, policy)
    }

    /// Waits for the end of a run for a client: if that goes away before, that is, if this future
    /// is dropped, the policy decides.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it means that the client is gone.
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
            is_draining: AtomicBool::new(false),
            limits,
            requests: Ledger::new(REQUESTS, limits.requests_bytes_max, share),
            kept: Ledger::new(KEPT, limits.kept_bytes_max, share),
            streams: Ledger::counting(STREAMS, limits.streams_max, share),
            clients: Clients::default(),
            long: Places::new(limits.long_requests_max),
            keys: Keys::new(share),
            reservations: Reservations::new(share),
            records: Records::new(&limits),
            readers: Readers::default(),
        }
    }
}

const REQUESTS: &str = "requests and answers under way";

const STREAMS: &str = "streams and waits";

const KEPT: &str = "metadata and inputs kept";

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("access", &self.access).finish_non_exhaustive()
    }
}
