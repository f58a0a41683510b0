//! Components, requests, and a server on a socket.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use quell::{Engine, EngineConfig, Failure, Payload, RunContext, RunSpec};
use quell_flow::{Catalog, Component, Contract, Emit};
use quell_http::Service;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) use quell_test_support::{Answer, Witness, serve, soon};

/// Makes a service with components that do what their names say.
pub(crate) fn service_with(config: EngineConfig, witness: &Witness) -> Service {
    let (a, b) = (witness.clone(), witness.clone());
    let catalog = Catalog::new()
        .with(Component::agent("echo", async |ctx: RunContext, input: Payload| {
            Emit::content("hello ").send(&ctx);
            Emit::content("world").send(&ctx);
            Ok(input)
        }))
        .with(Component::agent("repeater", async |ctx: RunContext, input: Payload| {
            ctx.emit(input.clone());
            Ok(input)
        }))
        .with(Component::agent("sleeper", move |_ctx, _input| {
            let witness = a.clone();
            async move {
                let _inside = witness.enter();
                std::future::pending::<()>().await;
                Ok(Payload::from("never"))
            }
        }))
        .with(Component::agent("stubborn", move |ctx: RunContext, _input| {
            let witness = b.clone();
            async move {
                let _inside = witness.enter();
                let _ = ctx.is_stopping();
                std::future::pending::<()>().await;
                Ok(Payload::from("never"))
            }
        }))
        .with(Component::agent("failing", async |_ctx, _input| Err(Failure::new("boom"))))
        .with(Component::workflow("steps", steps))
        .with(Component::agent("talker", talk))
        .with(Component::agent("shouter", shout))
        .with(
            Component::team("hidden", async |_ctx, input| Ok(input))
                .exposed_in([Contract::named("agentos")]),
        );
    Service::new(Engine::with_config(config), catalog)
}

pub(crate) fn service() -> Service {
    service_with(EngineConfig::new(), &Witness::default())
}

async fn steps(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    let step = ctx.spawn(RunSpec::step("wait"), async |ctx: RunContext| {
        Emit::content("from the step").send(&ctx);
        std::future::pending::<()>().await;
        Ok(())
    });
    step.await?;
    Ok(input)
}

/// Says as many words as its input asks for.
async fn talk(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    for word in 0..input.parse::<usize>()? {
        Emit::content(format!("{word} ")).send(&ctx);
        if word % 8 == 7 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(Payload::from("said"))
}

/// Says long words, as many as its input asks for.
async fn shout(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    for _ in 0..input.parse::<usize>()? {
        Emit::content("x".repeat(64 << 10)).send(&ctx);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Payload::from("said"))
}

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends a request within this process and reads the whole answer.
pub(crate) async fn send(
    app: &Router,
    method: &str,
    path: &str,
    headers: Headers<'_>,
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).unwrap();
    quell_test_support::send(app, request).await
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, "GET", path, &[], "").await
}

pub(crate) async fn post(app: &Router, path: &str, body: &Value) -> Answer {
    send(app, "POST", path, &[JSON], body.to_string()).await
}

/// Starts a run of an agent, with this id.
pub(crate) async fn start(app: &Router, component: &str, id: &str, input: Value) {
    let kind = if component == "steps" { "workflow" } else { "agent" };
    let body = serde_json::json!({
        "component": { "kind": kind, "id": component }, "id": id, "input": input,
    });
    let answer = post(app, "/v1/runs", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
}

/// A client with one connection; dropped, it hangs up.
pub(crate) struct Client {
    connection: JoinHandle<()>,
    requests: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        let (requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { connection, requests }
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> Pieces {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        self.requests.ready().await.unwrap();
        Pieces(self.requests.send_request(request).await.unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// An answer that is read piece by piece.
pub(crate) struct Pieces(pub(crate) Response<Incoming>);

impl Pieces {
    pub(crate) async fn next(&mut self) -> Option<String> {
        let piece = self.0.frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(piece.to_vec()).unwrap())
    }

    pub(crate) async fn rest(mut self) -> String {
        let mut text = String::new();
        while let Some(piece) = self.next().await {
            text.push_str(&piece);
        }
        text
    }

    /// Reads on until the text is there.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            read.push_str(&self.next().await.expect("the answer goes on"));
        }
        read
    }
}
