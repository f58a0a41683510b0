//! [`DIALECT`]: what the document says alike of all operations.

use std::sync::Arc;

use axum::extract::State;
use quell_flow::ComponentKind;
use quell_http::described::{Dialect, schema};
use serde_json::{Value, json};

use crate::app::App;
use crate::wire::kinds::names_of;

/// The table of this contract.
pub(in crate::routes) type Routes = quell_http::described::Routes<Arc<App>>;

/// An operation of this contract.
pub(super) type Operation = quell_http::described::Operation<Arc<App>>;

/// The state of a handler.
pub(super) type Shared = State<Arc<App>>;

pub(super) const DIALECT: Dialect = Dialect {
    parameter,
    schema: |_name| schema::text(),
    tag,
    refusal,
    // None is needed where the server asks for none.
    security: || json!([{ "HTTPBearer": [] }, {}]),
    // A page of somebody else's, or a caller who lacks a right; a defect of ours.
    always: &[403, 500],
    has_slashes: true,
};

/// As upstream's document has them: the id of a component is that of its kind.
fn parameter(path: &str, name: &str) -> String {
    let of_kind = |kind: &ComponentKind| path.split('/').nth(1) == Some(names_of(*kind).plural);
    match ComponentKind::ALL.iter().find(|kind| of_kind(kind)) {
        Some(kind) if name == "id" => names_of(*kind).id_key.to_owned(),
        _ => format!("{name}_id"),
    }
}

fn tag(path: &str) -> &'static str {
    match path.split('/').nth(1) {
        Some("agents") => "Agents",
        Some("teams") => "Teams",
        Some("workflows") => "Workflows",
        Some("sessions") => "Sessions",
        Some("memories" | "memory_topics" | "user_memory_stats" | "optimize-memories") => "Memory",
        Some("knowledge") => "Knowledge",
        Some("eval-runs") => "Evals",
        Some("traces" | "trace_session_stats") => "Traces",
        Some("metrics") => "Metrics",
        _ => "Core",
    }
}

/// The guard of a server without keys, and a server that is full, refuse with a problem document.
fn refusal(status: u16) -> Value {
    let name = if status == 422 { "ValidationErrorResponse" } else { "ErrorResponse" };
    let mut content = json!({ "application/json": { "schema": schema::named(name) } });
    if [403, 503].contains(&status) {
        content["application/problem+json"] = json!({ "schema": schema::named("Problem") });
    }
    content
}
