//! [`layer`]: `GET /metrics`, a path that two contracts share.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

/// Answers with JSON that has the keys of both contracts. Who names a format, or reads text, asks
/// `LangGraph` alone: so does Prometheus.
pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let is_of_both = request.uri().path() == PATH
        && !is_format_named(request.uri())
        && !reads_text(request.headers());
    if !is_of_both {
        return next.run(request).await;
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
