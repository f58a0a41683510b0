//! [`Client`] posts spans to a collector, in the thread that exports them, and warns if that does
//! not take them.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

/// Posts spans. It blocks its caller, which is a thread of its own, and needs no other runtime.
///
/// Neither the address of the collector nor a header is ever logged: they may hold secrets.
pub(super) struct Client {
    runtime: Runtime,
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// When it was last said that the collector takes nothing. A leaf.
    warned: Mutex<Option<Instant>>,
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    ///
    /// Fails if there are no root certificates on the system, or the system has no resources left.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connector = HttpsConnectorBuilder::new().with_native_roots()?;
        let connector = connector.https_or_http().enable_http1().build();
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        // Between two batches nobody polls a connection.
        let inner = builder.pool_max_idle_per_host(0).build(connector);
        Ok(Self { runtime, inner, warned: Mutex::new(None) })
    }

    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answered = async {
            let response = self.inner.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let answered = self.runtime.block_on(async {
            let late = || HttpError::from(format!("no answer within {} s", TIMEOUT.as_secs()));
            tokio::time::timeout(TIMEOUT, answered).await.unwrap_or_else(|_| Err(late()))
        });
        match &answered {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => self.warn(&response.status().to_string()),
            Err(error) => self.warn(&innermost(&**error).to_string()),
        }
        answered
    }

    /// Says that the collector takes nothing, unless that was said just now.
    fn warn(&self, error: &str) {
        let now = Instant::now();
        {
            let mut warned = self.warned.lock();
            if warned.is_some_and(|at| now.duration_since(at) < WARNED_EVERY) {
                return;
            }
            *warned = Some(now);
        }
        tracing::warn!(error, "spans are lost: the collector of OpenTelemetry does not take them");
    }
}

/// Yields what an error comes from.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

impl HttpClient for Client {
    fn send_bytes<'client, 'async_trait>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'client: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { self.post(request) })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// How long a collector may take to answer; the default of OpenTelemetry.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read. A collector says how many spans it refuses.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How often it is said at most that the collector takes nothing.
const WARNED_EVERY: Duration = Duration::from_mins(1);
