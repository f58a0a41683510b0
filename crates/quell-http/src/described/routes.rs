//! [`Routes`]: the table of a contract.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value};

use crate::described::dialect::Dialect;
use crate::described::operation::{Operation, name_of};
use crate::in_time::took_too_long;

/// The table of a contract: its router, and the paths of its document.
///
/// # Examples
///
/// ```
/// use quell_http::described::{Dialect, Routes, get, schema};
/// use serde_json::json;
///
/// let dialect = Dialect {
///     parameter: |_path, name| format!("{name}_id"),
///     schema: |_name| schema::text(),
///     tag: |_path| "Things",
///     refusal: |_status| json!({ "application/json": { "schema": schema::object() } }),
///     security: || json!([{ "bearer": [] }]),
///     always: &[500],
///     has_slashes: false,
/// };
/// let show = get(async || "a thing", "Shows a thing");
/// let show = show.answers_as(200, "text/plain", schema::text());
/// let (router, paths) = Routes::<()>::new(dialect).at("/things/{thing}", [show]).into_parts();
/// assert!(paths["/things/{thing_id}"]["get"]["responses"]["500"].is_object());
/// # let _: axum::Router = router;
/// ```
#[derive(Debug)]
pub struct Routes<S> {
    dialect: Dialect,
    /// What is answered where a request that only reads takes too long.
    too_slow: fn() -> Response,
    router: Router<S>,
    paths: Map<String, Value>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Makes an empty table.
    pub fn new(dialect: Dialect) -> Self {
        let too_slow = || took_too_long().into_response();
        Self { dialect, too_slow, router: Router::new(), paths: Map::new() }
    }

    /// What takes too long to read is refused so, of paths that are added from here on. Defaults to
    /// a problem document, 503; see [`answer_in_time`](crate::answer_in_time).
    #[must_use]
    pub fn refuses_slow_reads(mut self, refusal: fn() -> Response) -> Self {
        self.too_slow = refusal;
        self
    }

    /// Takes a part of a path that begins with `:` or `*` as text, as
    /// [`Router::without_v07_checks`]. Defaults to a panic.
    #[must_use]
    pub fn without_v07_checks(mut self) -> Self {
        self.router = self.router.without_v07_checks();
        self
    }

    /// Adds methods of a path. A brace of its text is doubled, and is served as it is and encoded.
    ///
    /// # Panics
    ///
    /// As [`Router::route`]: if the path has one of these methods already, or is none.
    #[must_use]
    pub fn at<const N: usize>(mut self, path: &str, operations: [Operation<S>; N]) -> Self {
        let shown = self.shown(path);
        let told = self.paths.entry(shown).or_insert_with(|| Map::new().into());
        for operation in operations {
            told[operation.method] = operation.told(path, &self.dialect);
            let served = operation.served(self.too_slow);
            for path in spellings(path) {
                if self.dialect.has_slashes && path != "/" {
                    self.router = self.router.route(&format!("{path}/"), served.clone());
                }
                self.router = self.router.route(&path, served.clone());
            }
        }
        self
    }

    /// Yields a path as the document has it, in which braces stand for ids alone.
    fn shown(&self, path: &str) -> String {
        let part = |part| match name_of(part) {
            Some(name) => format!("{{{}}}", (self.dialect.parameter)(path, name)).into(),
            None => encoded(part),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Yields the router, and what the document has under `paths`.
    pub fn into_parts(self) -> (Router<S>, Map<String, Value>) {
        (self.router, self.paths)
    }
}

/// Yields a path of the router, and, if it has braces that are text, what most clients send for it.
fn spellings(path: &str) -> BTreeSet<Cow<'_, str>> {
    BTreeSet::from([path.into(), encoded(path)])
}

/// Encodes the braces of a path of the router that are text.
fn encoded(path: &str) -> Cow<'_, str> {
    if path.contains("{{") || path.contains("}}") {
        path.replace("{{", "%7B").replace("}}", "%7D").into()
    } else {
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use quell_test_support::send;
    use serde_json::json;

    use super::*;
    use crate::described::{get, post, schema};

    fn routes(parameter: fn(&str, &str) -> String) -> Routes<()> {
        Routes::new(Dialect {
            parameter,
            schema: |_| schema::text(),
            tag: |_| "Things",
            refusal: |_| json!({}),
            security: || json!([]),
            always: &[],
            has_slashes: true,
        })
    }

    #[test]
    fn a_path_that_is_added_twice_is_told_with_the_methods_of_both() {
        let routes = routes(|_, name| name.to_owned())
            .at("/things/{id}", [get(async || "", "Shows one")])
            .at("/things/{id}", [post(async || "", "Changes one")]);
        let (_, paths) = routes.into_parts();
        let methods: Vec<_> = paths["/things/{id}"].as_object().unwrap().keys().collect();
        assert_eq!(methods, ["get", "post"]);
    }

    #[test]
    fn a_brace_of_the_text_is_none_of_an_id() {
        let routes = routes(|_, name| name.to_owned()).without_v07_checks();
        let routes = routes.at("/*/{{a}}/b{{/{id}", [get(async || "", "Shows one")]);
        let (_, paths) = routes.into_parts();
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/*/%7Ba%7D/b%7B/{id}"]);
        let parameters = paths["/*/%7Ba%7D/b%7B/{id}"]["get"]["parameters"].as_array().unwrap();
        assert_eq!(parameters.iter().map(|it| &it["name"]).collect::<Vec<_>>(), ["id"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_takes_too_long_is_refused_in_the_words_of_the_contract() {
        let hangs = async || std::future::pending::<()>().await;
        let routes = routes(|_, name| name.to_owned())
            .at("/before", [get(hangs, "Hangs")])
            .refuses_slow_reads(|| "too slow".into_response())
            .at("/behind", [get(hangs, "Hangs"), post(async || "done", "Does it")]);
        let (app, _) = routes.into_parts();
        let asks = async |method, path| {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            let answer = send(&app, request.unwrap()).await;
            (answer.status.as_u16(), answer.text)
        };
        assert_eq!(asks("GET", "/before").await.0, 503);
        assert_eq!(asks("GET", "/behind").await, (200, "too slow".to_owned()));
        assert_eq!(asks("POST", "/behind").await, (200, "done".to_owned()));
    }

    #[test]
    fn an_id_whose_name_in_the_document_is_that_of_another_one_in_the_router_stays_itself() {
        let shown = |_: &str, name: &str| if name == "a" { "b".into() } else { "c".into() };
        let routes = routes(shown).at("/{a}/x/{b}", [get(async || "", "Shows one")]);
        let (_, paths) = routes.into_parts();
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/{b}/x/{c}"]);
    }
}
