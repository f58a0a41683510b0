//! A client that is bounded in time and space: requests, and the events of a stream.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use form_urlencoded::Serializer;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Sends requests, each on a connection that nothing else uses meanwhile. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What is sent.
pub(crate) enum Body<'a> {
    /// Nothing.
    Empty,
    /// A form.
    Form(&'a [(&'a str, &'a str)]),
    /// A document.
    Json(&'a Value),
}

impl Http {
    /// Makes a client that keeps connections.
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PATIENCE));
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Reads a document.
    pub(crate) async fn get(&self, url: &str) -> Result<Value, String> {
        let whole = whole(url, self.send(Method::GET, url, &Body::Empty).await?).await?;
        serde_json::from_slice(&whole).map_err(|error| failed(url, &error))
    }

    /// Posts, and reads the whole answer.
    pub(crate) async fn post(&self, url: &str, body: &Body<'_>) -> Result<Bytes, String> {
        whole(url, self.send(Method::POST, url, body).await?).await
    }

    /// Deletes.
    pub(crate) async fn delete(&self, url: &str) -> Result<(), String> {
        whole(url, self.send(Method::DELETE, url, &Body::Empty).await?).await.map(drop)
    }

    /// Posts, and reads the answer as a stream of events.
    pub(crate) async fn watch(
        &self,
        url: &str,
        body: &Body<'_>,
    ) -> Result<(HeaderMap, Events), String> {
        let (head, body) = self.send(Method::POST, url, body).await?.into_parts();
        let events = Events { url: url.to_owned(), body, read: BytesMut::new() };
        Ok((head.headers, events))
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: &Body<'_>,
    ) -> Result<Response<Incoming>, String> {
        let request = Request::builder().method(method).uri(url);
        let request = match body {
            Body::Empty => request.body(Full::default()),
            Body::Form(pairs) => {
                let form = Serializer::new(String::new()).extend_pairs(*pairs).finish();
                let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                request.body(form.into())
            }
            Body::Json(value) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                request.body(value.to_string().into())
            }
        };
        let request = request.map_err(|error| failed(url, &error))?;
        let answer = within(url, self.client.request(request)).await?;
        let answer = answer.map_err(|error| {
            format!("{}; does a server with the demo components listen there?", failed(url, &error))
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = whole(url, answer).await?;
        Err(failed(url, &format!("{status} {}", String::from_utf8_lossy(&text))))
    }
}

/// An event of a stream.
#[derive(Debug, Default)]
pub(crate) struct Event {
    /// What follows `event:`.
    pub(crate) name: String,
    /// What follows `data:`.
    pub(crate) data: String,
}

/// The events of a stream, in order. Dropped early it closes the connection.
#[derive(Debug)]
pub(crate) struct Events {
    url: String,
    body: Incoming,
    read: BytesMut,
}

impl Events {
    /// Waits for the next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, String> {
        let mut event = Event::default();
        while let Some(line) = self.line().await? {
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("event:") {
                name.trim_start().clone_into(&mut event.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                event.data.push_str(data.trim_start());
            } else if line.is_empty() && !event.name.is_empty() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Reads to the end of the stream.
    pub(crate) async fn finish(mut self) -> Result<(), String> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    async fn line(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.advance(end + 1);
                return Ok(Some(line));
            }
            if self.read.len() > ANSWER_MAX {
                return Err(failed(&self.url, &"a line of the stream does not end"));
            }
            let Some(frame) = within(&self.url, self.body.frame()).await? else { return Ok(None) };
            let frame = frame.map_err(|error| failed(&self.url, &error))?;
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

async fn whole(url: &str, answer: Response<Incoming>) -> Result<Bytes, String> {
    let whole = within(url, Limited::new(answer.into_body(), ANSWER_MAX).collect()).await?;
    Ok(whole.map_err(|error| failed(url, &error))?.to_bytes())
}

async fn within<T>(url: &str, answer: impl Future<Output = T>) -> Result<T, String> {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.map_err(|_| failed(url, &format!("silent for {} s", PATIENCE.as_secs())))
}

fn failed(url: &str, why: &impl Display) -> String {
    format!("{url}: {why}")
}

/// How long an answer, or the next piece of a stream, may take. Servers say something every 5 s
/// (`LangGraph`) or tick (`AgentOS`).
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer, or of a line of a stream.
const ANSWER_MAX: usize = 16 << 20;
