//! [`schemas`]: of bodies and of answers.

use quell_http::described::schema::{exact, named, or_null, problem, run_state, statuses, text};
use serde_json::{Map, Value, json};

use crate::routes::described::dialect::uuid;
use crate::wire::status_word;

/// Makes the schemas, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let all = of_requests().into_iter().chain(of_credentials()).chain(of_calls()).chain(of_lists());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// The body of a start, whose other keys are ignored, and refusals.
fn of_requests() -> [(&'static str, Value); 3] {
    let millis = || or_null(json!({ "type": "integer", "minimum": 0 }));
    let start = json!({
        "id": uuid(),
        "origin": or_null(json!({ "type": ["string", "integer"] })),
        "inputs": or_null(json!({ "type": "object" })),
        "quell_timeout_ms": millis(),
        "quell_grace_ms": millis(),
    });
    let start = json!({ "type": "object", "required": ["id"], "properties": start });
    let refusal = exact(json!({ "result": text(), "description": text() }));
    [("RunWorkflow", start), ("ErrorResponse", refusal), ("Problem", problem())]
}

fn of_credentials() -> [(&'static str, Value); 2] {
    let secrets = json!({
        "BASE_URL": text(),
        "ACCOUNTS_URL": text(),
        "API_KEY": text(),
        "ACCOUNTS_BASE_URL": text(),
        "API_BASE_URL": text(),
        "X_API_KEY": text(),
        "WEBSOCKET_BASE_URL": { "const": "" },
    });
    [("Token", exact(json!({ "access_token": text() }))), ("SdkSecrets", exact(secrets))]
}

fn of_calls() -> [(&'static str, Value); 4] {
    let queued = json!({ "run_id": uuid(), "status": { "const": "queued" }, "message": text() });
    // Of a live run it has none so far.
    let result = json!({ "result": {}, "status": statuses(status_word), "quell": run_state() });
    [
        ("RunId", exact(json!({ "run_id": uuid() }))),
        ("Queued", exact(queued)),
        ("CancelAnswer", exact(json!({ "message": text() }))),
        ("Result", exact(result)),
    ]
}

fn of_lists() -> [(&'static str, Value); 3] {
    let run = json!({
        "id": uuid(),
        // Text or an integer, unless another contract has set the label.
        "platform": {},
        "status": statuses(status_word),
        "progress": or_null(json!({ "type": "number", "minimum": 0, "maximum": 1 })),
        "duration": or_null(json!({ "type": "number", "minimum": 0 })),
        "webhookUrl": { "type": "null" },
        "runResult": {},
        "team": named("Team"),
        "owner": exact(json!({ "name": or_null(text()) })),
        "workflow": named("Workflow"),
        "quell": run_state(),
    });
    [
        ("Run", exact(run)),
        ("Team", exact(json!({ "id": uuid(), "name": text() }))),
        ("Workflow", exact(json!({ "id": uuid(), "name": text(), "team_id": uuid() }))),
    ]
}
