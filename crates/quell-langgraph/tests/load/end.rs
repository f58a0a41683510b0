//! When the clients have done: each thread is at rest, the same on every node, and nothing is left.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quell::RunFilter;
use quell_test_support::within;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::clients::{Known, Load};
use super::leaving::has_been_left;
use crate::threads::row;

impl Load {
    pub(super) async fn look_at_the_end(&self) {
        let threads = self.threads.lock().unwrap().clone();
        let anew = self.anew.lock().unwrap().clone();
        let mut left = 0;
        for known in &threads {
            let is_there = !known.is_deleted.load(Ordering::SeqCst) || anew.contains(&known.id);
            if is_there {
                left += self.look_at(known).await;
            }
        }
        let deleted = self.deleted.lock().unwrap().clone();
        for gone in &deleted {
            let runs = gone.runs.lock().unwrap().clone();
            for server in &self.servers {
                for path in runs.iter().chain([&gone.path(), &format!("{}/runs", gone.path())]) {
                    assert_eq!(server.get(path).await.status, 404, "{path}");
                }
                let found = server.post("/threads/search", &json!({ "ids": [gone.id] })).await;
                assert_eq!(found.json(), json!([]));
            }
        }
        for server in &self.servers {
            let engine = server.service.engine();
            within("nothing is left", async {
                while !engine.runs(&RunFilter::new().live()).is_empty() {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        }
        for (thread, witness) in &*self.seen.lock().unwrap() {
            assert!(witness.most() <= 1, "runs of {thread} overlap");
            assert_eq!(witness.inside(), 0, "{thread}");
        }
        assert!(!self.seen.lock().unwrap().is_empty(), "nothing ran");
        assert!(left >= self.servers.len(), "a client that went away has not stopped its run");
    }

    /// Every node comes to say the same of a thread, which comes to rest, and of its runs. Counts
    /// those that stopped because a client went away.
    async fn look_at(&self, thread: &Known) -> usize {
        let mut rows = self.rows(thread).await;
        for _ in 0..LOOKS {
            if rows.windows(2).all(|two| two[0] == two[1]) {
                break;
            }
            sleep(Duration::from_millis(20)).await;
            rows = self.rows(thread).await;
        }
        assert!(rows.windows(2).all(|two| two[0] == two[1]), "{}: {rows:?}", thread.id);
        let runs = thread.runs.lock().unwrap().clone();
        let cancelling = thread.left.lock().unwrap().clone();
        let mut left = 0;
        for run in &runs {
            let mut all = Vec::new();
            for server in &self.servers {
                all.push(server.status(run).await);
            }
            let is_over = |status: &String| !matches!(&**status, "pending" | "running");
            assert!(all.iter().all(is_over) && all.windows(2).all(|it| it[0] == it[1]), "{all:?}");
            let row = self.servers[0].get(run).await.json();
            left += usize::from(has_been_left(&cancelling, run, &row));
        }
        left
    }

    async fn rows(&self, thread: &Known) -> Vec<[Value; 3]> {
        let mut rows = Vec::new();
        for server in &self.servers {
            let row = within("it comes to rest", async {
                loop {
                    let row = row(server, &thread.id).await;
                    if row["status"] != "busy" {
                        return row;
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            });
            let row = row.await;
            rows.push(["values", "metadata", "status"].map(|key| row[key].clone()));
        }
        rows
    }
}

/// How often a thread at rest is looked at until all nodes say the same.
const LOOKS: usize = 50;
