//! [`Published`]: asks issuers of tokens for the keys that they publish, as a server needs them.
//!
//! The lock of the issuers is held for a moment, by itself, to clone or to exchange one pointer.
//! Whoever asks an issuer has the lock of that issuer, and no other, for as long as that takes at
//! most: others wait for the answer instead of asking as well.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderValue};
use parking_lot::RwLock;
use quell_http::{Access, KeySet};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::config::PublishedKeys;
use crate::faults::in_full;
use crate::remote::{Caller, Secrets, shown};

/// The issuers that publish their keys at an address. Cheap to clone.
#[derive(Clone)]
pub(super) struct Published {
    issuers: Arc<RwLock<Arc<[Arc<Issuer>]>>>,
    /// Lets so many requests wait at once for longer than most for keys which are not known.
    waiting: Arc<Semaphore>,
}

/// An issuer of tokens.
struct Issuer {
    published: PublishedKeys,
    caller: Caller,
    /// When it was last asked for a key that was not known. Held while it is asked.
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Published {
    /// Names the issuers, and asks none of them.
    ///
    /// # Errors
    ///
    /// Fails if one is asked through TLS, and the system trusts no certificates.
    pub(super) fn of(all: Vec<PublishedKeys>) -> Result<Self, String> {
        let issuer = |published: PublishedKeys| {
            let is_tls = published.address.scheme_str() == Some("https");
            let caller = Caller::new(is_tls, WITHIN, Secrets::default())?;
            Ok(Arc::new(Issuer { published, caller, looked: Arc::default() }))
        };
        let issuers = all.into_iter().map(issuer).collect::<Result<Arc<[_]>, String>>()?;
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Ok(Self { issuers: Arc::new(RwLock::new(issuers)), waiting })
    }

    /// Asks the issuers of another one from now on, in place of its own.
    pub(super) fn replace(&self, with: &Self) {
        let issuers = with.now();
        let former = std::mem::replace(&mut *self.issuers.write(), issuers);
        drop(former);
    }

    fn now(&self) -> Arc<[Arc<Issuer>]> {
        Arc::clone(&self.issuers.read())
    }

    /// Yields what is known of each issuer.
    pub(super) fn known(&self) -> Vec<PublishedKeys> {
        self.now().iter().map(|issuer| issuer.published.clone()).collect()
    }

    /// Asks all of them for their keys. Of one that does not answer the former keys stay, and one
    /// that publishes none has none from then on, which the log says.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has asked some.
    pub(super) async fn read(&self) {
        self.read_known(&self.known()).await;
    }

    /// Asks those that are among `known`, as [`read`](Self::read).
    pub(super) async fn read_known(&self, known: &[PublishedKeys]) {
        let issuers = self.now();
        let known = issuers.iter().filter(|it| it.is_among(known));
        join_all(known.map(|it| it.read())).await;
    }

    /// Asks those that are not among `known`.
    ///
    /// # Errors
    ///
    /// Fails with each of which no key is known then: its tokens would all be refused.
    pub(super) async fn read_new(&self, known: &[PublishedKeys]) -> Result<(), Vec<String>> {
        let issuers = self.now();
        let new = issuers.iter().filter(|it| !it.is_among(known));
        let told = join_all(new.map(|it| it.first_read())).await;
        let faults: Vec<String> = told.into_iter().filter_map(Result::err).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Asks them again and again, so that a key which is not published any more is refused.
    pub(super) async fn keep_reading(&self) -> std::convert::Infallible {
        loop {
            sleep(EVERY).await;
            self.read().await;
        }
    }

    /// Asks those who may have published a key since they were asked: each once in a while, however
    /// many tokens name keys that are not known. Whoever asks waits until its key is known, or all
    /// have answered. An issuer answers soon; for one that does not few wait on: who they are
    /// nobody knows yet, and each holds a connection.
    async fn look(&self, is_known: impl Fn() -> bool) {
        let issuers = self.now();
        let mut looks: FuturesUnordered<_> = issuers.iter().map(Issuer::look).collect();
        let mut until_known = async || while !is_known() && looks.next().await.is_some() {};
        if timeout(SOON, until_known()).await.is_ok() {
            return;
        }
        if let Ok(_waits) = self.waiting.try_acquire() {
            until_known().await;
        }
    }
}

impl Issuer {
    /// Waits for the answer of the issuer, which is asked if that was not done just now: to the
    /// end, whoever goes on without it.
    async fn look(self: &Arc<Self>) {
        if let Ok(mut looked) = Arc::clone(&self.looked).try_lock_owned()
            && looked.is_none_or(|at| at.elapsed() >= PAUSE)
        {
            *looked = Some(Instant::now());
            let issuer = Arc::clone(self);
            drop(tokio::spawn(async move {
                issuer.read().await;
                drop(looked);
            }));
        }
        drop(self.looked.lock().await);
    }

    fn is_among(&self, known: &[PublishedKeys]) -> bool {
        known.iter().any(|it| it.address == self.published.address)
    }

    async fn read(&self) {
        let issuer = shown(&self.published.address);
        match self.answered().await {
            Ok(0) => tracing::warn!(issuer, "{NO_KEYS}: all its tokens are refused from now on"),
            Ok(keys) => tracing::info!(issuer, keys, "keys of tokens were read"),
            Err(error) if self.published.keys.is_empty() => tracing::warn!(
                issuer,
                error,
                "keys of tokens could not be read, and none are known: all its tokens are refused"
            ),
            Err(error) => tracing::warn!(
                issuer,
                error,
                "keys of tokens could not be read; the former ones stay"
            ),
        }
    }

    /// Asks an issuer of which no key is known yet.
    async fn first_read(&self) -> Result<(), String> {
        let issuer = shown(&self.published.address);
        let error = match self.answered().await {
            Ok(0) => NO_KEYS.to_owned(),
            Ok(keys) => {
                tracing::info!(issuer, keys, "keys of tokens were read");
                return Ok(());
            }
            Err(error) => format!("keys of tokens could not be read: {error}"),
        };
        Err(format!("`jwks_url` {issuer}: {error}"))
    }

    async fn answered(&self) -> Result<usize, String> {
        let late = |_| Err(format!("no answer within {} s", WITHIN.as_secs()));
        timeout(WITHIN, self.asked()).await.unwrap_or_else(late)
    }

    /// Asks for the keys, and yields how many there are. What is answered is in no message.
    async fn asked(&self) -> Result<usize, String> {
        let mut request = hyper::Request::new(Full::<Bytes>::default());
        *request.uri_mut() = self.published.address.clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.caller.send(request).await.map_err(|error| error.words)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status().as_u16()));
        }
        // One more, which the set refuses by its own words.
        let body = Limited::new(answer.into_body(), KeySet::BYTES_MAX + 1).collect().await;
        let body = body.map_err(|error| in_full(&*error))?.to_bytes();
        self.published.keys.replace(&body).map_err(|error| error.to_string())
    }
}

/// What looks for keys that tokens name.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) access: Access,
    pub(super) published: Published,
}

/// Looks for the key that the token of a request names, if it is not known, before the request is
/// checked: a key is taken as soon as it is published.
pub(super) async fn layer<F>(
    it: &Lookup,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let headers = request.headers();
    if it.access.names_unknown_key(headers) {
        // On the heap: hardly any request has it asked.
        let is_known = || !it.access.names_unknown_key(headers);
        Box::pin(it.published.look(is_known)).await;
    }
    next(request).await
}

/// What is said of an issuer that publishes no key that counts here.
const NO_KEYS: &str = "the issuer publishes no key for RS256 or ES256";

/// How long an issuer may take to connect, and then to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// How long every request waits for a key that is not known, and how many do at once for longer.
const SOON: Duration = Duration::from_secs(1);
const WAITING_MAX: usize = 16;

/// After how long its keys are read again.
const EVERY: Duration = Duration::from_mins(5);

/// How long it is not asked again for a key that is not known.
const PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn so_many_wait_at_once_for_an_issuer_that_does_not_answer() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let published = Published::of(vec![PublishedKeys { address, keys: KeySet::new() }]);
        let published = published.unwrap();
        let begun = Instant::now();
        let times = join_all((0..WAITING_MAX + 9).map(async |_| {
            published.look(|| false).await;
            begun.elapsed()
        }));
        let times = times.await;
        let soon = times.iter().filter(|time| **time < SOON * 2).count();
        assert_eq!((soon, times.len()), (9, WAITING_MAX + 9), "{times:?}");
    }

    /// Two of one issuer that is slow, and one that another one answers at once.
    #[tokio::test]
    async fn nobody_waits_for_an_issuer_when_the_key_is_known_and_each_is_asked_to_the_end() {
        let [slow, quick] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let of = |listener: &TcpListener| PublishedKeys {
            address: format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap(),
            keys: KeySet::new(),
        };
        let published = Published::of(vec![of(&slow), of(&quick)]).unwrap();
        let answered = AtomicBool::new(false);
        let answers = async {
            let (mut quickly, _) = quick.accept().await.unwrap();
            quickly
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            answered.store(true, SeqCst);
            let (mut slowly, _) = slow.accept().await.unwrap();
            let mut asked = Vec::new();
            // It is asked until it has had its time, and nobody waits any more.
            let read = timeout(WITHIN * 2, slowly.read_to_end(&mut asked)).await;
            assert!(read.is_ok() && asked.starts_with(b"GET / "), "{read:?}");
        };
        let begun = Instant::now();
        let asks = async {
            published.look(|| answered.load(SeqCst)).await;
            begun.elapsed()
        };
        let (took, ()) = tokio::join!(asks, answers);
        assert!(took < SOON && begun.elapsed() > SOON * 3, "{took:?}");
    }
}
