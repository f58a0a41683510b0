//! Two sites on two nodes of one store: what is asked of the one about runs of the other.

use std::sync::Arc;

use quell::testing::cluster::{Node, Nodes};
use quell::{Engine, EngineConfig, Failure, Payload, RunContext, RunFilter};
use quell_agentos::{Options, UnknownRuns};
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::Access;
use quell_test_support::{Answer, secs, soon};
use serde_json::{Value, json};

use crate::support::Site;
use crate::support::http::{post_form, read, start};

async fn ask(ctx: RunContext, _input: Payload) -> Result<Payload, Failure> {
    ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))
}

fn site(node: &Arc<Node>, options: Options) -> Site {
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    let catalog = Catalog::new().with(Component::agent("asks", ask).resumable());
    let engine = Engine::with_config(config);
    Site::made_of(Witness::default(), catalog, engine, options, Access::open())
}

fn two() -> (Site, Site) {
    let nodes = Nodes::new(secs(30));
    let site = |name| site(&nodes.join(name), Options::default());
    (site("a"), site("b"))
}

const PATHS: [&str; 4] = [
    "/agents/slow-agent",
    "/teams/slow-team",
    "/workflows/slow-workflow",
    "/workflows/fn-workflow",
];

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

async fn soon_running(site: &Site, path: &str, run: &str) {
    let reads = async {
        loop {
            let answer = site.get(&format!("{path}/runs/{run}?session_id=s")).await;
            if answer.status == 200 && answer.json()["status"] == "RUNNING" {
                return;
            }
            tokio::time::sleep(secs(1) / 500).await;
        }
    };
    quell_test_support::within("it is there", reads).await;
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
            while read(&a, "/agents/asks", &run, "s").await["status"] != "COMPLETED" {
                tokio::time::sleep(secs(1) / 500).await;
            }
        };
        quell_test_support::within("its owner goes on with it", over).await;
        let again = b.create(&path, &form).await;
        assert_eq!(again.status, 409, "it was answered: {again:?}");
    }
    assert!(b.service.engine().runs(&RunFilter::new()).is_empty(), "it stays where it is");
}
