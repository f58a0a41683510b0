//! The schemas of answers.

use quell_http::described::schema::{
    exact, list, list_of, number, object, or_null, part, run_state, statuses, text, texts, time,
    whole, with,
};
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
        "n_pending": number(),
        "n_running": number(),
        "pending_runs_wait_time_max_secs": or_null(json!({ "type": "number" })),
        "pending_runs_wait_time_med_secs": or_null(json!({ "type": "number" })),
        "pending_unblocked_runs_wait_time_max_secs": or_null(json!({ "type": "number" })),
    }));
    let workers = whole(
        json!({ "max": or_null(number()), "active": number(), "available": or_null(number()) }),
    );
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
        ("Graph".into(), whole(json!({ "nodes": list_of(node), "edges": list_of(edge) }))),
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
        "path": texts(),
        "error": { "type": ["string", "null"] },
        "interrupts": list_of(object()),
        "checkpoint": { "type": "null" },
        "state": { "type": "null" },
        "result": { "type": "null" },
    }));
    let state = whole(json!({
        "values": object(),
        "next": texts(),
        "tasks": list_of(task),
        "metadata": { "type": ["object", "null"] },
        "created_at": or_null(time()),
        "checkpoint": or_null(checkpoint.clone()),
        "parent_checkpoint": or_null(checkpoint.clone()),
        "interrupts": list_of(object()),
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
    let row = json!({
        "run_id": id(),
        "thread_id": id(),
        "assistant_id": id(),
        "status": statuses(run_status),
        "multitask_strategy": { "enum": Strategy::ALL.map(Strategy::name) },
        "created_at": time(),
        "updated_at": time(),
        "langsmith_session_name": { "type": "null" },
        "cancel_reason": { "type": ["string", "null"] },
        "quell": run_state(),
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
        "namespace": texts(),
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
        ("ItemsFound".into(), whole(json!({ "items": list("ItemFound") }))),
        ("Namespaces".into(), whole(json!({ "namespaces": list_of(texts()) }))),
    ]
}

fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}
