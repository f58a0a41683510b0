//! What becomes of the runs of a node that is gone, on the next one that has them.

use std::sync::Arc;

use quell::store::Store;
use quell::testing::cluster::{Node, Nodes};
use quell::{CancelRequest, Recovery, RunFilter, Shutdown};
use quell_test_support::{ms, secs, within};
use serde_json::json;

use crate::nodes::{server, soon_paused, soon_status, stored};
use crate::steps::{history, state};
use crate::talk::{Says as _, Server, id_of};

/// Takes over from a node as a server does, when it is gone.
pub(crate) async fn take_over(by: &Server, node: &Arc<Node>) {
    let port: Arc<dyn Store> = Arc::clone(node) as _;
    let engine = by.service.engine();
    let decide = |run: &_| by.service.catalog().recovery(run, &port).unwrap_or(Recovery::Fail);
    within("it is taken over", async {
        while engine.take_over(decide).await.unwrap().is_none() {
            tokio::time::sleep(ms(10)).await;
        }
    })
    .await;
}

/// Has a node begin a run that asks, and end: it leaves what is paused to others, of which one
/// takes it over. Yields the thread and the run.
async fn left_asking(a: &Server, b: &Server, of_b: &Arc<Node>) -> (String, String) {
    let thread = a.thread().await;
    let run = a.start(&thread, "ask", json!({ "n": 1 })).await;
    stored(a, &run).await;
    soon_paused(b, &run).await;
    a.service.engine().shutdown(Shutdown::default()).await;
    take_over(b, of_b).await;
    (thread, run)
}

#[tokio::test]
async fn t6_what_a_node_that_is_gone_has_asked_is_answered_through_any_other_one() {
    for by_who_has_it in [true, false] {
        let nodes = Nodes::new(secs(30));
        let (a, of_b) = (server(&nodes.join("a")), nodes.join("b"));
        let (b, c) = (server(&of_b), server(&nodes.join("c")));
        let (thread, run) = left_asking(&a, &b, &of_b).await;
        let row = b.get(&format!("/threads/{thread}")).await;
        assert_eq!(row.json()["status"], "interrupted", "{row:?}");
        let list = b.get(&format!("/threads/{thread}/runs")).await.json();
        assert_eq!((&list[0]["run_id"], list.as_array().unwrap().len()), (&id_of(&run).into(), 1));
        let through = if by_who_has_it { &b } else { &c };
        let answer = json!({ "assistant_id": "ask", "command": { "resume": "yes" } });
        let told = through.post(&format!("/threads/{thread}/runs/wait"), &answer).await;
        assert_eq!((told.status.as_u16(), &told.json()["told"]), (200, &json!("yes")), "{told:?}");
        soon_status(&b, &run, "success").await;
    }
}

#[tokio::test]
async fn new_input_supersedes_what_a_node_that_is_gone_has_asked() {
    let nodes = Nodes::new(secs(30));
    let (a, of_b) = (server(&nodes.join("a")), nodes.join("b"));
    let b = server(&of_b);
    let (thread, run) = left_asking(&a, &b, &of_b).await;
    let next = json!({ "assistant_id": "echo", "input": { "n": 2 } });
    let told = within("it has its turn", async {
        b.post(&format!("/threads/{thread}/runs/wait"), &next).await
    });
    assert_eq!(told.await.json()["n"], 2);
    assert_eq!(b.status(&run).await, "interrupted");
}

#[tokio::test]
async fn a_stream_ends_with_what_an_attempt_asks_that_goes_on_after_a_loss() {
    let nodes = Nodes::new(secs(30));
    let (first, b) = (server(&nodes.join("a")), server(&nodes.join("b")));
    let thread = first.thread().await;
    let body = json!({
        "assistant_id": "later", "input": {}, "stream_mode": ["values", "updates"],
        "stream_resumable": true,
    });
    let made = first.post(&format!("/threads/{thread}/runs"), &body).await;
    let run = made.header("content-location").to_owned();
    soon_status(&first, &run, "running").await;
    stored(&first, &run).await;
    let path = format!("{run}/stream");
    let follows = |from: Option<&str>| {
        let (reader, path) = (b.clone(), path.clone());
        let reader = from.map_or(reader.clone(), |from| reader.saying("last-event-id", from));
        tokio::spawn(async move { reader.get(&path).await })
    };
    let early = [follows(Some("-1")), follows(None)];
    tokio::time::sleep(secs(1) / 5).await;
    // Its process is gone, and the next one has its name.
    let node = nodes.join("a");
    let a = server(&node);
    let port: Arc<dyn Store> = Arc::clone(&node) as _;
    let decide = |run: &_| a.service.catalog().recovery(run, &port).unwrap_or(Recovery::Fail);
    assert_eq!(a.service.engine().recover(decide).await.unwrap().resumed.len(), 1);
    soon_paused(&b, &run).await;
    let row = a.get(&format!("/threads/{thread}")).await.json();
    let asked = row["interrupts"].as_object().unwrap().values().next().unwrap()[0]["id"].clone();
    let mut told = Vec::new();
    for follower in early {
        told.push(within("it ends with the pause", follower).await.unwrap());
    }
    for server in [&a, &b] {
        let late = server.saying("last-event-id", "-1");
        told.push(within("it ends with the pause", late.get(&path)).await);
    }
    for answer in told {
        let events = answer.events();
        let (name, data) = events.last().unwrap();
        assert_eq!((&**name, &data["__interrupt__"][0]["id"]), ("values", &asked), "{answer:?}");
    }
    drop(first);
}

#[tokio::test]
async fn what_a_run_has_said_before_its_node_was_gone_is_shown_by_the_one_that_takes_it_over() {
    let nodes = Nodes::new(secs(30));
    let (a, of_b) = (server(&nodes.join("a")), nodes.join("b"));
    let (b, c) = (server(&of_b), server(&nodes.join("c")));
    let thread = a.thread().await;
    let run = a.start(&thread, "interrupting", json!({ "log": ["in"] })).await;
    stored(&a, &run).await;
    soon_paused(&b, &run).await;
    let paused = history(&a, &thread).await;
    assert_eq!(paused.len(), 2, "{paused:?}");
    a.service.engine().shutdown(Shutdown::default()).await;
    take_over(&b, &of_b).await;
    let joined = b.get(&format!("{run}/join")).await.json();
    assert_eq!(joined["log"], json!(["in"]), "{joined}");
    for server in [&b, &c, &b.forgetful()] {
        assert_eq!(history(server, &thread).await, paused);
        assert_eq!(state(server, &thread).await, paused[0]);
        let row = server.get(&format!("/threads/{thread}")).await.json();
        assert_eq!(row["values"], paused[0]["values"]);
    }
    let answer = json!({ "assistant_id": "interrupting", "command": { "resume": "yes" } });
    let told = b.post(&format!("/threads/{thread}/runs/wait"), &answer).await;
    assert_eq!(told.status, 200, "{told:?}");
    let whole = history(&b, &thread).await;
    assert_eq!(whole[0]["values"], told.json());
    // It goes on at the node that has asked, and says nothing twice.
    assert_eq!((whole.len(), whole.last()), (3, paused.last()));
    for server in [&c, &b.forgetful()] {
        assert_eq!(history(server, &thread).await, whole);
    }
}

#[tokio::test]
async fn who_waits_through_a_node_that_has_lost_its_runs_is_told_no_end() {
    let nodes = Nodes::new(secs(30));
    let a = server(&nodes.join("a"));
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let body = json!({ "assistant_id": "slow", "input": { "ms": 60_000, "tag": "lost" } });
    let waits = {
        let a = a.clone();
        tokio::spawn(async move { a.post(&path, &body).await })
    };
    a.until_ticking("lost").await;
    // Another process has its name, and its runs.
    let _again = nodes.join("a");
    for run in a.service.engine().runs(&RunFilter::new().roots().live()) {
        run.cancel(CancelRequest::because("enough"));
    }
    let told = within("it is told", waits).await.unwrap().json();
    let words = told["__error__"]["message"].as_str().unwrap_or_default();
    assert!(words.starts_with("503: "), "{told}");
    // Nor who reads its thread, or looks for that.
    let (thread, all) = (format!("/threads/{thread}"), json!({ "ids": [thread] }));
    for path in [thread.clone(), format!("{thread}/runs"), format!("{thread}/state")] {
        let told = a.get(&path).await;
        assert_eq!(told.status, 503, "{path}: {told:?}");
    }
    for (path, body) in [
        ("/threads/search".into(), all.clone()),
        ("/threads/count".into(), all),
        (format!("{thread}/history"), json!({})),
    ] {
        let told = a.post(&path, &body).await;
        assert_eq!(told.status, 503, "{path}: {told:?}");
    }
}
