//! The schemas of the bodies of requests. Keys that are not named are ignored; null is as if a key
//! was left out.

use quell_http::described::schema::texts;
use serde_json::{Map, Value, json};

use crate::routes::assistants;
use crate::wire::cancel::RUN_IDS_MAX;
use crate::wire::create::Strategy;
use crate::wire::modes::NAMES;
use crate::wire::search::{LIMIT_MAX, ORDERS, ROW, STATUSES};
use crate::wire::{create, item};

/// Makes the schemas of bodies, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let all = of_assistants().into_iter().chain(of_items()).chain(of_threads());
    all.chain(of_states()).chain(of_runs()).map(|(name, schema)| (name.into(), schema)).collect()
}

fn of_assistants() -> [(&'static str, Value); 6] {
    let said = json!({
        "graph_id": maybe("string"),
        "config": maybe("object"),
        "context": maybe("object"),
        "metadata": maybe("object"),
        "name": maybe("string"),
        "description": maybe("string"),
    });
    let meant = json!({
        "graph_id": maybe("string"), "metadata": maybe("object"), "name": maybe("string")
    });
    let listed = json!({
        "sort_by": one_of(assistants::ORDERS),
        "sort_order": one_of(["asc", "desc"]),
        "select": some_of(&assistants::ROW),
    });
    let made = json!({
        "graph_id": { "type": "string" },
        "assistant_id": id(),
        "if_exists": one_of(["raise", "do_nothing"]),
    });
    let searched = with(with(meant.clone(), page()), listed);
    [
        ("AssistantCreate", needs(["graph_id"], with(said.clone(), made))),
        ("AssistantPatch", needs([], said)),
        ("AssistantSearch", needs([], searched)),
        ("AssistantCount", needs([], meant)),
        ("AssistantVersions", needs([], with(json!({ "metadata": maybe("object") }), page()))),
        (
            "AssistantLatest",
            needs(
                ["version"],
                json!({
                    "version": { "type": "integer", "minimum": 0, "maximum": u32::MAX }
                }),
            ),
        ),
    ]
}

fn of_items() -> [(&'static str, Value); 4] {
    let labels = || json!({ "type": "array", "items": label() });
    let limit = || up_to(0, item::LIMIT_MAX);
    let place = || json!({ "namespace": labels(), "key": { "type": "string" } });
    let put = json!({
        "namespace": { "type": "array", "items": label(), "minItems": 1 },
        "value": { "type": "object" },
        "ttl": minutes(),
        "index": { "anyOf": [{ "const": false }, texts(), { "type": "null" }] },
    });
    let search = json!({
        "namespace_prefix": labels(),
        "filter": { "type": ["object", "null"], "maxProperties": item::FILTER_MAX },
        "limit": limit(),
        "offset": whole_number(),
        "refresh_ttl": maybe("boolean"),
        "query": maybe("string"),
    });
    let namespaces = json!({
        "prefix": { "type": ["array", "null"], "items": label() },
        "suffix": { "type": ["array", "null"], "items": label() },
        "max_depth": whole_number(),
        "limit": limit(),
        "offset": whole_number(),
    });
    [
        ("ItemPut", needs(["namespace", "key", "value"], with(place(), put))),
        ("ItemDelete", needs(["namespace", "key"], place())),
        ("ItemSearch", needs(["namespace_prefix"], search)),
        ("NamespaceSearch", needs([], namespaces)),
    ]
}

fn of_threads() -> [(&'static str, Value); 4] {
    let given = || json!({ "metadata": maybe("object"), "ttl": ttl() });
    let made = json!({ "thread_id": id(), "if_exists": one_of(["raise", "do_nothing"]) });
    let meant = json!({
        "ids": { "type": ["array", "null"], "items": { "type": "string", "format": "uuid" } },
        "metadata": maybe("object"),
        "values": maybe("object"),
        "status": one_of(STATUSES),
    });
    let listed = json!({
        "sort_by": one_of(ORDERS),
        "sort_order": one_of(["asc", "desc"]),
        "select": some_of(&ROW),
    });
    [
        ("ThreadCreate", needs([], with(given(), made))),
        ("ThreadPatch", needs([], given())),
        ("ThreadSearch", needs([], with(with(meant.clone(), page()), listed))),
        ("ThreadCount", needs([], meant)),
    ]
}

fn of_states() -> [(&'static str, Value); 3] {
    let change = json!({
        "values": maybe("object"),
        "checkpoint": checkpoint(),
        "checkpoint_id": id(),
        "as_node": maybe("string"),
    });
    let mut named = checkpoint();
    named["type"] = json!("object");
    let before = json!({ "anyOf": [id(), checkpoint()] });
    let search = json!({
        "limit": up_to(1, LIMIT_MAX),
        "before": before,
        "metadata": maybe("object"),
    });
    [
        ("ThreadStateUpdate", needs([], change)),
        ("ThreadStateOf", needs(["checkpoint"], json!({ "checkpoint": named }))),
        ("ThreadStateSearch", needs([], search)),
    ]
}

fn of_runs() -> [(&'static str, Value); 3] {
    let names = || json!({ "anyOf": [{ "const": "*" }, texts(), { "type": "null" }] });
    let pairs = json!({ "type": "array", "items": { "type": "array", "minItems": 2, "maxItems": 2,
        "prefixItems": [{ "type": "string" }] } });
    let command = json!({ "type": ["object", "null"], "properties": {
        "resume": {},
        "update": { "anyOf": [{ "type": ["object", "null"] }, pairs] },
        "goto": { "anyOf": [{ "type": ["string", "null"] }, texts()] },
    } });
    let modes = json!({ "anyOf": [one_of(NAMES), some_of(&NAMES)] });
    let ms = || json!({ "type": "integer", "minimum": 1 });
    let metadata = json!({ "type": ["object", "null"],
        "properties": { "quell_timeout_ms": ms(), "quell_grace_ms": ms() } });
    let after = json!({ "type": ["number", "null"], "minimum": 0,
        "maximum": create::AFTER_MAX.as_secs() });
    let run = json!({
        "assistant_id": { "type": "string" },
        "input": {},
        "command": command,
        "checkpoint": checkpoint(),
        "checkpoint_id": id(),
        "metadata": metadata,
        "config": maybe("object"),
        "context": maybe("object"),
        "webhook": maybe("string"),
        "interrupt_before": names(),
        "interrupt_after": names(),
        "stream_mode": modes,
        "stream_subgraphs": maybe("boolean"),
        "stream_resumable": maybe("boolean"),
        "multitask_strategy": one_of(Strategy::ALL.map(Strategy::name)),
        "if_not_exists": one_of(["reject", "create"]),
        "after_seconds": after,
        "on_disconnect": one_of(["continue", "cancel"]),
        "on_completion": one_of(["delete", "keep"]),
        "durability": one_of(["async", "sync", "exit"]),
        "checkpoint_during": {},
        "feedback_keys": {},
    });
    let uuid = json!({ "type": "string", "format": "uuid" });
    let cancel = json!({
        "type": "object",
        "properties": {
            "status": { "enum": ["pending", "running", "all"] },
            "thread_id": uuid,
            "run_ids": { "type": "array", "maxItems": RUN_IDS_MAX, "items": uuid },
        },
        "oneOf": [{ "required": ["status"] }, { "required": ["thread_id", "run_ids"] }],
    });
    let one = json!({ "$ref": "#/components/schemas/RunCreate" });
    [
        ("RunCreate", needs(["assistant_id"], run)),
        ("RunBatch", json!({ "type": "array", "minItems": 1, "maxItems": 1_000, "items": one })),
        ("RunsCancel", cancel),
    ]
}

/// An object that needs some of these keys.
pub(super) fn needs<const N: usize>(required: [&str; N], properties: Value) -> Value {
    json!({ "type": "object", "required": required.as_slice(), "properties": properties })
}

pub(super) fn with(mut keys: Value, more: Value) -> Value {
    if let (Value::Object(keys), Value::Object(more)) = (&mut keys, more) {
        keys.extend(more);
    }
    keys
}

pub(super) fn page() -> Value {
    json!({ "limit": up_to(1, LIMIT_MAX), "offset": whole_number() })
}

fn ttl() -> Value {
    let keys = json!({ "ttl": minutes(), "strategy": one_of(["delete", "keep_latest"]) });
    let object = json!({ "type": "object", "required": ["ttl"], "properties": keys });
    json!({ "anyOf": [minutes(), object] })
}

/// Ten years at most.
fn minutes() -> Value {
    json!({ "type": ["number", "null"], "exclusiveMinimum": 0 })
}

fn checkpoint() -> Value {
    json!({ "type": ["object", "null"], "properties": { "checkpoint_id": id() } })
}

/// A label of a namespace.
fn label() -> Value {
    json!({ "type": "string", "minLength": 1, "pattern": "^[^.]+$" })
}

pub(super) fn id() -> Value {
    json!({ "type": ["string", "null"], "format": "uuid" })
}

pub(super) fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

pub(super) fn one_of<const N: usize>(words: [&str; N]) -> Value {
    let words: Vec<Value> = words.into_iter().map(Value::from).chain([Value::Null]).collect();
    json!({ "enum": words })
}

pub(super) fn some_of(words: &[&str]) -> Value {
    json!({ "type": ["array", "null"], "items": { "enum": words } })
}

fn whole_number() -> Value {
    json!({ "type": ["integer", "null"], "minimum": 0 })
}

fn up_to(least: usize, most: usize) -> Value {
    json!({ "type": ["integer", "null"], "minimum": least, "maximum": most })
}
