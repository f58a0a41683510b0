//! Two sites on two nodes of one store: what is asked of the one about runs of the other.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::Request;
use quell::store::{Epoch, Record, Store};
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    Engine, EngineConfig, EventKind, Failure, Payload, Recovery, RunContext, RunEvent, RunFilter,
};
use quell_agentos::{Options, UnknownRuns};
use quell_demo::Witness;
use quell_flow::{Catalog, Component, OnWorkerLost};
use quell_http::{Access, parse_id};
use quell_test_support::{Answer, secs, soon, within};
use serde_json::{Value, json};

use crate::support::Site;
use crate::support::http::{Events as _, names, post_form, read, start};

async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))
}

/// Asks, and does nothing more when it has its answer.
async fn ask_and_stay(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    ask(ctx, input).await?;
    std::future::pending().await
}

/// Asks in its second attempt, and does nothing in the first one.
async fn ask_later(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    if ctx.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    ask(ctx, input).await
}

pub(crate) fn site(node: &Arc<Node>, options: Options) -> Site {
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    let later = Component::agent("later", ask_later).resumable();
    let catalog = Catalog::new()
        .with(Component::agent("asks", ask).resumable())
        .with(Component::agent("stays", ask_and_stay).resumable())
        .with(crate::nodes_trees::parts())
        .with(later.on_worker_lost(OnWorkerLost::Continue));
    let engine = Engine::with_config(config);
    Site::made_of(Witness::default(), catalog, engine, options, Access::open())
}

pub(crate) fn two() -> (Site, Site) {
    let nodes = Nodes::new(secs(30));
    let site = |name| site(&nodes.join(name), Options::default());
    (site("a"), site("b"))
}

pub(crate) const PATHS: [&str; 4] = [
    "/agents/slow-agent",
    "/teams/slow-team",
    "/workflows/slow-workflow",
    "/workflows/fn-workflow",
];

/// agno #8360: a cancel at another worker is a 200 there, and does nothing.
#[tokio::test]
async fn a_run_of_another_node_is_read_and_cancelled() {
    let (a, b) = two();
    for path in PATHS {
        let probe = path.rsplit('/').next().unwrap();
        let message = format!("ticks=100000 tick_ms=2 probe={probe}");
        let run = start(&a, path, &message, "s").await;
        a.at_work(probe, 1).await;
        soon_running(&b, path, &run).await;
        let answer = b.post(&format!("{path}/runs/{run}/cancel?wait=quiescent")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})), "{path}");
        for (name, value) in [
            ("quell-disposition", "accepted"),
            ("quell-cause", "user-request"),
            ("quell-quiescent", "true"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let before = a.witness.get(probe).0;
        tokio::time::sleep(secs(1) / 5).await;
        assert_eq!(a.witness.get(probe).0, before, "nothing ticks any more");
        let told = read(&b, path, &run, "s").await;
        assert_eq!(told, read(&a, path, &run, "s").await, "{path}");
        assert_eq!(told["status"], "CANCELLED");
        let over = b.post(&format!("{path}/runs/{run}/cancel")).await;
        assert_eq!(over.header("quell-disposition"), "already-terminal");
    }
    let none = b.post("/agents/slow-agent/runs/nobodys/cancel").await;
    assert_eq!(none.status, 404);
}

pub(crate) async fn soon_running(site: &Site, path: &str, run: &str) {
    let reads = async {
        loop {
            let answer = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
            if answer.status == 200 && answer.json()["status"] == "RUNNING" {
                return;
            }
            tokio::time::sleep(secs(1) / 500).await;
        }
    };
    within("it is there", reads).await;
}

#[tokio::test]
async fn a_stop_that_a_silent_node_has_not_decided_is_told_with_its_run() {
    let nodes = Nodes::new(secs(30));
    let node = nodes.join("a");
    let (a, b) = (site(&node, Options::default()), site(&nodes.join("b"), Options::default()));
    let run = start(&a, PATHS[0], "ticks=100000 tick_ms=2", "s").await;
    soon_running(&b, PATHS[0], &run).await;
    node.trouble(Trouble::All);
    let answer = b.post(&format!("{}/runs/{run}/cancel", PATHS[0])).await;
    assert_eq!((answer.status.as_u16(), answer.header("quell-disposition")), (200, "recorded"));
    // It may still complete: it reads as it stands.
    let told = read(&b, PATHS[0], &run, "s").await;
    let (status, quell) = (&told["status"], &told["quell"]);
    let seen = (status, &quell["status"], &quell["cause"]["kind"]);
    assert_eq!(seen, (&json!("RUNNING"), &json!("running"), &json!("user-request")));
    assert!(quell["recorded_at"].is_string(), "{quell}");
    node.trouble(Trouble::None);
    soon_read(&b, PATHS[0], &run, "CANCELLED").await;
    let told = read(&b, PATHS[0], &run, "s").await;
    assert_eq!(told["quell"].get("recorded_at"), None);
}

#[tokio::test]
async fn a_stop_is_not_remembered_for_a_run_that_another_node_has() {
    let nodes = Nodes::new(secs(30));
    let mut options = Options::default();
    options.unknown_runs = UnknownRuns::Remember;
    let (a, b) = (site(&nodes.join("a"), Options::default()), site(&nodes.join("b"), options));
    let run = start(&a, PATHS[0], "ticks=100000 tick_ms=2 probe=p", "s").await;
    soon_running(&b, PATHS[0], &run).await;
    let answer = b.post(&format!("{}/runs/{run}/cancel?wait=true", PATHS[0])).await;
    assert_eq!(answer.header("quell-disposition"), "accepted");
    assert_eq!(read(&a, PATHS[0], &run, "s").await["status"], "CANCELLED");
}

#[tokio::test]
async fn a_stop_that_one_node_remembers_ends_the_run_that_another_one_starts() {
    let nodes = Nodes::new(secs(30));
    let mut options = Options::default();
    options.unknown_runs = UnknownRuns::Remember;
    let (a, b) = (site(&nodes.join("a"), options.clone()), site(&nodes.join("b"), options));
    for path in PATHS {
        let (run, probe) = (crate::support::fresh("run"), path.rsplit('/').next().unwrap());
        let answer = b.post(&format!("{path}/runs/{run}/cancel")).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        assert_eq!(answer.header("quell-disposition"), "reserved", "{path}");
        let message = format!("ticks=100000 tick_ms=2 probe={probe}");
        let form = [("message", &*message), ("stream", "false"), ("session_id", "s")];
        let form = form.into_iter().chain([("run_id", &*run)]).collect::<Vec<_>>();
        a.send(post_form(&format!("{path}/runs"), &form)).await;
        let id = parse_id(&run).unwrap();
        let root = a.service.engine().get(id).unwrap();
        assert_eq!(root.ended().await.status, quell::RunStatus::Cancelled, "{path}");
        assert!(a.witness.get(probe).0.is_empty(), "it never ran: {path}");
        soon("its stop is answered", || root.report().quiescent).await;
        let again = b.post(&format!("{path}/runs/{run}/cancel?session_id=s")).await;
        assert_eq!(again.header("quell-disposition"), "already-terminal", "{path}");
    }
}

/// Sends one request to both, to the second one while the run of the first one works.
async fn repeated(a: &Site, b: &Site, path: &str, form: &[(&str, &str)], key: &str) -> [Answer; 2] {
    let request = || {
        let mut request = post_form(&format!("{path}/runs"), form);
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        request
    };
    let first = tokio::spawn({
        let (a, request) = (a.clone(), request());
        async move { a.send(request).await }
    });
    let live = || a.service.engine().runs(&RunFilter::new().roots().live());
    soon("it is made", || live().len() == 1).await;
    live()[0].accepted().await.unwrap();
    let again = b.send(request()).await;
    let first = first.await.unwrap();
    soon("it is over", || live().is_empty()).await;
    [first, again]
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_by_the_node_that_has_its_run() {
    let (a, b) = two();
    for path in PATHS {
        for (stream, background) in [("true", "false"), ("false", "false"), ("false", "true")] {
            let run = crate::support::fresh("run");
            let form = [
                ("message", "ticks=20 tick_ms=10"),
                ("stream", stream),
                ("background", background),
                ("session_id", "s"),
                ("run_id", &*run),
            ];
            let [first, again] = repeated(&a, &b, path, &form, &run).await;
            assert_eq!(first.status, again.status, "{path} {stream}: {again:?}");
            if background == "true" {
                // What was started answers at once, with how the run is by then.
                assert_eq!(first.json()["run_id"], again.json()["run_id"], "{path}");
                assert!(["PENDING", "RUNNING"].contains(&again.json()["status"].as_str().unwrap()));
            } else {
                assert_eq!(first.text, again.text, "{path} {stream}");
            }
        }
    }
    assert!(b.service.engine().runs(&RunFilter::new()).is_empty(), "none was made there");
}

#[tokio::test]
async fn an_id_that_another_node_has_is_in_use() {
    let (a, b) = two();
    let run = start(&a, PATHS[0], "ticks=100000 tick_ms=2 probe=q", "s").await;
    let form = [("message", "hi"), ("stream", "false"), ("session_id", "s"), ("run_id", &*run)];
    let [near, far] = [a.create(&format!("{}/runs", PATHS[0]), &form).await, {
        b.create(&format!("{}/runs", PATHS[0]), &form).await
    }];
    assert_eq!((near.status, near.json()), (far.status, far.json()));
    assert!(!far.status.is_success());
}

#[tokio::test]
async fn t6_a_run_of_another_node_continues_with_an_answer() {
    let (a, b) = two();
    for (nth, (stream, background)) in
        [("false", "false"), ("true", "false"), ("false", "true")].into_iter().enumerate()
    {
        let run = format!("r{nth}");
        let form = [("message", "hi"), ("stream", "false"), ("session_id", "s"), ("run_id", &*run)];
        let asked = a.create("/agents/asks/runs", &form).await;
        assert_eq!(asked.json()["status"], "PAUSED", "{asked:?}");
        let told: Value = read(&b, "/agents/asks", &run, "s").await;
        assert_eq!(told, asked.json());
        let form =
            [("tools", "[]"), ("stream", stream), ("background", background), ("session_id", "s")];
        let path = format!("/agents/asks/runs/{run}/continue");
        let answer = b.create(&path, &form).await;
        match (stream, background) {
            ("true", _) => {
                let names = answer.text.lines().filter_map(|line| line.strip_prefix("event: "));
                let names: Vec<_> = names.collect();
                assert_eq!(names.first(), Some(&"RunContinued"), "{answer:?}");
                assert!(!names.contains(&"RunPaused"), "{names:?}");
                assert!(names.contains(&"RunCompleted"), "{names:?}");
            }
            (_, "true") => assert_eq!(answer.status, 202),
            _ => assert_eq!(answer.json()["status"], "COMPLETED", "{answer:?}"),
        }
        let over = async {
            // As it is in the store: until then the answer counts as one that is sent again.
            while read(&b, "/agents/asks", &run, "s").await["status"] != "COMPLETED" {
                tokio::time::sleep(secs(1) / 500).await;
            }
        };
        within("its owner goes on with it", over).await;
        let again = b.create(&path, &form).await;
        assert!(again.status.is_success(), "it has this answer: {again:?}");
        let contrary = b.create(&path, &[("tools", "[1]"), ("session_id", "s")]).await;
        assert_eq!(contrary.status, 409, "it has another one: {contrary:?}");
    }
    assert!(b.service.engine().runs(&RunFilter::new()).is_empty(), "it stays where it is");
}

/// A request to follow a run in the background, which is the same each time.
pub(crate) fn followed(path: &str, run: &str) -> Request<Body> {
    followed_at(path, run, "hi")
}

/// As [`followed`], of a run with this message.
pub(crate) fn followed_at(path: &str, run: &str, message: &str) -> Request<Body> {
    let form = [
        ("message", message),
        ("stream", "true"),
        ("background", "true"),
        ("session_id", "s"),
        ("run_id", run),
    ];
    let mut request = post_form(&format!("{path}/runs"), &form);
    request.headers_mut().insert("idempotency-key", run.parse().unwrap());
    request
}

pub(crate) async fn soon_read(site: &Site, path: &str, run: &str, status: &str) {
    let reads = async {
        loop {
            let answer = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
            if answer.status == 200 && answer.json()["status"] == status {
                return;
            }
            tokio::time::sleep(secs(1) / 500).await;
        }
    };
    within(status, reads).await;
}

#[tokio::test]
async fn a_stream_through_another_node_passes_by_a_pause_that_was_answered() {
    let (a, b) = two();
    let path = "/agents/stays";
    let first = a.send(followed(path, "r")).await;
    assert_eq!(names(&first.events()).last(), Some(&"RunPaused"), "{first:?}");
    let form = [("tools", "[]"), ("stream", "false"), ("background", "true"), ("session_id", "s")];
    assert_eq!(a.create(&format!("{path}/runs/r/continue"), &form).await.status, 202);
    soon_read(&b, path, "r", "RUNNING").await;
    // It works still: nothing of this waits for its end.
    let near = a.follow(followed(path, "r")).await.until("RunContinued").await;
    let far = b.follow(followed(path, "r")).await.until("RunContinued").await;
    assert_eq!(names(&far), names(&near));
    assert!(names(&far).contains(&"RunPaused"), "{far:?}");
    let over = b.post(&format!("{path}/runs/r/cancel?wait=true")).await;
    assert_eq!(over.status, 200);
}

#[tokio::test]
async fn a_stream_ends_with_what_an_attempt_asks_that_goes_on_after_a_loss() {
    let nodes = Nodes::new(secs(30));
    let [first, b] = ["a", "b"].map(|name| site(&nodes.join(name), Options::default()));
    let path = "/agents/later";
    let follows = |site: &Site| {
        let (site, request) = (site.clone(), followed(path, "r"));
        tokio::spawn(async move { site.send(request).await })
    };
    let made = follows(&first);
    soon_read(&b, path, "r", "RUNNING").await;
    let early = follows(&b);
    tokio::time::sleep(secs(1) / 5).await;
    // Its process is gone, and the next one has its name.
    let node = nodes.join("a");
    let a = site(&node, Options::default());
    let port: Arc<dyn Store> = Arc::clone(&node) as _;
    let decide = |run: &_| a.service.catalog().recovery(run, &port).unwrap_or(Recovery::Fail);
    assert_eq!(a.service.engine().recover(decide).await.unwrap().resumed.len(), 1);
    soon_read(&b, path, "r", "PAUSED").await;
    for stream in [early, follows(&a), follows(&b)] {
        let told = within("it ends with the pause", stream).await.unwrap();
        assert_eq!(names(&told.events()).last(), Some(&"RunPaused"), "{told:?}");
    }
    for site in [&a, &b] {
        let path = format!("{path}/runs/r/resume");
        let behind = site.create(&path, &[("last_event_index", "0")]);
        let told = within("one of who comes back, too", behind).await;
        assert_eq!(names(&told.events()).last(), Some(&"RunPaused"), "{told:?}");
    }
    made.abort();
}

#[tokio::test]
async fn a_gap_is_told_through_another_node_too() {
    let nodes = Nodes::new(secs(30));
    let of_a = nodes.join("a");
    let (a, b) = (site(&of_a, Options::default()), site(&nodes.join("b"), Options::default()));
    let path = "/agents/stays";
    a.send(followed(path, "r")).await;
    let form = [("tools", "[]"), ("stream", "false"), ("background", "true"), ("session_id", "s")];
    assert_eq!(a.create(&format!("{path}/runs/r/continue"), &form).await.status, 202);
    soon_read(&b, path, "r", "RUNNING").await;
    let run = a.service.engine().get(parse_id("r").unwrap()).unwrap();
    run.stored().await.unwrap();
    let last = quell_http::events_by_now(&run, 0).last().unwrap().seq;
    // As if the store had been in trouble for the event that comes next.
    let lagged = EventKind::Lagged { from: last + 1, to: last + 1 };
    let event = RunEvent::new(0, run.id(), run.id(), SystemTime::now(), lagged);
    let epoch = Epoch::new(of_a.boot(), 1);
    of_a.append(vec![Record::Event { epoch, event }]).await.unwrap();
    let cancelled = b.post(&format!("{path}/runs/r/cancel?wait=true")).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let told = within("it ends", b.send(followed(path, "r"))).await.events();
    let gap = told.iter().find(|event| event["event"] == "lagged");
    assert_eq!(gap.map(|gap| &gap["missed_events"]), Some(&json!(1)), "{told:?}");
    assert_eq!(names(&told).last(), Some(&"RunCancelled"), "{told:?}");
}
