//! [`router`]: the routes of the contract.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use quell_http::{Service, answer_or};

use crate::app::App;
use crate::auth::guarded;
use crate::cors;
use crate::options::Options;
use crate::routes::described::{self, Routes};
use crate::routes::socket;
use crate::wire::refusal::Refusal;

/// Serves the contract, by itself or nested under a path.
///
/// To merge it with another contract's router under one path, take [`routes`],
/// [`info`](crate::info) and [`absent`].
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, Payload};
/// use quell_flow::{Catalog, Component};
/// use quell_http::{Access, BodyKinds, Key, Service, guard_open};
///
/// let catalog = Catalog::new()
///     .with(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let service = Service::new(Engine::new(), catalog);
/// let app: axum::Router = quell_agentos::router(service, quell_agentos::Options::default());
/// # drop(app);
/// # });
/// ```
pub fn router(service: Service, options: Options) -> Router {
    let has_codes = options.error_codes;
    made(described::shared(described::of_contract()), service, options)
        .fallback(move || async move { absent(has_codes) })
}

/// As [`router`], for a server that has other contracts under the same root: without `/info`, whose
/// answer such a server makes with [`info`](crate::info), and without an answer for other paths.
pub fn routes(service: Service, options: Options) -> Router {
    made(described::of_contract(), service, options)
}

fn made(table: Routes, service: Service, options: Options) -> Router {
    let service = guarded(service, &options);
    let app = Arc::new(App::new(service, options));
    let (mut router, _) = table.into_parts();
    for path in ["/workflows/ws", "/workflows/ws/"] {
        // What is said over a web socket has no place in the document.
        router = router.route(path, get(socket::open));
    }
    let router = router.method_not_allowed_fallback(not_allowed);
    router.layer(from_fn_with_state(Arc::clone(&app), around)).with_state(app)
}

/// Guards open access, says to browsers who may read an answer, and answers where a handler panics.
/// One layer for all: for each request `axum` allocates each of its layers several times (bench
/// `http -- floor`).
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Some(problem) = app.guard.as_ref().and_then(|guard| guard.refusal(&request)) {
        return problem.into_response();
    }
    let our_fault = || our_fault(app.options.error_codes);
    cors::layer(&app, request, |request| answer_or(our_fault, next.run(request))).await
}

/// Answers where a handler panics: 500.
fn our_fault(has_codes: bool) -> Response {
    Refusal::unexpected().answer(has_codes)
}

/// Answers a path that the contract does not serve: 404 `Not Found`, with an `error_code` as
/// [`Options::error_codes`] says.
pub fn absent(has_codes: bool) -> Response {
    Refusal::not_found("Not Found").answer(has_codes)
}

async fn not_allowed(State(app): State<Arc<App>>) -> Response {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        .answer(app.options.error_codes)
}

#[cfg(test)]
mod tests {
    use quell_http::catch_panics;
    use quell_test_support::answer_to_a_panic;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_in_the_words_of_the_contract() {
        let answer = answer_to_a_panic(|app| catch_panics(app, || our_fault(true))).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.json()["error_code"], "INTERNAL_SERVER_ERROR", "{answer:?}");
    }
}
