//! [`routes`]: the page for browsers, at `/ui` and, where a browser asks for it, at `/`.
//!
//! Its files are in the binary. They have no data: what the page shows it asks of the native API,
//! with the key that its user gives it. Nothing of another origin is loaded, and nothing that is
//! not in a file of its own executes.

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// Serves the page and its files.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/ui", get(async || file("index.html")))
        .route("/ui/", get(async || file("index.html")))
        .route("/ui/{*file}", get(async |Path(name): Path<String>| file(&name)))
}

/// Answers `GET /` with the page if a browser asks. Anybody else gets the contract's answer.
pub(super) async fn at_root(request: Request, next: Next) -> Response {
    if request.uri().path() != "/" || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let mut answer =
        if is_browser(request.headers()) { file("index.html") } else { next.run(request).await };
    answer.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    answer
}

/// Tells whether a page is asked for: browsers name HTML, and clients of a contract do not.
fn is_browser(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|kinds| kinds.split(',').any(|kind| kind.trim().starts_with("text/html")))
}

fn file(name: &str) -> Response {
    let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name) else {
        return (StatusCode::NOT_FOUND, "no such file of the page\n").into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The page is that of the server that answers, also behind an update of it.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, *text).into_response()
}

/// Makes the table of the files of the page.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../ui/", $name)))),*]
    };
}

/// The files of the page, as a browser names them below `/ui/`.
const FILES: [(&str, &str); 17] = files![
    "index.html",
    "style.css",
    "icon.svg",
    "api.js",
    "app.js",
    "components.js",
    "format.js",
    "live.js",
    "log.js",
    "model.js",
    "nodes.js",
    "run.js",
    "runs.js",
    "stops.js",
    "strip.js",
    "tree.js",
    "vendor/htm-preact.js",
];

/// What the page may do: load its own files, and ask its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_html_is_a_browser() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json, text/html;q=0.5", true),
            ("*/*", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(is_browser(&headers), expected, "{accept}");
        }
        assert!(!is_browser(&HeaderMap::new()));
    }

    #[test]
    fn every_module_that_is_loaded_is_there() {
        for (name, text) in FILES.iter().filter(|(name, _)| !name.starts_with("vendor")) {
            let folder = "./";
            for part in text.split(folder).skip(1).filter(|part| !name.ends_with(".css") && part.contains(".js\"")) {
                let loaded = part.split('"').next().unwrap();
                if loaded == "types.js" {
                    // It has types alone, which are named in comments.
                    continue;
                }
                assert!(FILES.iter().any(|(known, _)| *known == loaded), "{name}: {loaded}");
            }
        }
    }
}
