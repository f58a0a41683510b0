//! [`layer`]: `GET /metrics`, a path that two contracts share. [`without_slash`]: the same with a
//! slash at its end.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use quell_http::Service;
use serde_json::Value;
use tower::ServiceExt as _;

use super::metrics::{self, Metrics};

/// Answers with JSON that has the keys of both contracts. Who names a format asks `LangGraph`
/// alone. Who reads text, as Prometheus does, has what that says, and behind it what `/v1/metrics`
/// has, if the caller may read that.
pub(super) async fn layer(
    (service, metrics): (&Service, &Metrics),
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() != PATH || is_format_named(request.uri()) {
        return next.run(request).await;
    }
    if reads_text(request.headers()) {
        let more = metrics::for_caller(service, metrics, request.headers());
        return with_more(next.run(request).await, more).await;
    }
    *request.uri_mut() = Uri::from_static("/metrics?format=json");
    let answer = next.run(request).await;
    if answer.status() != StatusCode::OK {
        return answer;
    }
    let (head, body) = answer.into_parts();
    let body = to_bytes(body, BYTES_MAX).await.unwrap_or_default();
    let Ok(Value::Object(mut all)) = serde_json::from_slice(&body) else {
        // There is no body for HEAD.
        return Response::from_parts(head, body.into());
    };
    if let Value::Object(more) = quell_agentos::metrics() {
        all.extend(more);
    }
    Json(all).into_response()
}

/// Answers as without the slash at the end of the path.
pub(super) async fn without_slash(langgraph: Router, mut request: Request) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{PATH}{query}").parse() {
        *request.uri_mut() = uri;
    }
    langgraph.oneshot(request).await.into_response()
}

async fn with_more(answer: Response, more: Option<String>) -> Response {
    let Some(more) = more.filter(|_| answer.status() == StatusCode::OK) else { return answer };
    let (mut head, body) = answer.into_parts();
    let mut text = to_bytes(body, BYTES_MAX).await.unwrap_or_default().to_vec();
    text.extend_from_slice(more.as_bytes());
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, text.into())
}

fn is_format_named(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.split('=').next() == Some("format"))
}

fn reads_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT);
    let texts = || accepted.iter().filter_map(|value| value.to_str().ok());
    let has = |word: &str| texts().any(|text| text.contains(word));
    (has("text/plain") || has("openmetrics")) && !has("application/json")
}

const PATH: &str = "/metrics";

/// The numbers are a dozen.
const BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn text_is_for_who_reads_text_and_not_json() {
        for (accept, expected) in [
            ("*/*", false),
            ("application/json, text/plain, */*", false),
            ("text/plain", true),
            ("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1", true),
        ] {
            let value = HeaderValue::from_static(accept);
            assert_eq!(reads_text(&HeaderMap::from_iter([(ACCEPT, value)])), expected, "{accept}");
        }
        assert!(!reads_text(&HeaderMap::new()));
        assert!(is_format_named(&Uri::from_static("/metrics?a=b&format=json")));
        assert!(!is_format_named(&Uri::from_static("/metrics?starting_date=2026-01-01")));
    }
}
