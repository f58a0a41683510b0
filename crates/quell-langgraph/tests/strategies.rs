//! What becomes of the live runs of a thread when a new one is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quell::EngineConfig;
use quell::store::Store;
use quell_http::{Access, Key};
use quell_langgraph::Options;
use quell_test_support::{Flow, Valve, within};
use serde_json::{Value, json};

use crate::talk::{Says as _, Server, id_of};

const LONG: u64 = 60_000;

fn body(graph: &str, strategy: &str) -> Value {
    let input = json!({"text": "new", "ms": if graph == "slow" { LONG } else { 0 }});
    json!({"assistant_id": graph, "multitask_strategy": strategy, "input": input})
}

/// A run that works, one behind it, and one that is due later.
async fn three(server: &Server, tag: &str) -> (String, [String; 3]) {
    let thread = server.thread().await;
    let running = server.start(&thread, "slow", json!({"ms": LONG, "tag": tag})).await;
    server.until_ticking(tag).await;
    let behind = format!("{tag}-behind");
    let behind = server.start(&thread, "slow", json!({"ms": LONG, "tag": behind})).await;
    let later = json!({"assistant_id": "echo", "input": {}, "after_seconds": 3_600});
    let later = server.post(&format!("/threads/{thread}/runs"), &later).await;
    let later = later.header("content-location").to_owned();
    (thread, [running, behind, later])
}

#[tokio::test]
async fn a_new_run_takes_the_place_of_every_live_one_and_says_so() {
    let server = Server::new();
    for (strategy, left) in [("interrupt", "interrupted"), ("rollback", "gone")] {
        let (thread, runs) = three(&server, strategy).await;
        let path = format!("/threads/{thread}/runs/wait");
        let new = server.post(&path, &body("echo", strategy)).await;
        assert_eq!(new.json()["log"], json!(["echo:new"]), "{strategy}");
        let new = new.header("content-location").to_owned();
        for run in &runs {
            assert_eq!(server.status(run).await, left, "{strategy}");
            if left == "interrupted" {
                let told = server.get(run).await.json();
                let cause = &told["quell"]["cause"];
                assert_eq!(
                    (&cause["kind"], &cause["by"]),
                    (&json!("superseded"), &json!(id_of(&new)))
                );
            }
        }
        assert!(server.witness.get(&format!("{strategy}-behind")).1.is_empty(), "never polled");
        let row = server.get(&format!("/threads/{thread}")).await.json();
        assert_eq!((&row["status"], &row["error"]), (&json!("idle"), &Value::Null), "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_never_shows_the_end_of_a_run_whose_place_a_rollback_has_taken() {
    let server = Server::new();
    for round in 0..300 {
        let (thread, runs) = three(&server, &format!("rolled-{round}")).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let readers = [(); 2].map(|()| {
            let (server, path) = (server.clone(), format!("/threads/{thread}"));
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let row = server.get(&path).await.json();
                    assert!(row["status"] == "busy" && row["error"].is_null(), "{row}");
                    tokio::task::yield_now().await;
                }
            })
        });
        let path = format!("/threads/{thread}/runs");
        let new = server.post(&path, &body("slow", "rollback")).await;
        let new = new.header("content-location").to_owned();
        for run in &runs {
            until(&server, run, "gone").await;
        }
        is_over.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.await.unwrap();
        }
        server.post(&format!("{new}/cancel"), &Value::Null).await;
    }
}

async fn until(server: &Server, run: &str, status: &str) {
    while server.status(run).await != status {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_runs_that_interrupt_each_other_at_once_one_is_left() {
    let server = Server::new();
    let thread = server.thread().await;
    for round in 0..50 {
        let creates = [(); 4].map(|()| {
            let (server, path) = (server.clone(), format!("/threads/{thread}/runs"));
            tokio::spawn(async move { server.post(&path, &body("slow", "interrupt")).await })
        });
        let mut runs = Vec::new();
        for create in creates {
            runs.push(create.await.unwrap().header("content-location").to_owned());
        }
        let mut left = 0;
        for run in &runs {
            let cause = server.get(run).await.json()["quell"]["cause"].clone();
            left += usize::from(cause.is_null());
        }
        assert_eq!(left, 1, "round {round}");
    }
    server.post("/runs/cancel", &json!({"status": "all"})).await;
}

#[tokio::test]
async fn who_may_not_stop_a_run_of_the_thread_does_not_take_its_place() {
    let scopes = ["workflows:echo:run", "workflows:read"];
    let access = Access::open()
        .key(Key::new("ada", "key-of-ada"))
        .key(Key::new("ada", "key-of-adas-screen").scopes(scopes));
    let server = Server::with(EngineConfig::new(), Options::default(), access);
    let ada = server.saying("x-api-key", "key-of-ada");
    let screen = server.saying("x-api-key", "key-of-adas-screen");
    let thread = ada.thread().await;
    let run = ada.start(&thread, "slow", json!({"ms": LONG, "tag": "kept"})).await;
    let path = format!("/threads/{thread}/runs");
    for strategy in ["interrupt", "rollback", "reject"] {
        let refused = screen.post(&path, &body("echo", strategy)).await;
        assert_eq!(refused.detail().0, 409, "{strategy}");
    }
    assert_eq!(ada.get(&run).await.json()["quell"]["cause"], Value::Null);
    assert_eq!(ada.post(&path, &body("echo", "rollback")).await.status, 200);
    until(&ada, &run, "gone").await;
}

/// Somebody else has the turn, and waits for the store.
#[tokio::test]
async fn who_waits_for_its_turn_to_repeat_a_request_follows_its_run_already() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let server = Server::with(config, Options::default(), Access::open());
    let path = format!("/threads/{}/runs/wait", server.thread().await);
    let asks = |key: &str| {
        let (server, path) = (server.saying("idempotency-key", key), path.clone());
        let input = json!({"ms": 300, "tag": "k"});
        let body = json!({"assistant_id": "slow", "input": input, "on_disconnect": "cancel"});
        tokio::spawn(async move { server.post(&path, &body).await })
    };
    let first = asks("k");
    server.until_ticking("k").await;
    store.set(Flow::Shut { stops: false });
    let (_other, second) = (asks("other"), asks("k"));
    let others_go_on = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    others_go_on().await;
    first.abort();
    assert!(first.await.is_err(), "it has had no answer");
    others_go_on().await;
    store.set(Flow::Open);
    let told = within("it ends", second).await.unwrap();
    assert_eq!(server.status(told.header("content-location")).await, "success", "{told:?}");
}
