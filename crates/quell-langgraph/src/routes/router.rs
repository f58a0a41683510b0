//! [`router`]: the routes of the contract.

use axum::Router;
use axum::extract::Request;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use quell_http::{BodyKinds, Problem, Service, catch_panics, guard_open};

use crate::app::App;
use crate::options::Options;
use crate::routes::{cors, described, truncate};
use crate::wire::refusal::Refusal;

/// Makes the router of the contract. Every path that it does not serve answers the contract's 404.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::Engine;
/// use quell_flow::Catalog;
/// use quell_http::Service;
///
/// let service = Service::new(Engine::new(), Catalog::new());
/// let app = quell_langgraph::router(service, quell_langgraph::Options::default());
/// # drop(app);
/// # });
/// ```
pub fn router(service: Service, options: Options) -> Router {
    let shared = described::shared().into_parts().0.method_not_allowed_fallback(no_such_method);
    let app = App::new(service, options);
    let shared = shared.with_state(app.clone()).layer(from_fn(cors::allow));
    guarded(app).merge(shared).fallback(not_found)
}

/// As [`router`], for a server that has other contracts under the same root: without `/info` and
/// `/openapi.json`, whose answers such a server makes with [`info`](crate::info) and
/// [`document`](crate::document), and without an answer for other paths.
pub fn routes(service: Service, options: Options) -> Router {
    guarded(App::new(service, options))
}

fn guarded(app: App) -> Router {
    let routes = described::of_contract().into_parts().0;
    // No client of the contract asks for it, so no document says it.
    let routes = if app.options().truncates {
        routes.route("/internal/truncate", post(truncate::truncate))
    } else {
        routes
    };
    let routes = routes.method_not_allowed_fallback(no_such_method);
    let routes = guard_open(catch_panics(routes, our_fault), app.service(), BodyKinds::Json);
    in_its_words(routes.with_state(app))
}

/// Answers in the contract's form what its routes, and the layers of a server around them, refuse:
/// a [`Problem`] of theirs is `{"detail"}` here. Pages of other origins can read the answers.
pub fn in_its_words(router: Router) -> Router {
    router.layer(from_fn(worded)).layer(from_fn(cors::allow))
}

async fn worded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut refusal = Refusal::new(problem.status(), problem.detail().to_owned()).into_response();
    if let Some(soon) = response.headers_mut().remove(RETRY_AFTER) {
        refusal.headers_mut().insert(RETRY_AFTER, soon);
    }
    refusal
}

/// Answers where a handler panics: 500.
fn our_fault() -> Response {
    Refusal::internal().into_response()
}

/// Answers a path that no contract serves: the contract's 404.
pub async fn not_found() -> Response {
    Refusal::not_found().into_response()
}

/// Answers another method of a path that is served: the contract's 405.
pub async fn no_such_method() -> Response {
    Refusal::no_such_method().into_response()
}

#[cfg(test)]
mod tests {
    use quell_test_support::answer_to_a_panic;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_in_the_words_of_the_contract() {
        let answer = answer_to_a_panic(|app| catch_panics(app, our_fault)).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.text, r#"{"detail":"Internal Server Error"}"#);
    }
}
