//! `GET /v1/runs/{id}/tree` and `GET /v1/components`.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{MemoryStore, Store};
use quell::{CancelRequest, Engine, EngineConfig, Payload, RunContext, RunSpec};
use quell_flow::{Catalog, Component, Contract, Model, Part};
use quell_http::{Access, Key, Service, router};
use quell_test_support::{Valve, Witness, secs};
use serde_json::{Value, json};

use crate::nodes::two;
use crate::support::{get, send, service, service_with, soon};

/// Reads a tree page by page.
async fn rows(app: &Router, run: &str, limit: usize) -> (Vec<Value>, usize) {
    let (mut rows, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/v1/runs/{run}/tree?limit={limit}{cursor}");
        let answer = get(app, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let page = answer.json();
        let told = page["rows"].as_array().unwrap();
        assert!(told.len() <= limit);
        rows.extend(told.iter().cloned());
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["total"], rows.len(), "the tree has not changed");
            return (rows, pages);
        };
        cursor = format!("&cursor={next}");
    }
}

fn names(rows: &[Value]) -> Vec<(&str, u64)> {
    rows.iter().map(|row| (row["name"].as_str().unwrap(), row["depth"].as_u64().unwrap())).collect()
}

/// Runs a tree of three levels: `top` has `a` and `b`, and each has `1` and `2`.
async fn three_levels(ctx: RunContext) -> Result<(), quell::Failure> {
    let of = |ctx: &RunContext, name: &str| {
        ctx.spawn(RunSpec::step(name), async |ctx: RunContext| {
            let [one, two] = ["1", "2"].map(|name| {
                ctx.spawn(RunSpec::step(name), async |ctx: RunContext| Ok(ctx.stopped().await))
            });
            one.await?;
            two.await?;
            Ok(())
        })
    };
    let (a, b) = (of(&ctx, "a"), of(&ctx, "b"));
    a.await?;
    b.await?;
    Ok(())
}

const EXPECTED: [(&str, u64); 7] =
    [("top", 0), ("a", 1), ("1", 2), ("2", 2), ("b", 1), ("1", 2), ("2", 2)];

#[tokio::test]
async fn a_tree_is_read_in_pre_order_in_pages_of_any_size_live_and_stored() {
    let memory = Arc::new(MemoryStore::new());
    let config = EngineConfig::new().store(Valve::reopened(&memory, 1) as Arc<dyn Store>);
    let service = service_with(config, &Witness::default());
    let app = router(service.clone());
    let spec = RunSpec::workflow("top").label("component", "steps");
    let top = service.engine().submit(spec, three_levels).unwrap().into_ref();
    soon("all are there", || top.report().rows.len() == 7).await;
    let id = top.id().to_string();
    for (limit, pages) in [(1, 7), (2, 4), (3, 3), (7, 1), (10_000, 1)] {
        let (rows, read) = rows(&app, &id, limit).await;
        assert_eq!((names(&rows), read), (EXPECTED.to_vec(), pages), "{limit}");
        assert!(rows.iter().all(|row| row["status"] == "running" && row["cause"].is_null()));
    }
    let a = &top.children()[0];
    let (below, _) = rows(&app, &a.id().to_string(), 2).await;
    assert_eq!(names(&below), [("a", 0), ("1", 1), ("2", 1)]);
    assert_eq!(below[0]["parent"], id, "{below:?}");

    top.cancel(CancelRequest::because("enough"));
    top.quiescent().await;
    top.stored().await.unwrap();
    let (ended, _) = rows(&app, &id, 3).await;
    assert_eq!(names(&ended), EXPECTED);
    for row in &ended {
        assert_eq!((&row["status"], &row["quiescent"]), (&json!("cancelled"), &json!(true)));
        assert_eq!(row["cause"]["origin"], id);
        assert!(row["ended_at"].is_string() && row["stopped_at"].is_string(), "{row}");
    }
    let config = EngineConfig::new().store(Valve::reopened(&memory, 2) as Arc<dyn Store>);
    let later = router(service_with(config, &Witness::default()));
    assert_eq!(rows(&later, &id, 3).await, (ended, 3), "a stored one is told alike");
}

#[tokio::test]
async fn ten_thousand_rows_are_read_each_once() {
    let service = service();
    let app = router(service.clone());
    let body = async |ctx: RunContext| {
        let wait = async |ctx: RunContext| Ok(ctx.stopped().await);
        let all: Vec<_> =
            (0..9_999).map(|nr| ctx.spawn(RunSpec::step(nr.to_string()), wait)).collect();
        for one in all {
            one.await?;
        }
        Ok(())
    };
    let top = service.engine().submit(RunSpec::workflow("top"), body).unwrap().into_ref();
    soon("all are there", || top.children().len() == 9_999).await;
    let (rows, pages) = rows(&app, &top.id().to_string(), 1_000).await;
    let expected = std::iter::once("top".to_owned()).chain((0..9_999).map(|nr| nr.to_string()));
    assert!(rows.iter().map(|row| row["name"].as_str().unwrap()).eq(expected));
    assert_eq!(pages, 10);
}

#[tokio::test]
async fn a_page_goes_on_behind_its_row_when_the_tree_has_grown() {
    let service = service();
    let app = router(service.clone());
    let (grows, mut grow) = tokio::sync::mpsc::unbounded_channel();
    let body = async move |ctx: RunContext| {
        let wait = async |ctx: RunContext| Ok(ctx.stopped().await);
        let a = ctx.spawn(RunSpec::step("a"), async move |ctx: RunContext| {
            while let Some(name) = grow.recv().await {
                let name: &str = name;
                drop(ctx.spawn(RunSpec::step(name), wait).into_ref());
            }
            Ok(())
        });
        let (b, c) = (ctx.spawn(RunSpec::step("b"), wait), ctx.spawn(RunSpec::step("c"), wait));
        a.await?;
        b.await?;
        Ok(c.await?)
    };
    let top = service.engine().submit(RunSpec::workflow("top"), body).unwrap().into_ref();
    soon("all are there", || top.children().len() == 3).await;
    let path = format!("/v1/runs/{}/tree?limit=3", top.id());
    let first = get(&app, &path).await.json();
    assert_eq!(names(first["rows"].as_array().unwrap()), [("top", 0), ("a", 1), ("b", 1)]);
    grows.send("below a").unwrap();
    soon("it has grown", || top.report().rows.len() == 5).await;
    let path = format!("{path}&cursor={}", first["next"].as_str().unwrap());
    let second = get(&app, &path).await.json();
    assert_eq!(names(second["rows"].as_array().unwrap()), [("c", 1)]);
    assert_eq!((&second["next"], &second["total"]), (&Value::Null, &json!(5)));
    for bad in ["limit=0", "limit=10001", "cursor=x", "cursor=1.x", "cursor=-1", "rows=1"] {
        let answer = get(&app, &format!("/v1/runs/{}/tree?{bad}", top.id())).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    assert_eq!(get(&app, "/v1/runs/nobody/tree").await.status, StatusCode::NOT_FOUND);
    let far = format!("limit=2&cursor=99.{}", quell::RunId::from_text("gone"));
    let far = get(&app, &format!("/v1/runs/{}/tree?{far}", top.id())).await.json();
    assert_eq!((&far["rows"], &far["next"]), (&json!([]), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn the_tree_of_a_run_that_another_node_has_is_read_there_and_here_alike() {
    let (_nodes, a, b) = two();
    let run = a.working("steps", "flow").await;
    let step = run.children().remove(0);
    soon("it works", || step.row().started_at.is_some()).await;
    let there = rows(&a.app, "flow", 1).await.0;
    let here = loop {
        let here = rows(&b.app, "flow", 1).await.0;
        if here == there {
            break here;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    };
    assert_eq!(names(&here), [("steps", 0), ("wait", 1)]);
}

#[tokio::test]
async fn a_tree_that_is_not_the_callers_is_not_shown() {
    let [ada, bob] = [("ada", "key-of-ada"), ("bob", "key-of-bob")];
    let access = Access::open().key(Key::new(ada.0, ada.1)).key(Key::new(bob.0, bob.1));
    let app = router(service().access(access));
    let asks = async |who: &str, path: &str| {
        let key = format!("Bearer key-of-{who}");
        send(&app, "GET", path, &[("authorization", &key)], "").await.status
    };
    let key = [crate::support::JSON, ("authorization", "Bearer key-of-ada")];
    let body = r#"{"component": "agent/sleeper", "id": "r"}"#;
    assert_eq!(send(&app, "POST", "/v1/runs", &key, body).await.status, StatusCode::CREATED);
    assert_eq!(asks("ada", "/v1/runs/r/tree").await, StatusCode::OK);
    assert_eq!(asks("bob", "/v1/runs/r/tree").await, StatusCode::NOT_FOUND);
    assert_eq!(asks("eve", "/v1/runs/r/tree").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn each_caller_is_told_which_components_there_are_and_which_they_may_start() {
    let echo = async |_ctx, input: Payload| Ok(input);
    let catalog = Catalog::new()
        .with(
            Component::agent("writer", echo)
                .display_name("The writer")
                .describe("Writes")
                .model(Model::new("m", "M", "Maker"))
                .timeout(secs(9))
                .resumable(),
        )
        .with(
            Component::workflow("flow", echo)
                .steps([Part::parallel("both", [Part::agent("one", "writer")])]),
        )
        .with(Component::team("critics", echo).mode("broadcast"))
        .with(Component::team("hidden", echo).exposed_in([Contract::named("agentos")]));
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("one", "key-of-one").scopes(["agents:read", "workflows:flow:run"]))
        .key(Key::new("eve", "key-of-eve").read_only());
    let app = router(Service::new(Engine::new(), catalog).access(access));
    let asks = async |who: &str| {
        let key = format!("Bearer key-of-{who}");
        send(&app, "GET", "/v1/components", &[("authorization", &key)], "").await
    };
    let seen = async |who: &str| {
        let list = asks(who).await.json();
        let all = list["components"].as_array().unwrap().iter();
        let told = |one: &Value| format!("{}={}", one["component"], one["may_start"]);
        let mut told: Vec<_> = all.map(told).collect();
        told.sort();
        told.join(" ").replace('"', "")
    };
    assert_eq!(seen("ada").await, "agent/writer=true team/critics=true workflow/flow=true");
    assert_eq!(seen("one").await, "agent/writer=false workflow/flow=true");
    assert_eq!(seen("eve").await, "agent/writer=false team/critics=false workflow/flow=false");
    assert_eq!(asks("nobody").await.status, StatusCode::UNAUTHORIZED);
    let list = asks("ada").await.json();
    let of = |name: &str| {
        let all = list["components"].as_array().unwrap();
        all.iter().find(|one| one["component"] == name).unwrap().clone()
    };
    let writer = json!({
        "component": "agent/writer", "kind": "agent", "id": "writer", "name": "The writer",
        "description": "Writes", "may_start": true, "resumable": true, "plan": false, "mode": null,
        "model": { "id": "m", "name": "M", "provider": "Maker" }, "parts": [],
    });
    assert_eq!(of("agent/writer"), writer);
    assert_eq!(of("team/critics")["mode"], "broadcast");
    let parts = json!([{
        "name": "both", "agent": null, "parallel": true,
        "parts": [{ "name": "one", "agent": "writer", "parallel": false, "parts": [] }],
    }]);
    assert_eq!(of("workflow/flow")["parts"], parts);
}
