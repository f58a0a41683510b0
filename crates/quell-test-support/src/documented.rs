//! [`documented`]: a router whose every answer is looked up in its document; and what tests ask of
//! a document itself.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use serde_json::Value;

/// Fails the test in which a request is answered by what the document does not have. Of the path of
/// a request, `shown` yields what the document may have. Who asks for another protocol asks for
/// nothing that a document describes.
pub fn documented(app: Router, document: &'static Value, shown: fn(&str) -> &str) -> Router {
    app.layer(from_fn(move |request: Request, next: Next| async move {
        // In a document braces stand for ids: it has those of a path encoded.
        let path = request.uri().path().replace('{', "%7B").replace('}', "%7D");
        let method = request.method().clone();
        let is_upgrade = request.headers().contains_key("upgrade");
        let response = next.run(request).await;
        if !is_upgrade {
            look_up(document, (&method, shown(&path)), &response);
        }
        response
    }))
}

fn look_up(document: &Value, (method, path): (&Method, &str), response: &Response) {
    let status = response.status().as_u16();
    let is_one_of = |few: [u16; 2]| few.contains(&status) || method == Method::OPTIONS;
    let Some(operations) = operations_of(document, path) else {
        assert!(is_one_of([404, 403]), "{method} {path}: {status}");
        return;
    };
    let name = if method == Method::HEAD { "get" } else { &method.as_str().to_lowercase() };
    let Some(operation) = operations.get(name) else {
        assert!(is_one_of([405, 403]), "{method} {path}: {status}");
        return;
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
}

/// Finds what the document has of a path: what is spelt as it is before what has ids.
fn operations_of<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let paths = document["paths"].as_object()?;
    let is_of = |known: &str| {
        let (known, parts) = (known.split('/'), path.split('/'));
        known.clone().count() == parts.clone().count()
            && known.zip(parts).all(|(known, part)| known.starts_with('{') || known == part)
    };
    paths.get(path).or_else(|| paths.iter().find(|(known, _)| is_of(known)).map(|it| it.1))
}

/// Yields every operation of a document: its method, its path, and what is said of it.
pub fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().expect("a document has paths");
    let all = paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().expect("a path has operations").iter();
        operations.map(|(method, told)| {
            let method = Method::from_bytes(method.to_uppercase().as_bytes());
            (method.expect("it is a method"), path.clone(), told.clone())
        })
    });
    all.collect()
}

/// Yields the operations of a document as a contract tells them: `GET /things/{}`.
pub fn routes_of(document: &Value) -> BTreeSet<String> {
    let all = operations(document).into_iter();
    all.map(|(method, path, _)| format!("{method} {}", with_ids(&path, "{}"))).collect()
}

/// Puts an id wherever a path has a name.
pub fn with_ids(path: &str, id: &str) -> String {
    let part = |part| if str::starts_with(part, '{') { id } else { part };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Fails if a name in a document is none of its schemas, or a schema is not named.
pub fn assert_schemas_are_named(document: &Value) {
    let text = document.to_string();
    let named = text.split("\"#/components/schemas/").skip(1);
    let named: BTreeSet<_> = named.filter_map(|rest| rest.split('"').next()).collect();
    let schemas = document["components"]["schemas"].as_object().expect("it has schemas");
    assert_eq!(named, schemas.keys().map(String::as_str).collect());
}
