//! Assistants that callers make: their versions, their runs, and who sees them.

use std::sync::Arc;

use axum::http::Method;
use quell::store::MemoryStore;
use quell::{EngineConfig, Shutdown};
use quell_flow::{Component, Part};
use quell_http::{Access, Key};
use quell_langgraph::Options;
use serde_json::{Value, json};

use crate::nodes::two;
use crate::restart::nth;
use crate::talk::{Answer, Says as _, Server};

const ID: &str = "0b9f8c39-5c5c-4b0f-9d4c-333333333333";

pub(crate) async fn ok(server: &Server, method: Method, path: &str, body: Value) -> Value {
    let answer = server.send(method, path, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text);
    answer.json()
}

async fn made(server: &Server, body: Value) -> String {
    let row = ok(server, Method::POST, "/assistants", body).await;
    row["assistant_id"].as_str().unwrap().to_owned()
}

async fn patch(server: &Server, id: &str, body: Value) -> Value {
    ok(server, Method::PATCH, &format!("/assistants/{id}"), body).await
}

async fn read(server: &Server, id: &str) -> Answer {
    server.get(&format!("/assistants/{id}")).await
}

async fn names(server: &Server, body: Value) -> Vec<String> {
    let rows = ok(server, Method::POST, "/assistants/search", body).await;
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

async fn versions(server: &Server, id: &str, body: Value) -> Vec<u64> {
    let rows = ok(server, Method::POST, &format!("/assistants/{id}/versions"), body).await;
    rows.as_array().unwrap().iter().map(|row| row["version"].as_u64().unwrap()).collect()
}

/// Every answer is upstream's, as it was seen.
#[tokio::test]
async fn an_assistant_is_made_changed_in_versions_and_set_back() {
    let server = Server::new();
    let body = json!({
        "graph_id": "echo", "assistant_id": ID, "config": {"tags": ["t"], "configurable": {"a": 1}},
        "metadata": {"m": 1}, "name": "N", "description": "D",
    });
    let first = ok(&server, Method::POST, "/assistants", body.clone()).await;
    assert_eq!((&first["version"], &first["context"]), (&json!(1), &json!({"a": 1})));
    assert_eq!(read(&server, ID).await.json(), first);
    let conflict = server.post("/assistants", &body).await.detail();
    assert_eq!(conflict, (409, format!("Assistant {ID} already exists")));
    let quiet = json!({"graph_id": "slow", "assistant_id": ID, "if_exists": "do_nothing"});
    assert_eq!(ok(&server, Method::POST, "/assistants", quiet).await, first);
    // A configuration and a context say each other, and take the place of those before.
    let row = patch(&server, ID, json!({"context": {"c": 3}, "graph_id": "slow"})).await;
    assert_eq!(row["config"], json!({"configurable": {"c": 3}}));
    assert_eq!((&row["graph_id"], &row["context"]), (&json!("slow"), &json!({"c": 3})));
    let row = patch(&server, ID, json!({"config": {"tags": ["u"]}, "metadata": {"n": 2}})).await;
    assert_eq!((&row["config"], &row["context"]), (&json!({"tags": ["u"]}), &json!({"c": 3})));
    assert_eq!((&row["metadata"], &row["name"]), (&json!({"m": 1, "n": 2}), &json!("N")));
    assert_eq!(row["created_at"], first["created_at"]);
    assert_eq!(versions(&server, ID, json!({})).await, [3, 2, 1]);
    assert_eq!(versions(&server, ID, json!({"limit": 1, "offset": 1})).await, [2]);
    assert_eq!(versions(&server, ID, json!({"metadata": {"n": 2}})).await, [3]);
    let latest = format!("/assistants/{ID}/latest");
    let back = ok(&server, Method::POST, &latest, json!({"version": 1})).await;
    assert_eq!((&back["version"], &back["graph_id"]), (&json!(1), &json!("echo")));
    assert_eq!((&back["config"], &back["context"]), (&first["config"], &first["context"]));
    assert_eq!(patch(&server, ID, json!({"name": "later"})).await["version"], 4);
    let unknown = server.post(&latest, &json!({"version": 9})).await.detail();
    assert_eq!(unknown, (404, format!("Version 9 not found for assistant {ID}")));
    let path = format!("/assistants/{ID}");
    assert_eq!(server.send(Method::DELETE, &path, "").await.status, 204);
    let gone = format!("Assistant with ID {ID} not found");
    for (method, path) in [
        (Method::DELETE, path.clone()),
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::GET, format!("{path}/graph")),
        (Method::GET, format!("{path}/schemas")),
        (Method::GET, format!("{path}/subgraphs/x")),
        (Method::POST, format!("{path}/versions")),
    ] {
        let answer = server.send(method, &path, "{}").await;
        assert_eq!(answer.detail(), (404, gone.clone()), "{path}");
    }
    let run = server.post("/runs", &json!({"assistant_id": ID})).await.detail();
    assert_eq!(run, (404, "Thread or assistant not found.".into()));
    assert_eq!(made(&server, body).await, ID, "its id is free");
}

#[tokio::test]
async fn runs_of_an_assistant_get_what_it_has_with_what_they_were_asked_for_laid_over_it() {
    let server = Server::new();
    let id = made(
        &server,
        json!({
            "graph_id": "echo", "metadata": {"am": 1, "both": "a"},
            "config": {"tags": ["x"], "recursion_limit": 9, "configurable": {"a": 1, "b": 1}},
        }),
    )
    .await;
    let thread = server.thread().await;
    let body = json!({
        "assistant_id": id, "input": {"text": "x"}, "metadata": {"both": "r"},
        "config": {"tags": ["y"], "configurable": {"b": 2}},
    });
    let run = ok(&server, Method::POST, &format!("/threads/{thread}/runs"), body).await;
    assert_eq!(run["assistant_id"], *id);
    let metadata = json!({"am": 1, "both": "r", "graph_id": "echo", "assistant_id": id});
    assert_eq!(run["metadata"], metadata);
    let config = json!({"tags": ["y"], "recursion_limit": 9, "configurable": {"a": 1, "b": 2}});
    assert_eq!(run["kwargs"]["config"], config);
    assert_eq!(run["kwargs"]["context"], json!({"a": 1, "b": 2}));
    let path = format!("/threads/{thread}/runs/{}", run["run_id"].as_str().unwrap());
    server.get(&format!("{path}/join")).await;
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!(row["metadata"], json!({"graph_id": "echo", "assistant_id": id}));
    assert_eq!(server.forgetful().get(&path).await.json()["assistant_id"], *id);
    // Several at once, and stateless ones.
    let batch = json!([{"assistant_id": id, "context": {"b": 3}}, {"assistant_id": "echo"}]);
    let batch = ok(&server, Method::POST, "/runs/batch", batch).await;
    assert_eq!(batch[0]["kwargs"]["context"], json!({"a": 1, "b": 3}));
    assert_eq!(batch[1]["metadata"]["created_by"], "system");
    // A time limit of its metadata counts, and one that is none refuses the run.
    let slow = json!({"graph_id": "slow", "metadata": {"quell_timeout_ms": 5}});
    let slow = made(&server, slow).await;
    let input = json!({"assistant_id": slow, "input": {"ms": 60_000}});
    let over = server.post("/runs/wait", &input).await.json();
    assert_eq!(over["__error__"]["error"], "TimeoutError");
    patch(&server, &slow, json!({"metadata": {"quell_timeout_ms": "x"}})).await;
    assert_eq!(server.post("/runs/wait", &input).await.status, 422);
    // The threads of an assistant go with it if that is asked for.
    let path = format!("/assistants/{id}?delete_threads=true");
    assert_eq!(server.send(Method::DELETE, &path, "").await.status, 204);
    assert_eq!(server.get(&format!("/threads/{thread}")).await.status, 404);
}

#[tokio::test]
async fn assistants_are_searched_sorted_selected_and_counted() {
    let server = Server::new();
    for (graph, name) in [("echo", "Zoe"), ("slow", "bea"), ("echo", "Ann")] {
        made(&server, json!({"graph_id": graph, "name": name, "metadata": {"l": [name, 1]}})).await;
    }
    assert_eq!(names(&server, json!({"graph_id": "echo"})).await, ["Ann", "Zoe", "echo"]);
    let body = json!({"graph_id": "echo", "sort_by": "name", "sort_order": "asc"});
    assert_eq!(names(&server, body).await, ["Ann", "Zoe", "echo"]);
    assert_eq!(names(&server, json!({"name": "BE"})).await, ["bea"]);
    assert_eq!(names(&server, json!({"metadata": {"l": ["Zoe"]}})).await, ["Zoe"]);
    let page = json!({"graph_id": "echo", "limit": 1, "offset": 1, "select": ["name"]});
    let page = server.post("/assistants/search", &page).await;
    assert_eq!(page.json(), json!([{"name": "Zoe"}]));
    assert_eq!((page.header("x-pagination-total"), page.header("x-pagination-next")), ("3", "2"));
    let count = async |body| ok(&server, Method::POST, "/assistants/count", body).await;
    assert_eq!(count(json!({"graph_id": "echo"})).await, 3);
    assert_eq!(count(json!({"metadata": {"created_by": "system"}, "name": "echo"})).await, 1);
    for path in ["/assistants/search", "/assistants/count", "/assistants"] {
        let (status, words) = server.post(path, &json!({"graph_id": "nope"})).await.detail();
        assert_eq!(status, 404);
        assert!(words.starts_with("Graph 'nope' not found. Expected one of: ['"), "{words}");
    }
}

#[tokio::test]
async fn a_wrong_body_is_refused_with_the_key_that_is_wrong() {
    let server = Server::new();
    let id = made(&server, json!({"graph_id": "echo"})).await;
    let own = format!("/assistants/{id}");
    let (latest, versions) = (format!("{own}/latest"), format!("{own}/versions"));
    for (method, path, body) in [
        (Method::POST, "/assistants", json!({"graph_id": null})),
        (Method::POST, "/assistants", json!({"graph_id": 1})),
        (Method::POST, "/assistants", json!({"name": 1, "graph_id": "echo"})),
        (Method::POST, "/assistants", json!({"config": [], "graph_id": "echo"})),
        (Method::POST, "/assistants", json!({"if_exists": "x", "graph_id": "echo"})),
        (Method::PATCH, &own, json!({"metadata": [1]})),
        (Method::PATCH, &own, json!({"context": 1})),
        (Method::POST, &latest, json!({"version": "x"})),
        (Method::POST, &versions, json!({"limit": 0})),
        (Method::POST, "/assistants/search", json!({"limit": 1001})),
        (Method::POST, "/assistants/search", json!({"select": ["x"]})),
        (Method::POST, "/assistants/search", json!({"sort_by": "x"})),
        (Method::POST, "/assistants/search", json!({"sort_order": "x"})),
    ] {
        let key = body.as_object().unwrap().keys().find(|key| body[*key] != "echo").unwrap();
        let (status, words) = server.send(method, path, &body.to_string()).await.detail();
        assert!(status == 422 && words.starts_with(&**key), "{path} {body}: {status} {words}");
    }
    let none = server.post(&latest, &json!({})).await.detail();
    assert_eq!(none, (422, "version: field required".into()));
    let both =
        json!({"graph_id": "echo", "config": {"configurable": {"a": 1}}, "context": {"b": 1}});
    assert_eq!(server.post("/assistants", &both).await.status, 400);
    let bad = server.post("/assistants", &json!({"graph_id": "echo", "assistant_id": "x"})).await;
    assert_eq!(bad.detail(), (422, "Invalid assistant ID: must be a UUID".into()));
}

#[tokio::test]
async fn one_owner_has_a_thousand_at_most() {
    let server = Server::new();
    for _ in 0..1_000 {
        made(&server, json!({"graph_id": "echo"})).await;
    }
    let refused = server.post("/assistants", &json!({"graph_id": "echo"})).await.detail();
    assert_eq!(refused, (429, "Too many assistants: one owner has 1000 at most".to_owned()));
}

#[tokio::test]
async fn the_assistant_of_the_system_stays_as_it_is() {
    let server = Server::new();
    let found = json!({"graph_id": "echo"});
    let row = ok(&server, Method::POST, "/assistants/search", found).await[0].clone();
    let path = format!("/assistants/{}", row["assistant_id"].as_str().unwrap());
    for (method, path) in [(Method::PATCH, path.clone()), (Method::DELETE, path.clone())] {
        assert_eq!(server.send(method, &path, "{}").await.status, 409);
    }
    let latest = server.post(&format!("{path}/latest"), &json!({"version": 1})).await;
    assert_eq!(latest.status, 409);
    let again = json!({"graph_id": "echo", "assistant_id": row["assistant_id"]});
    assert_eq!(server.post("/assistants", &again).await.status, 409);
    assert_eq!(server.get(&path).await.json(), row);
    let versions = server.post(&format!("{path}/versions"), &json!({})).await.json();
    assert_eq!(versions.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_graph_is_drawn_from_its_parts() {
    let flow = Component::workflow("flow", async |_ctx, input: quell::Payload| Ok(input)).steps([
        Part::agent("write", "writer"),
        Part::sequence("check", [Part::function("a"), Part::function("b")]),
    ]);
    let writer = Component::agent("writer", async |_ctx, input: quell::Payload| Ok(input));
    let server = Server::serving([flow, writer]);
    let id = made(&server, json!({"graph_id": "flow"})).await;
    let get = async |path: &str| server.get(&format!("/assistants/{id}{path}")).await.json();
    let ids = |drawn: &Value| -> Vec<String> {
        let nodes = drawn["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, wanted) in [
        ("", vec!["__start__", "write", "check", "__end__"]),
        ("?xray=false", vec!["__start__", "write", "check", "__end__"]),
        ("?xray=1", vec!["__start__", "write", "check:a", "check:b", "__end__"]),
    ] {
        assert_eq!(ids(&get(&format!("/graph{query}")).await), wanted, "{query}");
    }
    assert_eq!(get("/schemas").await["graph_id"], "flow");
    let names = |found: Value| found.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(get("/subgraphs?recurse=true").await), ["check", "write"]);
    assert_eq!(names(get("/subgraphs/write").await), ["write"]);
    assert!(names(get("/subgraphs/nope").await).is_empty());
    for path in ["/graph", "/schemas", "/subgraphs", "/subgraphs/write"] {
        for name in ["flow", "workflow%2Fflow"] {
            let found = server.get(&format!("/assistants/{name}{path}")).await;
            assert_eq!((found.status.as_u16(), found.json()), (200, get(path).await), "{path}");
        }
        for name in ["nope", "%ff"] {
            let (status, words) = server.get(&format!("/assistants/{name}{path}")).await.detail();
            assert_eq!(status, 422);
            let begin = "Invalid assistant ID: must be a UUID, or the ID of a graph. Graph '";
            assert!(words.starts_with(begin) && words.contains("Expected one of: ['"), "{words}");
        }
    }
}

#[tokio::test]
async fn an_assistant_is_its_owners_alone() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("ada", "key-of-adas-screen").read_only())
        .key(Key::new("root", "key-of-root").admin());
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let by = |key: &str| server.saying("x-api-key", key);
    let (ada, bob, root) = (by("key-of-ada"), by("key-of-bob"), by("key-of-root"));
    let id = made(&ada, json!({"graph_id": "echo", "name": "adas"})).await;
    let path = format!("/assistants/{id}");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/graph")),
        (Method::POST, format!("{path}/versions")),
    ] {
        let foreign = bob.send(method, &path, "{}").await;
        assert_eq!(foreign.detail(), (404, format!("Assistant with ID {id} not found")), "{path}");
    }
    let run = json!({"assistant_id": id});
    let refused = bob.post("/runs", &run).await.detail();
    assert_eq!(refused, (404, "Thread or assistant not found.".into()));
    assert!(names(&bob, json!({"name": "adas"})).await.is_empty());
    for if_exists in ["raise", "do_nothing"] {
        let body = json!({"graph_id": "echo", "assistant_id": id, "if_exists": if_exists});
        assert_eq!(bob.post("/assistants", &body).await.status, 409, "{if_exists}");
    }
    let screen = by("key-of-adas-screen");
    assert_eq!(read(&screen, &id).await.status, 200);
    for (method, path) in
        [(Method::POST, "/assistants"), (Method::PATCH, &*path), (Method::DELETE, &*path)]
    {
        assert_eq!(screen.send(method, path, "{}").await.status, 403);
    }
    assert_eq!(names(&root, json!({"name": "adas"})).await, ["adas"]);
    assert_eq!(ada.post("/runs", &run).await.status, 200);
    assert_eq!(server.get(&path).await.status, 401);
}

#[tokio::test]
async fn assistants_are_there_after_a_restart_and_what_was_deleted_is_not() {
    let store = Arc::new(MemoryStore::new());
    let (server, _) = nth(1, &store).await;
    let id = made(&server, json!({"graph_id": "echo", "name": "a"})).await;
    let other = made(&server, json!({"graph_id": "echo", "name": "b"})).await;
    for nr in 0..5 {
        patch(&server, &id, json!({"metadata": {"nr": nr}})).await;
    }
    let thread = server.thread().await;
    let run = server.start(&thread, &id, json!({"text": "x"})).await;
    server.get(&format!("{run}/join")).await;
    let before = read(&server, &id).await.json();
    let path = format!("/assistants/{other}");
    assert_eq!(server.send(Method::DELETE, &path, "").await.status, 204);
    server.service.engine().shutdown(Shutdown::default()).await;
    let (server, valve) = nth(2, &store).await;
    assert_eq!(read(&server, &id).await.json(), before);
    assert_eq!(versions(&server, &id, json!({"limit": 3})).await, [6, 5, 4]);
    assert_eq!(read(&server, &other).await.status, 404);
    assert_eq!(names(&server, json!({"graph_id": "echo", "sort_by": "name"})).await, ["echo", "a"]);
    assert_eq!(server.get(&run).await.json()["assistant_id"], *id);
    let again = json!({"graph_id": "slow", "assistant_id": other});
    assert_eq!(made(&server, again).await, other);
    // What is not stored is not acknowledged.
    let full = quell::store::StoreError::Full { what: "no room".into() };
    valve.set(quell_test_support::Flow::Failing(full));
    for (method, path) in [(Method::PATCH, format!("/assistants/{id}")), (Method::DELETE, path)] {
        assert_eq!(server.send(method, &path, "{}").await.status, 503, "{path}");
    }
    assert_eq!(read(&server, &id).await.json(), before);
}

#[tokio::test]
async fn of_changes_that_come_at_once_on_two_nodes_none_is_lost() {
    let (a, b) = two();
    let id = made(&a, json!({"graph_id": "echo"})).await;
    assert_eq!(
        b.post("/assistants", &json!({"graph_id": "echo", "assistant_id": id})).await.status,
        409
    );
    let changes = (0..10).map(|nr| {
        let server = if nr % 2 == 0 { &a } else { &b };
        patch(server, &id, json!({"metadata": {format!("k{nr}"): nr}}))
    });
    futures::future::join_all(changes).await;
    for server in [&a, &b] {
        let row = read(server, &id).await.json();
        assert_eq!(row["version"], 11);
        assert_eq!(row["metadata"].as_object().unwrap().len(), 10, "{row}");
    }
    let run = b.post("/runs/wait", &json!({"assistant_id": id, "input": {"text": "x"}})).await;
    assert_eq!(run.json()["log"], json!(["echo:x"]));
    // One is made once, and deleted once.
    let body = json!({"graph_id": "echo", "assistant_id": ID});
    let (one, other) = tokio::join!(a.post("/assistants", &body), b.post("/assistants", &body));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let path = format!("/assistants/{ID}");
    let (one, other) =
        tokio::join!(a.send(Method::DELETE, &path, ""), b.send(Method::DELETE, &path, ""));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
    assert_eq!(made(&b, body).await, ID);
    assert_eq!(read(&a, ID).await.json()["version"], 1);
}
