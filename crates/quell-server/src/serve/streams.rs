//! [`layer`]: bounds the requests that may hold a connection for long.
//!
//! Streams and waits last as long as their runs, and a start as long as its body is being sent.
//! They may take most connections, and never all, so that a cancel or a read always finds one. A
//! cancel that waits for the end takes one of these permits too, or does not wait
//! ([`quell_http::View::cancel`]). So does a web socket, whose answer has ended when it begins, or
//! it is refused; and a read that takes longer than most, as one waits that tells an end which a
//! slow store has not got yet.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use quell_http::{Problem, Service};
use tokio::time::timeout;

use super::held::Held;

/// Answers 503 to a request that may hold a connection for long if no permit is left: before it
/// has any effect, and a read when it has taken [`READ_SOON`].
pub(super) async fn layer<F>(
    service: &Service,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    if is_long(request.method(), request.uri().path()) {
        let Some(permit) = service.long_request_permit() else { return too_many(service) };
        return next(request).await.map(|body| Body::new(Held::new(body, permit)));
    }
    if !is_read(request.method(), request.uri().path()) {
        return next(request).await;
    }
    let mut answer = pin!(next(request));
    if let Ok(answer) = timeout(READ_SOON, answer.as_mut()).await {
        return answer;
    }
    let Some(_permit) = service.long_request_permit() else { return too_many(service) };
    answer.await
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
    let mut parts = path.trim_end_matches('/').rsplit('/');
    let last = parts.next().unwrap_or_default();
    if *method == Method::GET {
        return ["events", "stream", "join", "wait"].contains(&last);
    }
    // The cancel of Playbook3D has the team and the run after the word.
    let is_cancel = last == "cancel" || parts.nth(1) == Some("cancel");
    *method == Method::POST && !is_cancel && !READS.contains(&last)
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

    async fn bounded(State(bounds): State<Service>, request: Request, next: Next) -> Response {
        layer(&bounds, request, |request| next.run(request)).await
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
            .layer(from_fn_with_state(service.clone(), bounded));
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
