//! What the clients do to threads and runs, and what the bodies see.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use fastrand::Rng;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use quell::{EngineConfig, Failure, Payload, RunContext};
use quell_flow::Component;
use quell_test_support::{Witness, seeds, within};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::leaving::Asked;
use crate::talk::{Answer, Server};
use crate::threads::{delete, row};

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    threads: usize,
    clients: usize,
    time: Duration,
}

impl Size {
    pub(crate) fn by_now() -> Self {
        if env::var("QUELL_LONG").is_ok_and(|long| long == "1") {
            return Self { threads: 10_000, clients: 200, time: Duration::from_mins(1) };
        }
        Self { threads: 12, clients: 24, time: Duration::from_secs(2) }
    }
}

/// A thread as the clients know it.
pub(super) struct Known {
    pub(super) id: String,
    /// Somebody deletes it: nobody else does.
    is_leaving: AtomicBool,
    /// Its deletion was answered.
    pub(super) is_deleted: AtomicBool,
    pub(super) runs: Mutex<Vec<String>>,
    /// The runs that a client leaves, or has left, that stops them when it goes.
    pub(super) left: Mutex<HashSet<String>>,
}

impl Known {
    pub(super) fn new(id: String) -> Arc<Self> {
        let (is_leaving, is_deleted, runs, left) = Default::default();
        Arc::new(Self { id, is_leaving, is_deleted, runs, left })
    }

    pub(super) fn path(&self) -> String {
        format!("/threads/{}", self.id)
    }
}

/// What the bodies saw, for each thread.
type Witnesses = Arc<Mutex<HashMap<String, Witness>>>;

/// Works in a thread: says a few things, and is slow. Some listen to stops.
async fn work(seen: Witnesses, ctx: RunContext, input: Payload) -> Result<Payload, Failure> {
    let input: Value = input.parse().unwrap_or_default();
    let who = input["who"].as_str().unwrap_or_default().to_owned();
    let witness = seen.lock().unwrap().entry(who).or_default().clone();
    let _inside = witness.enter();
    for nth in 0..input["steps"].as_u64().unwrap_or(1) {
        if nth < SAID {
            ctx.emit(Payload::from(json!({ "nth": nth })));
        }
        let rest = sleep(Duration::from_millis(2));
        if input["listens"] == true {
            if ctx.run_until_stopped(rest).await.is_err() {
                break;
            }
        } else {
            rest.await;
        }
    }
    Ok(input.into())
}

/// What goes on until it is stopped says no more than a server holds.
const SAID: u64 = 1_000;

/// Some servers, and clients.
pub(crate) struct Load {
    pub(super) servers: Vec<Server>,
    size: Size,
    pub(super) seen: Witnesses,
    pub(super) threads: Mutex<Vec<Arc<Known>>>,
    /// The threads that are deleted, and those that were made anew under the same id.
    pub(super) deleted: Mutex<Vec<Arc<Known>>>,
    pub(super) anew: Mutex<HashSet<String>>,
}

impl Load {
    pub(crate) fn of(engines: Vec<EngineConfig>, size: Size) -> Arc<Self> {
        let seen = Witnesses::default();
        let server = |config| {
            let seen = Arc::clone(&seen);
            let work = move |ctx, input| work(Arc::clone(&seen), ctx, input);
            Server::serving_with(config, [Component::workflow("work", work)])
        };
        let servers = engines.into_iter().map(server).collect();
        let (threads, deleted, anew) = Default::default();
        Arc::new(Self { servers, size, seen, threads, deleted, anew })
    }

    /// Has the clients do what they like, and looks at what is left.
    pub(crate) async fn play(self: Arc<Self>) {
        for (seed, _) in seeds(1).take(1) {
            let made = (0..self.size.threads).map(|nth| self.make(nth, json!({})));
            let made = stream::iter(made).buffer_unordered(16).map(Known::new);
            *self.threads.lock().unwrap() = made.collect().await;
            let until = Instant::now() + self.size.time;
            let clients = (0..self.size.clients as u64).map(|nth| {
                let (load, rng) = (Arc::clone(&self), Rng::with_seed(seed.0.wrapping_add(nth)));
                tokio::spawn(load.client(rng, until))
            });
            for client in join_all(clients.collect::<Vec<_>>()).await {
                client.unwrap();
            }
            self.leave_each(&mut Rng::with_seed(seed.0)).await;
            self.look_at_the_end().await;
        }
    }

    pub(super) async fn make(&self, nth: usize, body: Value) -> String {
        let server = &self.servers[nth % self.servers.len()];
        let made = server.post("/threads", &body).await;
        assert_eq!(made.status, 200, "{}", made.text);
        made.json()["thread_id"].as_str().unwrap().to_owned()
    }

    async fn client(self: Arc<Self>, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            let server = self.any(&mut rng);
            let thread = {
                let threads = self.threads.lock().unwrap();
                Arc::clone(&threads[rng.usize(..threads.len())])
            };
            let body = Self::body(&thread, &mut rng);
            match rng.u8(..28) {
                0..=5 => drop(self.made((&server, "runs"), &thread, body).await),
                6..=8 => self.stream(&server, &thread, &mut rng).await,
                9 | 10 => self.wait((&server, "runs/wait"), &thread, body).await,
                11..=13 => self.stop(&server, &thread, &mut rng).await,
                14 => self.read(&server, &thread, &mut rng).await,
                15 | 16 => self.delete_run(&server, &thread, &mut rng).await,
                17 => self.copy(&server, &thread).await,
                18 => self.change(&server, &thread).await,
                19 => self.delete(&server, &thread, &mut rng).await,
                20 => self.make_by_runs(&mut rng).await,
                21..=25 => drop(self.leave(&server, &thread, Asked::any(&mut rng), &mut rng).await),
                _ => self.leave_join(&server, &thread, &mut rng).await,
            }
        }
    }

    pub(super) fn any(&self, rng: &mut Rng) -> Server {
        self.servers[rng.usize(..self.servers.len())].clone()
    }

    pub(super) fn body(thread: &Known, rng: &mut Rng) -> Value {
        let strategies = ["enqueue", "enqueue", "reject", "interrupt", "rollback"];
        let strategy = strategies[rng.usize(..strategies.len())];
        let input = json!({ "who": thread.id, "steps": rng.u8(..5), "listens": rng.bool() });
        let after = if rng.u8(..8) == 0 { rng.f64() / 5.0 } else { 0.0 };
        json!({ "assistant_id": "work", "multitask_strategy": strategy, "input": input,
            "stream_resumable": true, "stream_mode": ["custom", "values"],
            "after_seconds": after })
    }

    /// Makes a run.
    pub(super) async fn made(
        &self,
        to: (&Server, &str),
        thread: &Known,
        body: Value,
    ) -> Option<Answer> {
        let was_deleted = thread.is_deleted.load(Ordering::SeqCst);
        let answer = to.0.post(&format!("{}/{}", thread.path(), to.1), &body).await;
        if !self.is_made(thread, was_deleted, answer.status, &answer) {
            return None;
        }
        let run = answer.header("content-location").to_owned();
        thread.runs.lock().unwrap().push(run);
        Some(answer)
    }

    /// Says whether a run was made. In a thread whose deletion was answered before it was asked
    /// for, there is none.
    pub(super) fn is_made(
        &self,
        thread: &Known,
        was_deleted: bool,
        status: StatusCode,
        answer: &dyn Debug,
    ) -> bool {
        assert!(matches!(status.as_u16(), 200 | 404 | 409 | 429), "{answer:?}");
        let is_anew = self.anew.lock().unwrap().contains(&thread.id);
        assert!(status != 200 || !was_deleted || is_anew, "a run in a thread that is deleted");
        status == 200
    }

    /// Has two clients make a thread by its first run, at once: it is one, on every node.
    async fn make_by_runs(&self, rng: &mut Rng) {
        let thread = Known::new(Uuid::now_v7().to_string());
        let bodies = [(); 2].map(|()| {
            let mut body = Self::body(&thread, rng);
            body["if_not_exists"] = json!("create");
            body
        });
        let [one, two] = [self.any(rng), self.any(rng)];
        let made = bodies.into_iter().zip([&one, &two]);
        let made = made.map(|(body, server)| self.made((server, "runs"), &thread, body));
        let made = within("a thread is made", join_all(made)).await;
        assert!(made.iter().any(Option::is_some), "nobody makes it");
        for server in &self.servers {
            row(server, &thread.id).await;
        }
        self.threads.lock().unwrap().push(thread);
    }

    async fn wait(&self, to: (&Server, &str), thread: &Known, body: Value) {
        let told = within("a wait ends", self.made(to, thread, body)).await;
        assert!(told.is_none_or(|told| told.json().is_object()));
    }

    async fn stop(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        let action = if rng.bool() { "interrupt" } else { "rollback" };
        let wait = if rng.bool() { "wait=1" } else { "" };
        let stopped = if let Some(run) = pick(thread, rng) {
            server.post(&format!("{run}/cancel?action={action}&{wait}"), &Value::Null).await
        } else {
            let all = json!({ "status": "all", "thread_id": thread.id });
            server.post(&format!("/runs/cancel?action={action}"), &all).await
        };
        let status = stopped.status.as_u16();
        assert!(matches!(status, 200 | 202 | 204 | 404 | 503), "{status}: {}", stopped.text);
    }

    async fn read(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        if let Some(run) = pick(thread, rng) {
            let joined = within("a join ends", server.get(&format!("{run}/join"))).await;
            assert!(matches!(joined.status.as_u16(), 200 | 429), "{}", joined.text);
        }
        for path in ["", "/runs", "/state", "/history"] {
            let read = server.get(&format!("{}{path}", thread.path())).await;
            assert!(matches!(read.status.as_u16(), 200 | 404), "{}", read.text);
        }
        let found = server.post("/threads/search", &json!({ "ids": [thread.id] })).await;
        assert_eq!(found.status, 200, "{}", found.text);
    }

    async fn delete_run(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        let Some(run) = pick(thread, rng) else { return };
        let status = delete(server, &run).await.status.as_u16();
        assert!(matches!(status, 204 | 404), "{status}");
        assert_eq!(server.get(&run).await.status, 404, "{run}");
        let joined = server.get(&format!("{run}/join")).await.json();
        assert!(status != 204 || joined["__error__"]["error"] == "HTTPException", "{joined}");
    }

    async fn copy(&self, server: &Server, thread: &Known) {
        let copy = server.post(&format!("{}/copy", thread.path()), &Value::Null).await;
        assert!(matches!(copy.status.as_u16(), 200 | 404), "{}", copy.text);
        if copy.status == 200 {
            let id = copy.json()["thread_id"].as_str().unwrap().to_owned();
            self.threads.lock().unwrap().push(Known::new(id));
        }
    }

    async fn change(&self, server: &Server, thread: &Known) {
        let body = json!({ "metadata": { "seen": true } }).to_string();
        let changed = server.send(Method::PATCH, &thread.path(), &body).await;
        assert!(matches!(changed.status.as_u16(), 200 | 404), "{}", changed.text);
    }

    /// Deletes a thread, which is gone from every node then; and sometimes makes it anew.
    async fn delete(&self, server: &Server, thread: &Arc<Known>, rng: &mut Rng) {
        if thread.is_leaving.swap(true, Ordering::SeqCst) {
            return;
        }
        let gone = within("a deletion ends", delete(server, &thread.path())).await;
        assert_eq!(gone.status, 204, "{}", gone.text);
        thread.is_deleted.store(true, Ordering::SeqCst);
        let runs = thread.runs.lock().unwrap().clone();
        for server in &self.servers {
            let shown = server.get(&thread.path()).await;
            assert_eq!(shown.status, 404, "{}", shown.text);
            for run in &runs {
                assert_eq!(server.get(run).await.status, 404, "{run}");
            }
        }
        if rng.bool() {
            self.anew.lock().unwrap().insert(thread.id.clone());
            let by_run = rng.bool();
            // A run that is being made in it just now is taken back first.
            within("its id is free", async {
                while !self.make_anew(server, thread, by_run).await {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            // Also if others ask for the one before.
            for server in &self.servers {
                assert_eq!(row(server, &thread.id).await["metadata"]["anew"], 1);
            }
        } else {
            self.deleted.lock().unwrap().push(Arc::clone(thread));
        }
        let new = self.make(rng.usize(..9), json!({})).await;
        self.threads.lock().unwrap().push(Known::new(new));
    }

    /// Makes a thread that was deleted, by itself or by its first run.
    async fn make_anew(&self, server: &Server, thread: &Known, by_run: bool) -> bool {
        let metadata = json!({ "anew": 1 });
        if by_run {
            // Another run may come before it: what is not said here its body gets from that one.
            let input = json!({ "who": thread.id, "steps": 1, "listens": false });
            let run = json!({ "assistant_id": "work", "input": input,
                "if_not_exists": "create", "metadata": metadata });
            return self.made((server, "runs"), thread, run).await.is_some();
        }
        let body = json!({ "thread_id": thread.id, "metadata": metadata });
        server.post("/threads", &body).await.status == 200
    }
}

/// Picks a run of a thread.
pub(super) fn pick(thread: &Known, rng: &mut Rng) -> Option<String> {
    let runs = thread.runs.lock().unwrap();
    (!runs.is_empty()).then(|| runs[rng.usize(..runs.len())].clone())
}
