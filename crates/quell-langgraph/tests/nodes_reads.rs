//! How often a node asks the store for what it answers.

use std::sync::Arc;

use quell::EngineConfig;
use quell::testing::cluster::Nodes;
use quell_http::Access;
use quell_langgraph::Options;
use quell_test_support::{Counted, secs};
use serde_json::json;

use crate::talk::Server;
use crate::threads::{echo, made, search};

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
