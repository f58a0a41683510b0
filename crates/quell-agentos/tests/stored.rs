//! With a store: what is not stored is not acknowledged.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use quell::store::{Store, StoreError};
use quell::testing::cluster::Nodes;
use quell::{
    CauseKind, Engine, EngineConfig, Failure, Payload, RunContext, RunRef, RunStatus, Shutdown,
};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, parse_id};
use quell_test_support::{Answer, Counted, Flow, Valve, ms, secs, soon, within};
use tokio::task::{JoinHandle, yield_now};

use crate::support::http::{post_form, read, start};
use crate::support::{Site, fresh};

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
    let (path, probe) = ("/agents/slow-agent", fresh("probe"));
    let run = start(&site, path, &format!("probe={probe}"), "s").await;
    site.at_work(&probe, 1).await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let fields = [("message", "x"), ("stream", "false")];
    assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 503);
    let cancel = format!("{path}/runs/{run}/cancel");
    let stopped = site.post(&cancel).await;
    assert_eq!(stopped.status, 503, "{}", stopped.text);
    assert!(stopped.text.contains("could not be stored"), "{}", stopped.text);
    store.set(Flow::Open);
    while site.post(&cancel).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The next process finds the runs as they are in the store, and says that their worker was lost.
#[tokio::test]
async fn a_server_that_ends_with_a_store_in_trouble_tells_no_end_that_is_not_stored() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
    let (path, probe, waited) = ("/agents/slow-agent", fresh("probe"), fresh("waited"));
    let run = start(&site, path, &format!("probe={probe}"), "s").await;
    let waits = tokio::spawn({
        let (site, message) = (site.clone(), format!("probe={waited}"));
        async move {
            let fields = [("message", &*message), ("stream", "false")];
            site.create(&format!("{path}/runs"), &fields).await
        }
    });
    for probe in [&probe, &waited] {
        site.at_work(probe, 1).await;
    }
    store.set(Flow::Failing(StoreError::Io { what: "said the test".into() }));
    site.service.drain();
    drop(site.service.engine().shutdown(Shutdown::from(ms(100))).await);
    let told = within("it ends", waits).await.unwrap();
    assert_eq!(told.status, 503, "{told:?}");
    let read = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
    assert_eq!(read.status, 503, "{read:?}");
    assert!(read.text.contains("about to end"), "{read:?}");
}

/// A client that is gone by then never knows its run.
#[tokio::test]
async fn a_client_that_leaves_before_its_run_is_stored_stops_it_if_it_is_of_the_foreground() {
    for (stream, background, cause) in [
        ("true", "false", Some("disconnected")),
        ("false", "false", Some("disconnected")),
        ("true", "true", None),
        ("false", "true", None),
    ] {
        let store = Valve::new(Flow::Open);
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
        let (run, probe) = (fresh("run"), fresh("probe"));
        store.set(Flow::Shut { stops: false });
        let client = tokio::spawn({
            let (site, run, message) = (site.clone(), run.clone(), format!("probe={probe}"));
            async move {
                let fields = [("message", &*message), ("run_id", &*run), ("session_id", "s")];
                let how = [("stream", stream), ("background", background)];
                let fields = [&fields[..], &how].concat();
                site.create("/agents/slow-agent/runs", &fields).await
            }
        });
        let id = parse_id(&run).unwrap();
        let made = within("it is made", async {
            loop {
                match site.service.engine().get(id) {
                    Some(run) => break run,
                    None => yield_now().await,
                }
            }
        });
        let made = made.await;
        client.abort();
        assert!(client.await.is_err(), "it has had no answer");
        store.set(Flow::Open);
        within("it stops, or ticks", async {
            while made.row().cause.is_none() && site.witness.get(&probe).0.is_empty() {
                yield_now().await;
            }
        })
        .await;
        made.accepted().await.unwrap();
        let row = read(&site, "/agents/slow-agent", &run, "s").await;
        let kind = row["quell"]["cause"]["kind"].as_str();
        assert_eq!(kind, cause, "stream={stream} background={background}: {row}");
        made.cancel(quell::CancelRequest::because("enough"));
        made.quiescent().await;
    }
}

#[tokio::test]
async fn an_end_that_is_told_is_stored() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
    for (stream, background) in [("false", "false"), ("true", "false"), ("false", "true")] {
        let (run, probe) = (fresh("run"), fresh("probe"));
        let sent = |request: Request<Body>| {
            let site = site.clone();
            tokio::spawn(async move { site.send(request).await })
        };
        let message = format!("ticks=20 tick_ms=1 probe={probe}");
        let of_session = ("session_id", &*run);
        let fields = [
            ("message", &*message),
            ("run_id", &run),
            of_session,
            ("stream", stream),
            ("background", background),
        ];
        let create = || {
            let mut request = post_form("/agents/slow-agent/runs", &fields);
            request.headers_mut().insert("idempotency-key", run.parse().unwrap());
            request
        };
        let first = sent(create());
        site.at_work(&probe, 1).await;
        if background == "true" {
            soon("it is answered", || first.is_finished()).await;
        }
        store.set(Flow::Shut { stops: true });
        let made = site.service.engine().get(parse_id(&run).unwrap()).unwrap();
        assert_eq!(made.ended().await.status, RunStatus::Completed);
        let of_run = format!("/agents/slow-agent/runs/{run}");
        let get = |path: &str| sent(Request::get(path).body(Body::empty()).unwrap());
        let post = |act: &str, with: &[_]| sent(post_form(&format!("{of_run}/{act}"), with));
        let all = [
            ("repeat", sent(create())),
            ("read", get(&format!("{of_run}?session_id={run}"))),
            ("listed", get(&format!("/sessions/{run}/runs"))),
            ("read in its session", get(&format!("/sessions/{run}/runs/{run}"))),
            ("resume", post("resume", &[of_session])),
            ("continue", post("continue", &[of_session, ("tools", "[]")])),
            ("cancel", post("cancel", &[])),
        ];
        // Far more than any of them takes that does not wait.
        for _ in 0..1_000 {
            yield_now().await;
        }
        let is_told = |(name, of): &(_, JoinHandle<_>)| of.is_finished().then_some(*name);
        let told: Vec<&str> = all.iter().filter_map(is_told).collect();
        let is_first_told = first.is_finished();
        store.set(Flow::Open);
        assert_eq!(told, [""; 0], "stream={stream} background={background}");
        assert_eq!(is_first_told, background == "true", "stream={stream}");
        for (name, answer) in all {
            let answer = answer.await.unwrap();
            let told = answer.text.to_uppercase();
            let is_plain = name == "cancel" || name == "repeat" && stream == "true";
            assert!(told.contains("COMPLETED") || is_plain, "{name}: {answer:?}");
        }
        first.await.unwrap();
    }
}

/// A site of components of each kind that ask, and count themselves at work when they have their
/// answer.
fn site_of_clerks(config: EngineConfig) -> Site {
    let witness = Witness::default();
    let clerk = {
        let witness = witness.clone();
        move |ctx: RunContext, _input: Payload| {
            let witness = witness.clone();
            async move {
                ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))?;
                witness.tick("answered", "clerk");
                std::future::pending::<Result<Payload, Failure>>().await
            }
        }
    };
    let catalog = Catalog::new()
        .with(Component::agent("clerk", clerk.clone()).resumable())
        .with(Component::team("office", clerk.clone()).resumable())
        .with(Component::workflow("desk", clerk).resumable());
    let engine = Engine::with_config(config);
    Site::made_of(witness, catalog, engine, Options::default(), Access::open())
}

/// The clerks, each with the field of its answer.
const CLERKS: [(&str, &str); 3] = [
    ("/agents/clerk", "tools"),
    ("/teams/office", "requirements"),
    ("/workflows/desk", "step_requirements"),
];

/// Starts a run that asks, and yields it when it is paused.
async fn asks(site: &Site, path: &str) -> RunRef {
    let run = fresh("run");
    let fields = [("message", "m"), ("run_id", &*run), ("session_id", "s"), ("stream", "false")];
    let asked = site.create(&format!("{path}/runs"), &fields).await;
    assert_eq!(asked.json()["status"], "PAUSED", "{asked:?}");
    let run = site.service.engine().get(parse_id(&run).unwrap()).unwrap();
    run.stored().await.unwrap();
    run
}

/// A client that answers a run.
fn answers(
    site: &Site,
    (path, field): (&str, &'static str),
    run: &RunRef,
    [stream, background]: [&'static str; 2],
) -> JoinHandle<Answer> {
    let run = quell_http::external_id(run).into_owned();
    let (site, path) = (site.clone(), format!("{path}/runs/{run}/continue"));
    tokio::spawn(async move {
        let fields = [(field, "[]"), ("stream", stream), ("background", background)];
        site.create(&path, &fields).await
    })
}

/// Fails if a run that was answered by a client who has left goes on, in the foreground, or does
/// not, in the background.
async fn left(site: &Site, run: &RunRef, background: &str) {
    if background == "true" {
        soon("it works", || !site.witness.get("answered").0.is_empty()).await;
        assert_eq!(run.status(), RunStatus::Running);
        run.cancel(quell::CancelRequest::because("enough"));
        run.quiescent().await;
        return;
    }
    let report = within("it is stopped", run.ended()).await;
    let cause = report.cause.as_ref().map(|cause| cause.kind);
    assert_eq!((report.status, cause), (RunStatus::Cancelled, Some(CauseKind::Disconnected)));
}

const HOW: [[&str; 2]; 4] =
    [["true", "false"], ["false", "false"], ["true", "true"], ["false", "true"]];

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_stored_stops_the_run_if_it_is_of_the_foreground()
{
    for (clerk, how) in CLERKS.iter().flat_map(|clerk| HOW.map(|how| (*clerk, how))) {
        let store = Valve::new(Flow::Open);
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let site = site_of_clerks(config);
        let run = asks(&site, clerk.0).await;
        store.set(Flow::Shut { stops: false });
        let client = answers(&site, clerk, &run, how);
        soon("it has its answer", || run.attempt() == 2).await;
        client.abort();
        assert!(client.await.is_err(), "it has had no answer");
        if how[1] == "false" {
            soon("nobody waits for the store", || run.row().cause.is_some()).await;
        }
        store.set(Flow::Open);
        left(&site, &run, how[1]).await;
        if how[1] == "false" {
            assert!(site.witness.get("answered").0.is_empty(), "{clerk:?} {how:?}: it never works");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_another_node_stores_its_answer_stops_the_run_as_well() {
    for (clerk, how) in CLERKS.iter().zip([HOW[0], HOW[1], HOW[2]]) {
        let nodes = Nodes::new(secs(30));
        let [a, b] = ["a", "b"].map(|name| {
            let node = nodes.join(name);
            let store = Counted::of(Arc::clone(&node) as _);
            let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(node as _);
            (site_of_clerks(config), store)
        });
        let run = asks(&a.0, clerk.0).await;
        a.1.hold(true);
        let client = answers(&b.0, *clerk, &run, how);
        soon("it has its answer", || run.attempt() == 2).await;
        client.abort();
        assert!(client.await.is_err(), "it has had no answer");
        a.1.hold(false);
        left(&a.0, &run, how[1]).await;
    }
}
