//! Speaking to the app without a socket.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::response::Response;
use quell::EngineConfig;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Service};
use quell_langgraph::Options;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) use quell_test_support::Answer;

/// A server in the test.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) app: Router,
    pub(crate) service: Service,
    pub(crate) witness: Witness,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What an answer says in this contract.
pub(crate) trait Says {
    /// Yields the status and the words of a refusal.
    fn detail(&self) -> (u16, String);

    /// Yields the events of a stream, with their data.
    fn events(&self) -> Vec<(String, Value)>;
}

impl Says for Answer {
    fn detail(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        (self.status.as_u16(), body["detail"].as_str().unwrap().to_owned())
    }

    fn events(&self) -> Vec<(String, Value)> {
        let frames = self.text.split("\n\n").filter(|frame| !frame.trim().is_empty());
        let field = |frame: &str, name: &str| {
            let line = frame.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        let read = |frame: &str| {
            let data = serde_json::from_str(&field(frame, "data: ")).unwrap_or_default();
            (field(frame, "event: "), data)
        };
        frames.map(read).collect()
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(EngineConfig::new(), Options::default(), Access::open())
    }

    pub(crate) fn with(config: EngineConfig, options: Options, access: Access) -> Self {
        let (app, service, witness) = crate::support::app(config, options, access);
        Self { app, service, witness, headers: Vec::new() }
    }

    /// Serves these components besides those of the demo.
    pub(crate) fn serving(components: impl IntoIterator<Item = Component>) -> Self {
        Self::serving_with(EngineConfig::new(), components)
    }

    pub(crate) fn serving_with(
        config: EngineConfig,
        components: impl IntoIterator<Item = Component>,
    ) -> Self {
        let catalog = components.into_iter().fold(Catalog::new(), Catalog::with);
        let (app, service, witness) =
            crate::support::app_with(catalog, config, Options::default(), Access::open());
        Self { app, service, witness, headers: Vec::new() }
    }

    /// Serves the same service anew: all that the adapter has in memory is lost.
    pub(crate) fn forgetful(&self) -> Self {
        let app = crate::support::router(self.service.clone(), Options::default());
        Self { app, ..self.clone() }
    }

    /// Speaks with a header from here on.
    pub(crate) fn saying(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.push((name, value.to_owned()));
        other
    }

    fn request(&self, method: Method, path: &str, body: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> Answer {
        quell_test_support::send(&self.app, self.request(method, path, body)).await
    }

    /// Asks, and reads nothing of the answer but its head. Who drops it goes away.
    pub(crate) async fn open(&self, method: Method, path: &str, body: &str) -> Response {
        self.app.clone().oneshot(self.request(method, path, body)).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &body.to_string()).await
    }

    pub(crate) async fn thread(&self) -> String {
        let answer = self.post("/threads", &json!({})).await;
        answer.json()["thread_id"].as_str().unwrap().to_owned()
    }

    /// Starts a run in a thread; yields the path of the run.
    pub(crate) async fn start(&self, thread: &str, graph: &str, input: Value) -> String {
        let body = json!({ "assistant_id": graph, "input": input });
        let answer = self.post(&format!("/threads/{thread}/runs"), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("content-location").to_owned()
    }

    pub(crate) async fn status(&self, run: &str) -> String {
        let answer = self.get(run).await;
        match answer.status.as_u16() {
            404 => "gone".to_owned(),
            _ => answer.json()["status"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) async fn until_ticking(&self, probe: &str) {
        while self.witness.get(probe).0.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// The witness decides: nothing ticks any more.
    pub(crate) async fn assert_stopped(&self, probe: &str) {
        let before = self.witness.get(probe);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(self.witness.get(probe), before, "work went on");
    }
}

pub(crate) fn id_of(run: &str) -> &str {
    run.rsplit('/').next().unwrap()
}
