//! [`App`]: the state that the routes share.

use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;
use quell::{Engine, RunRef, RunReport, RunStatus};
use quell_http::{DisconnectGuard, Service, View};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::app::crons_known::Crons;
use crate::app::one_by_one::OneByOne;
use crate::app::shelf::Shelf;
use crate::app::tally::Tallies;
use crate::options::Options;
use crate::threads::{Finals, Hidden, Threads, Tracked};
use crate::webhooks::Webhooks;
use crate::wire::failure;
use crate::wire::refusal::Refusal;

/// The adapter's state. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Service,
    options: Options,
    threads: Threads,
    finals: Finals,
    hidden: Hidden,
    shelf: Shelf,
    tallies: Tallies,
    webhooks: Webhooks,
    crons: Crons,
    batches: OneByOne<BatchKey>,
    /// Where goes on what has no caller, once it has begun.
    runtime: OnceLock<Handle>,
    since: SystemTime,
    /// How many runs the engine had taken in from other processes when those that it has were taken
    /// into their threads. The lock is held meanwhile, and comes before those of threads.
    taken_in: Mutex<u64>,
}

/// The owner of a batch, and its `Idempotency-Key`.
pub(crate) type BatchKey = (Option<Arc<str>>, String);

/// The state of an adapter that may have ended.
#[derive(Clone, Debug)]
pub(super) struct WeakApp(Weak<Inner>);

impl WeakApp {
    pub(super) fn upgrade(&self) -> Option<App> {
        self.0.upgrade().map(App)
    }
}

impl App {
    /// Makes the state of a service whose engine may have runs already.
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let finals = Finals::new(service.limits_of());
        let webhooks = Webhooks::new(&options, service.limits_of());
        let (threads, hidden) = (Threads::default(), Hidden::default());
        let (since, taken_in) = (SystemTime::now(), Mutex::new(0));
        let (shelf, tallies, crons) = (Shelf::default(), Tallies::default(), Crons::default());
        let inner = Inner {
            service,
            options,
            threads,
            finals,
            hidden,
            shelf,
            tallies,
            webhooks,
            crons,
            batches: OneByOne::default(),
            runtime: OnceLock::new(),
            since,
            taken_in,
        };
        let app = Self(Arc::new(inner));
        app.recover();
        let of_runs = app.weak();
        let catalog = app.service().catalog();
        catalog.stand_in(move |run, graph| of_runs.upgrade()?.work_left(run, graph));
        app.start_tasks();
        app
    }

    /// Starts what goes on without a caller, if there is a runtime. Of a router that was made where
    /// none was the first request does.
    pub(crate) fn start_tasks(&self) {
        if self.0.runtime.get().is_some() {
            return;
        }
        let Ok(here) = Handle::try_current() else { return };
        if self.0.runtime.set(here).is_err() {
            return;
        }
        self.send_left();
        self.run_crons();
        self.let_go();
    }

    pub(crate) fn service(&self) -> &Service {
        &self.0.service
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.0.service.engine()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.0.threads
    }

    pub(crate) fn finals(&self) -> &Finals {
        &self.0.finals
    }

    pub(crate) fn hidden(&self) -> &Hidden {
        &self.0.hidden
    }

    pub(crate) fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    /// Yields the turns of batches that have an `Idempotency-Key`. A repeat that came meanwhile
    /// would find runs that are about to be taken back.
    pub(crate) fn batches(&self) -> &OneByOne<BatchKey> {
        &self.0.batches
    }

    pub(super) fn crons_known(&self) -> &Crons {
        &self.0.crons
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    pub(super) fn tallies(&self) -> &Tallies {
        &self.0.tallies
    }

    /// Yields it for a task that does not keep it.
    pub(super) fn weak(&self) -> WeakApp {
        WeakApp(Arc::downgrade(&self.0))
    }

    pub(crate) fn since(&self) -> SystemTime {
        self.0.since
    }

    /// Yields the runtime of what goes on without a caller, once that has begun.
    pub(super) fn runtime(&self) -> Option<&Handle> {
        self.0.runtime.get()
    }

    pub(super) fn taken_in(&self) -> &Mutex<u64> {
        &self.0.taken_in
    }

    /// Declares that an answer is a stream of a run. While the run is in `finals`, it is counted
    /// there.
    pub(crate) fn reading(
        &self,
        guard: DisconnectGuard,
        view: &View,
        run: &RunRef,
    ) -> DisconnectGuard {
        let app = self.clone();
        guard.reading_kept(view, run, move |id| app.finals().has(id))
    }

    /// Yields the error that answers show of a run that has ended.
    pub(crate) fn error_of(&self, report: &RunReport, tracked: &Tracked) -> Option<Value> {
        match report.status {
            RunStatus::Failed => {
                let text = report.error.as_deref().unwrap_or_default();
                Some(failure::error_object(text, self.options().unmasked_errors))
            }
            RunStatus::TimedOut if self.options().timeout_error => {
                Some(failure::timeout_object(tracked.limit_ms))
            }
            _ => None,
        }
    }
}

/// Does what is not to stop halfway, also if whoever asked for it has gone. How many ask is bounded
/// by what each of them has: a run, a thread, a place or a turn.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(work).await.map_err(|_| Refusal::internal())?
}
