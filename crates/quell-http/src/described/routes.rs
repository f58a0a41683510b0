//! [`Routes`]: the table of a contract.

use axum::Router;
use serde_json::{Map, Value};

use crate::described::dialect::Dialect;
use crate::described::operation::{Operation, names_of};

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

    /// Adds the methods of a path.
    ///
    /// # Panics
    ///
    /// As [`Router::route`]: if the path has one of these methods already, or is none.
    #[must_use]
    pub fn at<const N: usize>(mut self, path: &str, operations: [Operation<S>; N]) -> Self {
        let mut told = Map::new();
        for operation in operations {
            told.insert(operation.method.to_owned(), operation.told(path, &self.dialect));
            if self.dialect.has_slashes && path != "/" {
                self.router = self.router.route(&format!("{path}/"), operation.served.clone());
            }
            self.router = self.router.route(path, operation.served);
        }
        let braced = |name: &str| format!("{{{name}}}");
        let shown = names_of(path).fold(path.to_owned(), |shown, name| {
            shown.replace(&braced(name), &braced(&(self.dialect.parameter)(path, name)))
        });
        self.paths.insert(shown, told.into());
        self
    }

    /// Yields the router, and what the document has under `paths`.
    pub fn into_parts(self) -> (Router<S>, Map<String, Value>) {
        (self.router, self.paths)
    }
}
