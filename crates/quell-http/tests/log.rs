//! `GET /v1/runs/{id}/log`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::http::StatusCode;
use quell::store::{MemoryStore, Store};
use quell::{CancelRequest, EngineConfig, Limits, RunContext, RunRef, RunSpec};
use quell_http::{Access, Key, Service, ServiceLimits, router};
use quell_test_support::{Valve, Witness, ms};
use serde_json::{Value, json};

use crate::nodes::two;
use crate::support::{JSON, get, post, send, service, service_with, soon};

/// Reads a log page by page.
async fn pages(app: &Router, run: &str, limit: usize) -> Vec<Vec<Value>> {
    let (mut pages, mut after) = (Vec::new(), 0);
    loop {
        let answer = get(app, &format!("/v1/runs/{run}/log?limit={limit}&after={after}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let page = answer.json();
        let events = page["events"].as_array().unwrap().clone();
        assert!(events.len() <= limit);
        pages.push(events);
        after = page["after"].as_u64().unwrap();
        if page["has_more"] == false {
            return pages;
        }
    }
}

/// The events of the stream of a run that has ended.
async fn streamed(app: &Router, run: &str) -> Vec<Value> {
    let text = get(app, &format!("/v1/runs/{run}/events")).await.text;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Has a run say so many words, each of so many bytes. It stays.
async fn talker(service: &Service, words: u64, bytes: usize) -> RunRef {
    let body = async move |ctx: RunContext| {
        for nth in 0..words {
            let _ = ctx.emit(json!({ "n": nth, "text": "x".repeat(bytes) }));
        }
        Ok(ctx.stopped().await)
    };
    let run = service.engine().submit(RunSpec::agent("talker"), body).unwrap().into_ref();
    // Behind `queued` and `started`.
    let has_said = |nth| quell_http::events_by_now(&run, nth - 1).any(|event| event.seq == nth);
    soon("it has said all", || has_said(words + 2)).await;
    run
}

#[tokio::test]
async fn a_log_is_read_in_pages_of_any_size_live_and_stored() {
    let memory = Arc::new(MemoryStore::new());
    let on = |nth| Valve::reopened(&memory, nth) as Arc<dyn Store>;
    // The log in memory has fewer than were said: those before are in the store alone.
    let limits = Limits::default().events_per_root_max(64);
    let service =
        service_with(EngineConfig::new().store(on(1)).limits(limits), &Witness::default());
    let app = router(service.clone());
    let run = talker(&service, 200, 1).await;
    let id = run.id().to_string();
    let numbers = |pages: &[Vec<Value>]| -> Vec<u64> {
        pages.iter().flatten().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    for (limit, count) in [(1, 202), (7, 29), (101, 2), (202, 1), (1_000, 1)] {
        let pages = pages(&app, &id, limit).await;
        assert_eq!(numbers(&pages), (1..=202).collect::<Vec<_>>(), "{limit}");
        assert_eq!(pages.len(), count, "{limit}");
    }
    let behind = get(&app, &format!("/v1/runs/{id}/log?after=202")).await.json();
    let queued_at = get(&app, &format!("/v1/runs/{id}")).await.json()["queued_at"].clone();
    let right = json!({ "events": [], "after": 202, "has_more": false, "queued_at": queued_at });
    assert_eq!(behind, right);
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    let whole = streamed(&app, &id).await;
    assert_eq!(pages(&app, &id, 50).await.concat(), whole);
    let later = router(service_with(EngineConfig::new().store(on(2)), &Witness::default()));
    assert_eq!(pages(&later, &id, 50).await.concat(), whole);
}

#[tokio::test]
async fn wherever_a_reader_begins_in_a_stored_log_nothing_is_told_behind_its_end() {
    let memory = Arc::new(MemoryStore::new());
    let on = |nth| EngineConfig::new().store(Valve::reopened(&memory, nth) as Arc<dyn Store>);
    let service = service_with(on(1), &Witness::default());
    let body = async |ctx: RunContext| {
        let stopped = ctx.stopped().await;
        // So many that who begins behind them does not see the stop.
        (0..100).for_each(|word| _ = ctx.emit(word));
        Ok(stopped)
    };
    let run = service.engine().submit(RunSpec::agent("talker"), body).unwrap().into_ref();
    soon("it has started", || run.row().started_at.is_some()).await;
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    let app = router(service_with(on(2), &Witness::default()));
    let path = format!("/v1/runs/{}", run.id());
    let whole = get(&app, &format!("{path}/log?limit=1000")).await.json();
    let whole = whole["events"].as_array().unwrap();
    assert_eq!(whole.last().unwrap()["event"], "ended");
    let stops = whole.iter().filter(|event| event["event"] == "stopping");
    assert_eq!((stops.count(), whole.len()), (1, 104));
    for after in 0..=110 {
        let page = get(&app, &format!("{path}/log?limit=1000&after={after}")).await.json();
        let behind = &whole[after.min(whole.len())..];
        assert_eq!(page["events"].as_array().unwrap(), behind, "{after}");
        let stream = get(&app, &format!("{path}/events?after={after}")).await.text;
        let mut ids = stream.lines().filter_map(|line| line.strip_prefix("id: "));
        let last = ids.next_back().map(|id| id.parse::<usize>().unwrap());
        assert_eq!(last, (after < 104).then_some(104), "{after}: {stream}");
    }
}

#[tokio::test]
async fn a_page_has_a_mebibyte_or_one_event() {
    let service = service();
    let run = talker(&service, 20, 200_000).await;
    let pages = pages(&router(service), &run.id().to_string(), 1_000).await;
    let lengths: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(lengths, [7, 5, 5, 5]);
}

#[tokio::test]
async fn a_page_has_what_there_is_room_for_and_is_refused_without_room_for_one_event() {
    for (max, right) in [(500_000, Some(vec![4, 2, 2, 2, 2, 2, 2, 2, 2, 2])), (150_000, None)] {
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = max;
        let service = service().limits(limits);
        let run = talker(&service, 20, 200_000).await;
        let (app, id) = (router(service), run.id().to_string());
        if let Some(right) = right {
            let lengths: Vec<_> = pages(&app, &id, 1_000).await.iter().map(Vec::len).collect();
            assert_eq!(lengths, right);
        }
        let page = get(&app, &format!("/v1/runs/{id}/log?after=2")).await;
        assert_eq!(page.status.as_u16(), if max < 200_000 { 429 } else { 200 }, "{}", page.text);
    }
}

#[tokio::test]
async fn the_log_of_a_run_that_another_node_has_is_read_there_and_here_alike() {
    let (_nodes, a, b) = two();
    a.working("steps", "flow").await;
    let there = pages(&a.app, "flow", 2).await.concat();
    assert_eq!(pages(&b.app, "flow", 2).await.concat(), there);
}

#[tokio::test]
async fn how_far_a_log_goes_by_now_is_said_while_more_may_come() {
    let memory = Arc::new(MemoryStore::new());
    let on = |nth| EngineConfig::new().store(Valve::reopened(&memory, nth) as Arc<dyn Store>);
    let service = service_with(on(1), &Witness::default());
    let app = router(service.clone());
    let run = talker(&service, 200, 1).await;
    let last = async |app: &Router, run: &str, query: &str| {
        let page = get(app, &format!("/v1/runs/{run}/log?{query}")).await.json();
        page.get("last").map(|last| last.as_u64().unwrap())
    };
    let id = run.id().to_string();
    assert_eq!(last(&app, &id, "limit=10&last=true").await, Some(202));
    assert_eq!(last(&app, &id, "limit=10&last=false").await, None);
    assert_eq!(last(&app, &id, "limit=1000&last=true").await, None, "there is no more");
    run.cancel(CancelRequest::because("enough"));
    run.quiescent().await;
    let later = router(service_with(on(2), &Witness::default()));
    assert_eq!(last(&later, &id, "limit=10&last=true").await, None, "no other comes");

    let (_nodes, a, b) = two();
    a.working("steps", "flow").await;
    let all = pages(&b.app, "flow", 1_000).await.concat().len() as u64;
    assert!(all > 1);
    assert_eq!(last(&b.app, "flow", "limit=1&last=true").await, Some(all));
}

#[tokio::test]
async fn a_page_says_of_which_run_of_its_id_it_is() {
    let app = router(service());
    let mut all = Vec::new();
    for _ in 0..2 {
        let body = json!({ "component": "agent/echo", "id": "r" });
        assert_eq!(post(&app, "/v1/runs", &body).await.status, StatusCode::CREATED);
        let read = async || get(&app, "/v1/runs/r").await.json();
        while read().await["quiescent"] != true {
            tokio::task::yield_now().await;
        }
        let page = get(&app, "/v1/runs/r/log").await.json();
        assert_eq!(page["queued_at"], read().await["queued_at"]);
        all.push(page["queued_at"].clone());
        assert_eq!(send(&app, "DELETE", "/v1/runs/r", &[], "").await.status, 204);
        // Times are told in milliseconds.
        let told = SystemTime::now();
        while told.elapsed().unwrap_or_default() < ms(2) {
            tokio::task::yield_now().await;
        }
    }
    assert_ne!(all[0], all[1]);
}

#[tokio::test]
async fn a_log_that_is_not_the_callers_is_not_shown() {
    let access = Access::open().key(Key::new("ada", "key-of-ada"));
    let app = router(service().access(access.key(Key::new("bob", "key-of-bob"))));
    let key = [JSON, ("authorization", "Bearer key-of-ada")];
    let body = r#"{"component": "agent/sleeper", "id": "r"}"#;
    assert_eq!(send(&app, "POST", "/v1/runs", &key, body).await.status, StatusCode::CREATED);
    for (who, path, status) in [
        ("ada", "r/log", 200),
        ("ada", "r/log?limit=0", 422),
        ("ada", "r/log?after=-1", 422),
        ("bob", "r/log", 404),
        ("eve", "r/log", 401),
        ("ada", "nobody/log", 404),
    ] {
        let key = format!("Bearer key-of-{who}");
        let path = format!("/v1/runs/{path}");
        let answer = send(&app, "GET", &path, &[("authorization", &key)], "").await;
        assert_eq!(answer.status.as_u16(), status, "{who} {path}");
    }
}
