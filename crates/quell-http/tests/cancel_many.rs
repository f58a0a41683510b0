//! `POST /v1/runs/cancel`: which runs one request stops, and what it says of each.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{Store, StoreError};
use quell::testing::cluster::Trouble;
use quell::{EngineConfig, RunContext, RunLimits, RunRef, RunSpec, RunStatus, Scope, Shutdown};
use quell_http::{Access, Key, Service, router};
use quell_test_support::{Answer, Flow, Valve, Witness, secs};
use serde_json::{Value, json};

use crate::nodes::two;
use crate::support::{JSON, get, post, send, service, service_with, soon, start};

const MANY: &str = "/v1/runs/cancel";

async fn cancel(app: &Router, body: Value) -> Answer {
    post(app, MANY, &body).await
}

/// Yields the ids of an answer, in order, with one field of each.
fn told<'a>(answer: &'a Value, field: &str) -> Vec<(&'a str, Value)> {
    let runs = answer["runs"].as_array().unwrap();
    runs.iter().map(|run| (run["id"].as_str().unwrap(), run[field].clone())).collect()
}

fn ids(answer: &Value) -> Vec<&str> {
    let mut ids: Vec<_> = told(answer, "id").into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

/// Starts runs of two components, sessions and labels.
async fn some_runs(app: &Router) {
    for (id, component, session, team) in [
        ("a1", "sleeper", "s1", "red"),
        ("a2", "sleeper", "s2", "red"),
        ("b1", "stubborn", "s1", "blue"),
        ("done", "echo", "s1", "red"),
    ] {
        let body = json!({
            "component": format!("agent/{component}"), "id": id, "session": session,
            "labels": { "team": team },
        });
        assert_eq!(post(app, "/v1/runs", &body).await.status, StatusCode::CREATED);
    }
    start(app, "steps", "w1", Value::Null).await;
}

#[tokio::test]
async fn a_filter_means_what_a_list_means_and_a_dry_run_stops_nothing() {
    let service = service();
    let app = router(service.clone());
    some_runs(&app).await;
    let run = |id: &str| service.engine().get(quell_http::parse_id(id).unwrap()).unwrap();
    soon("it has ended", || run("done").status() == RunStatus::Completed).await;
    soon("all work", || {
        ["a1", "a2", "b1", "w1"].iter().all(|id| run(id).row().started_at.is_some())
    })
    .await;
    for (conditions, meant) in [
        (json!({ "status": ["running"] }), vec!["a1", "a2", "b1", "w1"]),
        (json!({ "status": ["queued", "stopping"] }), vec![]),
        (json!({ "kind": "workflow" }), vec!["w1"]),
        (json!({ "component": "agent/sleeper" }), vec!["a1", "a2"]),
        (json!({ "component": "sleeper", "kind": "agent" }), vec!["a1", "a2"]),
        (json!({ "component": "sleeper", "kind": "team" }), vec![]),
        (json!({ "session": "s1" }), vec!["a1", "b1"]),
        (json!({ "session": "s1", "labels": { "team": "red" } }), vec!["a1"]),
        (json!({ "owner": "ada" }), vec![]),
    ] {
        let answer = cancel(&app, json!({ "where": conditions, "dry_run": true })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = answer.json();
        assert_eq!(ids(&answer), meant, "{conditions}");
        assert_eq!((&answer["total"], &answer["more"]), (&json!(meant.len()), &json!(false)));
        assert!(told(&answer, "disposition").iter().all(|(_, given)| given.is_null()));
    }
    let all = cancel(&app, json!({ "all": true, "dry_run": true })).await.json();
    assert_eq!(ids(&all), ["a1", "a2", "b1", "w1"]);
    assert!(["a1", "a2", "b1", "w1"].iter().all(|id| run(id).status() == RunStatus::Running));

    let body = json!({
        "where": { "component": "agent/sleeper" }, "reason": "enough", "wait": "quiescent",
    });
    let answer = cancel(&app, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(ids(&answer), ["a1", "a2"]);
    for (field, value) in [
        ("disposition", json!("accepted")),
        ("status", json!("cancelled")),
        ("component", json!("agent/sleeper")),
        ("quiescent", json!(true)),
        ("reached", json!(true)),
    ] {
        assert!(told(&answer, field).iter().all(|(_, given)| *given == value), "{field} {answer}");
    }
    assert_eq!(run("a1").row().cause.unwrap().message.as_deref(), Some("enough"));
    assert_eq!((run("b1").status(), run("w1").status()), (RunStatus::Running, RunStatus::Running));
}

#[tokio::test]
async fn runs_are_named_by_their_ids_each_once_and_those_below_a_root_as_well() {
    let service = service();
    let app = router(service.clone());
    some_runs(&app).await;
    let run = |id: &str| service.engine().get(quell_http::parse_id(id).unwrap()).unwrap();
    soon("its step works", || !run("w1").children().is_empty()).await;
    soon("it has ended", || run("done").status() == RunStatus::Completed).await;
    let step = run("w1").children().remove(0);
    let body = json!({
        "runs": ["a1", "a1", run("a1").id().to_string(), "done", "nobody", step.id().to_string()],
        "wait": "terminal",
    });
    let answer = cancel(&app, body).await.json();
    let given = told(&answer, "disposition");
    let uuid = step.id().to_string();
    let expected = [
        ("a1", json!("accepted")),
        ("done", json!("already-terminal")),
        (&*uuid, json!("accepted")),
    ];
    assert_eq!(given, expected);
    assert_eq!((&answer["unknown"], &answer["total"]), (&json!(["nobody"]), &json!(3)));
    assert_eq!(step.status(), RunStatus::Cancelled);
    assert_eq!(run("a2").status(), RunStatus::Running);
}

#[tokio::test]
async fn what_says_nothing_or_two_things_stops_nothing() {
    let service = service();
    let app = router(service.clone());
    some_runs(&app).await;
    let too_many: Vec<_> = (0..10_001).map(|nr| nr.to_string()).collect();
    for body in [
        json!({}),
        json!({ "all": false }),
        json!({ "where": {} }),
        json!({ "where": { "status": [] } }),
        json!({ "where": { "labels": {} }, "dry_run": true }),
        json!({ "where": { "status": ["running"] }, "all": true }),
        json!({ "runs": ["a1"], "all": true }),
        json!({ "runs": ["a1"], "where": { "session": "s1" } }),
        json!({ "where": { "status": ["completed"] } }),
        json!({ "where": { "status": "running" } }),
        json!({ "where": { "kind": "team", "component": "agent/sleeper" } }),
        json!({ "where": { "name": "sleeper" } }),
        json!({ "runs": too_many }),
        json!({ "all": true, "remember_ms": 1 }),
        json!({ "all": true, "wait_ms": -1 }),
        json!({ "all": 1 }),
    ] {
        let answer = cancel(&app, body.clone()).await;
        let what: String = body.to_string().chars().take(80).collect();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}: {}", answer.text);
    }
    let bad = cancel(&app, json!({ "runs": ["a1", ""] })).await;
    assert_eq!(bad.json()["type"], "urn:quell:problem:bad-id");
    assert_eq!(cancel(&app, json!(null)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let untyped = send(&app, "POST", MANY, &[], r#"{"all": true}"#).await;
    assert_eq!(untyped.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for id in ["a1", "a2", "b1", "w1"] {
        let run = service.engine().get(quell_http::parse_id(id).unwrap()).unwrap();
        assert!(run.row().cause.is_none(), "{id}");
    }
}

#[tokio::test]
async fn nobody_stops_or_sees_runs_that_are_not_theirs_to_stop() {
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("ada", "key-of-one").scopes(["agents:sleeper:run", "agents:read"]))
        .key(Key::new("bob", "key-of-bob"))
        .key(Key::new("ada", "key-of-eve").read_only())
        .key(Key::new("root", "key-of-root").admin());
    let app = router(service().access(access));
    let asks = async |who: &str, path: &str, body: Value| {
        let key = format!("Bearer key-of-{who}");
        send(&app, "POST", path, &[JSON, ("authorization", &key)], body.to_string()).await
    };
    for (who, id, component) in
        [("ada", "a", "sleeper"), ("ada", "s", "stubborn"), ("bob", "b", "sleeper")]
    {
        let body = json!({ "component": format!("agent/{component}"), "id": id });
        assert_eq!(asks(who, "/v1/runs", body).await.status, StatusCode::CREATED);
    }
    let all = json!({ "all": true, "dry_run": true });
    let named = json!({ "runs": ["a", "s", "b"], "dry_run": true });
    for (who, seen, unknown) in [
        ("ada", vec!["a", "s"], vec!["b"]),
        ("one", vec!["a"], vec!["s", "b"]),
        ("bob", vec!["b"], vec!["a", "s"]),
        ("root", vec!["a", "b", "s"], vec![]),
    ] {
        assert_eq!(ids(&asks(who, MANY, all.clone()).await.json()), seen, "{who}");
        let answer = asks(who, MANY, named.clone()).await.json();
        assert_eq!((ids(&answer), &answer["unknown"]), (seen, &json!(unknown)), "{who}");
    }
    assert_eq!(asks("eve", MANY, all.clone()).await.status, StatusCode::FORBIDDEN);
    assert_eq!(asks("nobody", MANY, all).await.status, StatusCode::UNAUTHORIZED);
    let of_bob = json!({ "where": { "owner": "bob" }, "dry_run": true });
    assert_eq!(ids(&asks("ada", MANY, of_bob.clone()).await.json()), [""; 0]);
    assert_eq!(ids(&asks("root", MANY, of_bob).await.json()), ["b"]);
    let stopped = asks("one", MANY, json!({ "all": true, "wait": "quiescent" })).await.json();
    assert_eq!(ids(&stopped), ["a"]);
    let left = asks("root", MANY, json!({ "all": true, "dry_run": true })).await.json();
    assert_eq!(ids(&left), ["b", "s"]);
}

#[tokio::test]
async fn the_end_of_no_run_starts_another_that_is_stopped_too() {
    let witness = Witness::default();
    let config = EngineConfig::new().limit(Scope::All, RunLimits::new().running_max(1));
    let app = router(service_with(config, &witness));
    for id in ["first", "second", "third"] {
        start(&app, "sleeper", id, Value::Null).await;
    }
    soon("one works", || witness.entered() == 1).await;
    let answer = cancel(&app, json!({ "all": true, "wait": "quiescent" })).await.json();
    let order: Vec<_> = told(&answer, "status").into_iter().map(|(id, _)| id).collect();
    assert_eq!(order[2], "first", "those that are queued come first: {answer}");
    assert_eq!(ids(&answer), ["first", "second", "third"]);
    assert_eq!((witness.entered(), witness.inside()), (1, 0));
}

/// Starts more runs than one request stops, which end late.
async fn too_many() -> (Service, Vec<RunRef>) {
    let service = service();
    let body = async |ctx: RunContext| {
        ctx.stopped().await;
        std::future::pending::<()>().await;
        Ok(())
    };
    let spec = || RunSpec::agent("works").grace(secs(60));
    let runs = (0..10_003).map(|_| service.engine().submit(spec(), body).unwrap().into_ref());
    let runs = runs.collect();
    soon("all work", || service.engine().standing().running == 10_003).await;
    (service, runs)
}

#[tokio::test]
async fn more_than_one_request_stops_at_their_next_checkpoint_are_asked_by_the_next() {
    let (service, runs) = too_many().await;
    let app = router(service.clone());
    let later = json!({ "all": true, "mode": "after_step", "escalate_after_ms": 600_000 });
    for count in [10_000, 10_003] {
        let answer = cancel(&app, later.clone()).await.json();
        assert_eq!((&answer["total"], &answer["more"]), (&json!(10_003), &json!(true)));
        assert!(answer["runs"][0]["escalates_in_ms"].is_u64(), "{}", answer["runs"][0]);
        let scheduled = runs.iter().filter(|run| run.scheduled_stop().is_some()).count();
        assert_eq!((scheduled, service.engine().standing().stopping), (count, 0));
    }
    // What is to stop at its next checkpoint comes before what is stopping already.
    for count in [10_000, 10_003] {
        cancel(&app, json!({ "all": true })).await;
        assert_eq!(service.engine().standing().stopping, count);
    }
    assert!(runs.iter().all(|run| run.scheduled_stop().is_none()));
}

#[tokio::test]
async fn more_than_one_request_stops_are_stopped_by_the_next() {
    let (service, _runs) = too_many().await;
    let app = router(service.clone());
    let answer = cancel(&app, json!({ "all": true })).await.json();
    assert_eq!((&answer["total"], &answer["more"]), (&json!(10_003), &json!(true)));
    assert_eq!(answer["runs"].as_array().unwrap().len(), 10_000);
    assert_eq!(service.engine().standing().stopping, 10_000);
    let again = cancel(&app, json!({ "all": true })).await.json();
    let accepted = told(&again, "disposition");
    let accepted = accepted.iter().filter(|(_, given)| *given == json!("accepted")).count();
    assert_eq!((accepted, service.engine().standing().stopping), (3, 10_003));
}

#[tokio::test]
async fn a_stop_that_the_store_has_not_taken_is_not_acknowledged() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let app = router(service_with(config, &Witness::default()));
    start(&app, "sleeper", "r", Value::Null).await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let answer = cancel(&app, json!({ "all": true, "wait": "terminal" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(told(&answer.json(), "disposition"), [("r", json!("not-stored"))], "{answer:?}");
}

#[tokio::test]
async fn a_run_that_is_called_cancel_is_read_and_stopped_by_that_name() {
    let app = router(service());
    start(&app, "sleeper", "cancel", Value::Null).await;
    assert_eq!(get(&app, "/v1/runs/cancel").await.json()["id"], "cancel");
    let limits = send(&app, "PATCH", "/v1/runs/cancel", &[JSON], r#"{"idle_ms": null}"#).await;
    assert_eq!(limits.status, StatusCode::OK, "{}", limits.text);
    let stopped = post(&app, "/v1/runs/cancel/cancel", &json!({})).await;
    assert_eq!(stopped.header("quell-disposition"), "accepted");
}

#[tokio::test(start_paused = true)]
async fn runs_of_all_nodes_are_stopped_through_any_of_them() {
    let (_nodes, a, b) = two();
    for (at, id) in [(&a, "a1"), (&a, "a2"), (&b, "b1")] {
        at.working("sleeper", id).await;
    }
    a.working("steps", "w1").await;
    let seen = cancel(&b.app, json!({ "all": true, "dry_run": true })).await.json();
    assert_eq!((ids(&seen), &seen["total"]), (vec!["a1", "a2", "b1", "w1"], &json!(4)));
    let body = json!({ "where": { "component": "agent/sleeper" }, "wait": "quiescent" });
    let answer = cancel(&b.app, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(ids(&answer), ["a1", "a2", "b1"]);
    assert!(told(&answer, "disposition").iter().all(|(_, given)| given == "accepted"), "{answer}");
    assert!(told(&answer, "status").iter().all(|(_, status)| status == "cancelled"), "{answer}");
    assert_eq!((a.witness.inside(), b.witness.inside()), (0, 0));
    assert_eq!(a.run("w1").status(), RunStatus::Running);
    let named = cancel(&b.app, json!({ "runs": ["w1", "a1"], "wait": "terminal" })).await.json();
    let given = told(&named, "disposition");
    assert_eq!(given, [("w1", json!("accepted")), ("a1", json!("already-terminal"))]);
}

#[tokio::test(start_paused = true)]
async fn the_stop_of_a_silent_node_is_recorded_and_those_that_cannot_be_found_stop_nothing() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    b.working("sleeper", "own").await;
    a.node.trouble(Trouble::All);
    let body = json!({ "where": { "status": ["running"] }, "wait": "terminal", "wait_ms": 300 });
    let answer = cancel(&b.app, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let answer = answer.json();
    let mut given = told(&answer, "disposition");
    given.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(given, [("own", json!("accepted")), ("r", json!("recorded"))]);
    a.node.trouble(Trouble::None);

    b.working("sleeper", "next").await;
    b.node.trouble(Trouble::All);
    let answer = cancel(&b.app, json!({ "all": true })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(b.run("next").status(), RunStatus::Running);
}

#[tokio::test]
async fn a_client_that_leaves_stops_all_runs_of_other_nodes_all_the_same() {
    let (_nodes, a, b) = two();
    let ids: Vec<_> = (0..200).map(|nth| format!("r{nth}")).collect();
    for id in &ids {
        a.working("sleeper", id).await;
    }
    {
        let body = json!({ "all": true });
        let mut asking = std::pin::pin!(cancel(&b.app, body));
        let is_asked = || ids.iter().any(|id| a.run(id).status() != RunStatus::Running);
        soon("one is asked", || {
            assert!(futures::FutureExt::now_or_never(asking.as_mut()).is_none());
            is_asked()
        })
        .await;
    }
    soon("all end", || ids.iter().all(|id| a.run(id).status().is_terminal())).await;
}

/// What stays queued in the store is begun by the next process: nobody may be told that all stop.
#[tokio::test]
async fn what_a_drain_has_left_to_the_next_process_is_found_and_not_stored() {
    let store: Arc<dyn Store> = Valve::new(Flow::Open);
    let service = service_with(EngineConfig::new().store(store), &Witness::default());
    let engine = service.engine().clone();
    let later = RunSpec::agent("later").not_before(std::time::Instant::now() + secs(3_600));
    let later = engine.submit_durably(later, async |_ctx: RunContext| Ok(())).await.unwrap();
    let slow = async |ctx: RunContext| {
        ctx.stopped().await;
        tokio::time::sleep(secs(1)).await;
        Ok(())
    };
    let slow = engine.submit_durably(RunSpec::agent("slow"), slow).await.unwrap().into_ref();
    soon("it works", || slow.status() == RunStatus::Running).await;
    service.drain();
    let ends = tokio::spawn(async move { engine.shutdown(Shutdown::default()).await });
    soon("it is left", || service.engine().get(later.id()).is_none()).await;
    let app = router(service);
    for body in [json!({ "all": true }), json!({ "where": { "status": ["queued"] } })] {
        let answer = cancel(&app, body).await.json();
        let not_stored = (&*later.id().to_string(), json!("not-stored"));
        assert!(told(&answer, "disposition").contains(&not_stored), "{answer}");
    }
    ends.await.unwrap();
}
