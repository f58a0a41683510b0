//! [`Routes`]: the table of a contract.

use std::borrow::Cow;

use axum::Router;
use serde_json::{Map, Value};

use crate::described::dialect::Dialect;
use crate::described::operation::{Operation, name_of};

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
    router: Router<S>,
    paths: Map<String, Value>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Makes an empty table.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, router: Router::new(), paths: Map::new() }
    }

    /// Adds methods of a path.
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
            let served = operation.served();
            if self.dialect.has_slashes && path != "/" {
                self.router = self.router.route(&format!("{path}/"), served.clone());
            }
            self.router = self.router.route(path, served);
        }
        self
    }

    /// Yields a path as the document has it.
    fn shown(&self, path: &str) -> String {
        let part = |part| match name_of(part) {
            Some(name) => format!("{{{}}}", (self.dialect.parameter)(path, name)).into(),
            None => Cow::from(part),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Yields the router, and what the document has under `paths`.
    pub fn into_parts(self) -> (Router<S>, Map<String, Value>) {
        (self.router, self.paths)
    }
}

#[cfg(test)]
mod tests {
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
    fn an_id_whose_name_in_the_document_is_that_of_another_one_in_the_router_stays_itself() {
        let shown = |_: &str, name: &str| if name == "a" { "b".into() } else { "c".into() };
        let routes = routes(shown).at("/{a}/x/{b}", [get(async || "", "Shows one")]);
        let (_, paths) = routes.into_parts();
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/{b}/x/{c}"]);
    }
}
