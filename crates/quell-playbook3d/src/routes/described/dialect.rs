//! [`DIALECT`]: what the document says alike of all operations.

use std::sync::Arc;

use quell_http::described::{Dialect, schema};
use serde_json::{Value, json};

use crate::app::App;

/// The table of this contract.
pub(in crate::routes) type Routes = quell_http::described::Routes<Arc<App>>;

/// An operation of this contract.
pub(super) type Operation = quell_http::described::Operation<Arc<App>>;

pub(super) const DIALECT: Dialect = Dialect {
    // As the vendor's document has them.
    parameter: |_path, name| name.to_owned(),
    schema: |name| if name == "api_key" { schema::text() } else { uuid() },
    tag,
    refusal,
    // Both are needed, and none where the server asks for none.
    security: || json!([{ "bearer": [], "apiKey": [] }, {}]),
    // A page of somebody else's, or a caller who lacks a right; a defect of ours.
    always: &[403, 500],
    has_slashes: false,
};

/// A prefix of the options may stand before what is looked at.
fn tag(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("{api_key}") => "Credentials",
        Some("teams" | "workflows") => "Teams and workflows",
        Some("openapi.json") => "System",
        _ => "Runs",
    }
}

/// The guard of a server without keys, and a server that is full, refuse with a problem document.
fn refusal(status: u16) -> Value {
    let problem = json!({ "schema": schema::named("Problem") });
    let error = json!({ "schema": schema::named("ErrorResponse") });
    match status {
        415 | 503 => json!({ "application/problem+json": problem }),
        403 => json!({ "application/json": error, "application/problem+json": problem }),
        _ => json!({ "application/json": error }),
    }
}

/// An id.
pub(super) fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}
