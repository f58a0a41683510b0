//! The schemas of answers.

use quell::RunStatus;
use quell_http::status_name;
use serde_json::{Map, Value, json};

use crate::wire::create::Strategy;
use crate::wire::search::STATUSES;
use crate::wire::status::run_status;

/// Makes the schemas of answers, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("ErrorResponse".into(), exact(json!({ "detail": text() })));
    all.extend(of_server());
    all.extend(of_assistants());
    all.extend(of_threads());
    all.extend(of_runs());
    all.extend(of_items());
    all
}

fn of_server() -> [(String, Value); 3] {
    let queue = whole(json!({
        "n_pending": count(),
        "n_running": count(),
        "pending_runs_wait_time_max_secs": or_null(json!({ "type": "number" })),
        "pending_runs_wait_time_med_secs": or_null(json!({ "type": "number" })),
        "pending_unblocked_runs_wait_time_max_secs": or_null(json!({ "type": "number" })),
    }));
    let workers =
        whole(json!({ "max": or_null(count()), "active": count(), "available": or_null(count()) }));
    let flags = json!({ "type": "object", "additionalProperties": { "type": "boolean" } });
    [
        ("Ok".into(), whole(json!({ "ok": { "const": true }, "services": object() }))),
        (
            "Info".into(),
            whole(json!({
                "version": text(),
                "langgraph_py_version": { "type": ["string", "null"] },
                "flags": flags,
                "host": whole(json!({ "kind": text() })),
                "metadata": object(),
            })),
        ),
        ("Metrics".into(), whole(json!({ "queue": queue, "api": object(), "workers": workers }))),
    ]
}

fn of_assistants() -> [(String, Value); 5] {
    let version = json!({
        "assistant_id": id(),
        "graph_id": text(),
        "config": object(),
        "context": object(),
        "metadata": object(),
        "name": text(),
        "created_at": time(),
        "version": { "type": "integer", "minimum": 1 },
        "description": { "type": ["string", "null"] },
    });
    let mut row = version.clone();
    row["updated_at"] = time();
    let node = json!({ "type": "object", "required": ["id"], "properties": { "id": text() } });
    let edge = whole(json!({ "source": text(), "target": text() }));
    let typed = || json!({ "type": ["object", "null"] });
    [
        ("Assistant".into(), whole(row.clone())),
        ("AssistantPart".into(), part(row)),
        ("AssistantVersion".into(), whole(version)),
        ("Graph".into(), whole(json!({ "nodes": list(node), "edges": list(edge) }))),
        (
            "GraphSchemas".into(),
            whole(json!({
                "graph_id": text(),
                "input_schema": typed(),
                "output_schema": typed(),
                "state_schema": typed(),
                "config_schema": typed(),
                "context_schema": typed(),
            })),
        ),
    ]
}

fn of_threads() -> [(String, Value); 4] {
    let row = json!({
        "thread_id": id(),
        "created_at": time(),
        "updated_at": time(),
        "state_updated_at": time(),
        "metadata": object(),
        "status": { "enum": STATUSES },
        "config": object(),
        "values": { "type": ["object", "null"] },
    });
    let error = or_null(whole(json!({ "error": text(), "message": text() })));
    let ttl = whole(json!({
        "ttl_minutes": { "type": "number" },
        "strategy": text(),
        "expires_at": time(),
    }));
    let more = json!({ "error": error, "interrupts": object(), "ttl": ttl });
    let checkpoint =
        whole(json!({ "thread_id": id(), "checkpoint_ns": text(), "checkpoint_id": id() }));
    let task = whole(json!({
        "id": id(),
        "name": text(),
        "path": list(text()),
        "error": { "type": ["string", "null"] },
        "interrupts": list(object()),
        "checkpoint": { "type": "null" },
        "state": { "type": "null" },
        "result": { "type": "null" },
    }));
    let state = whole(json!({
        "values": object(),
        "next": list(text()),
        "tasks": list(task),
        "metadata": { "type": ["object", "null"] },
        "created_at": or_null(time()),
        "checkpoint": or_null(checkpoint.clone()),
        "parent_checkpoint": or_null(checkpoint.clone()),
        "interrupts": list(object()),
        "checkpoint_id": or_null(id()),
        "parent_checkpoint_id": or_null(id()),
    }));
    let updated = json!({
        "checkpoint": checkpoint, "configurable": checkpoint, "checkpoint_id": id()
    });
    [
        ("Thread".into(), with(whole(row.clone()), &more)),
        ("ThreadPart".into(), with(part(row), &more)),
        ("ThreadState".into(), state),
        ("ThreadStateUpdated".into(), whole(updated)),
    ]
}

fn of_runs() -> [(String, Value); 4] {
    let cause = whole(json!({
        "kind": text(),
        "message": { "type": ["string", "null"] },
        "by": { "type": ["string", "null"] },
        "at": text(),
        "origin": text(),
    }));
    let mut quell = whole(json!({
        "status": { "enum": RunStatus::ALL.map(status_name) },
        "cause": or_null(cause),
        "quiescent": { "type": "boolean" },
        "abandoned": list(text()),
    }));
    quell["properties"]["truncated"] = json!({ "type": "boolean" });
    let mut statuses = RunStatus::ALL.map(run_status).to_vec();
    statuses.sort_unstable();
    statuses.dedup();
    let row = json!({
        "run_id": id(),
        "thread_id": id(),
        "assistant_id": id(),
        "status": { "enum": statuses },
        "multitask_strategy": { "enum": Strategy::ALL.map(Strategy::name) },
        "created_at": time(),
        "updated_at": time(),
        "langsmith_session_name": { "type": "null" },
        "cancel_reason": { "type": ["string", "null"] },
        "quell": quell,
    });
    // A row lacks them if there was no room for them.
    let large = json!({ "metadata": object(), "kwargs": object() });
    [
        ("Run".into(), with(whole(row.clone()), &large)),
        ("RunPart".into(), with(part(row), &large)),
        ("FinalBody".into(), object()),
        (
            "Event".into(),
            with(whole(json!({ "event": text(), "data": text() })), &json!({ "id": text() })),
        ),
    ]
}

fn of_items() -> [(String, Value); 4] {
    let item = json!({
        "namespace": list(text()),
        "key": text(),
        "value": object(),
        "created_at": time(),
        "updated_at": time(),
    });
    let mut found = item.clone();
    found["score"] = json!({ "type": "null" });
    [
        ("Item".into(), whole(item)),
        ("ItemFound".into(), whole(found)),
        (
            "ItemsFound".into(),
            whole(json!({ "items": list(json!({ "$ref": "#/components/schemas/ItemFound" })) })),
        ),
        ("Namespaces".into(), whole(json!({ "namespaces": list(list(text())) }))),
    ]
}

/// An object that has all of these keys, and may have more.
pub(super) fn whole(properties: Value) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// An object that has these keys and no others.
fn exact(properties: Value) -> Value {
    let mut schema = whole(properties);
    schema["additionalProperties"] = false.into();
    schema
}

/// An object that has some of these keys and no others.
pub(super) fn part(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Adds keys that an object may have.
fn with(mut schema: Value, more: &Value) -> Value {
    if let (Some(Value::Object(all)), Value::Object(more)) = (schema.get_mut("properties"), more) {
        all.extend(more.clone());
    }
    schema
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn object() -> Value {
    json!({ "type": "object" })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}
