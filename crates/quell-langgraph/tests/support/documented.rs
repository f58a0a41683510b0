//! [`documented`]: a router whose every answer is looked up in its document.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(quell_langgraph::document);

/// Fails the test in which a request is answered by what the document does not have.
pub(crate) fn documented(app: Router) -> Router {
    app.layer(from_fn(looked_up))
}

async fn looked_up(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let is = |status: u16| -> bool { response.status() == status };
    let Some(operations) = operations_of(&path) else {
        assert!(is(404) || is(403) || method == Method::OPTIONS, "{method} {path}: {status}");
        return response;
    };
    let name = if method == Method::HEAD { "get" } else { &method.as_str().to_lowercase() };
    let Some(operation) = operations.get(name) else {
        assert!(is(405) || is(403) || method == Method::OPTIONS, "{method} {path}: {status}");
        return response;
    };
    let answer = &operation["responses"][status.to_string()];
    assert!(answer.is_object(), "{method} {path}: {status} is not in the document");
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    match (kind, answer.get("content")) {
        (None, None) => {}
        (Some(kind), Some(kinds)) if kinds.get(kind).is_some() => {}
        (kind, kinds) => panic!("{method} {path}: {status} has {kind:?}, and should {kinds:?}"),
    }
    response
}

/// Finds what the document has of a path: what is spelt as it is before what has ids.
fn operations_of(path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object()?;
    let is_of = |known: &str| {
        let (known, parts) = (known.split('/'), path.split('/'));
        known.clone().count() == parts.clone().count()
            && known.zip(parts).all(|(known, part)| known.starts_with('{') || known == part)
    };
    paths.get(path).or_else(|| paths.iter().find(|(known, _)| is_of(known)).map(|it| it.1))
}
