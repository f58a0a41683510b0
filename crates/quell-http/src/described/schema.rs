//! Schemas that the documents of contracts have alike.

use quell::RunStatus;
use serde_json::{Map, Value, json};

use crate::run_state::status_name;

/// The schema of this name of the document.
pub fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// A list of what the schema of this name is.
pub fn list(schema: &str) -> Value {
    list_of(named(schema))
}

/// A list of what a schema is.
pub fn list_of(schema: Value) -> Value {
    json!({ "type": "array", "items": schema })
}

/// Any text.
pub fn text() -> Value {
    json!({ "type": "string" })
}

/// Texts.
pub fn texts() -> Value {
    list_of(text())
}

/// Any object.
pub fn object() -> Value {
    json!({ "type": "object" })
}

/// A whole number from zero on.
pub fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// A time in the form of RFC 3339.
pub fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// The words of a contract for the statuses of runs.
pub fn statuses(word: fn(RunStatus) -> &'static str) -> Value {
    let mut all = RunStatus::ALL.map(word).to_vec();
    all.sort_unstable();
    all.dedup();
    json!({ "enum": all })
}

/// A [`Problem`](crate::Problem) document.
pub fn problem() -> Value {
    whole(json!({
        "type": text(), "title": text(), "status": { "type": "integer" }, "detail": text()
    }))
}

/// What a schema is, or null.
pub fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// An object that has all of these keys, and may have more.
pub fn whole(properties: Value) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// An object that has these keys and no others.
pub fn exact(properties: Value) -> Value {
    let mut schema = whole(properties);
    schema["additionalProperties"] = false.into();
    schema
}

/// An object that has some of these keys and no others.
pub fn part(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Adds keys that an object may have.
pub fn with(mut schema: Value, more: &Value) -> Value {
    if let (Some(Value::Object(all)), Value::Object(more)) = (schema.get_mut("properties"), more) {
        all.extend(more.clone());
    }
    schema
}

/// What every contract shows as `quell`: a [`RunState`](crate::RunState).
pub fn run_state() -> Value {
    let cause = whole(json!({
        "kind": text(),
        "message": { "type": ["string", "null"] },
        "by": { "type": ["string", "null"] },
        "at": text(),
        "origin": text(),
    }));
    let state = whole(json!({
        "status": { "enum": RunStatus::ALL.map(status_name) },
        "cause": or_null(cause),
        "quiescent": { "type": "boolean" },
        "abandoned": texts(),
    }));
    with(state, &json!({ "truncated": { "type": "boolean" } }))
}
