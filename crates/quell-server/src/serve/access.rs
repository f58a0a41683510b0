//! [`layer`]: a line in the log for each request, and the id by which its lines are found.
//!
//! No line has a query, a header or a body: they may hold secrets. Of a path that holds a key, the
//! route is shown instead, and of a path of no route nothing.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::Response;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::trace_parent::TraceParent;
use super::traces::Trace;

/// Answers within a span that has the id of the request: that of the header `x-request-id`, which
/// the answer then has as well, or a new one; and the ids of the trace and of the span that the
/// caller names in `traceparent`. Logs the answer when its head is there, or the client
/// has left.
pub(super) async fn layer<F>(request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let given = given_id(request.headers());
    if !tracing::enabled!(tracing::Level::INFO) {
        return with_id(given.as_deref(), answered(request, next)).await;
    }
    let id = given.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let remote = TraceParent::of(request.headers());
    let mut asked = Asked {
        span: tracing::info_span!(
            "request",
            request.id = id,
            trace.id = remote.map(|it| it.trace),
            trace.parent = remote.map(|it| it.parent),
        ),
        began: Instant::now(),
        method: request.method().clone(),
        path: shown_path(&request),
        status: CLIENT_LEFT,
    };
    let span = asked.span.clone();
    let answer = with_id(given.as_deref(), answered(request, next)).instrument(span).await;
    asked.status = answer.status().as_u16();
    answer
}

/// Answers a request in the trace of its caller.
fn answered<F>(request: Request, next: impl FnOnce(Request) -> F) -> impl Future<Output = Response>
where
    F: Future<Output = Response>,
{
    let trace = Trace::of(request.headers());
    trace.within(next(request))
}

/// A request, which is logged when it is dropped: that happens as well when its client leaves
/// before it is answered.
struct Asked {
    span: Span,
    began: Instant,
    method: Method,
    path: String,
    status: u16,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (method, path, status) = (self.method.as_str(), &*self.path, self.status);
        if status == CLIENT_LEFT {
            tracing::info!(method, path, status, duration_ms, "request left unanswered");
        } else {
            tracing::info!(method, path, status, duration_ms, "request answered");
        }
    }
}

async fn with_id(given: Option<&str>, answer: impl Future<Output = Response>) -> Response {
    let mut answer = answer.await;
    if let Some(id) = given.and_then(|id| id.parse().ok()) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}

/// Yields the id that the caller gave, if it may stand in a line: short, and nothing but letters,
/// digits and signs of ASCII.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.as_bytes();
    let may_stand = (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    str::from_utf8(id).ok().filter(|_| may_stand).map(str::to_owned)
}

/// Yields the path of a request as it may be shown.
fn shown_path(request: &Request) -> String {
    let Some(route) = request.extensions().get::<MatchedPath>() else { return UNKNOWN.to_owned() };
    let route = route.as_str();
    if route.contains("key}") {
        return route.to_owned();
    }
    let mut path = String::new();
    for c in request.uri().path().chars() {
        if path.len() >= PATH_BYTES_MAX {
            path.push('…');
            break;
        }
        // What is no sign of ASCII should have been encoded by the client.
        if c.is_ascii_graphic() { path.push(c) } else { path.extend(c.escape_unicode()) }
    }
    path
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a caller. A longer one is replaced.
const ID_BYTES_MAX: usize = 128;

/// The status of a request whose client left before the head of the answer; that of nginx.
const CLIENT_LEFT: u16 = 499;

/// About the longest path that is shown. More is cut.
const PATH_BYTES_MAX: usize = 512;

/// Stands for a path of no route.
const UNKNOWN: &str = "(unknown)";
