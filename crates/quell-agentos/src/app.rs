//! [`App`]: the service and the options that the routes share, and how they find a run.

use std::sync::Arc;
use std::time::SystemTime;

use axum::response::Response;
use quell_flow::Component;
use quell_http::{BodyKinds, Heartbeat, OpenGuard, RunView, Service, View, same_id};
use tokio::sync::Semaphore;

use crate::lines::Lines;
use crate::options::Options;
use crate::sessions::Sessions;
use crate::snapshot::session_of;
use crate::wire::refusal::Refusal;

/// The state of the routes.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) service: Service,
    /// The guard of open access; none if callers have keys.
    pub(crate) guard: Option<OpenGuard>,
    pub(crate) options: Options,
    pub(crate) since: SystemTime,
    pub(crate) lines: Lines,
    pub(crate) sessions: Arc<Sessions>,
    /// Web sockets whose clients have not said yet who they are.
    pub(crate) sockets_unknown: Arc<Semaphore>,
}

/// How many web sockets at once may be of clients that have not said yet who they are.
const SOCKETS_UNKNOWN_MAX: usize = 64;

impl App {
    /// Serves a service from now on.
    pub(crate) fn new(service: Service, options: Options) -> Self {
        let lines = Lines::new(service.limits_of().owner_share_percent);
        let (since, sessions) = (SystemTime::now(), Arc::default());
        let sockets_unknown = Arc::new(Semaphore::new(SOCKETS_UNKNOWN_MAX));
        let guard = OpenGuard::of(&service, BodyKinds::Any);
        Self { service, guard, options, since, lines, sessions, sockets_unknown }
    }

    /// Writes the answer of a handler.
    pub(crate) fn answer(&self, result: Result<Response, Refusal>) -> Response {
        result.unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Yields what a stream says in silence.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat::idle(self.options.heartbeat, ": heartbeat\n\n")
    }

    /// Writes a refusal.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Response {
        refusal.answer(self.options.error_codes)
    }
}

/// Finds a run of a component, in a session if one is named.
///
/// # Errors
///
/// Fails if the store cannot be read.
pub(crate) async fn find(
    view: &View,
    component: &Component,
    id: &str,
    session: Option<&str>,
) -> Result<Option<RunView>, Refusal> {
    let found = view.find_of(component, id).await?;
    let is_of = |run: &RunView| session.is_none_or(|session| same_id(&session_of(run), session));
    Ok(found.filter(is_of))
}
