//! [`guard_open`]: serves only this machine and its own pages while access is open.
//!
//! Without credentials, any web page in a browser of this machine could act for its user. A page of
//! another origin can send a form or plain text without a preflight. With DNS rebinding, an
//! attacker's host name resolves to this machine, so that the attacker's page is of the same origin
//! and reads every answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, UPGRADE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::access::{Access, is_loopback};
use crate::problem::Problem;
use crate::service::Service;

/// Which bodies the contract of a router has.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_http::BodyKinds::Json, quell_http::BodyKinds::Any);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "JSON alone, or whatever the contract says")]
pub enum BodyKinds {
    /// JSON alone: any other content type is answered 415.
    Json,
    /// Forms too.
    Any,
}

/// Adds the guard of open access to a router. With keys or tokens it changes nothing.
///
/// While access is open ([`Access::is_open`]), a request is answered 403 unless its `Host` is
/// `localhost`, an address of loopback, or a name given to [`Access::trust_host`]; a request other
/// than `GET`, `HEAD` and `OPTIONS`, one that asks for a run to be stopped when its client leaves,
/// and one that asks for another protocol, as `WebSocket`, also if it comes from the page of
/// another origin ([`Access::foreign_origin`]). A body that is not JSON by name is answered 415
/// where the contract has JSON. A request without a `Host` comes from no browser and is served. The
/// answers are problem documents.
///
/// The routers of this crate and of the adapters have it. Add it to your own routes beside them.
///
/// # Examples
///
/// ```
/// use axum::Router;
/// use quell::Engine;
/// use quell_flow::Catalog;
/// use quell_http::{BodyKinds, Service, guard_open};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # let _entered = runtime.enter();
/// let service = Service::new(Engine::new(), Catalog::new());
/// let app: Router = guard_open(Router::new(), &service, BodyKinds::Any);
/// # drop(app);
/// ```
pub fn guard_open<S>(router: Router<S>, service: &Service, bodies: BodyKinds) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    match OpenGuard::of(service, bodies) {
        Some(guard) => router.layer(from_fn_with_state(guard, check)),
        None => router,
    }
}

/// The guard of [`guard_open`], for a layer of your own that does more than that.
///
/// # Examples
///
/// ```
/// use axum::body::Body;
/// use axum::http::Request;
/// use quell::Engine;
/// use quell_flow::Catalog;
/// use quell_http::{BodyKinds, OpenGuard, Service};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # let _entered = runtime.enter();
/// let service = Service::new(Engine::new(), Catalog::new());
/// let guard = OpenGuard::of(&service, BodyKinds::Any).unwrap();
/// let of = |host| Request::get("/").header("host", host).body(Body::empty()).unwrap();
/// assert!(guard.refusal(&of("localhost:7777")).is_none());
/// assert!(guard.refusal(&of("elsewhere.example")).is_some());
/// ```
#[derive(Clone, Debug)]
pub struct OpenGuard {
    access: Arc<Access>,
    bodies: BodyKinds,
}

async fn check(State(guard): State<OpenGuard>, request: Request, next: Next) -> Response {
    match guard.refusal(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

impl OpenGuard {
    /// Yields the guard of a service; none if access is not open.
    pub fn of(service: &Service, bodies: BodyKinds) -> Option<Self> {
        let is_open = service.access_of().is_open();
        is_open.then(|| Self { access: service.access_shared(), bodies })
    }

    /// Yields the answer to a request that is not let in.
    pub fn refusal(&self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        // A request may name a host in its request line as well as in `Host`. Check both: a proxy
        // or a later handler may use either.
        let named = request.uri().authority().map(Authority::as_str);
        let said = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        if let Some(host) = named.into_iter().chain(said).find(|host| !self.is_ours(host)) {
            return Some(refused(
                "foreign-host",
                format!(
                    "host `{host}` is not this machine; while nobody needs a key, only \
                     localhost and addresses of loopback are served; configure keys, or trust \
                     this host"
                ),
            ));
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        // What comes over another protocol is no read: the browser of a page asks nobody for leave.
        let is_read = is_read && !headers.contains_key(UPGRADE);
        if is_read && !stops_without_client(request.uri().query().unwrap_or_default()) {
            return None;
        }
        if let Some(origin) = self.access.foreign_origin(headers) {
            return Some(refused(
                "foreign-origin",
                format!(
                    "pages of origin `{origin}` start and stop nothing while nobody needs a key; \
                 configure keys, or trust this origin"
                ),
            ));
        }
        let is_bare = request.body().is_end_stream();
        if self.bodies == BodyKinds::Json && !is_bare && !is_json(headers) {
            return Some(not_json());
        }
        None
    }

    fn is_ours(&self, host: &str) -> bool {
        // As almost every client says it: to parse these takes ten times as long.
        if ["127.0.0.1", "localhost"].iter().any(|ours| is_at(host, ours)) {
            return true;
        }
        let Ok(host) = host.parse::<Authority>() else { return false };
        let name = host.host().trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(is_loopback)
            || self.access.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Tells whether a host is of this name, with a port or without.
fn is_at(host: &str, name: &str) -> bool {
    host.strip_prefix(name).is_some_and(|rest| {
        let is_port = |port: &str| {
            (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
        };
        rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)
    })
}

/// Tells whether a query asks for the run to be stopped when its client leaves, as the native API
/// or `LangGraph` says it.
fn stops_without_client(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| match &*key {
        "on_disconnect" => value == "cancel",
        "cancel_on_disconnect" => {
            ["1", "true", "yes"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
        }
        _ => false,
    })
}

/// Refuses a body that is not JSON by name.
pub(crate) fn not_json() -> Problem {
    let detail = "send the body as application/json";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail)
}

fn refused(name: &str, detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, name, detail)
}

/// Tells whether a body is JSON by name.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
