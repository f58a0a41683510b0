//! `GET /v1/stops` of runs of another node: how their stops stand, as far as the store tells.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::testing::cluster::{Nodes, Trouble};
use quell::{CancelRequest, Engine, EngineConfig, RunContext, RunRef, RunSpec, Work};
use quell_flow::Catalog;
use quell_http::{Access, Key, Service, router};
use quell_test_support::secs;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::nodes::{Process, two};
use crate::stops::{named, stops};
use crate::support::{get, post, send, soon};

/// Starts a tree: `top`, with `between`, with `deaf`, which never hears, and has begun a program
/// that runs until it is released. `quick` ends at once.
async fn tree(on: &Process, released: oneshot::Receiver<()>) -> RunRef {
    let deaf = async move |ctx: RunContext| {
        let hold = ctx.hold_durably(Work::Process, "sh (pid 7)").await?;
        tokio::spawn(async move {
            _ = released.await;
            drop(hold);
        });
        let _ = ctx.is_stopping();
        std::future::pending::<()>().await;
        Ok(())
    };
    let between = async move |ctx: RunContext| Ok(ctx.spawn(RunSpec::step("deaf"), deaf).await?);
    let body = async move |ctx: RunContext| {
        ctx.on_stop_named("tidy up", async |_| tokio::time::sleep(secs(1)).await);
        let between = ctx.spawn(RunSpec::step("between"), between);
        let quick = async |ctx: RunContext| Ok(_ = ctx.stopped().await);
        _ = ctx.spawn(RunSpec::step("quick"), quick).await;
        Ok(between.await?)
    };
    let spec = RunSpec::workflow("top").grace(secs(60));
    let top = on.service.engine().submit(spec, body).unwrap().into_ref();
    let below = || top.children().iter().flat_map(RunRef::children).count();
    soon("all work", || top.children().len() == 2 && below() == 1).await;
    let deaf = top.children().remove(0).children().remove(0);
    soon("it has begun", || deaf.row().started_at.is_some()).await;
    deaf.stored().await.unwrap();
    top
}

/// Asks until the one stop stands so.
async fn until(on: &Process, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..20_000 {
        let told = stops(&on.app).await;
        if let Some(stop) = told.into_iter().next().filter(&is_so) {
            return stop;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {:?}", stops(&on.app).await)
}

fn at(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_a_deaf_tree_is_told_through_the_other_node_until_nothing_executes() {
    let (_nodes, a, b) = two();
    let (release, released) = oneshot::channel();
    let top = tree(&a, released).await;
    let path = format!("/v1/runs/{}/cancel", top.id());
    let stopped = post(&b.app, &path, &json!({ "reason": "enough" })).await;
    assert_eq!(stopped.header("quell-disposition"), "accepted");

    let stop = until(&b, "it is told", |stop| stop["standing"]["live"] == 3).await;
    assert_eq!((&stop["node"], &stop["status"]), (&json!("a"), &json!("stopping")));
    let standing = &stop["standing"];
    assert_eq!((&standing["signalled"], &standing["of_store"]), (&json!(3), &json!(true)));
    let works = [("deaf", &json!("body")), ("sh (pid 7)", &json!("process"))];
    assert_eq!(named(&stop, "cleaning_up", "what"), works);
    assert_eq!((&standing["omitted"], &standing["more"]), (&json!(0), &json!(false)));
    let [accepted, hard, given_up] =
        [&stop["accepted_at"], &standing["hard_deadline"], &standing["given_up_at"]].map(at);
    assert_eq!(hard.duration_since(accepted).unwrap(), secs(60));
    assert_eq!(given_up.duration_since(hard).unwrap(), secs(1));
    assert!(
        standing["cleaning_up"].as_array().unwrap().iter().all(|it| at(&it["since"]) == accepted)
    );
    // The node of the run tells the same times and names, and what it alone knows.
    let own = &stops(&a.app).await[0];
    for field in ["hard_deadline", "given_up_at", "live", "signalled", "cleaning_up"] {
        assert_eq!(own["standing"][field], standing[field], "{field}");
    }
    assert_eq!((&own["node"], &own["standing"]["of_store"]), (&Value::Null, &json!(false)));

    // At the deadline the body is dropped; what it had begun is given up, and executes still.
    let stop = until(&b, "it is abandoned", |stop| stop["standing"]["live"] == 0).await;
    assert_eq!((&stop["node"], &stop["status"]), (&json!("a"), &json!("cancelled")));
    assert_eq!(named(&stop, "abandoned", "what"), [("sh (pid 7)", &json!("process"))]);
    assert_eq!(
        named(&stop, "aborted", "run").len(),
        named(&stops(&a.app).await[0], "aborted", "run").len()
    );
    assert_eq!(named(&stop, "aborted", "run")[0].0, "deaf");
    assert_eq!(named(&stop, "cleaning_up", "what"), []);
    assert_eq!(at(&stop["standing"]["given_up_at"]), given_up);
    release.send(()).unwrap();
    top.quiescent().await;
    top.stored().await.unwrap();
    assert_eq!(stops(&b.app).await, [Value::Null; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_was_aborted_is_named_while_others_of_the_tree_clean_up() {
    let (_nodes, a, b) = two();
    let (_release, released) = oneshot::channel();
    let top = tree(&a, released).await;
    top.cancel(CancelRequest::because("enough").grace(secs(60)));
    let deaf = top.children().remove(0).children().remove(0);
    deaf.cancel(CancelRequest::because("now").abort());
    let is_aborted = |stop: &Value| {
        stop["status"] == "stopping" && !stop["standing"]["aborted"].as_array().unwrap().is_empty()
    };
    let stop = until(&b, "it is aborted", is_aborted).await;
    assert_eq!(named(&stop, "aborted", "run"), [("deaf", &json!(deaf.id().to_string()))]);
    assert_eq!(named(&stop, "abandoned", "what"), [("sh (pid 7)", &json!("process"))]);
    assert_eq!(stop["standing"]["live"], 1);
    // Of the hook for which it waits the store does not know.
    assert_eq!(named(&stop, "cleaning_up", "what"), [("top", &json!("body"))]);
}

#[tokio::test(start_paused = true)]
async fn what_is_abandoned_is_named_until_it_has_ended_though_other_work_goes_on() {
    let (_nodes, a, b) = two();
    let (mut release, released): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
    let body = async move |ctx: RunContext| {
        let deaf = |(nth, released): (usize, oneshot::Receiver<()>)| {
            ctx.spawn(RunSpec::step(format!("deaf {nth}")), async move |ctx: RunContext| {
                let hold = ctx.hold_durably(Work::Process, format!("sh (pid {nth})")).await?;
                tokio::spawn(async move {
                    _ = released.await;
                    drop(hold);
                });
                let _ = ctx.is_stopping();
                std::future::pending::<()>().await;
                Ok(())
            })
        };
        let all: Vec<_> = released.into_iter().enumerate().map(deaf).collect();
        for one in all {
            one.await?;
        }
        Ok(())
    };
    let spec = RunSpec::workflow("top").grace(secs(2));
    let top = a.service.engine().submit(spec, body).unwrap().into_ref();
    soon("all work", || top.children().len() == 2).await;
    for deaf in top.children() {
        soon("it has begun", || deaf.row().started_at.is_some()).await;
        deaf.stored().await.unwrap();
    }
    top.cancel(CancelRequest::because("enough"));
    let names = |stop: &Value| {
        let left = named(stop, "abandoned", "what").into_iter();
        left.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let both = |stop: &Value| stop["status"] == "cancelled" && names(stop).len() == 2;
    let stop = until(&b, "both are abandoned", both).await;
    assert_eq!(names(&stop), ["sh (pid 0)", "sh (pid 1)"]);
    assert_eq!(named(&stop, "aborted", "run").len(), 2);
    assert_eq!(
        (&stop["standing"]["omitted"], &stop["standing"]["more"]),
        (&json!(0), &json!(false))
    );
    release.remove(0).send(()).unwrap();
    let stop = until(&b, "one has ended", |stop| names(stop).len() == 1).await;
    assert_eq!(names(&stop), ["sh (pid 1)"]);
    release.remove(0).send(()).unwrap();
    top.quiescent().await;
    top.stored().await.unwrap();
    assert_eq!(stops(&b.app).await, [Value::Null; 0]);
}

#[tokio::test(start_paused = true)]
async fn of_a_wide_tree_a_hundred_are_named_and_the_others_counted() {
    let (_nodes, a, b) = two();
    let body = async |ctx: RunContext| {
        let all: Vec<_> = (0..130)
            .map(|nth| {
                ctx.spawn(RunSpec::step(format!("deaf {nth}")), async |ctx: RunContext| {
                    let _ = ctx.is_stopping();
                    std::future::pending::<()>().await;
                    Ok(())
                })
            })
            .collect();
        for one in all {
            one.await?;
        }
        Ok(())
    };
    let spec = RunSpec::workflow("wide").grace(secs(60));
    let wide = a.service.engine().submit(spec, body).unwrap().into_ref();
    soon("all work", || wide.children().len() == 130).await;
    wide.cancel(CancelRequest::because("enough"));
    let stop = until(&b, "it is told", |stop| stop["standing"]["live"] == 131).await;
    let names = named(&stop, "cleaning_up", "what");
    assert_eq!((names.len(), &stop["standing"]["omitted"]), (100, &json!(30)));
    assert_eq!(names[99], ("deaf 99", &json!("body")));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_how_the_stop_of_somebody_elses_run_stands() {
    let nodes = Nodes::new(secs(15));
    let join = |name: &str| {
        let access = Access::open()
            .key(Key::new("ada", "key-of-ada"))
            .key(Key::new("bob", "key-of-bob"))
            .key(Key::new("root", "key-of-root").admin());
        let node = nodes.join(name);
        let config = EngineConfig::new().node(Arc::clone(&node)).control_on_runtime();
        let service = Service::new(Engine::with_config(config), Catalog::new()).access(access);
        (router(service.clone()), service, node)
    };
    let ((_, a, _node), (app, _service, _other)) = (join("a"), join("b"));
    let body = async |ctx: RunContext| {
        let _ = ctx.is_stopping();
        std::future::pending::<()>().await;
        Ok(())
    };
    let spec = RunSpec::agent("hers").owner("ada").grace(secs(60));
    let run = a.engine().submit_durably(spec, body).await.unwrap().into_ref();
    run.cancel_durably(CancelRequest::because("enough")).await.1.unwrap();
    for (who, right) in [("ada", Some("hers")), ("bob", None), ("root", Some("hers"))] {
        let key = format!("Bearer key-of-{who}");
        let asked = send(&app, "GET", "/v1/stops", &[("authorization", &key)], "").await;
        let told = asked.json()["stops"].as_array().unwrap().clone();
        let names = told.iter().flat_map(|stop| named(stop, "cleaning_up", "what"));
        let names: Vec<_> = names.map(|(name, _)| name).collect();
        assert_eq!(names, right.into_iter().collect::<Vec<_>>(), "{who}");
    }
}

#[tokio::test(start_paused = true)]
async fn stops_of_this_node_are_told_while_the_store_cannot_be_read() {
    let (_nodes, a, b) = two();
    for (node, id) in [(&a, "far"), (&b, "near")] {
        node.working("stubborn", id).await;
        let path = format!("/v1/runs/{id}/cancel");
        let stopped = post(&b.app, &path, &json!({ "grace_ms": 60_000 })).await;
        assert_eq!(stopped.header("quell-disposition"), "accepted");
    }
    let told = loop {
        let told = stops(&b.app).await;
        if told.len() == 2 {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let seen = |at: usize| {
        let standing = &told[at]["standing"];
        (&told[at]["id"], &told[at]["node"], &standing["of_store"], &standing["live"])
    };
    assert_eq!(seen(0), (&json!("far"), &json!("a"), &json!(true), &json!(1)));
    assert_eq!(seen(1), (&json!("near"), &Value::Null, &json!(false), &json!(1)));
    assert_eq!(told[0]["cause"]["kind"], "user-request");
    assert_eq!(told[0]["recorded_at"], Value::Null);
    b.node.trouble(Trouble::All);
    let list = get(&b.app, "/v1/stops").await.json();
    assert_eq!((&list["stops"][0]["id"], &list["more"]), (&json!("near"), &json!(true)), "{list}");
}
