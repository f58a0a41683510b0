//! Parse, one call, render.

mod assistants;
mod cancel;
mod cors;
mod create;
mod join;
mod runs;
mod system;
mod threads;

use std::any::Any;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use quell_http::{
    BodyError, BodyKinds, JSON_LEVELS_MAX, Problem, Service, Upload, View, aside, check_json,
    guard_open,
};
use serde::Serialize;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::options::Options;
use crate::wire::exact::{Keys, infinite};
use crate::wire::refusal::Refusal;

pub use cors::allow as allow_origins;
pub use system::info;

/// Makes the router of the contract. Every path that it does not serve answers the contract's 404.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::Engine;
/// use quell_flow::Catalog;
/// use quell_http::Service;
///
/// let service = Service::new(Engine::new(), Catalog::new());
/// let app = quell_langgraph::router(service, quell_langgraph::Options::default());
/// # drop(app);
/// # });
/// ```
pub fn router(service: Service, options: Options) -> Router {
    let info = Router::new().route("/info", get(system::get_info));
    let info = info.method_not_allowed_fallback(no_such_method).layer(from_fn(cors::allow));
    routes(service, options).merge(info).fallback(not_found)
}

/// As [`router`], for a server that has other contracts under the same root: without `/info`,
/// whose answer such a server makes with [`info`], and without an answer for other paths.
pub fn routes(service: Service, options: Options) -> Router {
    let routes = Router::new()
        .route("/ok", get(system::ok))
        .route("/assistants/search", post(assistants::search))
        .route("/assistants/{assistant}", get(assistants::read))
        .route("/threads", post(threads::create))
        .route("/threads/{thread}", get(threads::read))
        .route("/threads/{thread}/runs", get(runs::list).post(create::start))
        .route("/threads/{thread}/runs/stream", post(create::stream))
        .route("/threads/{thread}/runs/wait", post(create::wait))
        .route("/threads/{thread}/runs/{run}", get(runs::read))
        .route("/threads/{thread}/runs/{run}/join", get(join::join))
        .route("/threads/{thread}/runs/{run}/stream", get(join::stream))
        .route("/threads/{thread}/runs/{run}/cancel", post(cancel::one))
        .route("/runs", post(create::start_stateless))
        .route("/runs/stream", post(create::stream_stateless))
        .route("/runs/wait", post(create::wait_stateless))
        .route("/runs/{run}/stream", get(join::stream_stateless))
        .route("/runs/cancel", post(cancel::many))
        .method_not_allowed_fallback(no_such_method);
    let routes = guard_open(caught(routes), &service, BodyKinds::Json);
    in_its_words(routes.with_state(App::new(service, options)))
}

/// Puts the contract's words and headers around its routes and the layers of a server around them:
/// what these refuse by a [`Problem`] is `{"detail"}` here, and pages of other origins can read it.
pub fn in_its_words(router: Router) -> Router {
    router.layer(from_fn(worded)).layer(from_fn(cors::allow))
}

async fn worded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut refusal = Refusal::new(problem.status(), problem.detail().to_owned()).into_response();
    if let Some(soon) = response.headers_mut().remove(RETRY_AFTER) {
        refusal.headers_mut().insert(RETRY_AFTER, soon);
    }
    refusal
}

/// Answers 500 in the contract's words where a handler panics, instead of cutting the connection.
fn caught<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let answer = |_: Box<dyn Any + Send>| Refusal::internal().into_response();
    router.layer(CatchPanicLayer::custom(answer))
}

/// Answers a path that nobody serves: the contract's 404.
pub async fn not_found() -> Response {
    Refusal::not_found().into_response()
}

async fn no_such_method() -> Response {
    Refusal::no_such_method().into_response()
}

/// The parts of a path.
type Parts<T> = Result<axum::extract::Path<T>, axum::extract::rejection::PathRejection>;

/// Yields the parts of a path. One that is no text is empty, and so no id.
fn parts<T: Default>(path: Parts<T>) -> T {
    path.map(|axum::extract::Path(parts)| parts).unwrap_or_default()
}

/// A body of JSON: an object.
struct Read {
    bytes: Bytes,
    /// As they are spelt.
    keys: Keys,
    /// What they take in memory once they are read, about.
    weight: usize,
    /// It counts as under way for as long as this is there.
    _upload: Upload,
}

/// Reads a body of JSON; what is not there is none. Numbers may be of any length, as they are read
/// only where a key means one; one that is not finite as a double is refused. What is nested deeper
/// than components follow is refused.
async fn read_json(view: &View, headers: &HeaderMap, body: Body) -> Result<Read, Refusal> {
    let upload = view.read_body(headers, body).await?;
    let (bytes, size) = (upload.bytes().clone(), upload.bytes().len());
    let work = async move {
        let count = values_in(&bytes);
        if count > VALUES_MAX {
            let text = format!("Request body has more than {VALUES_MAX} values");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let text = str::from_utf8(&bytes).ok();
        let text = text.filter(|text| check_json(text, JSON_LEVELS_MAX).is_ok());
        let text = text.ok_or_else(|| Refusal::invalid("Invalid JSON in request body"))?;
        if let Some(number) = infinite(text) {
            return Err(Refusal::infinite(number));
        }
        let keys = serde_json::from_str(text);
        let keys = keys.map_err(|_| Refusal::invalid("body: must be an object"))?;
        Ok((bytes, keys, count))
    };
    let (bytes, keys, count) = aside(size, work).await??;
    let weight = bytes.len() + count * size_of::<Value>() * 2;
    Ok(Read { bytes, keys, weight, _upload: upload })
}

/// Values that a body may have. Each takes many times its text in memory, and is copied and shown
/// by the threads of HTTP.
const VALUES_MAX: usize = 250_000;

/// Counts the values and keys of a JSON text, without making them; one too many for an empty list.
fn values_in(json: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' | b':' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

/// Sets a header whose text is made of ids.
fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Answers JSON that may be large: it is made and written aside of the threads of HTTP.
async fn rendered<T: Serialize>(
    view: &View,
    weight: usize,
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<Response, Refusal> {
    view.told(weight, make).await.map_err(|error| match error {
        BodyError::Broken => Refusal::internal(),
        error => error.into(),
    })
}

fn json(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_body_has_a_bounded_number_of_values_and_text_is_one() {
        assert_eq!(values_in(br#"{"a": [1, 2, "x,[\"{:,"], "b": {"c": null}}"#), 10);
        let service = Service::new(quell::Engine::new(), quell_flow::Catalog::new());
        let view =
            service.view(quell_flow::Contract::LangGraph, quell_http::Principal::anonymous());
        let read =
            |text: String| async { read_json(&view, &HeaderMap::new(), Body::from(text)).await };
        assert!(read(format!(r#"{{"a":[{}1]}}"#, "1,".repeat(VALUES_MAX - 4))).await.is_ok());
        let refusal =
            read(format!(r#"{{"a":[{}1]}}"#, "1,".repeat(VALUES_MAX - 3))).await.err().unwrap();
        assert_eq!(refusal.status, 413);
        let text = read(format!(r#"{{"a":"{}"}}"#, ",[{:".repeat(VALUES_MAX)));
        let text = text.await.ok().unwrap();
        assert!(text.weight < 2 * text.bytes.len(), "{}", text.weight);
    }

    #[tokio::test]
    #[expect(clippy::panic, reason = "that is the matter")]
    async fn a_handler_that_panics_is_answered_in_the_words_of_the_contract() {
        let broken = get(async || -> Response { panic!("a bug") });
        let app = caught(Router::new().route("/", broken));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let answer = app.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 500);
        let body = to_bytes(answer.into_body(), 1_000).await.unwrap();
        assert_eq!(body, r#"{"detail":"Internal Server Error"}"#);
    }
}
