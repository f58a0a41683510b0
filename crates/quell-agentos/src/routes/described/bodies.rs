//! The schemas of the bodies of requests. Fields that are not named are keywords of the run, or are
//! ignored; an empty field is as if it was left out.

use quell_flow::ComponentKind;
use quell_http::described::schema::{list_of, text};
use serde_json::{Map, Value, json};

use crate::answer_form::INPUT;
use crate::sessions::NAME_BYTES_MAX;
use crate::wire::kinds::names_of;
use crate::wire::session_body::ITEMS_MAX;

/// Makes the schemas of bodies, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let all = of_runs().into_iter().chain(of_answers()).chain(of_sessions());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn of_runs() -> [(&'static str, Value); 2] {
    let create = json!({
        "message": { "type": "string", "minLength": 1 },
        "stream": flag(),
        "background": flag(),
        "session_id": text(),
        "user_id": text(),
        "run_id": text(),
        "version": { "type": "integer" },
        "files": list_of(json!({ "type": "string", "format": "binary" })),
        "session_state": text(),
        "quell_timeout_ms": { "type": "integer", "minimum": 0 },
        "quell_grace_ms": { "type": "integer", "minimum": 0 },
    });
    let resume = json!({ "last_event_index": { "type": "integer" }, "session_id": text() });
    [("RunCreate", needs(&["message"], create)), ("RunResume", needs(&[], resume))]
}

fn of_answers() -> [(&'static str, Value); 3] {
    ComponentKind::ALL.map(|kind| {
        let field = names_of(kind).answer;
        let mut properties = json!({
            "session_id": text(), "user_id": text(), "stream": flag(), "background": flag()
        });
        properties[field] = text();
        if kind == ComponentKind::Workflow {
            return (answer_of(kind), needs(&[field], properties));
        }
        // The answer to a paused run, or a message behind one that has ended.
        properties[INPUT] = json!({ "type": "string", "minLength": 1 });
        properties["run_id"] = text();
        properties["continue_from"] = json!({ "enum": ["end"] });
        properties["fork"] = flag();
        let either = [field, INPUT].map(|field| json!({ "required": [field] }));
        let schema = json!({ "type": "object", "anyOf": either, "properties": properties });
        (answer_of(kind), schema)
    })
}

fn of_sessions() -> [(&'static str, Value); 2] {
    let some = |items: Value| {
        json!({
            "type": "array", "items": items, "minItems": 1, "maxItems": ITEMS_MAX
        })
    };
    let kinds = json!({ "enum": ["agent", "team", "workflow"] });
    let name = json!({ "type": "string", "maxLength": NAME_BYTES_MAX });
    let delete = json!({ "session_ids": some(text()), "session_types": some(kinds) });
    [
        ("SessionRename", needs(&["session_name"], json!({ "session_name": name }))),
        ("SessionsDelete", needs(&["session_ids", "session_types"], delete)),
    ]
}

/// Yields the name of the schema of an answer to a run of this kind.
pub(super) const fn answer_of(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Agent => "AgentContinue",
        ComponentKind::Team => "TeamContinue",
        ComponentKind::Workflow => "WorkflowContinue",
    }
}

fn needs(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

/// A boolean of a form.
fn flag() -> Value {
    json!({ "enum": ["true", "false", "1", "0", "yes", "no", "on", "off"] })
}
