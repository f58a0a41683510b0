//! Two services on two nodes of one store: pauses, answers and new limits of runs of the other one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures::StreamExt as _;
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{Engine, EngineConfig, Failure, Payload, Recovery, RunContext, RunStatus, Shutdown};
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, Service, parse_id, router};
use quell_test_support::{Answer, ms, secs, within};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{JSON, get, post, send, start};

/// Asks what its input says, and yields the answer with the number of the attempt.
async fn clerk(ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    match ctx.resumed_with() {
        None => Err(ctx.pause(input)),
        Some(answer) => Ok(json!({ "answer": answer, "attempt": ctx.attempt() }).into()),
    }
}

/// Passes checkpoints until it is resumed.
async fn plod(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    loop {
        if let Some(answer) = ctx.resumed_with() {
            return Ok(answer);
        }
        ctx.checkpoint()?;
        tokio::time::sleep(ms(1)).await;
    }
}

struct Process {
    node: Arc<Node>,
    service: Service,
    app: Router,
}

impl Process {
    fn join(nodes: &Nodes, name: &str) -> Self {
        let node = nodes.join(name);
        let config = EngineConfig::new().node(Arc::clone(&node)).control_on_runtime();
        let catalog = Catalog::new()
            .with(Component::agent("clerk", clerk).resumable())
            .with(Component::agent("plodder", plod).resumable())
            .with(Component::agent("firm", plod));
        let service = Service::new(Engine::with_config(config), catalog);
        Self { app: router(service.clone()), node, service }
    }

    async fn stored(&self, id: &str) {
        self.service.engine().get(parse_id(id).unwrap()).unwrap().stored().await.unwrap();
    }
}

fn two() -> (Process, Process) {
    let nodes = Nodes::new(secs(15));
    (Process::join(&nodes, "a"), Process::join(&nodes, "b"))
}

/// Waits until a run has a status, and yields it.
async fn has(app: &Router, id: &str, status: &str) -> Value {
    let comes = async {
        loop {
            let run = get(app, &format!("/v1/runs/{id}")).await.json();
            if run["status"] == status {
                return run;
            }
            tokio::time::sleep(ms(5)).await;
        }
    };
    within(status, comes).await
}

async fn resume(app: &Router, id: &str, body: &Value) -> Answer {
    post(app, &format!("/v1/runs/{id}/resume"), body).await
}

/// What a problem is, and what it says.
fn told(answer: &Answer) -> (u16, String, String) {
    let (problem, text) = (answer.json(), |value: &Value| value.as_str().unwrap().to_owned());
    let kind = text(&problem["type"]).replace("urn:quell:problem:", "");
    (answer.status.as_u16(), kind, text(&problem["detail"]))
}

/// Whoever reads it comes back, here or elsewhere: the run waits for its answer still.
#[tokio::test(start_paused = true)]
async fn the_stream_of_a_run_that_a_drain_leaves_paused_is_cut() {
    let (a, b) = two();
    for id in ["near", "far"] {
        start(&a.app, "clerk", id, json!("may I?")).await;
        has(&a.app, id, "paused").await;
        a.stored(id).await;
    }
    for (process, id) in [(&b, "far"), (&a, "near")] {
        let request = Request::get(format!("/v1/runs/{id}/events")).body(Body::empty()).unwrap();
        let answer = process.app.clone().oneshot(request).await.unwrap();
        let mut told = answer.into_body().into_data_stream();
        within("it begins", told.next()).await.unwrap().unwrap();
        process.service.drain();
        process.service.engine().shutdown(Shutdown::default()).await;
        let last = within("it is over", told.collect::<Vec<_>>()).await;
        assert!(last.last().is_some_and(Result::is_err), "{id}: {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t6_a_run_of_another_node_is_answered_through_this_one() {
    let (a, b) = two();
    start(&a.app, "clerk", "r", json!("may I?")).await;
    has(&a.app, "r", "paused").await;
    a.stored("r").await;
    let asks = has(&b.app, "r", "paused").await;
    assert_eq!(
        (&asks["pause"]["request"], &asks["pause"]["attempt"]),
        (&json!("may I?"), &json!(1))
    );
    let near = has(&a.app, "r", "paused").await;
    assert_eq!((&asks["node"], &near["node"]), (&json!("a"), &json!("a")));
    let other = resume(&b.app, "r", &json!({ "answer": "no", "attempt": 4 })).await;
    assert_eq!((told(&other).0, &*told(&other).1), (409, "other-attempt"));
    let answer = resume(&b.app, "r", &json!({ "answer": { "yes": 1.50 }, "attempt": 1 })).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["attempt"]), (200, &json!(2)));
    let done = has(&a.app, "r", "completed").await;
    assert_eq!(done["output"], json!({ "answer": { "yes": 1.50 }, "attempt": 2 }));
    a.stored("r").await;
    let over = resume(&b.app, "r", &json!({ "answer": 1 })).await;
    assert_eq!(told(&over), (409, "not-paused".into(), "the run is completed, not paused".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_to_a_step_of_a_plan_is_refused_here_and_for_a_run_of_another_node() {
    let (a, b) = two();
    let asks = json!({ "step": "ok", "ask": "go?", "approve": true });
    start(&a.app, "clerk", "r", asks.clone()).await;
    has(&a.app, "r", "paused").await;
    a.stored("r").await;
    for app in [&a.app, &b.app] {
        for wrong in [json!("maybe"), json!({}), json!(null), json!(1)] {
            for body in [json!({ "answer": wrong }), json!({ "answer": wrong, "attempt": 1 })] {
                let said = "the step `ok` waits for `yes` or `no`, and it still does";
                assert_eq!(
                    told(&resume(app, "r", &body).await),
                    (422, "no-answer".into(), said.into()),
                    "{body}"
                );
            }
            let other = resume(app, "r", &json!({ "answer": wrong, "attempt": 2 })).await;
            assert_eq!((told(&other).0, &*told(&other).1), (409, "other-attempt"));
        }
        let pause = has(app, "r", "paused").await["pause"].clone();
        assert_eq!((&pause["request"], &pause["attempt"]), (&asks, &json!(1)));
    }
    assert_eq!(resume(&b.app, "r", &json!({ "answer": false })).await.status.as_u16(), 200);
    let done = has(&a.app, "r", "completed").await;
    assert_eq!(done["output"], json!({ "answer": false, "attempt": 2 }));

    // Of a component, in a form of its own.
    start(&a.app, "clerk", "own", json!({ "ask": "go?", "approve": true })).await;
    has(&a.app, "own", "paused").await;
    a.stored("own").await;
    let answer = json!({ "answer": { "maybe": 1 } });
    assert_eq!(resume(&b.app, "own", &answer).await.status.as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_another_node_that_has_no_body_for_it_names_that_node() {
    let nodes = Nodes::new(secs(15));
    let (before, b) = (Process::join(&nodes, "a"), Process::join(&nodes, "b"));
    start(&before.app, "clerk", "r", json!("may I?")).await;
    has(&before.app, "r", "paused").await;
    before.stored("r").await;
    // Its process is gone, and the next one of its name does not go on with it.
    let a = Process::join(&nodes, "a");
    a.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    let (kind, answer) = ("not-resumable".to_owned(), json!({ "answer": "yes" }));
    let far = "node `a` has the run, which an earlier process had paused, and has no body for it";
    assert_eq!(told(&resume(&b.app, "r", &answer).await), (409, kind.clone(), far.into()));
    let near = "run was paused by an earlier process, and the one that has it has no body for it";
    assert_eq!(told(&resume(&a.app, "r", &answer).await), (409, kind, near.into()));
    assert_eq!(has(&b.app, "r", "paused").await["pause"]["request"], "may I?");
}

#[tokio::test(start_paused = true)]
async fn t5_a_run_of_another_node_is_paused_through_this_one() {
    let (a, b) = two();
    for id in ["plodder", "firm"] {
        start(&a.app, id, id, Value::Null).await;
        has(&a.app, id, "running").await;
        a.stored(id).await;
    }
    let pause = json!({ "request": "wait", "expires_in_ms": 60_000 });
    let asked = post(&b.app, "/v1/runs/plodder/pause", &pause).await;
    assert!(asked.status.is_success(), "{asked:?}");
    let paused = has(&a.app, "plodder", "paused").await;
    assert_eq!(paused["pause"]["request"], "wait");
    assert!(paused["pause"]["expires_at"].is_string());
    a.stored("plodder").await;
    let again = post(&b.app, "/v1/runs/plodder/pause", &pause).await;
    assert_eq!((again.status.as_u16(), &again.json()["status"]), (200, &json!("paused")));
    let firm = post(&b.app, "/v1/runs/firm/pause", &json!({})).await;
    assert_eq!((told(&firm).0, &*told(&firm).1), (409, "not-resumable"));
    resume(&b.app, "plodder", &json!({ "answer": 7 })).await;
    assert_eq!(has(&b.app, "plodder", "completed").await["output"], json!(7));
}

#[tokio::test(start_paused = true)]
async fn i10_a_run_of_another_node_has_its_limits_changed_through_this_one() {
    let (a, b) = two();
    start(&a.app, "firm", "r", Value::Null).await;
    has(&a.app, "r", "running").await;
    a.stored("r").await;
    let limits = async |ms: u64| {
        let body = json!({ "timeout_ms": ms }).to_string();
        send(&b.app, "PATCH", "/v1/runs/r", &[JSON], body).await
    };
    let longer = limits(600_000).await.json();
    assert_eq!((&longer["outcome"], &longer["status"]), (&json!("changed"), &json!("running")));
    assert!(longer["deadline_in_ms"].as_u64().unwrap() > 590_000, "{longer}");
    let over = limits(0).await.json();
    assert_eq!((&over["outcome"], &over["status"]), (&json!("exceeded"), &json!("stopping")));
    has(&b.app, "r", "timed-out").await;
    assert_eq!(told(&limits(1).await).1, "run-ended");
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_node_has_not_taken_is_told_to_be_not_decided_and_changes_nothing() {
    let (a, b) = two();
    start(&a.app, "clerk", "r", json!("may I?")).await;
    has(&a.app, "r", "paused").await;
    a.stored("r").await;
    a.node.trouble(Trouble::All);
    let limits = json!({ "timeout_ms": 1 }).to_string();
    for (method, path, body) in [
        ("POST", "/v1/runs/r/pause", json!({}).to_string()),
        ("POST", "/v1/runs/r/resume", json!({ "answer": 1 }).to_string()),
        ("PATCH", "/v1/runs/r", limits),
    ] {
        let refused = send(&b.app, method, path, &[JSON], body).await;
        let (status, kind, words) = told(&refused);
        assert_eq!((status, &*kind), (503, "not-decided"));
        assert_eq!(words, "node `a` has the run, and is silent: nothing has changed, ask again");
    }
    a.node.trouble(Trouble::None);
    tokio::time::sleep(secs(5)).await;
    let run = a.service.engine().get(parse_id("r").unwrap()).unwrap();
    assert_eq!((run.status(), run.attempt()), (RunStatus::Paused, 1));
    b.node.trouble(Trouble::All);
    let refused = resume(&b.app, "r", &json!({ "answer": 1 })).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    b.node.trouble(Trouble::None);
    assert_eq!(resume(&b.app, "r", &json!({ "answer": 1 })).await.status, 200);
    has(&b.app, "r", "completed").await;
}

#[tokio::test(start_paused = true)]
async fn who_may_not_resume_a_run_does_not_through_another_node_either() {
    let (a, b) = two();
    let guarded = |process: &Process| {
        let access = Access::open().key(Key::new("ada", "of-ada")).key(Key::new("ben", "of-ben"));
        router(process.service.clone().access(access))
    };
    let (a_app, b_app) = (guarded(&a), guarded(&b));
    let with = |key: &'static str| [JSON, ("authorization", key)];
    let body = r#"{"component": "agent/clerk", "id": "r", "input": "may I?"}"#;
    let made = send(&a_app, "POST", "/v1/runs", &with("Bearer of-ada"), body).await;
    assert!(made.status.is_success(), "{made:?}");
    let run = a.service.engine().get(parse_id("r").unwrap()).unwrap();
    within("it asks", run.paused()).await;
    let answer = || json!({ "answer": 1 }).to_string();
    let path = "/v1/runs/r/resume";
    let ben = send(&b_app, "POST", path, &with("Bearer of-ben"), answer()).await;
    assert_eq!((ben.status.as_u16(), run.status()), (404, RunStatus::Paused));
    let ada = send(&b_app, "POST", path, &with("Bearer of-ada"), answer()).await;
    assert_eq!(ada.status, 200, "{ada:?}");
}
