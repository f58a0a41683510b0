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
pub(super) async fn at_root<F>(request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    if request.uri().path() != "/" || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next(request).await;
    }
    let mut answer =
        if is_browser(request.headers()) { file("index.html") } else { next(request).await };
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
const FILES: [(&str, &str); 19] = files![
    "index.html",
    "style.css",
    "icon.svg",
    "api.js",
    "app.js",
    "components.js",
    "docs.js",
    "format.js",
    "live.js",
    "log.js",
    "model.js",
    "nodes.js",
    "run.js",
    "runs.js",
    "schema.js",
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
    use axum::body::{Body, to_bytes};
    use axum::middleware::{Next, from_fn};
    use sha2::{Digest as _, Sha256};
    use tower::ServiceExt as _;

    use super::*;

    /// Asks a server that answers `/` with the word `contract`.
    async fn asks(method: &str, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
        let page = from_fn(async |request, next: Next| at_root(request, |it| next.run(it)).await);
        let app = Router::new().route("/", get(async || "contract")).layer(page);
        let request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        let request = request.body(Body::empty()).expect("a request");
        let answer = app.merge(routes()).oneshot(request).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn who_names_html_gets_the_page_at_the_root_and_others_the_contract() {
        for (accept, is_page) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("application/json, text/html;q=0.5", true),
            ("*/*", false),
            ("application/json", false),
        ] {
            let (status, headers, body) = asks("GET", "/", accept).await;
            assert_eq!(status, StatusCode::OK, "{accept}");
            assert_eq!(body == "contract", !is_page, "{accept}: {body}");
            assert_eq!(headers[VARY], "Accept");
        }
        let (status, _, body) = asks("HEAD", "/", "text/html").await;
        assert_eq!((status, &*body), (StatusCode::OK, ""));
        let (status, ..) = asks("POST", "/", "text/html").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn each_file_has_its_type_and_a_policy_that_lets_in_nothing_else() {
        for (path, kind) in [
            ("/ui", "text/html; charset=utf-8"),
            ("/ui/", "text/html; charset=utf-8"),
            ("/ui/style.css", "text/css; charset=utf-8"),
            ("/ui/icon.svg", "image/svg+xml"),
            ("/ui/app.js", "text/javascript; charset=utf-8"),
            ("/ui/vendor/htm-preact.js", "text/javascript; charset=utf-8"),
        ] {
            let (status, headers, body) = asks("GET", path, "*/*").await;
            assert_eq!(
                (status, headers[CONTENT_TYPE].as_bytes()),
                (StatusCode::OK, kind.as_bytes())
            );
            let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("a text");
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"));
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(!body.is_empty() && !body.contains("<script>"), "{path}");
        }
        for path in ["/ui/other.js", "/ui/../Cargo.toml", "/ui/vendor", "/ui/types.js/"] {
            assert_eq!(asks("GET", path, "*/*").await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn every_module_that_is_loaded_is_there() {
        for (name, text) in FILES.iter().filter(|(name, _)| !name.starts_with("vendor/")) {
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let from = line.split("\"./").nth(1).and_then(|rest| rest.split('"').next());
                let from = from.expect("a module beside it");
                assert!(FILES.iter().any(|(known, _)| *known == from), "{name}: {from}");
            }
        }
    }

    #[test]
    fn the_library_is_the_one_that_was_published() {
        let (said, it) = (include_str!("../ui/vendor/README.md"), FILES[FILES.len() - 1]);
        let sum = Sha256::digest(it.1)
            .iter()
            .fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"));
        assert_eq!(it.0, "vendor/htm-preact.js");
        assert!(said.contains(&sum), "{sum}");
    }
}
