//! [`Client`]: asks a running server through its native API.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, Method, Response, StatusCode, Uri};
use quell_report::text::printable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::not_done::NotDone;
use crate::faults::in_full;
use crate::remote::{Caller, Secrets, below, shown};

/// Asks a server. It follows no redirect, so that no key goes elsewhere, and asks no proxy.
pub(crate) struct Client {
    asks: Asks,
    /// What waits for answers.
    runtime: Runtime,
}

/// What sends requests to one server.
#[derive(Debug)]
pub(super) struct Asks {
    caller: Caller,
    base: Uri,
    has_key: bool,
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    /// The server, for messages.
    server: String,
}

impl Client {
    /// Makes one for a server, with the key that goes with every request.
    ///
    /// # Errors
    ///
    /// Fails if the key cannot be in a header, or if there are no root certificates for https.
    pub(super) fn new(base: Uri, key: Option<&str>) -> Result<Self, String> {
        let mut secrets = Secrets::default();
        if let Some(key) = key {
            secrets
                .add(AUTHORIZATION, "Bearer ", key)
                .map_err(|words| format!("the key: {words}"))?;
        }
        let is_tls = base.scheme_str() == Some("https");
        let caller = Caller::new(is_tls, CONNECT_WAIT, secrets)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime can be built: {error}"))?;
        Ok(Self { asks: Asks { caller, base, has_key: key.is_some() }, runtime })
    }

    /// Waits for what is asked.
    pub(super) fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// Yields what asks, for commands that do more than one thing at a time, and what waits.
    pub(super) fn into_parts(self) -> (Asks, Runtime) {
        (self.asks, self.runtime)
    }

    /// Reads something.
    ///
    /// # Errors
    ///
    /// Fails as [`Asks::get`].
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NotDone> {
        self.wait(self.asks.get(path))
    }

    /// Asks for a change, within a time beyond that of any answer.
    ///
    /// # Errors
    ///
    /// Fails as [`Asks::post`].
    pub(super) fn post(
        &self,
        path: &str,
        body: &impl Serialize,
        more: Duration,
    ) -> Result<Answer, NotDone> {
        self.wait(self.asks.post(path, body, more))
    }

    /// Yields the server, for messages.
    pub(super) fn server(&self) -> String {
        self.asks.server()
    }
}

impl Asks {
    /// Yields the server, for messages.
    pub(super) fn server(&self) -> String {
        shown(&self.base)
    }

    /// Reads something.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses, is not there, or does not answer in time.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NotDone> {
        self.whole(Method::GET, path, Bytes::new(), ANSWER_WAIT).await?.read()
    }

    /// Asks for a change.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). Of a change whose answer is lost nobody knows whether it was made.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
        more: Duration,
    ) -> Result<Answer, NotDone> {
        let body = serde_json::to_vec(body).map_err(|no| NotDone::Refused(no.to_string()))?;
        let body = Bytes::from(body);
        self.whole(Method::POST, path, body, ANSWER_WAIT.saturating_add(more)).await
    }

    /// Opens a stream: its head is there.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(super) async fn open(&self, path: &str) -> Result<Response<Incoming>, NotDone> {
        let response = timeout(ANSWER_WAIT, self.head(Method::GET, path, Bytes::new())).await;
        let response = response.map_err(|_| self.late(ANSWER_WAIT))??;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if response.status().is_success() && kind.is_some_and(|it| it.starts_with(STREAM)) {
            return Ok(response);
        }
        let refused = timeout(ANSWER_WAIT, self.answer(response)).await;
        match refused.map_err(|_| self.late(ANSWER_WAIT))? {
            Err(refused) => Err(refused),
            Ok(Answer { status, .. }) => Err(NotDone::read(status, b"", true).at(&self.server())),
        }
    }

    async fn whole(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Answer, NotDone> {
        let asked = async { self.answer(self.head(method, path, body).await?).await };
        timeout(within, asked).await.map_err(|_| self.late(within))?
    }

    /// Sends a request, and waits for the head of its answer.
    async fn head(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, NotDone> {
        let uri = below(&self.base, path).map_err(NotDone::Refused)?;
        let mut request = self.caller.post(&uri, &HeaderMap::new(), body);
        *request.method_mut() = method;
        let response = self.caller.send(request).await.map_err(|unanswered| {
            let words = unanswered.words.trim_start_matches("client error (Connect): ");
            let words = self.caller.hide(&printable(words));
            NotDone::Lost(format!("no answer: {words}; {WHERE}")).at(&self.server())
        })?;
        Ok(response)
    }

    /// Reads an answer to its end.
    async fn answer(&self, response: Response<Incoming>) -> Result<Answer, NotDone> {
        let status = response.status();
        let server = self.server();
        let (mut body, mut whole) = (response.into_body(), Vec::new());
        while let Some(data) = piece(&mut body).await.map_err(|lost| lost.at(&server))? {
            if whole.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(NotDone::Refused(TOO_LONG.to_owned()).at(&server));
            }
            whole.extend_from_slice(&data);
        }
        if status.is_success() {
            return Ok(Answer { status, body: whole, server });
        }
        Err(match NotDone::read(status, &whole, self.has_key) {
            NotDone::Refused(words) => NotDone::Refused(self.caller.hide(&words)),
            NotDone::Lost(words) => NotDone::Lost(self.caller.hide(&words)),
        }
        .at(&server))
    }

    fn late(&self, within: Duration) -> NotDone {
        let within = humantime::format_duration(within);
        NotDone::Lost(format!("no answer within {within}; {WHERE}")).at(&self.server())
    }
}

impl Answer {
    /// Reads it as JSON.
    ///
    /// # Errors
    ///
    /// Fails if it is something else.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, NotDone> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let words = format!("its answer cannot be read, it may be of another release: {error}");
            NotDone::Refused(printable(&words).into_owned()).at(&self.server)
        })
    }
}

/// Yields the next piece of a body; none at its end.
///
/// # Errors
///
/// Fails if it breaks off.
pub(super) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, NotDone> {
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        let frame = frame.map_err(|error| {
            NotDone::Lost(format!("its answer breaks off: {}", printable(&in_full(&error))))
        })?;
        // Trailers say nothing.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

const STREAM: &str = "text/event-stream";

const WHERE: &str = "`quell serve` starts a server, `--server URL` names another one";

const TOO_LONG: &str = "its answer is too long to be read here; `--limit` asks for less";

/// The longest answer that is no stream.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long an answer may take, with the connection, beyond what it was asked to wait.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How long the connection may take, in which each address of a host has its share.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
