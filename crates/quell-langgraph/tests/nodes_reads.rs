//! How often a node asks the store for what it answers.

use std::sync::Arc;

use quell::EngineConfig;
use quell::testing::cluster::{Nodes, Trouble};
use quell_http::Access;
use quell_langgraph::Options;
use quell_test_support::{Catch, Counted, ms, secs, within};
use serde_json::json;

use crate::nodes::stored;
use crate::talk::{Says as _, Server};
use crate::threads::{delete, echo, made, search};

#[tokio::test]
async fn a_stop_of_work_that_is_here_waits_for_no_read_of_the_store() {
    let of = Nodes::new(secs(30)).join("a");
    let store = Counted::of(Arc::clone(&of) as _);
    let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(of as _);
    let server = Server::with(config, Options::default(), Access::open());
    for (nth, how) in ["cancel", "delete", "status", "thread"].into_iter().enumerate() {
        let (thread, tag) = (server.thread().await, format!("t{nth}"));
        let run = server.start(&thread, "slow", json!({ "ms": 60_000, "tag": tag })).await;
        server.until_ticking(&tag).await;
        stored(&server, &run).await;
        store.hold_lists(true);
        store.catch_gets(Catch::Asked);
        let asks = {
            let server = server.clone();
            tokio::spawn(async move {
                let of_thread = json!({ "status": "running", "thread_id": thread });
                match how {
                    "cancel" => server.post(&format!("{run}/cancel"), &json!({})).await,
                    "delete" => delete(&server, &run).await,
                    "status" => server.post("/runs/cancel", &json!({ "status": "running" })).await,
                    _ => server.post("/runs/cancel", &of_thread).await,
                }
            })
        };
        // The witness decides, while nothing can be read.
        tokio::time::sleep(ms(300)).await;
        server.assert_stopped(&tag).await;
        store.hold_lists(false);
        store.catch_gets(None);
        store.let_gets_go();
        let answer = within("it is answered", asks).await.unwrap();
        assert!(answer.status.is_success(), "{how}: {answer:?}");
    }
}

#[tokio::test]
async fn a_search_reads_what_the_store_says_of_a_thread_once() {
    const THREADS: usize = 20;
    let nodes = Nodes::new(secs(30));
    let [a, b] = ["a", "b"].map(|name| {
        let of = nodes.join(name);
        let store = Counted::of(Arc::clone(&of) as _);
        let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(of as _);
        (Server::with(config, Options::default(), Access::open()), store)
    });
    for _ in 0..THREADS {
        let thread = made(&a.0, json!({})).await;
        echo(&a.0, &thread, "hi").await;
    }
    let asked = json!({ "limit": THREADS });
    for (server, store) in [&a, &b] {
        // What it has not in memory is read in whole first.
        assert_eq!(search(server, asked.clone()).await.len(), THREADS);
        let before = store.reads();
        assert_eq!(search(server, asked.clone()).await.len(), THREADS);
        let reads = store.reads() - before;
        assert!(reads <= 1 + 3 * THREADS, "{reads} reads of {THREADS} threads");
    }
}

/// A close without an event is the end of a run that completed.
#[tokio::test]
async fn a_stream_of_a_node_that_the_store_has_given_up_ends_with_an_error() {
    let of = Nodes::new(secs(2)).join("a");
    let config = EngineConfig::new().node(Arc::clone(&of)).grace(ms(100)).abort_wait(ms(100));
    let server = Server::serving_with(config, []);
    let streamed = async |is_resumable: bool| {
        let (thread, tag) = (server.thread().await, format!("lost {is_resumable}"));
        let body = json!({ "assistant_id": "slow", "input": { "ms": 60_000, "tag": tag },
            "stream_mode": ["values"], "stream_resumable": is_resumable });
        server.post(&format!("/threads/{thread}/runs/stream"), &body).await.events()
    };
    let lost = async {
        for tag in ["lost false", "lost true"] {
            server.until_ticking(tag).await;
        }
        of.trouble(Trouble::All);
    };
    let (once, resumable, ()) = tokio::join!(streamed(false), streamed(true), lost);
    for events in [once, resumable] {
        let (name, data) = events.last().unwrap();
        assert_eq!((&**name, &data["error"]), ("error", &json!("HTTPException")), "{events:?}");
    }
}
