//! The demo graphs with their witness, behind a router whose every answer is looked up.

use std::sync::LazyLock;

use axum::Router;
use quell::{Engine, EngineConfig};
use quell_demo::{Witness, agentos, langgraph};
use quell_flow::Catalog;
use quell_http::{Access, Service};
use quell_langgraph::Options;
use quell_test_support::documented;
use serde_json::Value;

/// Makes the app of the demo graphs, and the service behind it.
pub(crate) fn app(
    config: EngineConfig,
    options: Options,
    access: Access,
) -> (Router, Service, Witness) {
    app_with(Catalog::new(), config, options, access)
}

/// As [`app`], with these components as well.
pub(crate) fn app_with(
    catalog: Catalog,
    config: EngineConfig,
    options: Options,
    access: Access,
) -> (Router, Service, Witness) {
    let witness = Witness::default();
    let catalog = langgraph::components(catalog, &witness, "");
    let catalog = agentos::components(catalog, &witness, "");
    let service = Service::new(Engine::with_config(config), catalog).access(access);
    let app = router(service.clone(), options);
    (app, service, witness)
}

/// Makes the router, and fails the test in which it answers what its document does not have.
pub(crate) fn router(service: Service, options: Options) -> Router {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(quell_langgraph::document);
    documented(quell_langgraph::router(service, options), &DOCUMENT, |path| path)
}
