//! [`router`]: the routes of the native API, and their description.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes as all_of;

use crate::in_time::{answer_in_time, took_too_long};
use crate::native::cancel_many;
use crate::native::components;
use crate::native::delete;
use crate::native::health;
use crate::native::limits;
use crate::native::list_runs;
use crate::native::log;
use crate::native::openapi::{self, Document};
use crate::native::pausing;
use crate::native::routes as handlers;
use crate::native::stops;
use crate::native::tree;
use crate::open_access::{BodyKinds, guard_open};
use crate::panics::catch_panics;
use crate::problem::Problem;
use crate::service::Service;

/// Makes the native API: `/v1/runs` and what is under it, `/healthz`, `/readyz`, `/openapi.json`.
///
/// Errors are problem documents. The last three need no credentials.
pub fn router(service: Service) -> Router {
    let document: Arc<str> = document().to_string().into();
    let describe = move || {
        let document = document.to_string();
        async move { ([(CONTENT_TYPE, "application/json")], document) }
    };
    let app = described_routes().split_for_parts().0.route("/openapi.json", get(describe));
    guarded(app, service)
}

/// As [`router`], for a server that has other contracts under the same root: without
/// `/openapi.json`, whose answer such a server makes with [`document`].
pub fn routes(service: Service) -> Router {
    guarded(described_routes().split_for_parts().0, service)
}

/// Makes the `OpenAPI` description of the native API, which `GET /openapi.json` answers.
///
/// # Examples
///
/// ```
/// assert!(quell_http::document()["paths"]["/v1/runs"]["post"].is_object());
/// ```
pub fn document() -> Value {
    openapi::json(&described_routes().split_for_parts().1)
}

fn guarded(app: Router<Service>, service: Service) -> Router {
    // A run may be called `cancel`.
    let named_so = in_time(get(handlers::get_run));
    let named_so = named_so.patch(limits::set_limits).delete(delete::delete_run);
    let app = app.route("/v1/runs/cancel", named_so);
    let app = catch_panics(app.method_not_allowed_fallback(no_such_method), our_fault);
    guard_open(app, &service, BodyKinds::Json).with_state(service)
}

/// Answers a path below `/v1` that is none of the native API: 404 `unknown-path`, as a problem.
///
/// [`router`] does not answer such paths, since yours may be among them: it is for the fallback of
/// a server that has several contracts.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_http::no_such_path().status(), 404);
/// ```
pub fn no_such_path() -> Response {
    let detail = "there is no such path; `GET /openapi.json` has those that there are";
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", detail).into_response()
}

/// Answers a method that a path of the native API does not have: 405 `method-not-allowed`, as a
/// problem. It is for [`Router::method_not_allowed_fallback`] of your own routes under `/v1`;
/// [`router`] has it.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(quell_http::no_such_method().await.status(), 405);
/// # });
/// ```
pub async fn no_such_method() -> Problem {
    let detail = "this path has other methods";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// Makes the routes and their description from the annotations of the handlers.
fn described_routes() -> OpenApiRouter<Service> {
    let reads = [
        all_of!(list_runs::list_runs),
        all_of!(handlers::get_run),
        all_of!(tree::read_tree),
        all_of!(log::read_log),
        all_of!(components::list_components),
        all_of!(stops::list_stops),
        all_of!(health::health),
        all_of!(health::ready),
    ];
    let others = [
        all_of!(handlers::start_run),
        all_of!(limits::set_limits, delete::delete_run),
        all_of!(handlers::stream_run),
        all_of!(handlers::cancel_run),
        all_of!(cancel_many::cancel_runs),
        all_of!(pausing::pause_run),
        all_of!(pausing::resume_run),
    ];
    let reads = reads.map(|(schemas, paths, served)| (schemas, paths, in_time(served)));
    let routes = OpenApiRouter::with_openapi(Document::openapi());
    reads.into_iter().chain(others).fold(routes, OpenApiRouter::routes)
}

fn in_time(reads: MethodRouter<Service>) -> MethodRouter<Service> {
    answer_in_time(reads, || took_too_long().into_response())
}

fn our_fault() -> Response {
    let detail = "something went wrong on the server";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

#[cfg(test)]
mod tests {
    use quell_test_support::answer_to_a_panic;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_by_a_problem() {
        let answer = answer_to_a_panic(|app| catch_panics(app, our_fault)).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.json()["type"], "urn:quell:problem:internal", "{answer:?}");
    }
}
