//! With a store: what is not stored is not acknowledged.

use std::sync::Arc;

use quell::store::{Store, StoreError};
use quell::{Engine, EngineConfig};
use quell_agentos::Options;
use quell_http::{Access, parse_id};
use quell_test_support::{Flow, Valve, within};
use tokio::task::yield_now;

use crate::support::http::{read, start};
use crate::support::{Site, fresh};

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged() {
    let store = Valve::new(Flow::Open);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
    let (path, probe) = ("/agents/slow-agent", fresh("probe"));
    let run = start(&site, path, &format!("probe={probe}"), "s").await;
    site.at_work(&probe, 1).await;
    store.set(Flow::Failing(StoreError::Full { what: "no room".into() }));
    let fields = [("message", "x"), ("stream", "false")];
    assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 503);
    let cancel = format!("{path}/runs/{run}/cancel");
    let stopped = site.post(&cancel).await;
    assert_eq!(stopped.status, 503, "{}", stopped.text);
    assert!(stopped.text.contains("could not be stored"), "{}", stopped.text);
    store.set(Flow::Open);
    while site.post(&cancel).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A client that is gone by then never knows its run.
#[tokio::test]
async fn a_client_that_leaves_before_its_run_is_stored_stops_it_if_it_is_of_the_foreground() {
    for (stream, background, cause) in [
        ("true", "false", Some("disconnected")),
        ("false", "false", Some("disconnected")),
        ("true", "true", None),
        ("false", "true", None),
    ] {
        let store = Valve::new(Flow::Open);
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let site = Site::with(Engine::with_config(config), Options::default(), Access::open());
        let (run, probe) = (fresh("run"), fresh("probe"));
        store.set(Flow::Shut { stops: false });
        let client = tokio::spawn({
            let (site, run, message) = (site.clone(), run.clone(), format!("probe={probe}"));
            async move {
                let fields = [("message", &*message), ("run_id", &*run), ("session_id", "s")];
                let how = [("stream", stream), ("background", background)];
                let fields = [&fields[..], &how].concat();
                site.create("/agents/slow-agent/runs", &fields).await
            }
        });
        let id = parse_id(&run).unwrap();
        let made = within("it is made", async {
            loop {
                match site.service.engine().get(id) {
                    Some(run) => break run,
                    None => yield_now().await,
                }
            }
        });
        let made = made.await;
        client.abort();
        assert!(client.await.is_err(), "it has had no answer");
        store.set(Flow::Open);
        within("it stops, or ticks", async {
            while made.row().cause.is_none() && site.witness.get(&probe).0.is_empty() {
                yield_now().await;
            }
        })
        .await;
        made.accepted().await.unwrap();
        let row = read(&site, "/agents/slow-agent", &run, "s").await;
        let kind = row["quell"]["cause"]["kind"].as_str();
        assert_eq!(kind, cause, "stream={stream} background={background}: {row}");
        made.cancel(quell::CancelRequest::because("enough"));
        made.quiescent().await;
    }
}
