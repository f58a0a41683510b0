//! The description of the native API, made from the code.

use quell::{RunKind, RunStatus};
use serde_json::json;
use utoipa::OpenApi;

use crate::native::routes;
use crate::state::status_name;

/// What a cancel may be answered.
const DISPOSITIONS: [&str; 6] =
    ["accepted", "scheduled", "already-stopping", "escalated", "already-terminal", "reserved"];

const KINDS: [RunKind; 6] = [
    RunKind::Agent,
    RunKind::Team,
    RunKind::Workflow,
    RunKind::Step,
    RunKind::Branch,
    RunKind::Attempt,
];

/// The native API as `OpenAPI` describes it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "quell",
        description = "Runs of agents, teams and workflows that stop when told, on time, and say \
            what stopped."
    ),
    paths(
        routes::start_run, routes::list_runs, routes::get_run, routes::stream_run,
        routes::cancel_run, routes::health, routes::ready,
    ),
    tags(
        (name = "runs", description = "Start, watch and cancel runs"),
        (name = "server", description = "The server itself"),
    )
)]
pub(crate) struct Document;

/// Writes the description as JSON.
pub(crate) fn json() -> String {
    let Ok(mut document) = serde_json::to_value(Document::openapi()) else { return "{}".into() };
    let statuses = RunStatus::ALL.map(status_name);
    // Words that the code has as text.
    let enums: [(&str, Vec<Option<&str>>); 5] = [
        ("RunSummary/allOf/1/properties/kind", KINDS.map(|kind| Some(kind.as_str())).to_vec()),
        ("State/properties/status", statuses.map(Some).to_vec()),
        ("CancelAnswer/properties/status", statuses.map(Some).into_iter().chain([None]).collect()),
        ("CancelAnswer/properties/disposition", DISPOSITIONS.map(Some).to_vec()),
        ("Health/properties/status", ["ok", "ready", "draining"].map(Some).to_vec()),
    ];
    for (place, words) in enums {
        if let Some(schema) = document.pointer_mut(&format!("/components/schemas/{place}")) {
            schema["enum"] = json!(words);
        }
    }
    document.to_string()
}
