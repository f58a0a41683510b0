//! The steps of graphs that have nodes, as streams tell them, and to whom.

use quell::EngineConfig;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::within;
use serde_json::{Value, json};

use crate::nodes::{stored, two};
use crate::steps::{all_done, history, logs, of, state, steps};
use crate::talk::{Says as _, Server};
use crate::threads::{delete, row};

#[tokio::test]
async fn nobody_starts_on_a_state_of_another_thread_or_owner() {
    let access = Access::open().key(Key::new("ada", "a")).key(Key::new("ben", "b"));
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let [ada, ben] = ["a", "b"].map(|key| server.saying("x-api-key", key));
    let (hers, his) = (ada.thread().await, ben.thread().await);
    steps(&ada, &hers, json!({ "input": { "ms": 5, "text": "secret" } })).await;
    steps(&ben, &his, json!({ "input": { "ms": 5 } })).await;
    for state in history(&ada, &hers).await {
        let id = &state["checkpoint_id"];
        let body = json!({ "assistant_id": "steps", "checkpoint_id": id });
        let told = ben.post(&format!("/threads/{his}/runs"), &body).await.detail();
        let words = format!("Checkpoint {} not found in thread {his}", id.as_str().unwrap());
        assert_eq!(told, (404, words.clone()));
        let told = ben.post(&format!("/threads/{hers}/runs"), &body).await;
        assert_eq!(told.status, 404);
        let change = json!({ "values": {}, "checkpoint_id": id });
        assert_eq!(ben.post(&format!("/threads/{his}/state"), &change).await.status, 404);
        let path = format!("/threads/{his}/state/{}", id.as_str().unwrap());
        assert_eq!(ben.get(&path).await.detail(), (404, words));
    }
}

#[tokio::test]
async fn a_live_run_shows_its_steps_and_the_streams_tell_them() {
    let (a, b) = two();
    let thread = a.thread().await;
    let run =
        a.start(&thread, "steps", json!({ "ms": 60_000, "chunk_ms": 5, "tag": "live" })).await;
    a.until_ticking("live").await;
    stored(&a, &run).await;
    for server in [&a, &b] {
        within("its step is there", async {
            while state(server, &thread).await["next"] != json!(["slow"]) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(logs(&history(server, &thread).await), all_done()[2..]);
        assert_eq!(row(server, &thread).await["status"], "busy");
    }
    assert_eq!(delete(&a, &run).await.status, 204);
    let thread = a.thread().await;
    let body = json!({ "assistant_id": "steps", "input": { "ms": 5, "chunk_ms": 5 },
        "interrupt_before": ["after"], "stream_resumable": true,
        "stream_mode": ["updates", "values", "tasks", "checkpoints", "debug"] });
    let told = a.post(&format!("/threads/{thread}/runs/stream"), &body).await;
    let events = told.events();
    let states = history(&a, &thread).await;
    let of_mode = |mode: &str| -> Vec<Value> {
        events.iter().filter(|(name, _)| name == mode).map(|(_, data)| data.clone()).collect()
    };
    for (left, state) in of_mode("checkpoints").iter().zip(states.iter().rev().skip(1)) {
        let named = &left["config"]["configurable"];
        assert_eq!(named["checkpoint_id"], state["checkpoint_id"]);
        for key in ["values", "next"] {
            assert_eq!(left[key], state[key]);
        }
        assert_eq!(left["metadata"]["step"], state["metadata"]["step"]);
        let ids = |of: &Value| {
            of["tasks"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(left), ids(state));
    }
    assert_eq!(of_mode("checkpoints").len(), 3);
    let tasks = of_mode("tasks");
    assert_eq!(of(&tasks, "name"), ["before", "before", "slow", "slow"].map(Value::from));
    assert_eq!(tasks[0]["id"], tasks[1]["id"]);
    assert_eq!(tasks[1]["result"], json!({ "log": ["before"] }));
    let kinds = of(&of_mode("debug"), "type");
    // As every node tells it: stores keep whole milliseconds.
    for told in of_mode("debug") {
        assert!(told["timestamp"].as_str().unwrap().ends_with("000+00:00"), "{told}");
    }
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str().unwrap()).collect();
    let once = ["checkpoint", "task", "task_result"];
    assert_eq!(kinds, [&once[..], &once[..], &once[..1]].concat());
    assert_eq!(of_mode("updates").last(), Some(&json!({ "__interrupt__": [] })));
    // Before the first node the graph has changed nothing.
    let mut at_once = body.clone();
    (at_once["interrupt_before"], at_once["stream_mode"]) = ("*".into(), json!(["updates"]));
    let told = a.post(&format!("/threads/{}/runs/stream", a.thread().await), &at_once).await;
    let held = ("updates".to_owned(), json!({ "__interrupt__": [] }));
    assert_eq!(told.events()[1..], [held], "{told:?}");
    let ids: Vec<_> = told.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}
