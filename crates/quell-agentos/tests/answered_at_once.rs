//! Two nodes of one store: the same answer through both at one moment, and one that comes as soon
//! as its question is told (contract, section 7).

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use quell::testing::cluster::Nodes;
use quell::{Engine, EngineConfig, Payload, RunContext, RunRef, RunStatus};
use quell_agentos::Options;
use quell_demo::Witness;
use quell_flow::{Catalog, Component};
use quell_http::{Access, parse_id};
use quell_test_support::{Catch, Counted, Gate, secs, soon, within};
use serde_json::json;
use tokio::task::yield_now;
use tower::ServiceExt as _;

use crate::support::http::{Events as _, names, post_form};
use crate::support::{Site, fresh};

const PATH: &str = "/agents/asks/runs";

const YES: (&str, &str) = ("tools", r#"[{"tool_call_id": "q", "confirmed": true}]"#);

const NO: (&str, &str) = ("tools", r#"[{"tool_call_id": "q2", "confirmed": true}]"#);

/// Two sites, each with its store. What they have asks when the gate is open.
fn two(gate: &Gate) -> [(Site, Arc<Counted>); 2] {
    let nodes = Nodes::new(secs(30));
    ["a", "b"].map(|name| {
        let (node, gate) = (nodes.join(name), gate.clone());
        let body = move |ctx: RunContext, _input: Payload| {
            let gate = gate.clone();
            async move {
                while !gate.is_open() {
                    yield_now().await;
                }
                let asked = json!({ "tools": [{ "tool_call_id": "q", "tool_name": "rm" }] });
                ctx.resumed_with().ok_or_else(|| ctx.pause(Payload::from(asked)))
            }
        };
        let catalog = Catalog::new().with(Component::agent("asks", body).resumable());
        let store = Counted::of(Arc::clone(&node) as _);
        let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(node as _);
        let (engine, options) = (Engine::with_config(config), Options::default());
        (Site::made_of(Witness::default(), catalog, engine, options, Access::open()), store)
    })
}

fn run_of(site: &Site, run: &str) -> Option<RunRef> {
    site.service.engine().get(parse_id(run).unwrap())
}

#[tokio::test]
async fn the_same_answer_at_one_moment_is_answered_as_one_that_comes_later() {
    let gate = Gate::new();
    gate.open();
    let [(a, _), (b, store)] = two(&gate);
    for (stream, background) in [("false", "false"), ("true", "false"), ("false", "true")] {
        let run = fresh("run");
        let fields = [("message", "m"), ("run_id", &*run), ("stream", "false")];
        assert_eq!(a.create(PATH, &fields).await.json()["status"], "PAUSED");
        let (path, how) = (format!("{PATH}/{run}/continue"), [("stream", stream)]);
        let fields = [&[YES, ("background", background)], &how[..]].concat();
        let caught = store.caught();
        store.catch_gets(Catch::Answered);
        let second = tokio::spawn({
            let (b, request) = (b.clone(), post_form(&path, &fields));
            async move { b.send(request).await }
        });
        soon("it has found the run paused", || store.caught() > caught).await;
        store.catch_gets(None);
        let first = a.create(&path, &fields).await;
        store.let_gets_go();
        let second = within("it is answered", second).await.unwrap();
        assert!(first.status.is_success(), "{first:?}");
        assert_eq!(second.status, first.status, "{second:?}");
        match (stream, background) {
            ("true", _) => assert_eq!(names(&second.events()), names(&first.events())),
            (_, "true") => assert_eq!(second.json()["run_id"], run),
            _ => assert_eq!(second.text, first.text),
        }
        let other = b.create(&path, &[NO, ("stream", "false")]).await;
        assert_eq!(other.status, 409, "that is no answer to it: {other:?}");
    }
}

#[tokio::test]
async fn a_question_that_is_told_can_be_answered_through_another_node() {
    for (stream, background) in [("true", "true"), ("true", "false"), ("false", "false")] {
        let gate = Gate::new();
        let [(a, store), (b, _)] = two(&gate);
        let run = fresh("run");
        let fields = [("message", "m"), ("run_id", &*run), ("stream", stream)];
        let fields = [&fields[..], &[("background", background)]].concat();
        let request = post_form(PATH, &fields);
        let app = a.app.clone();
        let mut told = Box::pin(
            async move {
                let body = app.oneshot(request).await.unwrap().into_body();
                body.into_data_stream().map(|chunk| String::from_utf8(chunk.unwrap().into()))
            }
            .flatten_stream(),
        );
        let mut all = String::new();
        let mut read = async |until: &dyn Fn(&str) -> bool| {
            while !until(&all)
                && let Some(Some(text)) = told.next().now_or_never()
            {
                all.push_str(&text.unwrap());
            }
            yield_now().await;
            all.contains("PAUSED") || all.contains("Paused")
        };
        let status = || run_of(&a, &run).map(|run| run.status());
        while status() != Some(RunStatus::Running) {
            assert!(!read(&|_| false).await);
        }
        run_of(&a, &run).unwrap().stored().await.unwrap();
        store.hold(true);
        gate.open();
        while status() != Some(RunStatus::Paused) {
            assert!(!read(&|_| false).await);
        }
        for _ in 0..100 {
            assert!(!read(&|_| false).await, "it is told before it is stored: {stream}");
        }
        store.hold(false);
        let is_told = async { while !read(&|all| all.contains("aused")).await {} };
        within("it is told when it is stored", is_told).await;
        let answer = [YES, ("stream", "false")];
        let answer = b.create(&format!("{PATH}/{run}/continue"), &answer).await;
        assert_eq!(answer.json()["status"], "COMPLETED", "{answer:?}");
    }
}
