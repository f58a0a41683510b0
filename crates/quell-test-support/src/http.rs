//! [`send`] and [`serve`]: requests to a router in this process, and over a socket.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use axum::routing::get;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::net::TcpSocket;
use tower::ServiceExt as _;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// Reads the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Yields a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is text"))
    }
}

/// Sends a request within this process and reads the whole answer.
pub async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.expect("a router never fails");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("the body is whole").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("the body is UTF-8");
    Answer { status: parts.status, headers: parts.headers, text }
}

/// Yields what a router answers whose handler panics, within the layers that `wrap` adds.
pub async fn answer_to_a_panic(wrap: impl FnOnce(Router) -> Router) -> Answer {
    let app = wrap(Router::new().route("/", get(async || -> Response { panic!("a bug") })));
    send(&app, Request::new(Body::empty())).await
}

/// Connections that wait to be accepted. The default of 128 overflows when a test opens a thousand
/// at once on a slow machine, and the kernel then resets some of them.
const QUEUE: u32 = 4_096;

/// Serves a router on a socket of loopback, until the runtime ends.
pub async fn serve(app: Router) -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket is there");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
    let listener = socket.listen(QUEUE).expect("it can listen");
    let address = listener.local_addr().expect("it has an address");
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    address
}
