//! A router with the demo data, and clients of it, in one process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use quell::{Engine, Payload, RunId, RunRef};
use quell_demo::Witness;
use quell_demo::playbook3d::{self as demo, ALICE};
use quell_flow::{Catalog, Component};
use quell_http::{Access, Service};
use quell_playbook3d::Options;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::support::router;

/// A router with the demo data.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) service: Service,
    pub(crate) witness: Witness,
    pub(crate) app: Router,
}

/// Somebody who calls, with both headers, or without any.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    app: Router,
    pub(crate) headers: HeaderMap,
}

/// What a call is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The same as JSON.
    pub(crate) body: Value,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::made_of(options, |catalog| catalog, demo::access())
    }

    pub(crate) fn on(engine: Engine) -> Self {
        Self::on_with(engine, Options::default())
    }

    pub(crate) fn on_with(engine: Engine, options: Options) -> Self {
        Self::built(engine, options, |catalog| catalog, demo::access())
    }

    pub(crate) fn of(component: Component) -> Self {
        Self::made_of(Options::default(), |catalog| catalog.with(component), demo::access())
    }

    pub(crate) fn made_of(
        options: Options,
        more: impl FnOnce(Catalog) -> Catalog,
        access: Access,
    ) -> Self {
        Self::built(Engine::new(), options, more, access)
    }

    fn built(
        engine: Engine,
        options: Options,
        more: impl FnOnce(Catalog) -> Catalog,
        access: Access,
    ) -> Self {
        let witness = Witness::default();
        let catalog = more(super::catalog(&witness));
        let service = Service::new(engine, catalog).access(access);
        let app = router(service.clone(), super::with_demo(options));
        Self { service, witness, app }
    }

    /// Serves the same service anew: all that the adapter has in memory is lost.
    pub(crate) fn forgetful(&self) -> Self {
        let (service, witness) = (self.service.clone(), self.witness.clone());
        let app = router(service.clone(), super::with_demo(Options::default()));
        Self { service, witness, app }
    }

    /// Somebody without credentials.
    pub(crate) fn nobody(&self) -> Client {
        Client { app: self.app.clone(), headers: HeaderMap::new() }
    }

    /// The holder of a key, with the key as `x-api-key`.
    pub(crate) async fn client(&self, key: Uuid) -> Client {
        let mut client = self.nobody();
        let token = client.get(&format!("/token-wrapper/get-tokens/{key}")).await;
        let token = token.body["access_token"].as_str().expect("the key is known").to_owned();
        client.set("authorization", &format!("Bearer {token}"));
        client.set("x-api-key", &key.to_string());
        client
    }

    pub(crate) async fn alice(&self) -> Client {
        self.client(ALICE).await
    }

    pub(crate) fn run(&self, id: &str) -> RunRef {
        self.service.engine().get(RunId::from_text(id)).expect("the run is kept")
    }

    /// Yields the sum of all ticks of a probe.
    pub(crate) fn ticks(&self, probe: &str) -> u64 {
        self.witness.get(probe).0.values().sum()
    }
}

impl Client {
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).expect("a header");
        self.headers.insert(HeaderName::from_static(name), value);
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(Method::POST, path, body.into()).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Body) -> Answer {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path");
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert("host", HeaderValue::from_static("localhost:7777"));
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().entry("content-type").or_insert(json);
        let quell_test_support::Answer { status, headers, text } =
            quell_test_support::send(&self.app, request).await;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Answer { status, headers, text, body }
    }

    /// Runs a workflow; yields its run id.
    pub(crate) async fn start(&self, team: Uuid, workflow: Uuid, inputs: Value) -> String {
        let body = json!({ "id": workflow, "origin": "2", "inputs": inputs });
        let answer = self.post(&format!("/run_workflow/{team}"), body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["run_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn cancel(&self, team: Uuid, run: &str) -> Answer {
        self.post(&format!("/cancel/{team}/{run}"), Body::empty()).await
    }

    /// Yields a run as it is listed.
    pub(crate) async fn listed(&self, run: &str) -> Value {
        let runs = self.get("/runs").await.body;
        let runs = runs.as_array().expect("a list");
        runs.iter().find(|listed| listed["id"] == run).cloned().unwrap_or_default()
    }
}

impl Client {
    /// Yields the result of a run.
    pub(crate) async fn result(&self, run: &str) -> Value {
        self.get(&format!("/runs/{run}/result")).await.body
    }
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Fails unless this is the refusal with this status and text, under both keys.
    pub(crate) fn assert_refused(&self, status: u16, text: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body, json!({ "result": text, "description": text }));
        assert_eq!(self.header("content-type"), Some("application/json"));
    }
}

/// A workflow that ends when it is let go, and not when it is told to.
pub(crate) fn held(let_go: &Arc<Notify>) -> Component {
    let let_go = Arc::clone(let_go);
    Component::workflow("held", move |_ctx, _: Payload| {
        let let_go = Arc::clone(&let_go);
        async move {
            let_go.notified().await;
            Ok(Payload::from("let go"))
        }
    })
}

/// Options whose cancels wait for so long.
pub(crate) fn waiting(time: Duration) -> Options {
    let mut options = Options::default();
    options.cancel_wait = time;
    options
}

/// The texts of refusals (contract, section 5).
pub(crate) const BAD: &str = "Bad Request. Possibly invalid team_id/run_id format.";
pub(crate) const IN_USE: &str = "Bad Request. The run id is already in use.";
pub(crate) const UNAUTHORIZED: &str =
    "Unauthorized. The Bearer token or API key is invalid or missing.";
pub(crate) const BROKE: &str = "Payment Required. Subscription not active or no credits available.";
pub(crate) const NO_RUN: &str = "Forbidden. You do not have permission to run this workflow.";
pub(crate) const NO_CANCEL: &str = "Forbidden. You do not have permission to cancel this run.";
pub(crate) const NOT_FOUND: &str = "Not Found. The run or team was not found.";
pub(crate) const INTERNAL: &str = "Internal Server Error. Something went wrong on the server.";
