//! [`DIALECT`]: what the document says alike of all operations.

use quell_http::described::{Dialect, schema};
use serde_json::json;

use crate::app::App;

/// The table of this contract.
pub(in crate::routes) type Routes = quell_http::described::Routes<App>;

/// An operation of this contract.
pub(super) type Operation = quell_http::described::Operation<App>;

pub(super) const DIALECT: Dialect = Dialect {
    // As upstream's document has them.
    parameter: |_path, name| if name == PART { "namespace".into() } else { format!("{name}_id") },
    schema: |name| {
        if name == PART { schema::text() } else { json!({ "type": "string", "format": "uuid" }) }
    },
    tag,
    refusal: |_status| json!({ "application/json": { "schema": schema::named("ErrorResponse") } }),
    // None is needed where the server asks for none.
    security: || json!([{ "apiKey": [] }, { "bearer": [] }, {}]),
    // A page of somebody else's, or a caller who lacks a right; a defect of ours.
    always: &[403, 500],
    has_slashes: false,
};

/// The one name in a path that is no id.
const PART: &str = "name";

fn tag(path: &str) -> &'static str {
    match path.split('/').nth(1) {
        Some("assistants") => "Assistants",
        Some("threads" | "runs") if path.contains("/crons") => "Crons",
        Some("threads") if path.contains("/runs") => "Thread Runs",
        Some("threads") => "Threads",
        Some("runs") => "Stateless Runs",
        Some("store") => "Store",
        _ => "System",
    }
}

/// A boolean of a query: any text that is not true is false.
pub(super) fn flag() -> serde_json::Value {
    json!({ "type": "string", "examples": ["true", "false"] })
}

/// The id of an assistant, in whose place that of a graph may stand.
pub(super) fn of_graph(operation: Operation) -> Operation {
    operation.id("assistant", schema::text())
}
