//! Webhooks with a store: one that was owed when the process died is sent by the next one.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use futures::future::join_all;
use quell::store::{MemoryStore, Page, RunRecord, Store, StoreError};
use quell::{
    EngineConfig, Failure, Payload, Recovery, RunContext, RunFilter, RunKind, StoreRetention,
};
use quell_flow::{Catalog, Component};
use quell_http::Access;
use quell_langgraph::Options;
use quell_sqlite::SqliteStore;
use quell_test_support::{Flow, Valve, within};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::nodes::ask;
use crate::receiver::{Receiver, Says, late, status};
use crate::support::app_with;
use crate::talk::Server;
use crate::webhooks::{asking, options};

async fn nth(boot: u32, store: &Arc<MemoryStore>) -> (Server, Arc<Valve>) {
    let store = Valve::reopened(store, boot);
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let mut options = options();
    options.webhook_attempts = 100;
    let server = Server::with(config, options, Access::open());
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    (server, store)
}

async fn owed(server: &Server) -> usize {
    let filter = RunFilter::new().label("langgraph.webhook", "webhook");
    let read = server.service.engine().stored_runs(filter, Page::first(10)).await.unwrap();
    read.items.len()
}

async fn until_owed(server: &Server, count: usize) {
    while owed(server).await != count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn until_none_is_owed(server: &Server) {
    until_owed(server, 0).await;
}

/// A process that dies: all its tasks end at once.
pub(crate) fn process<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

#[test]
fn a_webhook_that_was_owed_when_the_process_died_is_sent_by_the_next_one() {
    let store = Arc::new(MemoryStore::new());
    let (_others, receiver) =
        beside(vec![status("503 Busy"), status("503 Busy"), status("503 Busy"), status("200 OK")]);
    let live = process(async {
        let (server, own) = nth(1, &store).await;
        let thread = server.thread().await;
        let echo = asking("echo", &json!({"text": "hi"}), &receiver.url());
        for path in ["/runs/wait", &format!("/threads/{thread}/runs/wait")] {
            assert_eq!(server.post(path, &echo).await.status, 200);
        }
        receiver.got(2).await;
        // Of the stateless run nothing is shown although its webhook is owed.
        let first = receiver.got(2).await;
        for (_, told) in &first {
            let (thread, run) = (told["thread_id"].as_str(), told["run_id"].as_str());
            let path = format!("/threads/{}/runs/{}", thread.unwrap(), run.unwrap());
            let is_temporary = told["kwargs"]["temporary"] == true;
            let shown = server.get(&path).await.status.as_u16();
            assert_eq!(shown, if is_temporary { 404 } else { 200 });
        }
        let thread = server.thread().await;
        let slow = asking("slow", &json!({"ms": 60_000, "tag": "t"}), &receiver.url());
        let run = server.post(&format!("/threads/{thread}/runs"), &slow).await;
        server.until_ticking("t").await;
        // Its threads may be at work for a moment: nothing of that is stored any more.
        own.set(Flow::Shut { stops: true });
        run.json()["run_id"].clone()
    });
    process(async {
        let (server, own) = nth(2, &store).await;
        // One of them is answered 503 once more.
        let all = receiver.got(6).await;
        let told = || all[2..].iter().map(|(_, told)| told);
        let mut of_echo = told().filter(|told| told["metadata"]["graph_id"] == "echo");
        assert!(of_echo.all(|told| told["values"]["log"] == json!(["echo:hi"])), "{all:?}");
        let lost = told().find(|told| told["metadata"]["graph_id"] == "slow").unwrap();
        assert_eq!(lost["run_id"], live, "{lost}");
        assert!(lost["status"] == "interrupted" || lost["status"] == "error", "{lost}");
        until_none_is_owed(&server).await;
        let runs = server.service.engine().stored_runs(RunFilter::new(), Page::first(50)).await;
        let runs = runs.unwrap().items;
        assert!(
            runs.iter().flatten().all(|run| !run.accepted.labels.contains_key("langgraph.webhook"))
        );
        own.set(Flow::Shut { stops: true });
    });
    process(async {
        let (server, _) = nth(3, &store).await;
        assert_eq!(owed(&server).await, 0);
        assert_eq!(receiver.by_now(), 6);
    });
}

/// Each of them is lost to the next process in another moment of what that clears.
#[test]
fn of_threads_that_were_deleted_when_the_process_died_nothing_is_told() {
    let store = Arc::new(MemoryStore::new());
    let (_others, receiver) = beside(vec![status("200 OK")]);
    process(async {
        let (server, own) = nth(1, &store).await;
        let mut threads = Vec::new();
        for nth in 0..12 {
            let (thread, tag) = (server.thread().await, format!("t{nth}"));
            let slow = asking("slow", &json!({"ms": 60_000, "tag": tag}), &receiver.url());
            assert_eq!(server.post(&format!("/threads/{thread}/runs"), &slow).await.status, 200);
            server.until_ticking(&tag).await;
            threads.push(thread);
        }
        // Their runs are not stopped in the store, and stay there.
        own.set(Flow::KeepingStops);
        let paths: Vec<_> = threads.iter().map(|thread| format!("/threads/{thread}")).collect();
        let deleted = join_all(paths.iter().map(|path| server.send(Method::DELETE, path, "")));
        let look = async {
            for thread in &threads {
                // It has a further record, which says so.
                let of_thread = || RunFilter::new().label("quell.record", thread.clone());
                let stored = || server.service.engine().stored_runs(of_thread(), Page::first(9));
                while stored().await.unwrap().items.len() < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            own.set(Flow::Shut { stops: true });
        };
        tokio::select! {
            biased;
            answers = deleted => panic!("{answers:?}"),
            () = look => {}
        }
    });
    process(async {
        let (server, _) = nth(2, &store).await;
        let of_graph = || RunFilter::new().kind(RunKind::Agent);
        let stored = || server.service.engine().stored_runs(of_graph(), Page::first(9));
        while !stored().await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(receiver.by_now(), 0);
    });
}

#[test]
fn an_end_that_is_not_stored_is_told_when_it_is() {
    let store = Arc::new(MemoryStore::new());
    let (_others, receiver) = beside(vec![status("200 OK")]);
    process(async {
        let (server, own) = nth(1, &store).await;
        let thread = server.thread().await;
        let slow = asking("slow", &json!({"ms": 60_000, "tag": "t"}), &receiver.url());
        let run = server.post(&format!("/threads/{thread}/runs"), &slow).await;
        let run = run.header("content-location").to_owned();
        server.until_ticking("t").await;
        own.set(Flow::Failing(StoreError::Io { what: "said the test".into() }));
        let stopped = server.post(&format!("{run}/cancel?wait=1"), &json!({})).await;
        assert_eq!(stopped.status, 503, "{stopped:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(receiver.by_now(), 0, "a later process would tell another end");
        own.set(Flow::Open);
        assert_eq!(receiver.got(1).await[0].1["status"], "interrupted");
    });
}

/// No later process knows of it.
#[test]
fn what_a_rollback_took_is_told_when_that_is_stored_also_in_a_drain() {
    let store = Arc::new(MemoryStore::new());
    let (_others, receiver) = beside(vec![status("200 OK")]);
    process(async {
        let (server, own) = nth(1, &store).await;
        let thread = server.thread().await;
        let slow = asking("slow", &json!({"ms": 60_000, "tag": "t"}), &receiver.url());
        let run = server.post(&format!("/threads/{thread}/runs"), &slow).await;
        let run = run.header("content-location").to_owned();
        server.until_ticking("t").await;
        own.set(Flow::Failing(StoreError::Io { what: "said the test".into() }));
        let stop = format!("{run}/cancel?wait=1&action=rollback");
        assert_eq!(server.post(&stop, &json!({})).await.status, 503);
        server.service.drain();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(receiver.by_now(), 0, "it is not stored");
        own.set(Flow::Open);
        assert_eq!(receiver.got(1).await.len(), 1);
    });
}

/// A folder for the file of a store.
fn fresh(name: &str) -> (PathBuf, PathBuf) {
    let folder = env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("runs.db");
    (folder, file)
}

/// A receiver that outlives each process, with what it runs on.
fn beside(says: Vec<Says>) -> (Runtime, Receiver) {
    let others = Builder::new_multi_thread().enable_all().build().unwrap();
    let receiver = others.block_on(Receiver::new(says));
    (others, receiver)
}

/// Takes a while to stop.
async fn stays(ctx: RunContext, _: Payload) -> Result<Payload, Failure> {
    ctx.stopped().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok("at last".into())
}

fn with_file(file: &Path) -> Server {
    let mut options = options();
    options.webhook_attempts = 100;
    with_file_and(file, options)
}

fn with_file_and(file: &Path, options: Options) -> Server {
    // The process before may not be quite gone.
    let opened = std::iter::repeat_with(|| SqliteStore::open(file));
    let paced = opened.inspect(|_| std::thread::sleep(Duration::from_millis(10)));
    let store = paced.take(500).find_map(Result::ok).unwrap();
    let config = EngineConfig::new().store(Arc::new(store));
    let catalog = Catalog::new()
        .with(Component::workflow("ask", ask).resumable())
        .with(Component::workflow("stays", stays));
    let (app, service, witness) = app_with(catalog, config, options, Access::open());
    Server { app, service, witness, headers: Vec::new() }
}

/// As [`with_file`], of a later process: what the one before has left goes on.
async fn going_on(file: &Path) -> Server {
    recovered(with_file(file)).await
}

async fn recovered(server: Server) -> Server {
    let engine = server.service.engine();
    engine.recover(|run| recovery(&server, run)).await.unwrap();
    server
}

pub(crate) fn recovery(server: &Server, run: &RunRecord) -> Recovery {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    server.service.catalog().recovery(run, &store).unwrap_or(Recovery::Fail)
}

#[test]
fn with_a_file_what_was_not_acknowledged_is_sent_again_after_a_restart_and_nothing_else() {
    let (folder, file) = fresh("quell-webhooks");
    let answers = vec![status("200 OK"), status("200 OK"), status("503 Busy"), status("200 OK")];
    let (_others, receiver) = beside(answers);
    let asked = process(async {
        let server = with_file(&file);
        let pausing = asking("ask", &json!({}), &receiver.url());
        let thread = server.thread().await;
        server.post(&format!("/threads/{thread}/runs/wait"), &pausing).await;
        receiver.got(1).await;
        let echo = asking("echo", &json!({"text": "hi"}), &receiver.url());
        server.post("/runs/wait", &echo).await;
        receiver.got(2).await;
        until_owed(&server, 1).await;
        server.post("/runs/wait", &echo).await;
        receiver.got(3).await;
        server.service.engine().shutdown(quell::Shutdown::default()).await;
        thread
    });
    process(async {
        let server = going_on(&file).await;
        let all = receiver.got(4).await;
        assert_eq!(all[3].1["run_id"], all[2].1["run_id"]);
        // What waits for an answer was told.
        until_owed(&server, 1).await;
        let answer = json!({"assistant_id": "ask", "command": {"resume": "yes"}});
        server.post(&format!("/threads/{asked}/runs/wait"), &answer).await;
        let all = receiver.got(5).await;
        assert_eq!(all[4].1["values"]["told"], "yes", "{all:?}");
        until_none_is_owed(&server).await;
        assert_eq!(receiver.by_now(), 5);
    });
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn what_waits_for_an_answer_or_is_stopped_by_the_drain_is_told_by_the_next_process_once() {
    let (folder, file) = fresh("quell-webhooks-left");
    let (_others, receiver) = beside(vec![status("503 Busy"), status("200 OK")]);
    let live = process(async {
        let server = with_file(&file);
        let slow = asking("slow", &json!({"ms": 60_000, "tag": "t"}), &receiver.url());
        let live = server.post("/runs", &slow).await.json()["run_id"].clone();
        server.until_ticking("t").await;
        let runs = format!("/threads/{}/runs/wait", server.thread().await);
        let earlier = json!({"assistant_id": "echo", "input": {"text": "earlier"}});
        server.post(&runs, &earlier).await;
        let pausing = asking("interrupting", &json!({"now": 1}), &receiver.url());
        server.post(&runs, &pausing).await;
        let (_, told) = receiver.got(1).await.remove(0);
        assert_eq!(
            (&told["values"]["text"], &told["values"]["now"]),
            (&"earlier".into(), &1.into())
        );
        server.service.drain();
        server.service.engine().shutdown(quell::Shutdown::default()).await;
        live
    });
    // How many are owed: that of what is paused still, until the retention takes what says so.
    for (owed, is_pruned) in [(1, false), (1, true), (0, false)] {
        process(async {
            let server = going_on(&file).await;
            let all = receiver.got(3).await;
            let told = |run: &serde_json::Value| {
                all[1..].iter().filter(|(_, told)| told["run_id"] == *run).count()
            };
            assert_eq!((told(&all[0].1["run_id"]), told(&live)), (1, 1), "{all:?}");
            let again = all[1..].iter().find(|(_, told)| told["run_id"] == all[0].1["run_id"]);
            assert_eq!(again.unwrap().1["values"], all[0].1["values"]);
            until_owed(&server, owed).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(receiver.by_now(), 3);
            if is_pruned {
                let all = StoreRetention::new().trees_max(0);
                server.service.engine().prune_stored(&all).await.unwrap();
            }
        });
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_pause_that_is_told_while_its_server_ends_is_not_told_again() {
    let (folder, file) = fresh("quell-webhooks-ending");
    let (_others, receiver) = beside(vec![late("200 OK")]);
    process(async {
        let server = with_file(&file);
        let stays = json!({ "assistant_id": "stays", "input": {} });
        server.post("/runs", &stays).await;
        let pausing = asking("ask", &json!({}), &receiver.url());
        let runs = format!("/threads/{}/runs/wait", server.thread().await);
        server.post(&runs, &pausing).await;
        receiver.got(1).await;
        server.service.drain();
        server.service.engine().shutdown(quell::Shutdown::default()).await;
    });
    process(async {
        let server = going_on(&file).await;
        until_owed(&server, 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(receiver.by_now(), 1);
    });
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn what_another_process_has_left_waits_for_a_place() {
    let (folder, file) = fresh("quell-webhooks-places");
    let (_others, receiver) = beside(vec![status("503 Busy"), status("503 Busy"), late("200 OK")]);
    process(async {
        let server = with_file(&file);
        for _ in 0..2 {
            let pausing = asking("ask", &json!({}), &receiver.url());
            let runs = format!("/threads/{}/runs/wait", server.thread().await);
            server.post(&runs, &pausing).await;
        }
        receiver.got(2).await;
        server.service.drain();
        server.service.engine().shutdown(quell::Shutdown::default()).await;
    });
    process(async {
        let mut options = options();
        options.webhooks_max = 1;
        let _server = recovered(with_file_and(&file, options)).await;
        let all = within("both are told", receiver.got(4)).await;
        assert_ne!(all[2].1["run_id"], all[3].1["run_id"]);
    });
    let _ = std::fs::remove_dir_all(&folder);
}
