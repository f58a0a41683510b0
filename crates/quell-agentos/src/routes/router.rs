//! [`router`]: the routes of the contract.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use quell_flow::ComponentKind;
use quell_http::{BodyKinds, Service, catch_panics, guard_open};

use crate::app::App;
use crate::auth::{Action, component, guarded};
use crate::cors;
use crate::options::Options;
use crate::routes::caller::Caller;
use crate::routes::extract::{ComponentPath, RunRequest};
use crate::routes::{
    cancel, create, discover, go_on, info, read, resume, session_runs, sessions, socket,
};
use crate::wire::kinds::names_of;
use crate::wire::refusal::Refusal;

/// Serves the contract, by itself or nested under a path.
///
/// To merge it with another contract's router under one path, take [`routes`], [`info`] and
/// [`absent`].
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
    let about = info(&service, &options);
    let about = move || {
        let about = about.clone();
        async move { Json(about) }
    };
    routes(service, options)
        .merge(both("/info", &get(about)))
        .fallback(move || async move { absent(has_codes) })
}

/// As [`router`], without `/info` and without an answer to unknown paths: two contracts under one
/// path share those.
pub fn routes(service: Service, options: Options) -> Router {
    let service = guarded(service, &options);
    let app = Arc::new(App::new(service, options));
    let mut router =
        both("/health", &get(discover::health)).merge(both("/config", &get(discover::config)));
    for kind in ComponentKind::ALL {
        router = router.merge(of_kind(kind));
    }
    let router = router.merge(sessions::routes()).merge(both("/workflows/ws", &get(socket::open)));
    let has_codes = app.options.error_codes;
    let router = router.method_not_allowed_fallback(not_allowed);
    let router = catch_panics(router, move || our_fault(has_codes))
        .layer(from_fn_with_state(Arc::clone(&app), cors::layer));
    guard_open(router, &app.service, BodyKinds::Any).with_state(app)
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

type Shared = State<Arc<App>>;

/// The routes of one kind of component.
fn of_kind(kind: ComponentKind) -> Router<Arc<App>> {
    let plural = names_of(kind).plural;
    let list = get(async move |State(app): Shared, Caller(view): Caller| {
        app.answer(discover::list(&app, &view, kind))
    });
    let one = get(
        async move |State(app): Shared, Caller(view): Caller, ComponentPath(id): ComponentPath| {
            app.answer(discover::one(&app, &view, kind, &id))
        },
    );
    let create = post(
        async move |State(app): Shared,
                    Caller(view): Caller,
                    ComponentPath(id): ComponentPath,
                    headers: HeaderMap,
                    body: Body| {
            let component = component(&view, kind, &id, Action::Run);
            app.answer(match component {
                Ok(component) => create::create(&app, &view, &component, &headers, body).await,
                Err(refusal) => Err(refusal),
            })
        },
    );
    let create = create.get(async move |State(app): Shared, request: RunRequest| {
        app.answer(session_runs::of_component(&app, kind, &request).await)
    });
    let read = get(async move |State(app): Shared, request: RunRequest| {
        app.answer(read::read(kind, &request).await)
    });
    let cancel = post(async move |State(app): Shared, request: RunRequest| {
        app.answer(cancel::cancel(&app, kind, &request).await)
    });
    let go_on = post(
        async move |State(app): Shared, request: RunRequest, headers: HeaderMap, body: Body| {
            app.answer(go_on::go_on(&app, kind, &request, &headers, body).await)
        },
    );
    let resume = post(
        async move |State(app): Shared, request: RunRequest, headers: HeaderMap, body: Body| {
            app.answer(resume::resume(&app, kind, &request, &headers, body).await)
        },
    );
    both(&format!("/{plural}"), &list)
        .merge(both(&format!("/{plural}/{{id}}"), &one))
        .merge(both(&format!("/{plural}/{{id}}/runs"), &create))
        .merge(both(&format!("/{plural}/{{id}}/runs/{{run}}"), &read))
        .merge(both(&format!("/{plural}/{{id}}/runs/{{run}}/cancel"), &cancel))
        .merge(both(&format!("/{plural}/{{id}}/runs/{{run}}/continue"), &go_on))
        .merge(both(&format!("/{plural}/{{id}}/runs/{{run}}/resume"), &resume))
}

/// Serves a path, with and without a slash at its end.
pub(super) fn both<S: Clone + Send + Sync + 'static>(
    path: &str,
    method: &MethodRouter<S>,
) -> Router<S> {
    Router::new().route(path, method.clone()).route(&format!("{path}/"), method.clone())
}

#[cfg(test)]
mod tests {
    use quell_test_support::answer_to_a_panic;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_in_the_words_of_the_contract() {
        let answer = answer_to_a_panic(|app| catch_panics(app, || our_fault(true))).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.json()["error_code"], "INTERNAL_SERVER_ERROR", "{answer:?}");
    }
}
