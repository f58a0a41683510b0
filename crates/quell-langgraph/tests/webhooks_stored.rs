//! Webhooks with a store: one that was owed when the process died is sent by the next one.

use std::sync::Arc;

use quell::store::{MemoryStore, Page, Store};
use quell::testing::cluster::{Node, Nodes};
use quell::{EngineConfig, Recovery, RunFilter};
use quell_http::Access;
use quell_test_support::{Valve, secs};
use serde_json::json;

use crate::receiver::{Receiver, status};
use crate::talk::Server;
use crate::webhooks::{asking, options};

async fn nth(boot: u32, store: &Arc<MemoryStore>) -> Server {
    let store = Valve::reopened(store, boot);
    let config = EngineConfig::new().store(store as Arc<dyn Store>);
    let mut options = options();
    options.webhook_attempts = 100;
    let server = Server::with(config, options, Access::open());
    server.service.engine().recover(|_| Recovery::Fail).await.unwrap();
    server
}

async fn is_owed(server: &Server) -> bool {
    let filter = RunFilter::new().label("langgraph.webhook", "webhook");
    let read = server.service.engine().stored_runs(filter, Page::first(10)).await.unwrap();
    !read.items.is_empty()
}

async fn until_none_is_owed(server: &Server) {
    while is_owed(server).await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A process that dies: all its tasks end at once.
fn process<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

#[test]
fn a_webhook_that_was_owed_when_the_process_died_is_sent_by_the_next_one() {
    let store = Arc::new(MemoryStore::new());
    let others = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let receiver = others.block_on(Receiver::new(vec![
        status("503 Busy"),
        status("503 Busy"),
        status("503 Busy"),
        status("200 OK"),
    ]));
    let live = process(async {
        let server = nth(1, &store).await;
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
        run.json()["run_id"].clone()
    });
    process(async {
        let server = nth(2, &store).await;
        // Whoever reads anything takes in what the process before has left.
        server.get(&format!("/threads/{}", uuid::Uuid::now_v7())).await;
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
    });
    process(async {
        let server = nth(3, &store).await;
        assert!(!is_owed(&server).await);
        assert_eq!(receiver.by_now(), 6);
    });
}

fn node(node: &Arc<Node>) -> Server {
    let config = EngineConfig::new().store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    Server::with(config, options(), Access::open())
}

#[tokio::test]
async fn of_two_nodes_the_one_that_has_the_run_sends_its_webhook() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (node(&nodes.join("a")), node(&nodes.join("b")));
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let thread = a.thread().await;
    let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
    assert_eq!(b.post(&format!("/threads/{thread}/runs/wait"), &body).await.status, 200);
    assert_eq!(a.post("/runs/wait", &body).await.status, 200);
    receiver.got(2).await;
    for server in [&a, &b] {
        until_none_is_owed(server).await;
    }
    assert_eq!(receiver.by_now(), 2);
}
