//! [`router`]: all contracts on one port.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use quell_http::{BodyKinds, OpenGuard, Service};
use serde_json::{Map, Value};

use super::demo::Demo;
use super::metrics::Metrics;
use super::published::Lookup;
use super::{access, counted, leftover, listed_nodes, metrics, page, published, streams};
use crate::config::Config;

/// Puts all contracts on one port: `AgentOS` and `LangGraph` at `/`, `Playbook3D` under
/// `/playbook3d`, the native API under `/v1`, and in demo mode the witness.
pub(super) fn router(
    service: &Service,
    config: &Config,
    demo: Option<Demo>,
    metrics: Metrics,
    (lookup, speaks_tls): (Lookup, bool),
) -> Router {
    // Keys may be exchanged for tokens.
    let (of, options) = (service.clone(), config.agentos.clone());
    // Anybody may ask for it: it is written once.
    let document = Bytes::from(document().to_string());
    let document = async move || ([(CONTENT_TYPE, "application/json")], document);
    // Pages of other origins may read these, as they may read the rest of LangGraph.
    let info = get(async move || Json(about(&of, &options)));
    let info = Router::new()
        .route("/info", info.clone())
        .route("/info/", info)
        .route("/openapi.json", get(document))
        .method_not_allowed_fallback(quell_langgraph::no_such_method)
        .layer(from_fn(quell_langgraph::allow_origins));
    let has_codes = config.agentos.error_codes;
    let app = Router::new()
        .merge(quell_http::routes(service.clone()))
        .merge(listed_nodes::router(service.clone(), metrics.node()))
        .merge(metrics::router(service.clone(), metrics.clone()))
        .merge(quell_agentos::routes(service.clone(), config.agentos.clone()))
        .merge(page::routes())
        .merge(info);
    let mut options = config.playbook3d.clone();
    options.speaks_tls = speaks_tls;
    let (mut playbook3d, is_demo) = (service.clone(), demo.is_some());
    let app = match demo {
        Some(demo) => {
            options = demo.playbook3d(options);
            if playbook3d.access_of().is_open() {
                playbook3d = playbook3d.access(quell_demo::playbook3d::access());
            }
            app.merge(quell_demo::witness_router(demo.witness))
        }
        None => app,
    };
    // A prefix of the options is any text, `*` or `:x` as well.
    let app = app
        .without_v07_checks()
        .nest("/playbook3d", quell_playbook3d::router(playbook3d, options))
        .fallback(async move |uri: Uri| match uri.path().strip_prefix("/v1") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => quell_http::no_such_path(),
            _ if is_of_langgraph(uri.path()) => quell_langgraph::not_found().await,
            _ => quell_agentos::absent(has_codes),
        });
    let mut options = config.langgraph.clone();
    options.truncates = is_demo;
    let langgraph = quell_langgraph::routes(service.clone(), options);
    let langgraph = langgraph.layer(from_fn_with_state((service.clone(), metrics), of_langgraph));
    // The words are put into what any of its layers answers, but the outermost.
    let langgraph = quell_langgraph::in_its_words(langgraph);
    let langgraph = langgraph.layer(from_fn_with_state(Arc::new(lookup.clone()), outermost));
    // The guard also covers paths of no contract, and the demo, whose keys are public.
    let guard = OpenGuard::of(service, BodyKinds::Any);
    let guarded = Guarded { lookup, service: service.clone(), guard };
    // AgentOS has every path with a slash at its end, too; LangGraph has none so.
    let slashed = langgraph.clone();
    let metrics = any(async move |request| counted::without_slash(slashed, request).await);
    let app = app.layer(from_fn_with_state(Arc::new(guarded), of_others)).merge(langgraph);
    app.route("/metrics/", metrics)
}

// What requests go through is one layer as far as it can be. For each request `axum` allocates each
// layer several times, with copies of all that are within (bench `http -- floor`).

/// What a request of `LangGraph` goes through first.
async fn outermost(State(lookup): State<Arc<Lookup>>, request: Request, next: Next) -> Response {
    of_all(&lookup, request, |request| next.run(request)).await
}

/// What a request goes through whatever it asks for.
async fn of_all<F>(lookup: &Lookup, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let keys_known = |request| published::layer(lookup, request, next);
    access::layer(request, |request| leftover::layer(request, keys_known)).await
}

/// What a request of `LangGraph` goes through.
async fn of_langgraph(
    State((service, metrics)): State<(Service, Metrics)>,
    request: Request,
    next: Next,
) -> Response {
    let of = (&service, &metrics);
    streams::layer(&service, request, |request| counted::layer(of, request, next)).await
}

/// What any other request goes through.
async fn of_others(State(guarded): State<Arc<Guarded>>, request: Request, next: Next) -> Response {
    let guarded = &*guarded;
    // On the heap: each of the layers around it would have room for it twice.
    let within = |request| Box::pin(of_guarded(guarded, request, next));
    of_all(&guarded.lookup, request, within).await
}

/// What it goes through then.
async fn of_guarded(guarded: &Guarded, request: Request, next: Next) -> Response {
    let Guarded { service, guard, .. } = guarded;
    if let Some(problem) = guard.as_ref().and_then(|guard| guard.refusal(&request)) {
        return problem.into_response();
    }
    let page = |request| page::at_root(request, |request| next.run(request));
    streams::layer(service, request, page).await
}

/// Tells whether a path is below one of those that are of `LangGraph` alone.
fn is_of_langgraph(path: &str) -> bool {
    ["threads", "runs", "assistants", "store"].contains(&path.split('/').nth(1).unwrap_or_default())
}

/// What the layer of other requests than those of `LangGraph` knows.
struct Guarded {
    lookup: Lookup,
    service: Service,
    /// None if access is not open.
    guard: Option<OpenGuard>,
}

/// Makes the answer to `GET /info`, a path that two contracts share: the keys of both.
fn about(service: &Service, options: &quell_agentos::Options) -> Value {
    let mut about = quell_agentos::info(service, options);
    if let (Value::Object(all), Value::Object(more)) = (&mut about, quell_langgraph::info()) {
        all.extend(more);
    }
    about
}

/// Makes the answer to `GET /openapi.json`: what the native API and `LangGraph` say of themselves,
/// and what there is beside them.
fn document() -> Value {
    let (mut document, other) = (quell_http::document(), quell_langgraph::document());
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.extend(own_paths());
    }
    for part in ["/paths", "/components/schemas", "/components"] {
        let Some(Value::Object(more)) = other.pointer(part).cloned() else { continue };
        if let Some(Value::Object(all)) = document.pointer_mut(part) {
            more.into_iter().for_each(|(key, value)| _ = all.entry(key).or_insert(value));
        }
    }
    document
}

/// Yields what the document has of the paths of the server itself.
fn own_paths() -> Map<String, Value> {
    let mut paths = listed_nodes::routes().into_parts().1;
    paths.extend(metrics::routes().into_parts().1);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_all_that_the_contracts_say_and_they_share_no_names() {
        let (all, parts) = (document(), [quell_http::document(), quell_langgraph::document()]);
        for (place, own) in [("/paths", own_paths().len()), ("/components/schemas", 0)] {
            let keys =
                |document: &Value| document.pointer(place).unwrap().as_object().unwrap().len();
            assert_eq!(keys(&all), parts.iter().map(keys).sum::<usize>() + own, "{place}");
        }
        for path in ["/v1/nodes", "/v1/metrics"] {
            assert!(all["paths"][path]["get"]["security"].is_array(), "{path}");
        }
        assert!(all["components"]["securitySchemes"]["apiKey"].is_object());
        assert_eq!(all["info"]["title"], "quell");
    }
}
