//! [`DIALECT`]: what the document says alike of the paths of the server itself, beside those of
//! contracts; and [`served`], how all of them are served.

use axum::Router;
use quell_http::described::{Dialect, schema};
use serde_json::json;

/// In the words of the native API, under whose root they are.
pub(super) const DIALECT: Dialect = Dialect {
    parameter: |_path, name| name.to_owned(),
    schema: |_name| schema::text(),
    tag: |_path| "server",
    refusal: |_status| {
        let problem = schema::named("Problem");
        json!({ "application/problem+json": { "schema": problem } })
    },
    // None is needed where the server asks for none.
    security: || json!([{ "apiKey": [] }, { "bearer": [] }, {}]),
    always: &[401, 403, 422],
    has_slashes: false,
};

/// Finishes the router of such paths.
pub(super) fn served<S: Clone + Send + Sync + 'static>(router: Router<S>, state: S) -> Router {
    router.method_not_allowed_fallback(quell_http::no_such_method).with_state(state)
}
