//! How often a node asks the store for what it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Page, Pages, Record, RunRecord, Store, StoreError,
    Stored,
};
use quell::testing::cluster::{Node, Nodes};
use quell::{EngineConfig, RunEvent, RunFilter, RunId};
use quell_http::Access;
use quell_langgraph::Options;
use quell_test_support::secs;
use serde_json::json;

use crate::talk::Server;
use crate::threads::{echo, made, search};

/// The store of a node, which counts what is read.
#[derive(Debug)]
struct Counted {
    of: Arc<Node>,
    reads: AtomicUsize,
}

impl Counted {
    fn count(&self) -> &Node {
        self.reads.fetch_add(1, Ordering::SeqCst);
        &self.of
    }
}

impl Store for Counted {
    fn boot(&self) -> u32 {
        self.of.boot()
    }

    fn member(&self) -> Option<&str> {
        self.of.member()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.append(batch)
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.count().get(run)
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.count().claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.count().list(filter, page)
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        self.count().events(root, after, limit)
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.count().checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.of.recover(page)
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.of.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.of.bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.of.close()
    }
}

#[tokio::test]
async fn a_search_reads_what_the_store_says_of_a_thread_once() {
    const THREADS: usize = 20;
    let nodes = Nodes::new(secs(30));
    let [a, b] = ["a", "b"].map(|name| {
        let of = nodes.join(name);
        let store = Arc::new(Counted { of: Arc::clone(&of), reads: AtomicUsize::new(0) });
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
        let before = store.reads.load(Ordering::SeqCst);
        assert_eq!(search(server, asked.clone()).await.len(), THREADS);
        let reads = store.reads.load(Ordering::SeqCst) - before;
        assert!(reads <= 1 + 3 * THREADS, "{reads} reads of {THREADS} threads");
    }
}
