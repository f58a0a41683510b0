//! [`layer`]: bounds the requests that may hold a connection for long.
//!
//! Streams and waits last as long as their runs, and a start as long as its body is being sent.
//! They may take most connections, and never all, so that a cancel or a read always finds one. A
//! cancel that waits for the end takes one of these permits too, or does not wait
//! ([`quell_http::View::cancel`]). So does a web socket, whose answer has ended when it begins, or
//! it is refused; and a read that takes longer than most, as one waits that tells an end which a
//! slow store has not got yet.
//!
//! What changes something is never left halfway, and may wait for a slow store as well. Where so
//! much is under way that an eighth of the connections is left, only cancels are taken.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use quell_http::{Problem, Service};
use tokio::time::timeout;

use super::held::Held;

/// Answers 503 to a request that may hold a connection for long if no permit is left: before it
/// has any effect, and a read when it has taken [`READ_SOON`]. So it does to all others but cancels
/// while as many are under way as leave no more than an eighth of the connections.
pub(super) async fn layer<F>(
    (service, others): (&Service, &Others),
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let (method, path) = (request.method(), request.uri().path());
    if is_long(method, path) {
        let Some(permit) = service.long_request_permit() else { return too_many(service) };
        return next(request).await.map(|body| Body::new(Held::new(body, permit)));
    }
    if is_cancel(method, path) {
        return next(request).await;
    }
    let Some(other) = others.begin(service) else { return too_many(service) };
    if !is_read(method, path) {
        return next(request).await;
    }
    let mut answer = pin!(next(request));
    if let Ok(answer) = timeout(READ_SOON, answer.as_mut()).await {
        return answer;
    }
    let Some(_permit) = service.long_request_permit() else { return too_many(service) };
    drop(other);
    answer.await
}

/// The requests under way that are neither long nor cancels.
#[derive(Clone, Debug, Default)]
pub(super) struct Others(Arc<AtomicUsize>);

impl Others {
    /// Counts one in, until what is yielded is dropped; none if there are too many.
    fn begin(&self, service: &Service) -> Option<Other> {
        // Long ones have three quarters of the connections at most; an eighth is for cancels.
        let long = service.limits_of().long_requests_max;
        let room = long.saturating_add((long / 6).max(1)).saturating_sub(service.long_requests());
        let other = Other(self.clone());
        (self.0.fetch_add(1, Ordering::Relaxed) < room).then_some(other)
    }
}

struct Other(Others);

impl Drop for Other {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn too_many(service: &Service) -> Response {
    let detail = format!(
        "streams, waits, starts and slow reads would exceed the limit of {}; the other connections \
         are for cancels and reads",
        service.limits_of().long_requests_max
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail).into_response()
}

/// Tells whether a request may hold its connection for long. For a cancel, its handler decides.
pub(super) fn is_long(method: &Method, path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if *method == Method::GET {
        return ["events", "stream", "join", "wait"].contains(&last);
    }
    *method == Method::POST && !is_cancel(method, path) && !READS.contains(&last)
}

/// Tells whether a request is a cancel: that of `Playbook3D` has the team and the run after the
/// word.
fn is_cancel(method: &Method, path: &str) -> bool {
    let mut parts = path.trim_end_matches('/').rsplit('/');
    *method == Method::POST && (parts.next() == Some("cancel") || parts.nth(1) == Some("cancel"))
}

/// Tells whether a request only reads, and may be dropped.
fn is_read(method: &Method, path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    [Method::GET, Method::HEAD].contains(method) || *method == Method::POST && READS.contains(&last)
}

/// What is asked by POST and changes nothing.
const READS: [&str; 3] = ["search", "count", "history"];

/// What most reads take less than.
const READ_SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use axum::middleware::{Next, from_fn_with_state};
    use axum::routing::get;
    use quell::Engine;
    use quell_flow::Catalog;
    use quell_http::ServiceLimits;
    use tower::ServiceExt as _;

    use super::*;

    async fn bounded(
        State((service, others)): State<(Service, Others)>,
        request: Request,
        next: Next,
    ) -> Response {
        layer((&service, &others), request, |request| next.run(request)).await
    }

    /// What takes this long is answered with this status, if so many permits of one are held.
    async fn status_of(method: &str, path: &str, takes: Duration, held: usize) -> u16 {
        let mut limits = ServiceLimits::default();
        limits.long_requests_max = 1;
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let _permits = (0..held).filter_map(|_| service.long_request_permit()).collect::<Vec<_>>();
        let slow = async move || tokio::time::sleep(takes).await;
        let app = Router::new()
            .route(path, get(slow).delete(slow).post(slow))
            .layer(from_fn_with_state((service.clone(), Others::default()), bounded));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = app.oneshot(request).await.unwrap();
        assert_eq!(service.long_requests(), held);
        answer.status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_take_long_are_counted_as_waits_are() {
        let (soon, late) = (READ_SOON / 2, READ_SOON * 30);
        for (method, path) in
            [("GET", "/threads/t"), ("HEAD", "/threads/t"), ("POST", "/threads/search")]
        {
            assert_eq!(status_of(method, path, soon, 1).await, 200, "{method} {path}");
            assert_eq!(status_of(method, path, late, 0).await, 200, "{method} {path}");
            assert_eq!(status_of(method, path, late, 1).await, 503, "{method} {path}");
        }
        // What changes something is never left halfway.
        assert_eq!(status_of("DELETE", "/threads/t", late, 1).await, 200);
        assert_eq!(status_of("POST", "/runs/r/cancel", late, 1).await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_slow_store_leaves_room_for_cancels() {
        let mut limits = ServiceLimits::default();
        limits.long_requests_max = 6;
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let _streams = (0..6).filter_map(|_| service.long_request_permit()).collect::<Vec<_>>();
        let slow = async || tokio::time::sleep(READ_SOON * 30).await;
        let app = Router::new()
            .route("/{*path}", get(slow).delete(slow).patch(slow).post(slow))
            .layer(from_fn_with_state((service, Others::default()), bounded));
        let ask = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            let answer = app.clone().oneshot(request.unwrap());
            async move { answer.await.unwrap().status().as_u16() }
        };
        let later = async |method: &str, path: &str| {
            tokio::time::sleep(READ_SOON).await;
            ask(method, path).await
        };
        let told = tokio::join!(
            ask("PATCH", "/threads/t"),
            later("PATCH", "/threads/t"),
            later("DELETE", "/threads/t"),
            later("GET", "/threads/t"),
            later("POST", "/threads/t/runs/r/cancel"),
        );
        assert_eq!(told, (200, 503, 503, 503, 200));
        assert_eq!(ask("DELETE", "/threads/t").await, 200, "there is room again");
    }

    #[test]
    fn cancels_and_reads_are_short_in_every_contract() {
        for (method, path, long) in [
            ("GET", "/v1/runs/r/events", true),
            ("HEAD", "/v1/runs/r/events", false),
            ("GET", "/v1/runs/r", false),
            ("GET", "/workflows/ws", false),
            ("POST", "/v1/runs", true),
            ("POST", "/v1/runs/r/cancel", false),
            ("POST", "/agents/a/runs/", true),
            ("POST", "/agents/a/runs/r/cancel/", false),
            ("POST", "/runs/stream", true),
            ("GET", "/threads/t/runs/r/join", true),
            ("GET", "/threads/t/runs/r/stream", true),
            ("GET", "/threads/t/runs", false),
            ("POST", "/runs/cancel", false),
            ("POST", "/assistants/search", false),
            ("POST", "/playbook3d/run_workflow/t/r", true),
            ("POST", "/playbook3d/cancel/t/r", false),
        ] {
            assert_eq!(is_long(&method.parse().expect("a method"), path), long, "{method} {path}");
        }
    }
}
