//! What a rollback leaves: nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use quell::RunFilter;
use serde_json::{Value, json};

use crate::talk::Server;

const EVERYTHING: &str = "/runs/cancel?action=rollback";

async fn roll_back_all(server: &Server) -> u16 {
    server.post(EVERYTHING, &json!({"status": "all"})).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_rollback_that_races_creates_leaves_no_trace_in_any_thread() {
    let long = std::env::var_os("QUELL_LONG").is_some();
    let (callers, rounds) = if long { (8, 1_000) } else { (8, 125) };
    let server = Server::new();
    let is_over = std::sync::Arc::new(AtomicBool::new(false));
    let sweeping = tokio::spawn({
        let (server, is_over) = (server.clone(), std::sync::Arc::clone(&is_over));
        async move {
            while !is_over.load(Ordering::SeqCst) {
                roll_back_all(&server).await;
            }
        }
    });
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut rows: Vec<Value> = Vec::new();
                for round in 0..rounds {
                    let row = server.post("/threads", &json!({"metadata": {"mine": 1}})).await;
                    let thread = row.json()["thread_id"].as_str().unwrap().to_owned();
                    rows.push(row.json());
                    let body = json!({"assistant_id": "slow", "input": {"ms": 60_000}});
                    let path = match round % 3 {
                        0 => "/runs".to_owned(),
                        _ => format!("/threads/{thread}/runs"),
                    };
                    let made = server.send(Method::POST, &path, &body.to_string()).await;
                    assert_eq!(made.status, 200, "{made:?}");
                }
                rows
            })
        })
        .collect();
    let mut rows = Vec::new();
    for caller in callers {
        rows.extend(caller.await.unwrap());
    }
    is_over.store(true, Ordering::SeqCst);
    sweeping.await.unwrap();
    while roll_back_all(&server).await != 404 {}
    let engine = server.service.engine();
    for _ in 0..1_000 {
        if engine.runs(&RunFilter::new()).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut traces = Vec::new();
    for row in &rows {
        let path = format!("/threads/{}", row["thread_id"].as_str().unwrap());
        let now = server.get(&path).await.json();
        let runs = server.get(&format!("{path}/runs")).await.json();
        if now != *row || runs != json!([]) {
            traces.push((row, now, runs));
        }
    }
    assert!(traces.is_empty(), "{} of {} threads: {:#?}", traces.len(), rows.len(), traces[0]);
    assert!(engine.runs(&RunFilter::new()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_refused_only_if_it_deletes_nothing() {
    let long = std::env::var_os("QUELL_LONG").is_some();
    let rounds = if long { 20_000 } else { 2_000 };
    let server = Server::new();
    let (mut refused, mut deleted) = (0, 0);
    for _ in 0..rounds {
        let thread = server.thread().await;
        let run = server.start(&thread, "slow", json!({"ms": 60_000})).await;
        let cancel = |action: &str| {
            let (server, path) = (server.clone(), format!("{run}/cancel?action={action}"));
            tokio::spawn(async move { server.post(&path, &Value::Null).await })
        };
        let (interrupt, rollback) = (cancel("interrupt"), cancel("rollback"));
        let (interrupt, rollback) = (interrupt.await.unwrap(), rollback.await.unwrap());
        server.get(&format!("{run}/join")).await;
        let status = server.status(&run).await;
        match (rollback.status.as_u16(), &*status) {
            (202, "gone") => deleted += 1,
            (404, "interrupted") => refused += 1,
            other => panic!("{other:?} {interrupt:?} {rollback:?}"),
        }
    }
    eprintln!("deleted {deleted}, refused {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_of_a_run_that_was_rolled_back_is_there_as_soon_as_the_run_is_gone() {
    let server = Server::new();
    for round in 0..500 {
        let thread = server.thread().await;
        let run = server.start(&thread, "slow", json!({"ms": 60_000, "n": round})).await;
        let reader = tokio::spawn({
            let (server, run) = (server.clone(), run.clone());
            async move {
                while server.status(&run).await != "gone" {
                    tokio::task::yield_now().await;
                }
                server.get(&format!("{run}/join")).await.json()
            }
        });
        server.post(&format!("{run}/cancel?action=rollback"), &Value::Null).await;
        let joined = reader.await.unwrap();
        assert!(joined.get("__error__").is_none(), "round {round}: {joined}");
    }
}
