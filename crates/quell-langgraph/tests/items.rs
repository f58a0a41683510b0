//! The key-value store: its items, what a search finds, their time, and who sees them.

use std::sync::Arc;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{EngineConfig, Shutdown};
use quell_http::{Access, Key, ServiceLimits};
use quell_langgraph::Options;
use quell_test_support::{ms, within};
use serde_json::{Value, json};

use crate::assistants::ok;
use crate::nodes::two;
use crate::restart::nth;
use crate::talk::{Answer, Says as _, Server};

const ITEMS: &str = "/store/items";

pub(crate) async fn put(server: &Server, body: Value) -> Answer {
    server.send(Method::PUT, ITEMS, &body.to_string()).await
}

async fn keep(server: &Server, namespace: &str, key: &str, value: Value) {
    let namespace: Vec<_> = namespace.split('.').collect();
    let answer = put(server, json!({"namespace": namespace, "key": key, "value": value})).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
}

async fn get(server: &Server, namespace: &str, key: &str) -> Value {
    let answer = server.get(&format!("{ITEMS}?namespace={namespace}&key={key}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

pub(crate) async fn delete(server: &Server, namespace: Value, key: &str) -> Answer {
    let body = json!({"namespace": namespace, "key": key});
    server.send(Method::DELETE, ITEMS, &body.to_string()).await
}

async fn found(server: &Server, body: Value) -> Vec<String> {
    let answer = ok(server, Method::POST, "/store/items/search", body).await;
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

async fn namespaces(server: &Server, body: Value) -> Vec<String> {
    let answer = ok(server, Method::POST, "/store/namespaces", body).await;
    let names = answer["namespaces"].as_array().unwrap().iter();
    let text =
        |name: &Value| serde_json::from_value::<Vec<String>>(name.clone()).unwrap().join(".");
    names.map(text).collect()
}

#[tokio::test]
async fn an_item_is_put_read_put_again_and_deleted() {
    let server = Server::new();
    assert_eq!(get(&server, "a.b", "k").await, Value::Null);
    let long = format!(r#"{{"n":{}7}}"#, "9".repeat(40));
    let body = format!(r#"{{"namespace":["a","b"],"key":"k","value":{long},"index":["n"]}}"#);
    assert_eq!(server.send(Method::PUT, ITEMS, &body).await.status, 204);
    let first = server.get(&format!("{ITEMS}?namespace=a.b&key=k")).await;
    assert!(first.text.contains(&long), "{}", first.text);
    let first = first.json();
    assert_eq!((&first["namespace"], &first["key"]), (&json!(["a", "b"]), &json!("k")));
    keep(&server, "a.b", "k", json!({"x": 2})).await;
    let second = get(&server, "a.b", "k").await;
    assert_eq!((&second["value"], &second["created_at"]), (&json!({"x": 2}), &first["created_at"]));
    assert!(second["updated_at"].as_str() > first["updated_at"].as_str());
    assert_eq!(get(&server, "a", "k").await, Value::Null);
    for _ in 0..2 {
        assert_eq!(delete(&server, json!(["a", "b"]), "k").await.status, 204);
        assert_eq!(get(&server, "a.b", "k").await, Value::Null);
    }
}

/// As upstream answers, but for what is no number beside one that is compared: it refuses that.
#[tokio::test]
async fn a_search_looks_below_a_namespace_for_values_that_meet_conditions() {
    let server = Server::new();
    keep(&server, "s.1", "1", json!({"n": 1, "c": {"d": 5}, "t": "x"})).await;
    keep(&server, "s.1", "2", json!({"n": 2, "c": {"d": 6}})).await;
    keep(&server, "s.2.z", "3", json!({"n": 3, "t": "x"})).await;
    keep(&server, "st", "4", json!({"n": 1})).await;
    for (filter, wanted) in [
        (json!({}), "123"),
        (Value::Null, "123"),
        (json!({"t": "x"}), "13"),
        (json!({"n": {"$gt": 1}}), "23"),
        (json!({"n": {"$gte": 2, "$lt": 3}}), "2"),
        (json!({"n": {"$lte": 1.0}}), "1"),
        (json!({"n": {"$ne": 1}}), "23"),
        (json!({"n": {"$eq": 1.0}}), "1"),
        (json!({"n": {"$gt": "1"}}), "23"),
        (json!({"c": {"d": 5}}), "1"),
        (json!({"c": {"d": {"$gt": 5}}}), "2"),
        (json!({"n": "1"}), ""),
        (json!({"zz": null}), "123"),
        (json!({"n": 1, "t": "x"}), "1"),
        (json!({"t": {"$gt": 1}}), ""),
    ] {
        let body = json!({"namespace_prefix": ["s"], "filter": filter});
        assert_eq!(found(&server, body).await.concat(), wanted, "{filter}");
    }
    assert_eq!(found(&server, json!({"namespace_prefix": []})).await.len(), 4);
    let page = json!({"namespace_prefix": ["s"], "limit": 1, "offset": 1});
    assert_eq!(found(&server, page).await, ["2"]);
    // There is no embedding: what is looked for by its meaning is every item, with no score.
    let query = json!({"namespace_prefix": ["s", "2"], "query": "three"});
    let answer = ok(&server, Method::POST, "/store/items/search", query).await;
    assert_eq!(answer["items"][0].get("score"), Some(&Value::Null));
    assert_eq!(answer["items"][0]["value"], json!({"n": 3, "t": "x"}));
}

#[tokio::test]
async fn namespaces_are_listed_once_as_far_down_as_is_asked() {
    let server = Server::new();
    for namespace in ["a", "a.b", "s.1", "s.2.z", "a,b"] {
        keep(&server, namespace, "k", json!({})).await;
        keep(&server, namespace, "l", json!({})).await;
    }
    for (body, wanted) in [
        (json!({}), vec!["a", "a.b", "a,b", "s.1", "s.2.z"]),
        (json!({"prefix": ["s"]}), vec!["s.1", "s.2.z"]),
        (json!({"prefix": ["*", "2"]}), vec!["s.2.z"]),
        (json!({"suffix": ["1"]}), vec!["s.1"]),
        (json!({"suffix": ["2", "*"]}), vec!["s.2.z"]),
        (json!({"max_depth": 1}), vec!["a", "a,b", "s"]),
        (json!({"max_depth": 2, "limit": 2, "offset": 1}), vec!["a.b", "a,b"]),
        (json!({"limit": 0}), vec![]),
    ] {
        assert_eq!(namespaces(&server, body.clone()).await, wanted, "{body}");
    }
}

#[tokio::test]
async fn a_wrong_request_to_the_store_is_refused_with_what_is_wrong() {
    let server = Server::new();
    let label = "Namespace label 'a.c' must be a non-empty string without periods";
    let (puts, search) = (Method::PUT, "/store/items/search");
    let names = "/store/namespaces";
    for (method, path, body, status, words) in [
        (puts.clone(), ITEMS, json!({"key": "k", "value": {}}), 422, "namespace: field required"),
        (puts.clone(), ITEMS, json!({"namespace": [], "key": "k", "value": {}}), 400, "Namespace"),
        (puts.clone(), ITEMS, json!({"namespace": ["a.c"], "key": "k", "value": {}}), 422, label),
        (
            puts.clone(),
            ITEMS,
            json!({"namespace": ["langgraph"], "key": "k", "value": {}}),
            400,
            "Root",
        ),
        (puts.clone(), ITEMS, json!({"namespace": "a", "key": "k", "value": {}}), 422, "namespace"),
        (puts.clone(), ITEMS, json!({"namespace": ["a"], "value": {}}), 422, "key: field required"),
        (
            puts.clone(),
            ITEMS,
            json!({"namespace": ["a"], "key": "k"}),
            422,
            "value: field required",
        ),
        (puts.clone(), ITEMS, json!({"namespace": ["a"], "key": "k", "value": null}), 422, "value"),
        (puts.clone(), ITEMS, json!({"namespace": ["a"], "key": "k", "value": [3]}), 422, "value"),
        (
            puts.clone(),
            ITEMS,
            json!({"namespace": ["a"], "key": "k", "value": {}, "index": "x"}),
            422,
            "index",
        ),
        (
            puts.clone(),
            ITEMS,
            json!({"namespace": ["a"], "key": "k", "value": {}, "ttl": "x"}),
            422,
            "ttl",
        ),
        (puts, ITEMS, json!({"namespace": ["a"], "key": "k", "value": {}, "ttl": -1}), 422, "ttl"),
        (Method::DELETE, ITEMS, json!({"namespace": ["a"]}), 422, "key"),
        (Method::DELETE, ITEMS, json!({"key": "k"}), 422, "namespace"),
        (Method::POST, search, json!({}), 422, "namespace_prefix: field required"),
        (Method::POST, search, json!({"namespace_prefix": [], "filter": [1]}), 422, "filter"),
        (Method::POST, search, json!({"namespace_prefix": [], "query": 5}), 422, "query"),
        (Method::POST, search, json!({"namespace_prefix": [], "limit": 10_001}), 422, "limit"),
        (Method::POST, search, json!({"namespace_prefix": [], "offset": -1}), 422, "offset"),
        (
            Method::POST,
            search,
            json!({"namespace_prefix": [], "filter": {"n": {"$in": [1]}}}),
            400,
            "Unsupported operator: $in",
        ),
        (Method::POST, names, json!({"prefix": ["a.c"]}), 422, label),
        (Method::POST, names, json!({"suffix": "s"}), 422, "suffix"),
        (Method::POST, names, json!({"max_depth": "x"}), 422, "max_depth"),
    ] {
        let answer = server.send(method, path, &body.to_string()).await.detail();
        assert!(answer.0 == status && answer.1.starts_with(words), "{path} {body}: {answer:?}");
    }
    let large = json!({"namespace": ["a"], "key": "k", "value": {"x": "y".repeat(1 << 20)}});
    let words = "Too large: an item has 1048576 bytes at most".to_owned();
    assert_eq!(put(&server, large).await.detail(), (413, words));
    assert_eq!(server.get(&format!("{ITEMS}?key=k")).await.status, 422);
    let none = server.get(&format!("{ITEMS}?namespace=a")).await.detail();
    assert_eq!(none, (400, "Key is required".into()));
}

#[tokio::test]
async fn an_item_leaves_when_its_time_is_over_and_stays_while_it_is_read() {
    let server = Server::new();
    let body =
        |key: &str, ttl: f64| json!({"namespace": ["t"], "key": key, "value": {}, "ttl": ttl});
    // Of minutes.
    assert_eq!(put(&server, body("short", 0.0005)).await.status, 204);
    assert_eq!(put(&server, body("long", 60.0)).await.status, 204);
    within("it has left", async {
        while get(&server, "t", "short").await != Value::Null {
            let unread = format!("{ITEMS}?namespace=t&key=short&refresh_ttl=false");
            assert_eq!(server.get(&unread).await.status, 200);
            tokio::time::sleep(ms(5)).await;
        }
    })
    .await;
    assert_eq!(found(&server, json!({"namespace_prefix": ["t"]})).await, ["long"]);
    assert_eq!(namespaces(&server, json!({})).await, ["t"]);
    // Another one in its place is new.
    assert_eq!(put(&server, body("short", 60.0)).await.status, 204);
    let row = get(&server, "t", "short").await;
    assert_eq!(row["created_at"], row["updated_at"]);
}

fn keyed() -> Server {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("ada", "key-of-adas-screen").read_only())
        .key(Key::new("root", "key-of-root").admin());
    let mut limits = ServiceLimits::default();
    limits.kept_bytes_max = 400_000;
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let service = server.service.clone().limits(limits);
    let app = crate::support::router(service.clone(), Options::default());
    Server { app, service, ..server }
}

#[tokio::test]
async fn each_owner_has_a_store_of_their_own_within_their_share() {
    let server = keyed();
    let by = |key: &str| server.saying("x-api-key", key);
    let (ada, bob, root) = (by("key-of-ada"), by("key-of-bob"), by("key-of-root"));
    keep(&ada, "a", "k", json!({"of": "ada"})).await;
    keep(&bob, "a", "k", json!({"of": "bob"})).await;
    assert_eq!(get(&ada, "a", "k").await["value"], json!({"of": "ada"}));
    assert_eq!(delete(&bob, json!(["a"]), "k").await.status, 204);
    assert_eq!(get(&by("key-of-adas-screen"), "a", "k").await["value"], json!({"of": "ada"}));
    for other in [&bob, &root] {
        assert_eq!(get(other, "a", "k").await, Value::Null);
        assert!(found(other, json!({"namespace_prefix": []})).await.is_empty());
        assert!(namespaces(other, json!({})).await.is_empty());
    }
    let screen = by("key-of-adas-screen");
    let body = json!({"namespace": ["a"], "key": "k", "value": {}});
    assert_eq!(put(&screen, body.clone()).await.status, 403);
    assert_eq!(delete(&screen, json!(["a"]), "k").await.status, 403);
    assert_eq!(put(&server, body).await.status, 401);
    // A share is 100,000 bytes.
    let value = json!({"x": "y".repeat(20_000)});
    let large = |nr: usize| json!({"namespace": ["l"], "key": nr.to_string(), "value": value});
    let mut statuses = Vec::new();
    for nr in 0..6 {
        statuses.push(put(&ada, large(nr)).await.status.as_u16());
    }
    assert_eq!(statuses, [204, 204, 204, 204, 429, 429]);
    assert_eq!(put(&bob, large(0)).await.status, 204);
    assert_eq!(delete(&ada, json!(["l"]), "0").await.status, 204);
    assert_eq!(put(&ada, large(9)).await.status, 204);
}

#[tokio::test]
async fn items_are_there_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    for nr in 0..4 {
        keep(&server, "a.b", "k", json!({"nr": nr})).await;
        keep(&server, "a", &format!("{nr}"), json!({})).await;
    }
    assert_eq!(delete(&server, json!(["a"]), "2").await.status, 204);
    let before = get(&server, "a.b", "k").await;
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, valve) = nth(2, &store).await;
    assert_eq!(get(&server, "a.b", "k").await, before);
    let mut keys = found(&server, json!({"namespace_prefix": ["a"]})).await;
    keys.sort();
    assert_eq!(keys, ["0", "1", "3", "k"]);
    keep(&server, "a", "2", json!({"new": true})).await;
    assert_eq!(get(&server, "a", "2").await["value"], json!({"new": true}));
    valve.fail_reads(quell::store::StoreError::Io { what: "secret-path".into() });
    let failed = server.get(&format!("{ITEMS}?namespace=a&key=2")).await;
    assert!(failed.status == 503 && !failed.text.contains("secret"), "{}", failed.text);
}

#[tokio::test]
async fn two_nodes_have_one_store_and_the_last_change_counts() {
    let (a, b) = two();
    keep(&a, "n", "k", json!({"of": "a"})).await;
    assert_eq!(get(&b, "n", "k").await["value"], json!({"of": "a"}));
    for nr in 0..6 {
        let (one, other) = if nr % 2 == 0 { (&a, &b) } else { (&b, &a) };
        keep(one, "n", "k", json!({"nr": nr})).await;
        assert_eq!(get(other, "n", "k").await["value"], json!({"nr": nr}));
    }
    let puts = (0..8).map(|nr| {
        let server = if nr % 2 == 0 { &a } else { &b };
        keep(server, "n", "many", json!({"nr": nr}))
    });
    futures::future::join_all(puts).await;
    assert_eq!(get(&a, "n", "many").await, get(&b, "n", "many").await);
    assert_eq!(delete(&b, json!(["n"]), "k").await.status, 204);
    assert_eq!(get(&a, "n", "k").await, Value::Null);
    keep(&a, "n", "k", json!({"again": true})).await;
    assert_eq!(get(&b, "n", "k").await["value"], json!({"again": true}));
    assert_eq!(found(&b, json!({"namespace_prefix": ["n"]})).await.len(), 2);
}
