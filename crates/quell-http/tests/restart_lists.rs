use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use quell::store::{MemoryStore, Store};
use quell::{EngineConfig, Payload, Recovery, RunFilter, Shutdown};
use quell_http::{Access, NATIVE, Principal, RunPage, RunView, Service, parse_id, router};
use quell_test_support::{Valve, Witness};
use serde_json::{Value, json};

use crate::support::{get, service_with, start};

async fn nth(boot: u32, store: &Arc<MemoryStore>) -> (Service, Router) {
    behind(Valve::reopened(store, boot)).await
}

async fn behind(valve: Arc<Valve>) -> (Service, Router) {
    let config = EngineConfig::new().store(valve as Arc<dyn Store>);
    let service = service_with(config, &Witness::default()).access(Access::open());
    service.engine().recover(|_| Recovery::Fail).await.unwrap();
    (service.clone(), router(service))
}

/// Yields what a process finds whose predecessor has run so many.
async fn after(runs: usize, input: Value) -> (Service, Router) {
    after_runs_of("echo", runs, input).await
}

async fn after_runs_of(component: &str, runs: usize, input: Value) -> (Service, Router) {
    let store = Arc::new(MemoryStore::new());
    let (service, app) = nth(1, &store).await;
    for nr in 0..runs {
        start(&app, component, &format!("old-{nr}"), input.clone()).await;
    }
    service.engine().shutdown(Shutdown::default()).await;
    nth(2, &store).await
}

/// Yields the ids of a part of a list, and where the next one begins.
async fn part(app: &Router, query: &str) -> (Vec<String>, Option<String>) {
    let list = get(app, &format!("/v1/runs?{query}")).await.json();
    let runs = list["runs"].as_array().unwrap_or_else(|| panic!("{list}"));
    let ids = runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    (ids, list["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_list_shows_each_run_once_when_many_come_between_its_parts() {
    let (_service, app) = after(200, json!("x")).await;
    let (mut seen, mut next) = part(&app, "limit=100").await;
    for nr in 0..130 {
        start(&app, "echo", &format!("new-{nr}"), json!(nr)).await;
    }
    while let Some(cursor) = next {
        let (more, then) = part(&app, &format!("limit=100&cursor={cursor}")).await;
        seen.extend(more);
        assert!(seen.len() <= 200, "some are shown twice");
        next = then;
    }
    assert_eq!(HashSet::<&String>::from_iter(&seen).len(), 200, "{seen:?}");
}

#[tokio::test]
async fn a_list_misses_no_run_when_those_before_it_are_forgotten() {
    let (service, app) = after(200, json!("x")).await;
    let (mut seen, mut next) = (HashSet::new(), Some(String::new()));
    while let Some(cursor) = next {
        let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
        let (more, then) = part(&app, &format!("limit=50{cursor}")).await;
        for id in &more {
            service.engine().forget_stored(parse_id(id).unwrap()).await.unwrap();
        }
        seen.extend(more);
        next = then;
    }
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn a_part_of_a_list_holds_no_more_than_its_bound_of_what_its_runs_were_given() {
    let (service, _app) = after_runs_of("failing", 40, json!("x".repeat(1 << 20))).await;
    let view = service.view(NATIVE, Principal::anonymous());
    let held = |page: &RunPage| -> usize {
        page.runs.iter().filter_map(RunView::input).map(Payload::len).sum()
    };
    let plain = view.list(RunFilter::new(), 100, None, |_| true).await.unwrap();
    assert_eq!((held(&plain), plain.runs.len()), (0, 40));
    let whole = view.list_with_inputs(RunFilter::new(), 100, None, |_| true).await.unwrap();
    assert!((1 << 20..17 << 20).contains(&held(&whole)), "{} bytes", held(&whole));
    assert!(whole.next.is_some());
}

#[tokio::test]
async fn a_list_reads_about_as_many_runs_as_it_shows_and_finds_those_that_are_rare() {
    let store = Arc::new(MemoryStore::new());
    let (service, app) = nth(1, &store).await;
    for nr in 0..300 {
        start(&app, "echo", &format!("old-{nr}"), json!(nr)).await;
    }
    service.engine().shutdown(Shutdown::default()).await;
    let valve = Valve::reopened(&store, 2);
    let (service, _app) = behind(Arc::clone(&valve)).await;
    let view = service.view(NATIVE, Principal::anonymous());
    let (pages, listed) = (valve.pages(), valve.listed());
    let page = view.list(RunFilter::new(), 3, None, |_| true).await.unwrap();
    assert!(page.runs.len() == 3 && page.next.is_some());
    assert_eq!((valve.pages() - pages, valve.listed() - listed), (1, 4));
    let (pages, oldest) = (valve.pages(), parse_id("old-0").unwrap());
    let page = view.list(RunFilter::new(), 3, None, |run| run.id() == oldest).await.unwrap();
    assert_eq!(page.runs.iter().map(RunView::id).collect::<Vec<_>>(), [oldest]);
    let pages = valve.pages() - pages;
    assert!(pages <= 6, "{pages}: each page has more than the one before");
}
