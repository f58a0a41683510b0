//! [`requests`]: what must be true of every request to an adapter.

use std::cell::OnceCell;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Request};
use quell::{Payload, testing};
use quell_flow::{Catalog, Component};
use quell_http::Service;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tower::ServiceExt as _;

/// Requests to the adapters of `AgentOS` and `LangGraph`: forms, multipart, JSON, queries and
/// headers. A byte says which route is asked, another one which header the first line becomes; the
/// rest is the body. It is answered, never as by a fault of the server, and what says that it is
/// JSON is.
///
/// # Panics
///
/// Panics when that is not so.
pub fn requests(bytes: &[u8]) {
    let [which, header, rest @ ..] = bytes else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (line, body) = rest.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let (is_agentos, method, path, kind) = ROUTES[usize::from(*which) % ROUTES.len()];
    let path = match path.strip_suffix('?') {
        // The header is the query, too.
        Some(path) => format!("{path}?{}", String::from_utf8_lossy(line)),
        None => path.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(path);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let name = HEADERS[usize::from(*header) % HEADERS.len()];
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(line)) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(runtime_of_a_test);
        runtime.block_on(answered(is_agentos, request));
    });
}

async fn answered(is_agentos: bool, request: Request<Body>) {
    let asked = format!("{request:?}");
    let answer = async {
        let app = app(is_agentos);
        let Ok(answer) = app.oneshot(request).await;
        let (head, body) = answer.into_parts();
        (head, to_bytes(body, BODY_BYTES_MAX).await)
    };
    let (head, body) = timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{asked} waits"));
    let body = body.unwrap_or_else(|error| panic!("{asked}: {error}"));
    let text = String::from_utf8_lossy(&body);
    assert!(head.status.as_u16() < 500, "{} for {asked}: {text}", head.status);
    let is_json = head.headers.get("content-type").is_some_and(|kind| kind == "application/json");
    let json = serde_json::from_slice::<Value>(&body);
    assert!(!is_json || json.is_ok(), "no JSON for {asked}: {text}");
}

fn app(is_agentos: bool) -> Router {
    let echo = async |_ctx, input: Payload| Ok(input);
    let catalog = Catalog::new()
        .with(Component::agent("echo", echo))
        .with(Component::workflow("graph", echo).nodes(["one", "two"]));
    let service = Service::new(testing::engine(), catalog);
    if is_agentos {
        quell_agentos::router(service, quell_agentos::Options::default())
    } else {
        quell_langgraph::router(service, quell_langgraph::Options::default())
    }
}

fn runtime_of_a_test() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("no runtime: {error}"))
}

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

/// Whether `AgentOS` serves it, the method, the path, and the content type: none if a header says
/// it. A path with `?` takes its query from the header.
const ROUTES: [(bool, &str, &str, &str); 26] = [
    (true, "POST", "/agents/echo/runs", FORM),
    (true, "POST", "/agents/echo/runs", "multipart/form-data; boundary=b"),
    (true, "POST", "/workflows/graph/runs", ""),
    (true, "POST", "/agents/echo/runs/r/continue", FORM),
    (true, "POST", "/agents/echo/runs/r/continue", "multipart/form-data; boundary=b"),
    (true, "POST", "/agents/echo/runs/r/resume", FORM),
    (true, "POST", "/agents/echo/runs/r/cancel?", ""),
    (true, "GET", "/sessions?", ""),
    (true, "GET", "/sessions/s/runs?", ""),
    (true, "POST", "/sessions/s/rename?", JSON),
    (true, "DELETE", "/sessions?", JSON),
    (false, "POST", "/threads", JSON),
    (false, "POST", "/threads/search", JSON),
    (false, "POST", "/threads/6e7c1a4e-0d3f-4a59-8b7e-0e0c7f9a1b2c/runs", JSON),
    (false, "POST", "/runs", JSON),
    (false, "POST", "/runs/batch", JSON),
    (false, "POST", "/runs/cancel?", JSON),
    (false, "POST", "/runs/crons", JSON),
    (false, "POST", "/runs/crons/search", JSON),
    (false, "POST", "/assistants", JSON),
    (false, "POST", "/assistants/search", JSON),
    (false, "PUT", "/store/items", JSON),
    (false, "POST", "/store/items/search", JSON),
    (false, "GET", "/store/items?", ""),
    (false, "POST", "/store/namespaces", JSON),
    (false, "GET", "/threads/6e7c1a4e-0d3f-4a59-8b7e-0e0c7f9a1b2c/stream?", ""),
];

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

const HEADERS: [&str; 8] = [
    "content-type",
    "idempotency-key",
    "last-event-id",
    "authorization",
    "origin",
    "content-length",
    "accept",
    "x-other",
];

/// More than a request of this size is answered with.
const BODY_BYTES_MAX: usize = 16 << 20;

const PATIENCE: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::{ROUTES, requests};

    /// Requests that are well made, and what is left of them at each place.
    #[test]
    fn requests_are_answered_however_they_are_cut() {
        let bodies = [
            "x\nmessage=hi&stream=false&background=true&session_id=s&tools=%5B%5D",
            "b\n--b\r\ncontent-disposition: form-data; name=\"message\"\r\n\r\nhi\r\n--b--\r\n",
            "1\n{\"assistant_id\":\"graph\",\"input\":{\"a\":[1]},\"if_not_exists\":\"create\"}",
            "limit=1&offset=-1\n{\"namespace\":[\"a\"],\"key\":\"k\",\"value\":{},\"limit\":1}",
            "multipart/form-data; boundary=\"\n--\r\n",
            "\u{ff}\n{\"schedule\":\"* * * * *\",\"assistant_id\":\"graph\"}",
        ];
        for which in 0..ROUTES.len() {
            for (nth, body) in bodies.iter().enumerate() {
                let [which, header] = [which, which + nth].map(|nth| u8::try_from(nth).unwrap());
                let all = [&[which, header], body.as_bytes()].concat();
                for end in (0..=all.len()).rev().step_by(7) {
                    requests(&all[..end]);
                }
            }
        }
    }
}
