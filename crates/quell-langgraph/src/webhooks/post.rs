//! [`Poster`]: posts one webhook, on a connection of its own.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, rt};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::lookup_host;
use tokio::sync::{Notify, OnceCell};
use tower::{BoxError, Service};

use crate::wire::address::Address;
use crate::wire::hosts::{NOT_PUBLIC, is_public};

type Plain = HttpConnector<Resolver>;

/// Posts webhooks. It follows no redirect, asks no proxy, and reads nothing of an answer but its
/// head.
#[derive(Debug, Default)]
pub(super) struct Poster {
    /// To any address, and to public ones alone. Made when it is needed: the certificates that the
    /// system trusts are read for it.
    tls: [OnceCell<HttpsConnector<Plain>>; 2],
}

impl Poster {
    /// Posts a body once. Yields the status of the answer, or why there is none, without the path
    /// and the query of the address.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub(super) async fn post(
        &self,
        address: &Address,
        is_anywhere: bool,
        body: Bytes,
    ) -> Result<StatusCode, String> {
        let request = request(address, body).ok_or("the request cannot be written")?;
        let uri = address.uri().clone();
        if !address.is_https() {
            let io = plain(is_anywhere).call(uri).await.map_err(|error| in_full(&error))?;
            return exchange(io, request).await;
        }
        let made = self.tls[usize::from(is_anywhere)].get_or_try_init(async || tls(is_anywhere));
        let mut tls = made.await?.clone();
        let io = tls.call(uri).await.map_err(|error| in_full(&*error))?;
        exchange(io, request).await
    }
}

fn plain(is_anywhere: bool) -> Plain {
    let mut plain = HttpConnector::new_with_resolver(Resolver { is_anywhere });
    plain.set_nodelay(true);
    plain.set_connect_timeout(Some(CONNECT_MAX));
    plain.enforce_http(false);
    plain
}

fn tls(is_anywhere: bool) -> Result<HttpsConnector<Plain>, String> {
    let roots = HttpsConnectorBuilder::new().with_native_roots();
    let roots =
        roots.map_err(|error| format!("no certificates to check https against: {error}"))?;
    Ok(roots.https_only().enable_http1().wrap_connector(plain(is_anywhere)))
}

fn request(address: &Address, body: Bytes) -> Option<Request<Full<Bytes>>> {
    let uri = address.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let request = Request::post(path)
        .header(HOST, uri.authority()?.as_str())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, OURSELVES)
        .header(CONNECTION, "close");
    request.body(Full::new(body)).ok()
}

/// Sends a request, and reads the head of its answer.
async fn exchange<I>(io: I, mut request: Request<Full<Bytes>>) -> Result<StatusCode, String>
where
    I: rt::Read + rt::Write + Send + Unpin + 'static,
{
    let (count, flooded) = (AtomicUsize::new(0), Arc::new(Notify::new()));
    let is_flooded = Arc::clone(&flooded);
    hyper::ext::on_informational(&mut request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) >= INFORMATIONAL_MAX {
            is_flooded.notify_one();
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(io).await.map_err(|error| in_full(&error))?;
    let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
    let answer = tokio::select! {
        biased;
        () = flooded.notified() => return Err("too many informational answers (1xx)".into()),
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    };
    answer.map(|answer| answer.status()).map_err(|error| in_full(&error))
}

/// Finds the addresses of a host, once: what is found is what is connected to.
#[derive(Clone, Copy, Debug)]
struct Resolver {
    is_anywhere: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_anywhere = self.is_anywhere;
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let found: Vec<_> = found.filter(|at| is_anywhere || is_public(at.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::other(NOT_PUBLIC).into());
            }
            Ok(found.into_iter())
        })
    }
}

/// Writes an error with what caused it.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

const OURSELVES: &str = concat!("quell/", env!("CARGO_PKG_VERSION"));

/// The longest time that a connection may take, within that of the try.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The most informational answers to a request.
const INFORMATIONAL_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_means_this_machine_is_not_connected_to_however_it_is_spelt() {
        let poster = Poster::default();
        for url in ["http://localhost:1/", "http://127.1:1/", "http://0x7f000001:1/", "http://0:1/"]
        {
            let address = Address::read(url).unwrap();
            let error = poster.post(&address, false, Bytes::new()).await.unwrap_err();
            assert!(error.contains("not public") || error.contains("lookup"), "{url}: {error}");
            let error = poster.post(&address, true, Bytes::new()).await.unwrap_err();
            assert!(!error.contains("not public"), "{url}: {error}");
        }
    }
}
