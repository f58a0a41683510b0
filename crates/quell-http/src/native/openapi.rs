//! [`Document`]: the `OpenAPI` description of the native API, made from the code.

use quell::{RunKind, RunStatus};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::native::wire::NOT_STORED;
use crate::run_state::status_name;

/// The dispositions that answer a cancel. `unknown` is a problem document instead.
const DISPOSITIONS: [&str; 7] = [
    "accepted",
    "scheduled",
    "already-stopping",
    "escalated",
    "already-terminal",
    "recorded",
    "reserved",
];

/// Paths that need no credentials.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The `OpenAPI` description of the native API, without its paths: the router adds those.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "quell",
        description = "Runs of agents, teams and workflows that stop when told, on time, and say \
            what stopped."
    ),
    tags(
        (name = "runs", description = "Start, watch and cancel runs"),
        (name = "server", description = "The server itself"),
    )
)]
pub(crate) struct Document;

/// Makes JSON of the description.
pub(crate) fn json(document: &utoipa::openapi::OpenApi) -> Value {
    let Ok(mut document) = serde_json::to_value(document) else { return json!({}) };
    let statuses = RunStatus::ALL.map(status_name);
    // Fields that the code types as text, though they have few values.
    let dispositions = DISPOSITIONS.map(Some);
    let of_several = [Some("unknown"), Some(NOT_STORED), None];
    let enums: [(&str, Vec<Option<&str>>); 10] = [
        (
            "RunSummary/allOf/1/properties/kind",
            RunKind::ALL.map(|kind| Some(kind.as_str())).to_vec(),
        ),
        ("State/properties/status", statuses.map(Some).to_vec()),
        ("CancelAnswer/properties/status", statuses.map(Some).into_iter().chain([None]).collect()),
        ("CancelAnswer/properties/disposition", dispositions.to_vec()),
        ("RunStop/properties/status", statuses.map(Some).into_iter().chain([None]).collect()),
        ("RunStop/properties/disposition", dispositions.into_iter().chain(of_several).collect()),
        ("LimitsAnswer/properties/status", statuses.map(Some).to_vec()),
        ("PauseAnswer/properties/status", statuses.map(Some).to_vec()),
        (
            "LimitsAnswer/properties/outcome",
            ["changed", "unchanged", "exceeded"].map(Some).to_vec(),
        ),
        (
            "Health/properties/status",
            ["ok", "ready", "draining", "store-in-trouble"].map(Some).to_vec(),
        ),
    ];
    for (path, words) in enums {
        if let Some(schema) = document.pointer_mut(&format!("/components/schemas/{path}")) {
            schema["enum"] = json!(words);
        }
    }
    secure(&mut document);
    document
}

/// Says which credentials the operations ask for. None is needed where the server asks for none.
fn secure(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
        "bearer": { "type": "http", "scheme": "bearer" },
    });
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let asking = paths.filter(|(path, _)| !OPEN_PATHS.contains(&path.as_str()));
    for operation in asking.filter_map(|(_, all)| all.as_object_mut()).flat_map(Map::values_mut) {
        operation["security"] = json!([{ "apiKey": [] }, { "bearer": [] }, {}]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use quell::{Cause, CauseKind, Disposition, RunId, StopMode};

    use super::*;
    use crate::run_state::disposition_name;

    #[test]
    fn every_disposition_that_answers_a_cancel_is_described() {
        let (now, at) = (Instant::now(), SystemTime::now());
        let cause = Arc::new(Cause::new(CauseKind::UserRequest, at, RunId::from_text("r")));
        let (from, to) = (StopMode::AfterStep, StopMode::Abort);
        let all = [
            Disposition::Accepted { hard_deadline: now },
            Disposition::Scheduled { escalate_at: now },
            Disposition::AlreadyStopping { cause, hard_deadline: now },
            Disposition::Escalated { from, to },
            Disposition::AlreadyTerminal { status: RunStatus::Completed },
            Disposition::Recorded { owner: "a".into(), lease_until: at },
            Disposition::Reserved,
        ];
        assert_eq!(all.each_ref().map(disposition_name), DISPOSITIONS);
    }
}
