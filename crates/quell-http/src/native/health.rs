//! `/healthz` and `/readyz`: how the server is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::native::wire::Health;
use crate::service::Service;

/// Tells that the server is there.
#[utoipa::path(
    get, path = "/healthz", operation_id = "health", tag = "server",
    responses((status = 200, description = "It is", body = Health))
)]
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Tells whether the server takes new runs.
#[utoipa::path(
    get, path = "/readyz", operation_id = "ready", tag = "server",
    responses(
        (status = 200, description = "It does", body = Health),
        (
            status = 503, body = Health,
            description = "It is draining, or its store would not take a run (`store-in-trouble`)"
        ),
    )
)]
pub(crate) async fn ready(State(service): State<Service>) -> (StatusCode, Json<Health>) {
    if service.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "draining" }));
    }
    let is_stored = tokio::time::timeout(STORE_WAIT, service.engine().store_ready());
    if !matches!(is_stored.await, Ok(Ok(()))) {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "store-in-trouble" }));
    }
    (StatusCode::OK, Json(Health { status: "ready" }))
}

/// How long a store may take to say that it is ready.
const STORE_WAIT: Duration = Duration::from_secs(2);
