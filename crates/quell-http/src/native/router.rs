//! Which route is where.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::access::{BodyKinds, guard_open};
use crate::native::{openapi, routes};
use crate::problem::Problem;
use crate::service::Service;

/// Makes the native API: `/v1/runs` and what is under it, `/healthz`, `/readyz`, `/openapi.json`.
///
/// Errors are problem documents. The last three need no credentials.
pub fn router(service: Service) -> Router {
    let document: std::sync::Arc<str> = openapi::json().into();
    let describe = move || {
        let document = document.to_string();
        async move { ([(CONTENT_TYPE, "application/json")], document) }
    };
    let app = Router::new()
        .route("/v1/runs", post(routes::start_run).get(routes::list_runs))
        .route("/v1/runs/{id}", get(routes::get_run))
        .route("/v1/runs/{id}/events", get(routes::stream_run))
        .route("/v1/runs/{id}/cancel", post(routes::cancel_run))
        .route("/healthz", get(routes::health))
        .route("/readyz", get(routes::ready))
        .route("/openapi.json", get(describe))
        .method_not_allowed_fallback(routes::no_such_method)
        .layer(CatchPanicLayer::custom(|_| our_fault()));
    guard_open(app, &service, BodyKinds::Json).with_state(service)
}

fn our_fault() -> Response {
    let detail = "something went wrong on the server";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}
