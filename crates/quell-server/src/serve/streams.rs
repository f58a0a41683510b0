//! [`layer`]: bounds the requests that may hold a connection for long.
//!
//! Streams and waits last as long as their runs, and a start as long as its body is being sent.
//! They may take most connections, and never all, so that a cancel or a read always finds one. A
//! cancel that waits for the end takes one of these permits too, or does not wait
//! ([`quell_http::View::cancel`]). So does a web socket, whose answer has ended when it begins, or
//! it is refused.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quell_http::{Problem, Service};

use super::held::Held;

/// Answers 503 to a request that may hold a connection for long if no permit is left, before it
/// has any effect.
pub(super) async fn layer(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    if !is_long(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    let Some(permit) = service.long_request_permit() else {
        let detail = format!(
            "streams, waits and starts would exceed the limit of {}; the other connections are for \
             cancels and reads",
            service.limits_of().long_requests_max
        );
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail);
        return problem.into_response();
    };
    next.run(request).await.map(|body| Body::new(Held::new(body, permit)))
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
    let is_read = ["search", "count", "history"].contains(&last);
    *method == Method::POST && !is_cancel && !is_read
}

#[cfg(test)]
mod tests {
    use super::*;

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
