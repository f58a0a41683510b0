//! The routes: parse, one engine call, render.

mod cancel;
mod create;
mod discover;
mod read;

pub use discover::info;

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use quell::{RunKind, RunRef};
use quell_http::{Access, BodyError, BodyKinds, Key, Service, View, guard_open};
use tower_http::catch_panic::CatchPanicLayer;

use crate::cors;
use crate::gate::Site;
use crate::gather;
use crate::options::Options;
use crate::wire::exact::Object;
use crate::wire::place::Place;
use crate::wire::problem::Refusal;
use crate::wire::words::words;

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
    let site = Arc::new(Site { service, options, since: SystemTime::now() });
    let mut router =
        both("/health", &get(discover::health)).merge(both("/config", &get(discover::config)));
    for kind in [RunKind::Agent, RunKind::Team, RunKind::Workflow] {
        router = router.merge(of_kind(kind));
    }
    let has_codes = site.options.error_codes;
    let router = caught(router.method_not_allowed_fallback(not_allowed), has_codes)
        .layer(from_fn_with_state(Arc::clone(&site), cors::layer));
    guard_open(router, &site.service, BodyKinds::Any).with_state(site)
}

/// Answers 500 in the contract's words where a handler panics, instead of cutting the connection.
fn caught<S: Clone + Send + Sync + 'static>(router: Router<S>, has_codes: bool) -> Router<S> {
    let answer = move |_: Box<dyn Any + Send>| Refusal::unexpected().answer(has_codes);
    router.layer(CatchPanicLayer::custom(answer))
}

/// Puts the option's static key in the place of the service's keys and tokens; without one, open
/// access trusts the origins of the options.
fn guarded(service: Service, options: &Options) -> Service {
    match options.security_key.as_deref() {
        Some(secret) if !secret.is_empty() => {
            service.access(Access::open().key(Key::new("security-key", secret).admin()))
        }
        _ => {
            let access = service.access_of().clone();
            let access = options.cors_origins.iter().fold(access, Access::trust_origin);
            service.access(access)
        }
    }
}

/// Answers a path that the contract does not serve: 404 `Not Found`, with an `error_code` as
/// [`Options::error_codes`] says.
pub fn absent(has_codes: bool) -> Response {
    Refusal::not_found("Not Found").answer(has_codes)
}

async fn not_allowed(State(site): State<Arc<Site>>) -> Response {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        .answer(site.options.error_codes)
}

type Shared = State<Arc<Site>>;
type PathOf<T> = Result<Path<T>, PathRejection>;

/// The routes of one kind of component.
fn of_kind(kind: RunKind) -> Router<Arc<Site>> {
    let plural = words(kind).plural;
    let list = get(async move |State(site): Shared, headers: HeaderMap| {
        site.answer(discover::list(&site, &headers, kind))
    });
    let one = get(async move |State(site): Shared, id: PathOf<String>, headers: HeaderMap| {
        let id = id.map(|Path(id)| id).unwrap_or_default();
        site.answer(discover::one(&site, &headers, kind, &id))
    });
    let create = post(
        async move |State(site): Shared, id: PathOf<String>, headers: HeaderMap, body: Body| {
            let id = id.map(|Path(id)| id).unwrap_or_default();
            site.answer(create::create(&site, &headers, kind, &id, body).await)
        },
    );
    let read = get(
        async move |State(site): Shared,
                    ids: PathOf<(String, String)>,
                    RawQuery(query): RawQuery,
                    headers: HeaderMap| {
            let (id, run) = ids.map(|Path(ids)| ids).unwrap_or_default();
            let ids = (id.as_str(), run.as_str());
            site.answer(read::read(&site, &headers, kind, ids, query.as_deref()).await)
        },
    );
    let cancel = post(
        async move |State(site): Shared,
                    ids: PathOf<(String, String)>,
                    RawQuery(query): RawQuery,
                    headers: HeaderMap| {
            let (id, run) = ids.map(|Path(ids)| ids).unwrap_or_default();
            let ids = (id.as_str(), run.as_str());
            site.answer(cancel::cancel(&site, &headers, kind, ids, query.as_deref()).await)
        },
    );
    both(&format!("/{plural}"), &list)
        .merge(both(&format!("/{plural}/{{id}}"), &one))
        .merge(both(&format!("/{plural}/{{id}}/runs"), &create))
        .merge(both(&format!("/{plural}/{{id}}/runs/{{run}}"), &read))
        .merge(both(&format!("/{plural}/{{id}}/runs/{{run}}/cancel"), &cancel))
}

/// Serves a path, with and without a slash at its end.
fn both<S: Clone + Send + Sync + 'static>(path: &str, method: &MethodRouter<S>) -> Router<S> {
    Router::new().route(path, method.clone()).route(&format!("{path}/"), method.clone())
}

/// Writes a run and what is below it. What is large is put together and written on a thread of its
/// own.
async fn told(view: &View, run: &RunRef) -> Result<Option<Response>, Refusal> {
    let Some(place) = gather::place_of(view, run) else { return Ok(None) };
    let (about, make) = answer(view, run, place);
    Ok(Some(view.told(about, make).await.map_err(Refusal::of_answer)?))
}

/// As [`told`], for the client that has waited for the run. If there is no room for all of it, not
/// even soon, or the run was forgotten while the client waited for that, what is small of it: the
/// run is made, and whoever is refused has started nothing.
async fn told_at_end(view: &View, run: RunRef) -> Result<Option<Response>, Refusal> {
    let Some(place) = gather::place_of(view, &run) else { return Ok(None) };
    let (about, make) = answer(view, &run, place.clone());
    match view.told(about, make).await {
        Ok(response) => return Ok(Some(response)),
        Err(BodyError::Overdrawn(_)) => {}
        Err(error) => return Err(Refusal::of_answer(error)),
    }
    let small = gather::without_values(view, &run, place.clone());
    let seen = view.clone();
    let make = move |run: &RunRef| gather::read_at(&seen, run, &run.report(), &place).to_json();
    match view.told_soon(run, about, make).await {
        Ok(Some(response)) => Ok(Some(response)),
        Ok(None) | Err(BodyError::Overdrawn(_)) => Ok(Some(Json(small).into_response())),
        Err(error) => Err(Refusal::of_answer(error)),
    }
}

/// Yields about how large the answer is that tells a run, and what makes it.
fn answer(
    view: &View,
    run: &RunRef,
    place: Place,
) -> (usize, impl FnOnce() -> Object + Send + use<>) {
    let (seen, run, report) = (view.clone(), run.clone(), run.report());
    let about = view.weight(&report);
    (about, move || gather::read_at(&seen, &run, &report, &place).to_json())
}

/// Yields a parameter of a query; one that is empty counts as absent.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let found = pairs.filter(|(key, value)| key == name && !value.is_empty()).last();
    found.map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    #[expect(clippy::panic, reason = "that is the matter")]
    async fn a_handler_that_panics_is_answered_in_the_words_of_the_contract() {
        let broken = get(async || -> Response { panic!("a bug") });
        let app = caught(Router::new().route("/", broken), true);
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let answer = app.oneshot(request).await.expect("it answers");
        assert_eq!(answer.status(), 500);
        let body = to_bytes(answer.into_body(), 1_000).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["error_code"], "INTERNAL_SERVER_ERROR", "{body}");
    }
}
