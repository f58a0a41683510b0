//! `GET /v1/stops`: the stops that are under way, and what they wait for.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use quell::testing::cluster::Trouble;
use quell::{CancelRequest, EngineConfig, Recovery, RunContext, RunRef, RunSpec, RunStatus, Work};
use quell_http::{Access, Key, Service, router};
use quell_test_support::{Gate, Witness, secs};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::nodes::two;
use crate::support::{JSON, get, post, send, service, service_with, soon, start};

pub(crate) async fn stops(app: &Router) -> Vec<Value> {
    let answer = get(app, "/v1/stops").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["stops"].as_array().unwrap().clone()
}

/// Yields who is in a list of a stop, with what.
pub(crate) fn named<'a>(stop: &'a Value, list: &str, field: &str) -> Vec<(&'a str, &'a Value)> {
    let all = stop["standing"][list].as_array().unwrap().iter();
    all.map(|one| (one["name"].as_str().unwrap(), &one[field])).collect()
}

/// Starts a tree: `top` with `deaf`, which never hears, and `quick`, which ends at once; `top` has
/// a hook that waits for the gate.
fn tree(service: &Service, gate: &Gate) -> RunRef {
    let gate = gate.clone();
    let body = async move |ctx: RunContext| {
        ctx.on_stop_named("tidy up", async move |_| {
            while !gate.is_open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let deaf = ctx.spawn(RunSpec::step("deaf"), async |ctx: RunContext| {
            let _ = ctx.is_stopping();
            std::future::pending::<()>().await;
            Ok(())
        });
        let quick = ctx.spawn(RunSpec::step("quick"), async |ctx: RunContext| {
            ctx.stopped().await;
            Ok(())
        });
        let _ = ctx.is_stopping();
        quick.await?;
        Ok(deaf.await?)
    };
    let spec = RunSpec::workflow("top").grace(secs(60));
    service.engine().submit(spec, body).unwrap().into_ref()
}

#[tokio::test]
async fn a_stop_names_what_it_waits_for_until_nothing_executes_any_more() {
    let service = service();
    let (app, gate) = (router(service.clone()), Gate::new());
    let top = tree(&service, &gate);
    start(&app, "sleeper", "goes on", Value::Null).await;
    soon("all work", || top.children().len() == 2).await;
    soon("all have begun", || top.children().iter().all(|it| it.row().started_at.is_some())).await;
    assert_eq!(stops(&app).await, [Value::Null; 0]);

    top.cancel(CancelRequest::because("enough").by("ada"));
    let quick = top.children().remove(1);
    soon("it has ended", || quick.status().is_terminal()).await;
    let told = stops(&app).await;
    assert_eq!(told.len(), 1, "one for the tree: {told:?}");
    let stop = &told[0];
    assert_eq!((&stop["id"], &stop["root"]), (&json!(top.id().to_string()), &stop["id"]));
    assert_eq!((&stop["name"], &stop["status"]), (&json!("top"), &json!("stopping")));
    let cause = &stop["cause"];
    assert_eq!((&cause["message"], &cause["by"]), (&json!("enough"), &json!("ada")));
    assert_eq!((&stop["node"], &stop["cause"]["origin"]), (&Value::Null, &stop["id"]));
    let standing = &stop["standing"];
    assert_eq!((&standing["live"], &standing["signalled"]), (&json!(2), &json!(2)));
    assert_eq!(named(stop, "cleaning_up", "what"), [("deaf", &json!("body"))]);
    let at = |text: &Value| humantime::parse_rfc3339(text.as_str().unwrap()).unwrap();
    let [accepted, hard, given_up] =
        [&stop["accepted_at"], &standing["hard_deadline"], &standing["given_up_at"]].map(at);
    assert_eq!(hard.duration_since(accepted).unwrap(), secs(60));
    assert_eq!(given_up.duration_since(hard).unwrap(), secs(1));
    assert_eq!(at(&standing["cleaning_up"][0]["since"]), accepted);

    // The step is aborted alone: then the hook of the root runs, and is what the stop waits for.
    let deaf = top.children().remove(0);
    deaf.cancel(CancelRequest::because("now").abort());
    deaf.ended().await;
    let runs_its_hook = || top.stop_standing().unwrap().cleaning_up[0].what == Work::Hook;
    soon("its hook runs", runs_its_hook).await;
    let told = stops(&app).await;
    assert_eq!(named(&told[0], "cleaning_up", "what"), [("tidy up", &json!("hook"))]);
    assert_eq!(told[0]["standing"]["live"], 1);
    let aborted = top.report().rows.iter().filter(|row| row.aborted).count();
    assert_eq!(named(&told[0], "aborted", "run").len(), aborted);
    gate.open();
    top.quiescent().await;
    assert_eq!(stops(&app).await, [Value::Null; 0]);
}

#[tokio::test]
async fn what_was_abandoned_is_named_until_it_has_ended() {
    let config = EngineConfig::new().grace(Duration::ZERO).abort_wait(Duration::ZERO);
    let service = service_with(config, &Witness::default());
    let (app, gate) = (router(service.clone()), Gate::new());
    let opened = gate.clone();
    let body = async move |ctx: RunContext| {
        let hold = ctx.hold(Work::Blocking, "indexer")?;
        std::thread::spawn(move || {
            opened.spin();
            drop(hold);
        });
        ctx.stopped().await;
        Ok(())
    };
    let run = service.engine().submit(RunSpec::agent("a"), body).unwrap().into_ref();
    soon("it works", || run.row().started_at.is_some()).await;
    run.cancel(CancelRequest::because("enough"));
    run.ended().await;
    let told = stops(&app).await;
    assert_eq!(told[0]["status"], "cancelled");
    assert_eq!(named(&told[0], "abandoned", "what"), [("indexer", &json!("blocking"))]);
    assert_eq!(named(&told[0], "cleaning_up", "what"), []);
    assert_eq!(told[0]["standing"]["live"], 0);
    gate.open();
    run.quiescent().await;
    assert_eq!(stops(&app).await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_stop_of_a_step_begins_there_and_its_root_goes_on() {
    let service = service();
    let (app, gate) = (router(service.clone()), Gate::new());
    let top = tree(&service, &gate);
    soon("all work", || top.children().len() == 2).await;
    let deaf = top.children().remove(0);
    soon("it has begun", || deaf.row().started_at.is_some()).await;
    deaf.cancel(CancelRequest::because("this one").grace(secs(60)));
    let told = stops(&app).await;
    assert_eq!(told.len(), 1);
    let root = json!(top.id().to_string());
    assert_eq!((&told[0]["name"], &told[0]["root"]), (&json!("deaf"), &root));
    assert_eq!(top.status(), RunStatus::Running);
    gate.open();
}

#[tokio::test]
async fn each_caller_sees_the_stops_of_runs_that_they_see_the_oldest_first() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("ada", "key-of-teams").scopes(["teams:run"]))
        .key(Key::new("root", "key-of-root").admin());
    let app = router(service().access(access));
    let asks = async |who: &str, method: &str, path: &str, body: Value| {
        let key = format!("Bearer key-of-{who}");
        send(&app, method, path, &[JSON, ("authorization", &key)], body.to_string()).await
    };
    let stubborn =
        |id: &str| json!({ "component": "agent/stubborn", "id": id, "grace_ms": 60_000 });
    for (who, id) in [("ada", "z"), ("bob", "b"), ("ada", "a")] {
        assert_eq!(asks(who, "POST", "/v1/runs", stubborn(id)).await.status, StatusCode::CREATED);
    }
    for (who, id) in [("ada", "z"), ("bob", "b"), ("ada", "a")] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let path = format!("/v1/runs/{id}/cancel");
        assert_eq!(asks(who, "POST", &path, json!({})).await.status, StatusCode::OK);
    }
    let seen = async |who: &str, query: &str| {
        let answer = asks(who, "GET", &format!("/v1/stops{query}"), json!({})).await;
        let list = answer.json();
        let stops = list["stops"].as_array().unwrap().iter();
        let ids: Vec<_> = stops.map(|stop| stop["id"].as_str().unwrap().to_owned()).collect();
        (ids.join(" "), list["more"].as_bool().unwrap())
    };
    assert_eq!(seen("ada", "").await, ("z a".into(), false));
    assert_eq!(seen("bob", "").await, ("b".into(), false));
    assert_eq!(seen("teams", "").await, (String::new(), false));
    assert_eq!(seen("root", "").await, ("z b a".into(), false));
    assert_eq!(seen("root", "?limit=2").await, ("z b".into(), true));
    for query in ["?limit=0", "?limit=1001", "?limits=1"] {
        let answer = asks("ada", "GET", &format!("/v1/stops{query}"), json!({})).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    assert_eq!(asks("nobody", "GET", "/v1/stops", json!({})).await.status, 401);
}

/// Waits until so many stops are listed. Yields their ids, and whether there are more.
async fn listed(app: &Router, count: usize, query: &str) -> (String, bool) {
    loop {
        let list = get(app, &format!("/v1/stops{query}")).await.json();
        let stops = list["stops"].as_array().unwrap();
        if stops.len() == count {
            let ids: Vec<_> = stops.iter().map(|stop| stop["id"].as_str().unwrap()).collect();
            return (ids.join(" "), list["more"].as_bool().unwrap());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stops_of_all_nodes_are_one_list_the_oldest_first_and_a_limit_leaves_the_newest_out() {
    let (_nodes, a, b) = two();
    let order = [(&b, "b1"), (&a, "a1"), (&a, "a2"), (&b, "b2"), (&a, "a3")];
    // The runs were started the other way round.
    for (node, id) in order.into_iter().rev() {
        node.working("stubborn", id).await;
        // Their clocks do not go alike while time is paused.
        tokio::time::sleep(secs(5)).await;
    }
    for (node, id) in order {
        let path = format!("/v1/runs/{id}/cancel");
        post(&node.app, &path, &json!({ "grace_ms": 600_000 })).await;
        node.run(id).stops_stored().await.unwrap();
        tokio::time::sleep(secs(5)).await;
    }
    for node in [&a, &b] {
        assert_eq!(listed(&node.app, 5, "").await, ("b1 a1 a2 b2 a3".into(), false));
        for (limit, right) in [(1, "b1"), (2, "b1 a1"), (4, "b1 a1 a2 b2")] {
            let query = format!("?limit={limit}");
            assert_eq!(listed(&node.app, limit, &query).await, (right.into(), true), "{limit}");
        }
        assert_eq!(listed(&node.app, 5, "?limit=5").await, ("b1 a1 a2 b2 a3".into(), false));
    }
    // Those of this node alone fill the list.
    a.run("a1").cancel(CancelRequest::because("now").abort());
    b.run("b1").cancel(CancelRequest::because("now").abort());
    assert_eq!(listed(&b.app, 3, "").await, ("a2 b2 a3".into(), false));
    assert_eq!(listed(&b.app, 1, "?limit=1").await, ("a2".into(), true));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_a_silent_node_has_not_decided_is_listed_as_recorded() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let flow = a.working("steps", "flow").await;
    let below = flow.children().remove(0).id().to_string();
    a.node.trouble(Trouble::All);
    for id in ["r", &below] {
        let path = format!("/v1/runs/{id}/cancel");
        let answer = post(&b.app, &path, &json!({ "reason": "enough" })).await;
        assert_eq!(answer.header("quell-disposition"), "recorded");
    }
    let told = stops(&b.app).await;
    let ids: Vec<_> = told.iter().map(|stop| stop["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["r", &below]);
    let stop = &told[0];
    assert_eq!((&stop["status"], &stop["node"]), (&json!("running"), &json!("a")));
    let (cause, recorded) = (&stop["cause"], &stop["recorded_at"]);
    assert_eq!((&cause["message"], &cause["at"]), (&json!("enough"), recorded));
    assert_eq!((&stop["accepted_at"], &stop["standing"]), (&Value::Null, &Value::Null));
    assert!(recorded.is_string() && told[1]["recorded_at"].as_str() >= recorded.as_str());
    assert_eq!(told[1]["root"], "flow");
    a.node.trouble(Trouble::None);
    soon("both have ended", || a.run("r").status().is_terminal()).await;
    a.run("r").stored().await.unwrap();
    soon("the step has ended", || flow.status().is_terminal()).await;
    flow.stored().await.unwrap();
    assert_eq!(stops(&b.app).await, [Value::Null; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_run_has_left_is_listed_by_each_node_until_it_has_ended() {
    let (_nodes, a, b) = two();
    let (release, released) = oneshot::channel::<()>();
    let body = async move |ctx: RunContext| {
        let hold = ctx.hold(Work::Blocking, "indexer")?;
        tokio::spawn(async move {
            _ = released.await;
            drop(hold);
        });
        ctx.stopped().await;
        Ok(())
    };
    let spec = RunSpec::agent("left").grace(Duration::ZERO);
    let run = a.service.engine().submit(spec, body).unwrap().into_ref();
    soon("it works", || run.row().started_at.is_some()).await;
    run.cancel(CancelRequest::because("enough"));
    run.ended().await;
    run.stored().await.unwrap();
    for (node, has_it) in [(&a, Value::Null), (&b, json!("a"))] {
        let told = stops(&node.app).await;
        assert_eq!(told.len(), 1, "{has_it}");
        assert_eq!((&told[0]["status"], &told[0]["node"]), (&json!("cancelled"), &has_it));
        assert_eq!(named(&told[0], "abandoned", "what"), [("indexer", &json!("blocking"))]);
        assert_eq!(told[0]["standing"]["live"], 0);
        assert_eq!(told[0]["cause"]["message"], "enough");
    }
    release.send(()).unwrap();
    run.quiescent().await;
    run.stored().await.unwrap();
    for node in [&a, &b] {
        assert_eq!(stops(&node.app).await, [Value::Null; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_node_may_execute_still_of_a_run_that_was_stopped_is_listed_by_each_node() {
    let (_nodes, a, b) = two();
    for id in ["stopped", "goes-on"] {
        a.working("stubborn", id).await;
    }
    let path = "/v1/runs/stopped/cancel";
    post(&b.app, path, &json!({ "grace_ms": 600_000 })).await;
    a.run("stopped").stops_stored().await.unwrap();
    a.node.trouble(Trouble::All);
    tokio::time::sleep(secs(16)).await;
    let taken = b.service.engine().take_over(|_| Recovery::Fail).await.unwrap().unwrap();
    assert_eq!(taken.from.as_deref(), Some("a"));
    for (id, how) in [("stopped", "cancelled"), ("goes-on", "failed")] {
        let path = format!("/v1/runs/{id}");
        while get(&b.app, &path).await.json()["status"] != how {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    // Nobody has stopped the other one, which is lost.
    let told = stops(&b.app).await;
    let ids: Vec<_> = told.iter().map(|stop| stop["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["stopped"]);
    assert_eq!((&told[0]["status"], &told[0]["node"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(named(&told[0], "abandoned", "what"), [("a", &json!("node"))]);
}

#[tokio::test]
async fn the_time_of_the_list_is_by_the_clock_of_the_times_in_it() {
    let service = service();
    let app = router(service.clone());
    // A thread that another process has told of is ahead of the clock of this one.
    assert!(service.engine().not_before(service.engine().time() + secs(600)));
    let top = tree(&service, &Gate::new());
    soon("all work", || top.children().len() == 2).await;
    top.cancel(CancelRequest::because("enough"));
    let answer = get(&app, "/v1/stops").await.json();
    let at = |text: &Value| humantime::parse_rfc3339(text.as_str().unwrap()).unwrap();
    assert!(at(&answer["at"]) >= at(&answer["stops"][0]["accepted_at"]), "{answer}");
    top.cancel(CancelRequest::because("now").abort());
}
