//! What a cancel answers, and what is true then.

use std::sync::Arc;
use std::time::Duration;

use quell::store::{MemoryStore, Store};
use quell::{EngineConfig, Shutdown};
use quell_langgraph::Options;
use serde_json::{Value, json};

use crate::talk::{Server, id_of};

const LONG: u64 = 60_000;

async fn ticking(server: &Server, graph: &str, probe: &str) -> (String, String) {
    let thread = server.thread().await;
    let input = json!({"ms": LONG, "chunk_ms": 5, "tag": probe});
    let run = server.start(&thread, graph, input).await;
    server.until_ticking(probe).await;
    (thread, run)
}

#[tokio::test]
async fn a_waited_cancel_returns_when_the_work_has_stopped() {
    let server = Server::new();
    for graph in ["slow", "steps", "parallel", "nested"] {
        let (_, run) = ticking(&server, graph, graph).await;
        let answer = server.post(&format!("{run}/cancel?wait=1"), &Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
        assert_eq!(answer.header("quell-disposition"), "accepted");
        assert_eq!(answer.header("quell-cause"), "user-request");
        assert_eq!(answer.header("quell-quiescent"), "true");
        assert_eq!(answer.header("location"), format!("{run}/join"));
        assert_eq!(answer.header("content-location"), run);
        assert_eq!(server.status(&run).await, "interrupted");
        server.assert_stopped(graph).await;
        let marks = server.witness.get(graph).1;
        assert!(marks.iter().any(|mark| mark.ends_with(":dropped")), "{marks:?}");
    }
}

#[tokio::test]
async fn an_unwaited_cancel_is_202_without_a_body_and_settles_by_then() {
    let server = Server::new();
    let (_, run) = ticking(&server, "slow", "unwaited").await;
    let answer = server.post(&format!("{run}/cancel"), &Value::Null).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (202, ""));
    assert!(!answer.headers.contains_key("location"));
    assert!(!answer.headers.contains_key("quell-quiescent"));
    assert_eq!(server.status(&run).await, "interrupted");
}

#[tokio::test(start_paused = true)]
async fn a_second_cancel_of_a_stopping_run_is_answered_like_the_first() {
    let server = Server::new();
    let thread = server.thread().await;
    let input = json!({"ms": 400, "tag": "twice"});
    let run = server.start(&thread, "stubborn", input).await;
    server.until_ticking("twice").await;
    let first = server.post(&format!("{run}/cancel"), &Value::Null).await;
    assert_eq!((first.status.as_u16(), first.header("quell-disposition")), (202, "accepted"));
    assert_eq!(server.status(&run).await, "running");
    let cut = server.post(&format!("{run}/cancel?wait=1&timeout=0.01"), &Value::Null).await;
    assert_eq!((cut.status.as_u16(), &*cut.text), (202, ""));
    assert_eq!(cut.header("quell-disposition"), "already-stopping");
    assert_eq!(cut.header("quell-quiescent"), "false");
    assert_eq!(cut.header("location"), format!("{run}/join"));
    let second = server.post(&format!("{run}/cancel?wait=quiescent"), &Value::Null).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.header("quell-disposition"), "already-stopping");
    assert_eq!(second.header("quell-quiescent"), "true");
    assert_eq!(server.status(&run).await, "interrupted");
    let row = server.get(&format!("/threads/{thread}")).await.json();
    assert_eq!(row["values"]["log"], json!([]), "a result after the stop is dropped");
}

#[tokio::test]
async fn a_bulk_cancel_by_status_takes_what_it_names_and_nothing_else() {
    let server = Server::new();
    let (thread, running) = ticking(&server, "slow", "bulk").await;
    let pending = server.start(&thread, "slow", json!({"ms": LONG, "tag": "queued"})).await;
    let (other, elsewhere) = ticking(&server, "slow", "elsewhere").await;
    let answer = server.post("/runs/cancel", &json!({"status": "pending"})).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
    assert_eq!(server.status(&pending).await, "interrupted");
    assert_eq!(server.status(&running).await, "running");
    let body = json!({"status": "all", "thread_id": other});
    assert_eq!(server.post("/runs/cancel", &body).await.status, 204);
    assert_eq!(server.status(&elsewhere).await, "interrupted");
    assert_eq!(server.status(&running).await, "running");
    let answer = server.post("/runs/cancel", &json!({"status": "running"})).await;
    assert_eq!(answer.header("quell-disposition"), "accepted");
    assert_eq!(server.status(&running).await, "interrupted");
    server.assert_stopped("bulk").await;
    assert!(server.witness.get("queued").1.is_empty(), "the body was never polled");
}

#[tokio::test]
async fn a_stop_of_a_thread_that_comes_late_does_not_reach_the_next_run() {
    let server = Server::new();
    let (thread, seen) = ticking(&server, "slow", "seen").await;
    server.post(&format!("{seen}/cancel?wait=1"), &Value::Null).await;
    let next = server.start(&thread, "slow", json!({"ms": LONG, "tag": "next"})).await;
    server.until_ticking("next").await;
    let body = json!({"status": "all", "thread_id": thread});
    let late = server.saying("quell-if-run", id_of(&seen));
    let answer = late.post("/runs/cancel?action=rollback", &body).await;
    assert_eq!((answer.status.as_u16(), answer.header("quell-disposition")), (404, "unknown"));
    assert_eq!(answer.json(), json!({"detail": "No runs found to cancel."}));
    assert_eq!(server.status(&next).await, "running");
    let bad = server.saying("quell-if-run", "");
    assert_eq!(bad.post("/runs/cancel", &body).await.status, 422);
    assert_eq!(server.status(&next).await, "running");
    // Who saw it stops it.
    let both = format!("{}, {}", id_of(&seen), id_of(&next));
    let answer = server.saying("quell-if-run", &both).post("/runs/cancel", &body).await;
    assert_eq!(answer.status, 204);
    assert_eq!(server.status(&next).await, "interrupted");
    server.assert_stopped("next").await;
}

#[tokio::test]
async fn a_bulk_cancel_stops_a_hundred_runs() {
    let server = Server::new();
    let probes: Vec<_> = (0..100).map(|n| format!("hundred-{n}")).collect();
    let mut runs = Vec::new();
    for probe in &probes {
        runs.push(ticking(&server, "slow", probe).await.1);
    }
    assert_eq!(server.post("/runs/cancel", &json!({"status": "all"})).await.status, 204);
    for run in &runs {
        server.get(&format!("{run}/join")).await;
        assert_eq!(server.status(run).await, "interrupted");
    }
    let before: Vec<_> = probes.iter().map(|probe| server.witness.get(probe)).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after: Vec<_> = probes.iter().map(|probe| server.witness.get(probe)).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_rollback_deletes_the_run_and_leaves_the_thread_as_it_was() {
    let server = Server::new();
    let thread = server.thread().await;
    let row = format!("/threads/{thread}");
    let first = server.start(&thread, "echo", json!({"text": "a"})).await;
    server.get(&format!("{first}/join")).await;
    let before = server.get(&row).await.json();
    for wait in ["?action=rollback", "?action=rollback&wait=1"] {
        let probe = format!("rollback{wait}");
        let input = json!({"ms": LONG, "chunk_ms": 5, "tag": probe});
        let run = server.start(&thread, "steps", input).await;
        server.until_ticking(&probe).await;
        let answer = server.post(&format!("{run}/cancel{wait}"), &Value::Null).await;
        assert!(answer.status.is_success());
        assert_eq!(server.status(&run).await, "gone");
        server.assert_stopped(&probe).await;
        // The final body stays available for those whose connection was cut.
        assert_eq!(server.get(&format!("{run}/join")).await.json()["log"][1], "before");
    }
    let after = server.get(&row).await.json();
    for key in ["values", "status", "error"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let listed = server.get(&format!("{row}/runs")).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_rollback_of_a_queued_run_deletes_it_at_once() {
    let server = Server::new();
    let (thread, running) = ticking(&server, "slow", "front").await;
    let queued = server.start(&thread, "echo", json!({})).await;
    let body = json!({"thread_id": thread, "run_ids": [id_of(&queued)]});
    assert_eq!(server.post("/runs/cancel?action=rollback", &body).await.status, 204);
    assert_eq!(server.status(&queued).await, "gone");
    assert_eq!(server.status(&running).await, "running");
    assert_eq!(server.get(&format!("/threads/{thread}")).await.json()["status"], "busy");
    server.post(&format!("{running}/cancel?wait=1"), &Value::Null).await;
}

#[tokio::test]
async fn a_new_run_may_take_the_place_of_the_live_ones() {
    let server = Server::new();
    for (strategy, left) in [("interrupt", "interrupted"), ("rollback", "gone")] {
        let (thread, old) = ticking(&server, "slow", strategy).await;
        let body = json!({"assistant_id": "echo", "multitask_strategy": strategy,
            "input": {"text": "new"}});
        let answer = server.post(&format!("/threads/{thread}/runs/wait"), &body).await;
        assert_eq!(answer.json()["log"], json!(["echo:new"]), "{strategy}");
        assert_eq!(server.status(&old).await, left);
        server.assert_stopped(strategy).await;
    }
}

#[tokio::test]
async fn without_settling_the_answer_comes_at_once() {
    let mut options = Options::default();
    options.settle = Duration::ZERO;
    let server = Server::with(EngineConfig::new(), options, quell_http::Access::open());
    let (_, run) = ticking(&server, "slow", "unsettled").await;
    assert_eq!(server.post(&format!("{run}/cancel"), &Value::Null).await.status, 202);
    server.get(&format!("{run}/join")).await;
    assert_eq!(server.status(&run).await, "interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thread_that_is_cancelled_as_a_whole_no_queued_run_slips_through() {
    let server = Server::new();
    for round in 0..300 {
        let (thread, live) = ticking(&server, "slow", &format!("whole-{round}")).await;
        let mut runs = vec![live];
        for _ in 0..3 {
            runs.push(server.start(&thread, "echo", json!({})).await);
        }
        let ids: Vec<_> = runs.iter().map(|run| id_of(run)).collect();
        let body = match round % 2 {
            0 => json!({"status": "all", "thread_id": thread}),
            _ => json!({"thread_id": thread, "run_ids": ids}),
        };
        assert_eq!(server.post("/runs/cancel", &body).await.status, 204);
        for run in &runs {
            server.get(&format!("{run}/join")).await;
            assert_eq!(server.status(run).await, "interrupted", "round {round}: {run}");
        }
    }
}

/// It would begin in the next process, although all were said to stop.
#[tokio::test]
async fn a_stop_of_all_is_not_acknowledged_if_a_drain_has_left_one_to_the_next_process() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let config = EngineConfig::new().store(store);
    let server = Server::with(config, Options::default(), quell_http::Access::open());
    let thread = server.thread().await;
    let body = json!({"assistant_id": "echo", "input": {}, "after_seconds": 3_600});
    let left = server.post(&format!("/threads/{thread}/runs"), &body).await;
    let (_, live) = ticking(&server, "stubborn", "held").await;
    server.service.drain();
    let engine = server.service.engine().clone();
    let ends = tokio::spawn(async move { engine.shutdown(Shutdown::default()).await });
    let id = left.json()["run_id"].as_str().unwrap().to_owned();
    let is_left = || server.service.engine().get(quell::RunId::from_text(&id)).is_none();
    quell_test_support::soon("it is left", is_left).await;
    for of in [json!({"status": "all"}), json!({"status": "pending", "thread_id": thread})] {
        let answer = server.post("/runs/cancel", &of).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    let list = server.get(&format!("/threads/{thread}/runs?status=pending")).await.json();
    assert_eq!(list[0]["run_id"], id, "{list}");
    drop(live);
    ends.await.unwrap();
}
