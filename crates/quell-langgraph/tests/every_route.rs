//! Every route of the document: with values that nobody expects, and with the ids of another owner.

use std::sync::Arc;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{EngineConfig, Shutdown};
use quell_http::{Access, Key, READ_WITHIN};
use quell_langgraph::Options;
use quell_test_support::within;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::restart::nth;
use crate::talk::{Answer, Server, id_of};
use crate::threads::echo;

/// What an owner has: a thread with a run that has ended and one that is live, an assistant, a cron
/// and an item.
struct Owned {
    thread: String,
    live: String,
    ended: String,
    assistant: String,
    cron: String,
    checkpoint: String,
}

/// What stands in all that ada has, and in nothing that anybody else is shown.
const SECRET: &str = "adas-secret";

impl Owned {
    async fn by(owner: &Server) -> Self {
        let text = |answer: &Answer, key: &str| answer.json()[key].as_str().unwrap().to_owned();
        let metadata = json!({ "says": SECRET });
        let made = owner.post("/threads", &json!({ "metadata": metadata })).await;
        let thread = text(&made, "thread_id");
        echo(owner, &thread, SECRET).await;
        let state = owner.get(&format!("/threads/{thread}/state")).await;
        let runs = owner.get(&format!("/threads/{thread}/runs")).await.json();
        let ended = runs[0]["run_id"].as_str().unwrap().to_owned();
        let body = json!({ "graph_id": "echo", "metadata": metadata });
        let assistant = owner.post("/assistants", &body).await;
        let body = json!({ "assistant_id": "echo", "schedule": "0 0 1 1 *", "metadata": metadata });
        let cron = owner.post(&format!("/threads/{thread}/runs/crons"), &body).await;
        let item = json!({ "namespace": ["n"], "key": "k", "value": metadata }).to_string();
        assert_eq!(owner.send(Method::PUT, "/store/items", &item).await.status, 204);
        let live = owner.start(&thread, "slow", json!({ "ms": 600_000, "tag": SECRET })).await;
        owner.until_ticking(SECRET).await;
        Self {
            thread,
            live: id_of(&live).to_owned(),
            ended,
            assistant: text(&assistant, "assistant_id"),
            cron: text(&cron, "cron_id"),
            checkpoint: text(&state, "checkpoint_id"),
        }
    }

    /// Yields a path of the document with these ids.
    fn path(&self, of: &str, run: &str) -> String {
        let part = |part: &str| match part {
            "{thread_id}" => self.thread.clone(),
            "{run_id}" => run.to_owned(),
            "{assistant_id}" => self.assistant.clone(),
            "{cron_id}" => self.cron.clone(),
            "{checkpoint_id}" => self.checkpoint.clone(),
            other => other.to_owned(),
        };
        of.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Yields a body that names all of it, for whatever route.
    fn body(&self, run: &str) -> Value {
        json!({
            "thread_id": self.thread, "run_ids": [run], "assistant_id": self.assistant,
            "graph_id": "echo", "checkpoint_id": self.checkpoint, "checkpoint":
            { "checkpoint_id": self.checkpoint }, "values": {}, "metadata": {}, "input": {},
            "schedule": "0 0 1 1 *", "version": 1, "namespace": ["n"], "key": "k", "value": {},
            "namespace_prefix": [], "ids": [self.thread], "if_exists": "do_nothing",
            "if_not_exists": "create",
        })
    }

    /// Yields all that its owner is shown of it.
    async fn shown(&self, owner: &Server) -> Vec<String> {
        let thread = format!("/threads/{}", self.thread);
        let mut all = Vec::new();
        for path in [
            thread.clone(),
            format!("{thread}/runs"),
            format!("{thread}/history"),
            format!("/assistants/{}", self.assistant),
            format!("/runs/crons/{}", self.cron),
            "/store/items?namespace=n&key=k".to_owned(),
        ] {
            let answer = owner.get(&path).await;
            assert!(answer.status == 200 && answer.text.contains(SECRET), "{path}: {answer:?}");
            all.push(answer.text);
        }
        all
    }
}

/// The operations of the document: methods and paths.
fn operations() -> Vec<(Method, String)> {
    let document = quell_langgraph::document();
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, operations): (&String, &Value)| {
        let methods = operations.as_object().unwrap().keys();
        let methods = methods.filter_map(|name| name.to_uppercase().parse().ok());
        methods.map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn nobody_is_shown_or_changes_through_any_route_what_another_has() {
    let keys = ["ada", "ben"].map(|who| Key::new(who, who));
    let access = keys.into_iter().fold(Access::open(), Access::key);
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let (ada, ben) = (server.saying("x-api-key", "ada"), server.saying("x-api-key", "ben"));
    let owned = Owned::by(&ada).await;
    let before = owned.shown(&ada).await;
    for (method, of) in operations() {
        for run in [&owned.live, &owned.ended] {
            for body in [owned.body(run), json!({ "status": "all" }), json!({})] {
                let path = owned.path(&of, run);
                let path = format!("{path}?namespace=n&key=k&delete_threads=1&wait=1");
                let body = body.to_string();
                let answer = within(&path, ben.send(method.clone(), &path, &body)).await;
                let is_leak = answer.text.contains(SECRET);
                assert!(answer.status.as_u16() < 500 && !is_leak, "{method} {path}: {answer:?}");
                let names = ["{thread_id}", "{run_id}", "{assistant_id}", "{cron_id}"];
                let is_named = names.iter().any(|name| of.contains(name));
                let is_denied = answer.status.is_client_error() || answer.text.contains("404: ");
                assert!(!is_named || is_denied, "{method} {path}: {answer:?}");
            }
        }
    }
    assert_eq!(owned.shown(&ada).await, before);
    ada.post("/runs/cancel", &json!({ "status": "all" })).await;
}

/// Values that a key seldom has.
fn odd() -> Vec<Value> {
    let long = "x".repeat(5_000);
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}"),
        json!("\u{10ffff}\r\n"),
        json!(long),
        json!([]),
        json!([null]),
        json!([["a", 1]]),
        json!({}),
        json!({ "": null, "\u{0}": [] }),
        json!({ "checkpoint_id": "x", "ttl": -0.0, "resume": 1, "configurable": 1 }),
    ]
}

/// Of so many values a route meets one; each with `QUELL_LONG`.
fn one_in(values: usize) -> usize {
    if std::env::var_os("QUELL_LONG").is_some() { 1 } else { values }
}

/// The keys that a body may have.
const KEYS: [&str; 38] = [
    "after_seconds",
    "as_node",
    "assistant_id",
    "before",
    "checkpoint",
    "checkpoint_id",
    "command",
    "config",
    "context",
    "description",
    "enabled",
    "end_time",
    "feedback_keys",
    "filter",
    "graph_id",
    "ids",
    "index",
    "input",
    "interrupt_before",
    "key",
    "limit",
    "max_depth",
    "metadata",
    "multitask_strategy",
    "name",
    "namespace",
    "namespace_prefix",
    "offset",
    "prefix",
    "run_ids",
    "schedule",
    "select",
    "sort_by",
    "status",
    "stream_mode",
    "thread_id",
    "timezone",
    "ttl",
];

#[tokio::test]
async fn no_route_answers_what_nobody_expects_with_a_fault_of_its_own() {
    let server = Server::new();
    let owned = Owned::by(&server).await;
    server.post("/runs/cancel", &json!({ "status": "all" })).await;
    let mut turn = 0;
    for (method, of) in operations() {
        if !["POST", "PUT", "PATCH"].contains(&method.as_str()) || of == "/runs/batch" {
            continue;
        }
        for key in KEYS {
            // Not all with all: each route meets each value, and each key.
            turn += 1;
            for odd in odd().into_iter().skip(turn % one_in(16)).step_by(one_in(16)) {
                let mut body = owned.body(&owned.ended);
                body["assistant_id"] = json!("echo");
                body.as_object_mut().unwrap().retain(|key, _| key != "checkpoint_id");
                body[key] = odd;
                let (path, body) = (owned.path(&of, &owned.ended), body.to_string());
                let answer = within(&path, server.send(method.clone(), &path, &body)).await;
                assert!(answer.status.as_u16() < 500, "{method} {path} {body}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_route_answers_a_query_that_nobody_expects_with_a_fault_of_its_own() {
    let server = Server::new();
    let owned = Owned::by(&server).await;
    server.post("/runs/cancel", &json!({ "status": "all" })).await;
    let texts =
        ["", "-1", "1e99", "99999999999999999999", "%00", "%ff", "[", "[1]", "%22a%22", "x,,y"];
    let keys = [
        "limit",
        "offset",
        "before",
        "wait",
        "timeout",
        "action",
        "select",
        "status",
        "include",
        "stream_mode",
        "xray",
        "recurse",
        "namespace",
        "key",
        "format",
        "cancel_on_disconnect",
    ];
    let mut turn = 0;
    for (method, of) in operations() {
        if method == Method::DELETE {
            continue;
        }
        for key in keys {
            turn += 1;
            for text in texts.into_iter().skip(turn % one_in(5)).step_by(one_in(5)) {
                let path = format!("{}?{key}={text}", owned.path(&of, &owned.ended));
                let answer = within(&path, server.send(method.clone(), &path, "{}")).await;
                assert!(answer.status.as_u16() < 500, "{method} {path}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn while_the_store_hangs_what_reads_is_answered_all_the_same() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let owned = Owned::by(&server).await;
    server.service.engine().shutdown(Shutdown::default()).await;
    // Nothing of it is in memory.
    let (server, valve) = nth(2, &store).await;
    let list = format!("/threads/{}/history", owned.thread);
    assert_eq!(server.get(&list).await.status, 200);
    valve.hang_reads(true);
    tokio::time::pause();
    let mut late = Vec::new();
    for (method, of) in operations() {
        let reads = ["search", "count", "history", "checkpoint", "namespaces", "versions"];
        let waits = of.ends_with("/stream") || of.ends_with("/join");
        let is_read = method == Method::GET && !waits
            || method == Method::POST && reads.iter().any(|last| of.ends_with(last));
        if is_read {
            let path = format!("{}?namespace=n&key=k", owned.path(&of, &owned.ended));
            let body = owned.body(&owned.ended).to_string();
            let answer = timeout(READ_WITHIN * 2, server.send(method.clone(), &path, &body)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{method} {path} has no answer"));
            if answer.text.contains("within 45 s") {
                assert_eq!(answer.status, 503, "{method} {path}: {answer:?}");
                late.push(format!("{method} {of}"));
            }
        }
    }
    // Others fail with the first read that has no answer.
    assert!(late.contains(&"GET /assistants/{assistant_id}".to_owned()), "{late:?}");
    valve.hang_reads(false);
}
