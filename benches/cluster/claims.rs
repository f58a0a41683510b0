//! Roots per second that start through a limit of all nodes, on four nodes together.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, MemoryStore, Page, Pages, Record, RunRecord, Store,
    StoreError, Stored,
};
use quell::{
    Engine, EngineConfig, RunEvent, RunFilter, RunId, RunSpec, RunStatus, Scope, Shutdown,
};
use quell_benches::figures::{ratio, section};
use quell_benches::race::is_long;
use quell_postgres::PostgresNode;
use quell_test_support::Witness;
use tokio::runtime::{Builder, Runtime};

use crate::place::{LEASE, Place};

/// What has to be reached.
const BAR: f64 = 10_000.0;

pub(crate) fn measure(place: &Place) {
    let shape = "4 nodes, each with more runs than its share; the runs are kept in memory, slots \
                 are in the database";
    section("claims through a limit of all nodes", shape);
    let each = if is_long() { 20_000 } else { 5_000 };
    for max in [8, 64, 512] {
        let database = place.database();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the system lets a runtime be made");
        let names = ["node-1", "node-2", "node-3", "node-4"];
        let nodes = names.map(|name| {
            let open = PostgresNode::open(database.options(name, LEASE));
            let node = Arc::new(runtime.block_on(open).expect("it joins"));
            let store = Arc::new(Kept { name, store: MemoryStore::new() });
            let config = EngineConfig::new().store(store).cluster(Arc::clone(&node) as _);
            let config = config.limit_of_all_nodes(Scope::All, max);
            (Engine::with_config(config.runtime(runtime.handle().clone())), node)
        });
        let engines = nodes.each_ref().map(|(engine, _)| engine.clone());
        // Once for nothing: every table and session is there then.
        round(&runtime, &engines, each / 10, max);
        database.reset();
        let took = round(&runtime, &engines, each, max);
        let claims = f64::from(4 * each);
        let per_second = claims / took.as_secs_f64();
        let statements = database.counts().calls() / claims;
        println!(
            "   a limit of {max}: {per_second:.0} claims/s, bar {BAR:.0}; {statements:.4} \
             statements per claim"
        );
        ratio(&format!("cluster/claims/{max}"), BAR / per_second);
        runtime.block_on(async {
            for (engine, node) in nodes {
                engine.shutdown(Shutdown::from(Duration::ZERO)).await;
                node.close().await.expect("it closes");
            }
        });
    }
}

/// Has each node start so many roots, and waits for all of them.
fn round(runtime: &Runtime, engines: &[Engine; 4], each: u32, max: usize) -> Duration {
    let (witness, began) = (Witness::new(), Instant::now());
    let tasks = engines.each_ref().map(|engine| {
        let (engine, witness) = (engine.clone(), witness.clone());
        runtime.spawn(async move {
            let submit = |_| {
                let witness = witness.clone();
                let body = async move |_| {
                    let _inside = witness.enter();
                    tokio::task::yield_now().await;
                    Ok(())
                };
                engine.submit(RunSpec::agent("research"), body).expect("it is taken").into_ref()
            };
            let runs: Vec<_> = (0..each).map(submit).collect();
            for run in runs {
                assert_eq!(run.ended_status().await, RunStatus::Completed);
            }
        })
    });
    for task in tasks {
        runtime.block_on(task).expect("no submitter panics");
    }
    assert!(witness.most() <= max, "{} at once", witness.most());
    began.elapsed()
}

/// A store in memory for a node of this name: what is measured is the limit.
#[derive(Debug)]
struct Kept {
    name: &'static str,
    store: MemoryStore,
}

impl Store for Kept {
    fn boot(&self) -> u32 {
        self.store.boot()
    }

    fn member(&self) -> Option<&str> {
        Some(self.name)
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.append(batch)
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.store.get(run)
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.store.claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.store.list(filter, page)
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        self.store.events(root, after, limit)
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        self.store.checkpoints(lane, page)
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        self.store.recover(page)
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        self.store.ended(page)
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.close()
    }
}
