//! [`Caller`]: sends requests to a service, with what goes with each of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect as Connects, HttpConnector};
use hyper_util::rt::TokioExecutor;
use quell_flow::is_plain;

use super::connect::{Connect, Heard, flooded};
use super::hidden::Hidden;
use crate::faults::in_full;

/// Sends requests. It follows no redirect, so that no header goes elsewhere, and asks no proxy.
pub(crate) struct Caller {
    plain: HttpConnector,
    /// None if no address of the component needs it.
    tls: Option<HttpsConnector<HttpConnector>>,
    connect_timeout: Duration,
    secrets: Secrets,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) words: String,
    /// The service has written something, which is no answer.
    pub(super) has_begun: bool,
}

/// The headers that every request has. Their values are not shown, whether they are secret or not.
#[derive(Default)]
pub(crate) struct Secrets {
    headers: HeaderMap,
    /// What is never to be in a message.
    hidden: Hidden,
}

impl Secrets {
    /// Adds a header. A secret is hidden in messages, with what comes before it in the header.
    pub(crate) fn add(
        &mut self,
        name: HeaderName,
        before: &str,
        secret: &str,
    ) -> Result<(), String> {
        let mut value = HeaderValue::from_str(&format!("{before}{secret}")).map_err(|_| {
            "its value cannot be in a header: it has a control character".to_owned()
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self.hidden.add(secret);
        // The service may repeat what follows a scheme such as `Bearer` without that.
        if let Some((_, rest)) = secret.split_once(' ') {
            self.hidden.add(rest);
        }
        // Or one value of several, as those of cookies and of JSON.
        let words = secret.split(|c: char| c.is_whitespace() || PARTING.contains(&c));
        words.filter(|word| !is_plain(word)).for_each(|word| self.hidden.add(word));
        Ok(())
    }

    /// Hides the query of an address, its values, and words of its path that do not look like
    /// words, as they are and as a service reads them.
    pub(crate) fn add_address(&mut self, address: &Uri) {
        for word in address.path().split('/').filter(|word| !word.split('.').all(is_plain)) {
            self.hidden.add(word);
            for (begin, rest) in form_urlencoded::parse(word.as_bytes()) {
                self.hidden.add(&begin);
                self.hidden.add(&rest);
            }
        }
        let query = address.query().unwrap_or_default();
        self.hidden.add(query);
        for (_, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            self.hidden.add(value);
        }
        for (_, value) in form_urlencoded::parse(query.as_bytes()) {
            self.hidden.add(&value);
        }
    }
}

impl Caller {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Fails if it is to speak TLS, and there are no root certificates on the system.
    pub(crate) fn new(
        is_tls: bool,
        connect_timeout: Duration,
        secrets: Secrets,
    ) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        // Each address of a host has its share, so that the next one is tried.
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let tls = if is_tls {
            let roots = HttpsConnectorBuilder::new().with_native_roots();
            let roots = roots.map_err(|error| format!("{error}; {ROOTS}"))?;
            Some(roots.https_only().enable_http1().wrap_connector(connector.clone()))
        } else {
            None
        };
        Ok(Self { plain: connector, tls, connect_timeout, secrets })
    }

    /// Makes a request with JSON in its body.
    pub(crate) fn post(&self, uri: &Uri, about: &HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        headers.insert(USER_AGENT, HeaderValue::from_static(OURSELVES));
        for all in [about, &self.secrets.headers] {
            for (name, value) in all {
                headers.insert(name, value.clone());
            }
        }
        request
    }

    /// Sends it, and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// Fails if there is no connection within its time, if the connection ends before the head of
    /// an answer, or if that cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request: its connection is closed.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let heard = Arc::new(Heard::default());
        heard.count(&mut request);
        let sent = match &self.tls {
            Some(tls) if request.uri().scheme_str() == Some("https") => {
                client(self.connect(tls, &heard)).request(request)
            }
            _ => client(self.connect(&self.plain, &heard)).request(request),
        };
        let fault = match sent.await {
            _ if heard.is_flooded() => flooded(),
            Ok(response) => return Ok(response),
            Err(error) => in_full(&error),
        };
        Err(Unanswered { words: fault, has_begun: heard.has_begun() })
    }

    fn connect<C: Clone>(&self, connector: &C, heard: &Arc<Heard>) -> Connect<C> {
        let (connector, heard) = (connector.clone(), Arc::clone(heard));
        Connect { connector, timeout: self.connect_timeout, heard }
    }

    /// Takes the secrets out of a text that somebody else wrote, and that may have been cut inside
    /// one.
    pub(super) fn hide_cut(&self, text: &str) -> String {
        self.secrets.hidden.hide_cut(text)
    }

    /// Takes the secrets out of a text that somebody else wrote.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.secrets.hidden.hide(text)
    }
}

/// Makes what sends one request, on a connection of its own. What a service writes beyond the end
/// of an answer would be the answer to the next run, which may be somebody else's.
fn client<C: Connects + Clone>(connector: C) -> Client<C, Full<Bytes>> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(0).http1_max_buf_size(READ_BYTES_MAX);
    builder.build(connector)
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("is_tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.headers.keys()).finish()
    }
}

const ACCEPTED: &str = "text/event-stream, application/x-ndjson, application/json;q=0.9, */*;q=0.1";

/// What parts the values in a header.
const PARTING: [char; 9] = [';', ',', '=', ':', '"', '{', '}', '[', ']'];

const OURSELVES: &str = concat!("quell/", env!("CARGO_PKG_VERSION"));

const ROOTS: &str = "SSL_CERT_FILE and SSL_CERT_DIR name those that are trusted instead of the \
                     system's";

/// The longest head of an answer, and how much of its body is read ahead.
const READ_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_requests_is_shown_nowhere() {
        let mut secrets = Secrets::default();
        secrets.add(HeaderName::from_static("authorization"), "Bearer ", "hush").expect("text");
        secrets.add(HeaderName::from_static("x-long"), "", "hush-hush").expect("text");
        secrets.add(HeaderName::from_static("x-version"), "", "3").expect("text");
        assert!(secrets.add(HeaderName::from_static("x-key"), "", "a\nb").is_err());
        assert_eq!(secrets.hidden.hide("503: key hush-hush, hush"), "503: key …, …");
        for (cut, shown) in [
            ("key hush-hu", "key …"),
            ("key hus", "key …"),
            ("key h", "key …"),
            ("key hush", "key …"),
            ("key hush, hu.", "key …, hu."),
            ("", ""),
        ] {
            assert_eq!(secrets.hidden.hide_cut(cut), shown, "{cut}");
        }
        secrets.add(HeaderName::from_static("x-scheme"), "", "Token  abcd").expect("text");
        assert_eq!(secrets.hidden.hide("no Token  abcd, no abcd, a Token"), "no …, no …, a Token");
        secrets.add_address(&Uri::from_static("http://a/b?v=2&k=a%2Fb+c&f"));
        assert_eq!(secrets.hidden.hide("?v=2&k=a%2Fb+c&f, a%2Fb+c, a/b c, 2"), "?…, …, …, 2");
        let uri = Uri::from_static("http://a/b");
        secrets.add_address(&Uri::from_static("http://a/v1/chat/T0x/2hUsh%21?f"));
        let echoed = "404: POST /v1/chat/T0x/2hUsh%21: no 2hUsh! in chat";
        assert_eq!(secrets.hidden.hide(echoed), "404: POST /v1/chat/T0x/…: no … in chat");
        let caller = Caller::new(false, Duration::from_secs(1), secrets).expect("no TLS");
        let request = caller.post(&uri, &HeaderMap::new(), Bytes::new());
        assert_eq!(request.headers()["authorization"], "Bearer hush");
        for shown in
            [format!("{caller:?}"), format!("{request:?}"), format!("{:?}", caller.secrets)]
        {
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
