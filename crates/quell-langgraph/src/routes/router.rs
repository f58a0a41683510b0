//! [`router`]: the routes of the contract.

use axum::Router;
use axum::extract::Request;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use quell_http::{BodyKinds, Problem, Service, catch_panics, guard_open};

use crate::app::App;
use crate::options::Options;
use crate::routes::create::{Answer, create};
use crate::routes::path::{Stateless, ThreadPath};
use crate::routes::{
    assistants, batch, cancel, cors, crons, graphs, join, metrics, runs, states, store, system,
    threads,
};
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
    let info = Router::new().route("/info", get(system::get_info));
    let info = info.method_not_allowed_fallback(no_such_method).layer(from_fn(cors::allow));
    routes(service, options).merge(info).fallback(not_found)
}

/// As [`router`], for a server that has other contracts under the same root: without `/info`,
/// whose answer such a server makes with [`info`](crate::info), and without an answer for other
/// paths.
pub fn routes(service: Service, options: Options) -> Router {
    let routes = Router::new()
        .route("/ok", get(system::ok))
        .route("/metrics", get(metrics::show))
        .route("/assistants/search", post(assistants::search))
        .route("/assistants/count", post(assistants::count))
        .route("/assistants", post(assistants::create))
        .route(
            "/assistants/{assistant}",
            get(assistants::read).patch(assistants::change).delete(assistants::delete),
        )
        .route("/assistants/{assistant}/versions", post(assistants::versions))
        .route("/assistants/{assistant}/latest", post(assistants::latest))
        .route("/assistants/{assistant}/graph", get(graphs::draw))
        .route("/assistants/{assistant}/schemas", get(graphs::schemas))
        .route("/assistants/{assistant}/subgraphs", get(graphs::subgraphs))
        .route("/assistants/{assistant}/subgraphs/{name}", get(graphs::subgraph))
        .route("/store/items", put(store::put).get(store::read).delete(store::delete))
        .route("/store/items/search", post(store::search))
        .route("/store/namespaces", post(store::namespaces))
        .route("/threads", post(threads::create))
        .route("/threads/search", post(threads::search))
        .route("/threads/count", post(threads::count))
        .route(
            "/threads/{thread}",
            get(threads::read).patch(threads::change).delete(threads::delete),
        )
        .route("/threads/{thread}/copy", post(threads::copy))
        .route("/threads/{thread}/state", get(states::last).post(states::change))
        .route("/threads/{thread}/state/checkpoint", post(states::of_body))
        .route("/threads/{thread}/state/{checkpoint}", get(states::one))
        .route("/threads/{thread}/history", get(states::list).post(states::search))
        .route("/threads/{thread}/runs", create::<ThreadPath>(Answer::Run).get(runs::list))
        .route("/threads/{thread}/runs/crons", crons::create::<ThreadPath>())
        .route("/threads/{thread}/runs/stream", create::<ThreadPath>(Answer::Stream))
        .route("/threads/{thread}/runs/wait", create::<ThreadPath>(Answer::Wait))
        .route("/threads/{thread}/runs/{run}", get(runs::read).delete(runs::delete))
        .route("/threads/{thread}/runs/{run}/join", get(join::join))
        .route("/threads/{thread}/runs/{run}/stream", get(join::stream::<ThreadPath>))
        .route("/threads/{thread}/runs/{run}/cancel", post(cancel::one))
        .route("/runs", create::<Stateless>(Answer::Run))
        .route("/runs/batch", post(batch::create))
        .route("/runs/stream", create::<Stateless>(Answer::Stream))
        .route("/runs/wait", create::<Stateless>(Answer::Wait))
        .route("/runs/{run}/stream", get(join::stream::<Stateless>))
        .route("/runs/cancel", post(cancel::many))
        .route("/runs/crons", crons::create::<Stateless>())
        .route("/runs/crons/search", post(crons::search))
        .route("/runs/crons/count", post(crons::count))
        .route("/runs/crons/{cron}", get(crons::read).patch(crons::change).delete(crons::delete))
        .method_not_allowed_fallback(no_such_method);
    let routes = guard_open(catch_panics(routes, our_fault), &service, BodyKinds::Json);
    in_its_words(routes.with_state(App::new(service, options)))
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

async fn no_such_method() -> Response {
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
