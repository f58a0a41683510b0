//! Clients that go away: in the middle of a stream or a wait, before they have an answer, and while
//! they join a run.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use fastrand::Rng;
use quell_test_support::within;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::clients::{Known, Load, pick};
use super::streams::{Reader, assert_part};
use crate::talk::Server;

/// What a client asks for that goes away.
pub(super) struct Asked {
    path: &'static str,
    /// Its run stops when it goes.
    cancels: bool,
    /// Its run goes on until it is stopped.
    is_endless: bool,
}

impl Asked {
    pub(super) fn any(rng: &mut Rng) -> Self {
        let path = if rng.u8(..3) == 0 { "runs/wait" } else { "runs/stream" };
        Self { path, cancels: rng.bool(), is_endless: rng.bool() }
    }

    fn body(&self, thread: &Known, rng: &mut Rng) -> Value {
        let mut body = Load::body(thread, rng);
        body["on_disconnect"] = json!(if self.cancels { "cancel" } else { "continue" });
        if self.is_endless {
            body["input"]["steps"] = json!(u32::MAX);
            body["input"]["listens"] = json!(true);
        }
        body
    }
}

impl Load {
    /// Has a client of each node go away whose run nobody else stops, until one has been replayed
    /// from another node, or this one, while it was live.
    pub(super) async fn leave_each(&self, rng: &mut Rng) {
        for (nth, server) in self.servers.iter().enumerate() {
            let thread = Known::new(self.make(nth, json!({})).await);
            within("a live run is replayed", async {
                let mut replayed = 0;
                while replayed == 0 {
                    let asked = Asked { path: "runs/stream", cancels: true, is_endless: true };
                    replayed = self.leave(server, &thread, asked, rng).await;
                }
            })
            .await;
            self.threads.lock().unwrap().push(thread);
        }
    }

    /// Makes a run, reads some of it, perhaps from another node as well, and goes away. What was
    /// read is a part of what the run has told in the end, and the run has stopped, or gone on, as
    /// asked. Counts what another reader was told while it was live.
    pub(super) async fn leave(
        &self,
        server: &Server,
        thread: &Known,
        asked: Asked,
        rng: &mut Rng,
    ) -> usize {
        let Some((run, response)) = self.begun(server, thread, &asked, rng).await else { return 0 };
        let mut reader = Reader::of(response);
        if asked.path == "runs/wait" {
            sleep(Duration::from_millis(rng.u64(..8))).await;
            drop(reader);
            self.ended(server, &run, &asked).await;
            return 0;
        }
        reader.read(rng.usize(..6)).await;
        let told = reader.told();
        let from = rng.usize(..=told.len());
        let id = if from == 0 { "-1" } else { &told[from - 1].0 };
        let live = if rng.bool() {
            let live = self.replay_live(&run, id, rng).await;
            drop(reader);
            live
        } else {
            // It is live no more, or not for long.
            drop(reader);
            self.replay_live(&run, id, rng).await
        };
        self.ended(server, &run, &asked).await;
        let all = self.replay(&run, "-1", rng).await;
        assert_part(&told, (&all, 0), &run);
        assert_part(&live, (&all, from), &run);
        live.len()
    }

    /// Makes the run of a client that will go. Yields none if it has gone before the answer came.
    async fn begun(
        &self,
        server: &Server,
        thread: &Known,
        asked: &Asked,
        rng: &mut Rng,
    ) -> Option<(String, Response)> {
        let was_deleted = thread.is_deleted.load(Ordering::SeqCst);
        let body = asked.body(thread, rng).to_string();
        let path = format!("{}/{}", thread.path(), asked.path);
        let opened = server.open(Method::POST, &path, &body);
        // Who goes so early never knows its run, and could not stop it.
        let response = if asked.cancels && rng.u8(..4) == 0 {
            timeout(Duration::from_millis(rng.u64(..6)), opened).await.ok()?
        } else {
            within("a run begins", opened).await
        };
        if !self.is_made(thread, was_deleted, response.status(), &response) {
            return None;
        }
        let run = response.headers()["content-location"].to_str().unwrap().to_owned();
        if asked.cancels {
            thread.left.lock().unwrap().insert(run.clone());
        }
        thread.runs.lock().unwrap().push(run.clone());
        Some((run, response))
    }

    /// Waits for the end of a run whose client is gone. What goes on without it is stopped first.
    async fn ended(&self, server: &Server, run: &str, asked: &Asked) {
        if asked.is_endless && !asked.cancels {
            let stop = format!("{run}/cancel?wait=1");
            within("it is stopped", async {
                while server.post(&stop, &Value::Null).await.status == 503 {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        }
        let mut status = String::new();
        within("a run ends whose client is gone", async {
            while matches!(&*status, "" | "pending" | "running") {
                status = server.status(run).await;
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let is_right = match &*status {
            "interrupted" | "gone" => true,
            status => status == "success" && !asked.is_endless,
        };
        assert!(is_right, "{run}: {status}");
    }

    /// Joins a run, and goes away.
    pub(super) async fn leave_join(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        let Some(run) = pick(thread, rng) else { return };
        let cancels = rng.bool();
        if cancels {
            thread.left.lock().unwrap().insert(run.clone());
        }
        let what = if rng.bool() { "join" } else { "stream" };
        let path = format!("{run}/{what}?cancel_on_disconnect={cancels}");
        let joined = server.open(Method::GET, &path, "");
        if let Ok(joined) = timeout(Duration::from_millis(rng.u64(..6)), joined).await {
            Reader::of(joined).read(1).await;
        }
    }
}

/// Says whether a run stopped because a client went away, which is so only if that one has asked
/// for it.
pub(super) fn has_been_left(left: &HashSet<String>, run: &str, row: &Value) -> bool {
    let is_left = row["quell"]["cause"]["kind"] == "disconnected";
    assert!(!is_left || left.contains(run), "{row}");
    assert!(!is_left || row["status"] == "interrupted", "{row}");
    is_left
}
