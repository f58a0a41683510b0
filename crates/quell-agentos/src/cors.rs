//! [`layer`]: which browsers may read the answers (contract, section 11).
//!
//! It is not `tower_http::cors::CorsLayer`, which answers 200 to a preflight of an origin that is
//! not allowed, where the contract answers 400, and takes every `OPTIONS` for a preflight.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::app::App;

/// Answers preflights, and says to browsers of allowed origins that they may read the answer.
pub(crate) async fn layer<F>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return next(request).await;
    };
    let is_allowed = app.options.cors_origins.iter().any(|allowed| *allowed == origin);
    let is_preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if is_preflight {
        return preflight(request.headers(), origin, is_allowed);
    }
    let mut response = next(request).await;
    if is_allowed {
        allow(response.headers_mut(), origin);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    response
}

fn preflight(asked: &HeaderMap, origin: HeaderValue, is_allowed: bool) -> Response {
    if !is_allowed {
        return (StatusCode::BAD_REQUEST, "Disallowed CORS origin").into_response();
    }
    let mut response = "OK".into_response();
    let headers = response.headers_mut();
    allow(headers, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    response
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

const METHODS: HeaderValue =
    HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY");

const EXPOSED: HeaderValue =
    HeaderValue::from_static("quell-disposition, quell-cause, quell-quiescent");
