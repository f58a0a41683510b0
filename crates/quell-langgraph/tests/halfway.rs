//! Clients that go away while the store is waited for.

use std::sync::Arc;

use quell::store::MemoryStore;
use quell::{RunFilter, RunRef};
use quell_flow::COMPONENT;
use quell_test_support::{Flow, within};
use serde_json::json;
use tokio::task::yield_now;

use crate::restart::nth;
use crate::talk::Server;

/// The one live run of the graph: what is kept of its thread is stored by runs, too.
fn live(server: &Server) -> Option<RunRef> {
    let of_graph = RunFilter::new().live().label(COMPONENT, "slow");
    server.service.engine().runs(&of_graph).pop()
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_run_is_stored_stops_it_if_it_has_said_so() {
    for (kind, policy, cause) in [
        ("/stream", "cancel", Some("disconnected")),
        ("/wait", "cancel", Some("disconnected")),
        ("/stream", "continue", None),
        ("", "cancel", None),
    ] {
        let (server, valve) = nth(1, &Arc::new(MemoryStore::new())).await;
        let thread = server.thread().await;
        let path = format!("/threads/{thread}/runs{kind}");
        let body = json!({ "assistant_id": "slow", "on_disconnect": policy,
            "input": { "ms": 60_000, "tag": "left" } });
        valve.set(Flow::Shut { stops: false });
        let client = tokio::spawn({
            let (server, path) = (server.clone(), path.clone());
            async move { server.post(&path, &body).await }
        });
        let run = within("it is made", async {
            loop {
                if let Some(run) = live(&server) {
                    break run;
                }
                yield_now().await;
            }
        })
        .await;
        client.abort();
        assert!(client.await.is_err(), "it has had no answer");
        valve.set(Flow::Open);
        // What is not to stop goes on.
        within("it stops, or ticks", async {
            while run.row().cause.is_none() && server.witness.get("left").0.is_empty() {
                yield_now().await;
            }
        })
        .await;
        let row = server.get(&format!("/threads/{thread}/runs/{}", run.id())).await.json();
        let kind_of = row["quell"]["cause"]["kind"].as_str();
        assert_eq!(kind_of, cause, "{path} {policy}: {row}");
        run.cancel(quell::CancelRequest::because("enough"));
    }
}
