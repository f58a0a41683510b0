use std::sync::Arc;

use axum::Router;
use quell::store::Store;
use quell::{EngineConfig, RunStatus};
use quell_http::{Access, READ_WITHIN, Service, parse_id, router};
use quell_test_support::{Answer, Flow, Valve, Witness};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{get, post, service_with, soon, start};

struct Site {
    store: Arc<Valve>,
    service: Service,
    app: Router,
    witness: Witness,
}

fn site() -> Site {
    let (store, witness) = (Valve::new(Flow::Open), Witness::default());
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let service = service_with(config, &witness).access(Access::open());
    Site { app: router(service.clone()), store, service, witness }
}

/// Starts the run `x` while a request reads the store. Yields the answer to the request, to come.
async fn while_it_comes<F>(site: &Site, request: impl FnOnce(Router) -> F) -> JoinHandle<Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    site.store.let_gets(0);
    let asked = tokio::spawn(request(site.app.clone()));
    soon("it reads the store", || site.store.gets() > 0).await;
    start(&site.app, "sleeper", "x", Value::Null).await;
    soon("the run works", || site.witness.inside() == 1).await;
    site.store.let_gets(usize::MAX);
    asked
}

#[tokio::test]
async fn a_cancel_stops_a_run_that_comes_while_the_store_is_asked_for_it() {
    for body in [json!({ "remember_ms": 60_000 }), json!({})] {
        let site = site();
        let cancel = async move |app: Router| post(&app, "/v1/runs/x/cancel", &body).await;
        let answer = while_it_comes(&site, cancel).await.await.unwrap();
        assert_eq!(answer.header("quell-disposition"), "accepted", "{answer:?}");
        let run = site.service.engine().get(parse_id("x").unwrap()).unwrap();
        assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_stream_of_a_run_that_comes_while_the_store_is_asked_for_it_goes_on_to_its_end() {
    let site = site();
    let stream = async |app: Router| get(&app, "/v1/runs/x/events").await;
    let told = while_it_comes(&site, stream).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    post(&site.app, "/v1/runs/x/cancel", &json!({})).await;
    let told = told.await.unwrap();
    assert!(told.text.contains("cancelled"), "{}", told.text);
}

#[tokio::test]
async fn while_the_store_hangs_what_reads_is_answered_all_the_same() {
    let site = site();
    site.store.hang_reads(true);
    tokio::time::pause();
    for path in ["/v1/runs/x", "/v1/runs/cancel", "/v1/runs", "/v1/runs/x/tree"] {
        let answer = tokio::time::timeout(READ_WITHIN * 2, get(&site.app, path)).await.unwrap();
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert_eq!(answer.header("retry-after"), "1");
    }
    site.store.hang_reads(false);
}
