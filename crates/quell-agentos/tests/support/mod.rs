//! What the tests have in common: a site of the demo components.

pub(crate) mod http;
pub(crate) mod talkers;
pub(crate) mod ws;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use quell::Engine;
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Service};
use quell_test_support::documented;
use serde_json::Value;

/// A server of the demo components.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) service: Service,
    pub(crate) witness: Witness,
    pub(crate) app: axum::Router,
}

impl Site {
    pub(crate) fn new(options: Options, access: Access) -> Self {
        Self::with(Engine::new(), options, access)
    }

    pub(crate) fn with(engine: Engine, options: Options, access: Access) -> Self {
        Self::made_of(Witness::default(), Catalog::new(), engine, options, access)
    }

    /// With more components than those of the demo.
    pub(crate) fn made_of(
        witness: Witness,
        more: Catalog,
        engine: Engine,
        options: Options,
        access: Access,
    ) -> Self {
        let catalog = quell_demo::agentos::components(more, &witness, "");
        let service = Service::new(engine, catalog).access(access);
        let app = router(service.clone(), options);
        Self { service, witness, app }
    }

    /// With one more component.
    pub(crate) fn of(component: Component) -> Self {
        let (catalog, options) = (Catalog::new().with(component), Options::default());
        Self::made_of(Witness::default(), catalog, Engine::new(), options, Access::open())
    }

    /// Serves the same service anew: all that the adapter has in memory is lost.
    pub(crate) fn forgetful(&self) -> Self {
        Self { app: router(self.service.clone(), Options::default()), ..self.clone() }
    }

    /// Waits until so many bodies have ticked.
    pub(crate) async fn at_work(&self, probe: &str, bodies: usize) {
        while self.witness.get(probe).0.len() < bodies {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn open() -> Self {
        Self::new(Options::default(), Access::open())
    }
}

/// Makes the router, and fails the test in which it answers what its document does not have.
pub(crate) fn router(service: Service, options: Options) -> axum::Router {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(quell_agentos::document);
    documented(quell_agentos::router(service, options), &DOCUMENT, without_slash)
}

/// Every path is served with a slash at its end, too.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').filter(|it| !it.is_empty()).unwrap_or(path)
}

/// Makes a name that no other call makes.
pub(crate) fn fresh(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
