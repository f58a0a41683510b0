//! Clients that do what they like to threads and runs, for some seconds; with `QUELL_LONG=1` 200 of
//! them for a minute, with 10,000 threads. What they are promised is looked at as they go, and when
//! they have left: nothing overlaps or is left, streams are exact, and what is deleted is gone.

use std::collections::{HashMap, HashSet};
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::Method;
use fastrand::Rng;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use quell::store::MemoryStore;
use quell::{EngineConfig, Failure, Payload, RunContext, RunFilter};
use quell_flow::Component;
use quell_sqlite::SqliteStore;
use quell_test_support::{Witness, seeds, within};
use serde_json::{Value, json};
use tokio::time::sleep;

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
struct Known {
    id: String,
    /// Somebody deletes it: nobody else does.
    is_leaving: AtomicBool,
    /// Its deletion was answered.
    is_deleted: AtomicBool,
    runs: Mutex<Vec<String>>,
}

impl Known {
    fn new(id: String) -> Arc<Self> {
        let (is_leaving, is_deleted, runs) = Default::default();
        Arc::new(Self { id, is_leaving, is_deleted, runs })
    }

    fn path(&self) -> String {
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
        ctx.emit(Payload::from(json!({ "nth": nth })));
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

/// Some servers, and clients.
pub(crate) struct Load {
    servers: Vec<Server>,
    size: Size,
    seen: Witnesses,
    threads: Mutex<Vec<Arc<Known>>>,
    /// The threads that are deleted, and those that were made anew under the same id.
    deleted: Mutex<Vec<Arc<Known>>>,
    anew: Mutex<HashSet<String>>,
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
            self.look_at_the_end().await;
        }
    }

    async fn make(&self, nth: usize, body: Value) -> String {
        let server = &self.servers[nth % self.servers.len()];
        let made = server.post("/threads", &body).await;
        assert_eq!(made.status, 200, "{}", made.text);
        made.json()["thread_id"].as_str().unwrap().to_owned()
    }

    async fn client(self: Arc<Self>, mut rng: Rng, until: Instant) {
        while Instant::now() < until {
            let server = self.servers[rng.usize(..self.servers.len())].clone();
            let thread = {
                let threads = self.threads.lock().unwrap();
                Arc::clone(&threads[rng.usize(..threads.len())])
            };
            match rng.u8(..20) {
                0..=5 => drop(self.made((&server, "runs"), &thread, &mut rng).await),
                6..=8 => self.stream(&server, &thread, &mut rng).await,
                9 | 10 => self.wait(&server, &thread, &mut rng).await,
                11..=13 => self.stop(&server, &thread, &mut rng).await,
                14 => self.read(&server, &thread, &mut rng).await,
                15 | 16 => self.delete_run(&server, &thread, &mut rng).await,
                17 => self.copy(&server, &thread).await,
                18 => self.change(&server, &thread).await,
                _ => self.delete(&server, &thread, &mut rng).await,
            }
        }
    }

    fn body(thread: &Known, rng: &mut Rng) -> Value {
        let strategies = ["enqueue", "enqueue", "reject", "interrupt", "rollback"];
        let strategy = strategies[rng.usize(..strategies.len())];
        let input = json!({ "who": thread.id, "steps": rng.u8(..5), "listens": rng.bool() });
        json!({ "assistant_id": "work", "multitask_strategy": strategy, "input": input,
            "stream_resumable": true, "stream_mode": ["custom", "values"] })
    }

    /// Makes a run. In a thread whose deletion was answered before it was asked for, there is none.
    async fn made(&self, to: (&Server, &str), thread: &Known, rng: &mut Rng) -> Option<Answer> {
        let was_deleted = thread.is_deleted.load(Ordering::SeqCst);
        let body = Self::body(thread, rng);
        let answer = to.0.post(&format!("{}/{}", thread.path(), to.1), &body).await;
        let status = answer.status.as_u16();
        assert!(matches!(status, 200 | 404 | 409 | 429), "{status}: {}", answer.text);
        let is_anew = self.anew.lock().unwrap().contains(&thread.id);
        assert!(status != 200 || !was_deleted || is_anew, "a run in a thread that is deleted");
        if status != 200 {
            return None;
        }
        let run = answer.header("content-location").to_owned();
        thread.runs.lock().unwrap().push(run);
        Some(answer)
    }

    async fn wait(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        let told = within("a wait ends", self.made((server, "runs/wait"), thread, rng)).await;
        assert!(told.is_none_or(|told| told.json().is_object()));
    }

    async fn stream(&self, server: &Server, thread: &Known, rng: &mut Rng) {
        let streamed = self.made((server, "runs/stream"), thread, rng);
        let Some(streamed) = within("a stream ends", streamed).await else { return };
        let (run, told) = (streamed.header("content-location"), events(&streamed.text));
        let is_rising = told.windows(2).all(|two| two[0].0 < two[1].0);
        assert!(is_rising && told.iter().all(|it| !it.0.is_empty()), "{told:?}");
        let other = &self.servers[rng.usize(..self.servers.len())];
        let (other, path) = (other.saying("last-event-id", "-1"), format!("{run}/stream"));
        let again = events(&within("a replay ends", other.get(&path)).await.text);
        match again.split_last() {
            // It was deleted meanwhile.
            Some((last, begin)) if last.1 == "error" => assert!(told.starts_with(begin), "{run}"),
            _ => assert_eq!(again, told, "{run}"),
        }
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
            let body = json!({ "thread_id": thread.id, "metadata": { "anew": 1 } });
            // A run that is being made in it just now is taken back first.
            within("its id is free", async {
                while server.post("/threads", &body).await.status != 200 {
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

    async fn look_at_the_end(&self) {
        let threads = self.threads.lock().unwrap().clone();
        let anew = self.anew.lock().unwrap().clone();
        for known in &threads {
            let is_there = !known.is_deleted.load(Ordering::SeqCst) || anew.contains(&known.id);
            if is_there {
                self.look_at(known).await;
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
    }

    /// Every node comes to say the same of a thread, which comes to rest, and of its runs.
    async fn look_at(&self, thread: &Known) {
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
        for run in &runs {
            let mut all = Vec::new();
            for server in &self.servers {
                all.push(server.status(run).await);
            }
            let is_over = |status: &String| !matches!(&**status, "pending" | "running");
            assert!(all.iter().all(is_over) && all.windows(2).all(|it| it[0] == it[1]), "{all:?}");
        }
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

fn pick(thread: &Known, rng: &mut Rng) -> Option<String> {
    let runs = thread.runs.lock().unwrap();
    (!runs.is_empty()).then(|| runs[rng.usize(..runs.len())].clone())
}

fn events(text: &str) -> Vec<(String, String, String)> {
    let frames = text.split("\n\n").map(|frame| {
        let field = |name: &str| {
            let line = frame.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().to_owned()
        };
        (field("id: "), field("event: "), field("data: "))
    });
    frames.filter(|(_, event, _)| !event.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_keeps_its_promises_whatever_clients_do() {
    Load::of(vec![EngineConfig::new()], Size::by_now()).play().await;
    let store = Arc::new(MemoryStore::new());
    Load::of(vec![EngineConfig::new().store(store)], Size::by_now()).play().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_with_a_file_keeps_its_promises_whatever_clients_do() {
    let folder = env::temp_dir().join(format!("quell-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let store = Arc::new(SqliteStore::open(folder.join("runs.db")).unwrap());
    Load::of(vec![EngineConfig::new().store(store)], Size::by_now()).play().await;
    let _ = std::fs::remove_dir_all(&folder);
}
