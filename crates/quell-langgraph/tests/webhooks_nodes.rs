//! Webhooks of several nodes: what a node owed that is gone, another one sends.

use std::sync::Arc;

use axum::http::Method;
use quell::store::Page;
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{EngineConfig, RunFilter, Shutdown};
use quell_http::{Access, RECORD};
use quell_langgraph::Options;
use quell_test_support::{secs, within};
use serde_json::json;
use tokio::time::sleep;

use crate::nodes::stored;
use crate::receiver::{Receiver, late, status};
use crate::talk::{Server, id_of};
use crate::webhooks::{asking, options};
use crate::webhooks_bounds::{one, until_over};
use crate::webhooks_stored::{recovery, until_none_is_owed};

pub(crate) fn node(node: &Arc<Node>) -> Server {
    let mut options = options();
    options.webhook_attempts = 100;
    node_with(node, options)
}

fn node_with(node: &Arc<Node>, options: Options) -> Server {
    let config = EngineConfig::new().grace(secs(1) / 10).abort_wait(secs(1) / 10);
    let config = config.store(Arc::clone(node) as _).cluster(Arc::clone(node) as _);
    Server::with(config, options, Access::open())
}

/// Takes over from a node that is gone, as a server does, and asks for nothing else.
async fn take_over(by: &Server) {
    let engine = by.service.engine();
    while engine.take_over(|run| recovery(by, run)).await.unwrap().is_none() {
        sleep(secs(1) / 20).await;
    }
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
    within("they are told", receiver.got(2)).await;
    for server in [&a, &b] {
        within("they are owed no more", until_none_is_owed(server)).await;
    }
    assert_eq!(receiver.by_now(), 2);
}

#[tokio::test]
async fn what_a_node_was_about_to_send_that_is_lost_or_has_ended_another_one_sends() {
    for is_lost in [true, false] {
        let nodes = Nodes::new(secs(2));
        let of_a = nodes.join("a");
        let (a, b) = (node(&of_a), node(&nodes.join("b")));
        let receiver = Receiver::new(vec![status("503 Busy"), status("200 OK")]).await;
        let thread = a.thread().await;
        let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
        let run = a.post(&format!("/threads/{thread}/runs"), &body).await;
        within("it is tried", receiver.got(1)).await;
        stored(&a, run.header("content-location")).await;
        if is_lost {
            of_a.trouble(Trouble::All);
        } else {
            a.service.engine().shutdown(Shutdown::default()).await;
        }
        within("it is taken over", take_over(&b)).await;
        let told = within("it is told", receiver.got(2)).await;
        assert_eq!(told[1].1["values"]["log"], json!(["echo:hi"]), "{told:?}");
        within("it is owed no more", until_none_is_owed(&b)).await;
        drop(a);
    }
}

#[tokio::test]
async fn what_a_node_is_sending_when_it_begins_to_end_no_other_one_sends() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (node(&nodes.join("a")), node(&nodes.join("b")));
    let receiver = Receiver::new(vec![late("200 OK")]).await;
    let body = asking("echo", &json!({"text": "hi"}), &receiver.url());
    let runs = format!("/threads/{}/runs", a.thread().await);
    let run = a.post(&runs, &body).await;
    within("it is sent", receiver.got(1)).await;
    stored(&a, run.header("content-location")).await;
    a.service.drain();
    let plan = Shutdown { grace: secs(10), ..Shutdown::default() };
    tokio::join!(a.service.engine().shutdown(plan), within("it is taken over", take_over(&b)));
    within("it is owed no more", until_none_is_owed(&b)).await;
    assert_eq!(receiver.by_now(), 1);
}

#[tokio::test]
async fn a_pause_that_a_node_is_telling_when_it_begins_to_end_no_other_one_tells() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (node(&nodes.join("a")), node(&nodes.join("b")));
    let receiver = Receiver::new(vec![late("200 OK")]).await;
    let asks = asking("interrupting", &json!({"now": 1}), &receiver.url());
    let thread = format!("/threads/{}", a.thread().await);
    let run = a.post(&format!("{thread}/runs"), &asks).await;
    within("it is sent", receiver.got(1)).await;
    stored(&a, run.header("content-location")).await;
    a.service.drain();
    let plan = Shutdown { grace: secs(10), ..Shutdown::default() };
    tokio::join!(a.service.engine().shutdown(plan), within("it is taken over", take_over(&b)));
    // It would tell it now.
    b.get(&thread).await;
    sleep(secs(1)).await;
    let answer = json!({"assistant_id": "interrupting", "command": {"resume": "yes"}});
    b.post(&format!("{thread}/runs/wait"), &answer).await;
    let all = within("its end is told", receiver.got(2)).await;
    assert_eq!(all[1].1["values"]["log"], json!(["answer:yes"]), "{all:?}");
    within("it is owed no more", until_none_is_owed(&b)).await;
    assert_eq!(receiver.by_now(), 2);
}

#[tokio::test]
async fn a_run_may_end_in_any_way_while_a_node_tells_its_pause() {
    for way in ["answer", "interrupt", "rollback", "delete", "thread"] {
        let nodes = Nodes::new(secs(30));
        let server = node_with(&nodes.join("a"), one());
        let receiver = Receiver::new(vec![late("200 OK"), status("200 OK")]).await;
        let thread = format!("/threads/{}", server.thread().await);
        let asks = asking("interrupting", &json!({"now": 1}), &receiver.url());
        let run = server.post(&format!("{thread}/runs"), &asks).await;
        let run = run.header("content-location").to_owned();
        within("its pause is being told", receiver.got(1)).await;
        let answer = json!({"assistant_id": "interrupting", "command": {"resume": "yes"}});
        let over = match way {
            "answer" => server.post(&format!("{thread}/runs/wait"), &answer).await,
            "delete" => server.send(Method::DELETE, &run, "").await,
            "thread" => server.send(Method::DELETE, &thread, "").await,
            action => {
                server.post(&format!("{run}/cancel?wait=true&action={action}"), &json!({})).await
            }
        };
        assert!(over.status.is_success(), "{way}: {over:?}");
        within("nothing is stored of it", until_none_is_stored(&server, id_of(&run))).await;
        within("its place is given back", until_over(&server)).await;
        let told = if ["delete", "thread"].contains(&way) { 1 } else { 2 };
        assert_eq!(receiver.by_now(), told, "{way}");
        let plan = Shutdown { grace: secs(60), ..Shutdown::default() };
        within("it ends", server.service.engine().shutdown(plan)).await;
    }
}

#[tokio::test]
async fn of_a_run_that_another_node_deletes_no_end_is_told() {
    let nodes = Nodes::new(secs(30));
    let (a, b) = (node(&nodes.join("a")), node(&nodes.join("b")));
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let thread = format!("/threads/{}", a.thread().await);
    let asks = asking("interrupting", &json!({"now": 1}), &receiver.url());
    let run = a.post(&format!("{thread}/runs"), &asks).await;
    let run = run.header("content-location").to_owned();
    within("its pause is told", receiver.got(1)).await;
    stored(&a, &run).await;
    let deleted = within("it is deleted", b.send(Method::DELETE, &run, "")).await;
    assert!(deleted.status.is_success(), "{deleted:?}");
    within("nothing is stored of it", until_none_is_stored(&a, id_of(&run))).await;
    assert_eq!(receiver.by_now(), 1);
}

/// Waits until the store has nothing of the webhook of a run.
async fn until_none_is_stored(server: &Server, run: &str) {
    let filter = RunFilter::new().label(RECORD, format!("webhook:{run}"));
    let read = async || server.service.engine().stored_runs(filter.clone(), Page::first(9)).await;
    while !read().await.unwrap().items.is_empty() {
        sleep(secs(1) / 50).await;
    }
}

#[tokio::test]
async fn a_run_that_another_node_takes_over_is_told_by_that_one() {
    let nodes = Nodes::new(secs(2));
    let of_a = nodes.join("a");
    let (a, b) = (node(&of_a), node(&nodes.join("b")));
    let receiver = Receiver::new(vec![status("200 OK")]).await;
    let thread = a.thread().await;
    let slow = asking("slow", &json!({"ms": 60_000, "tag": "t"}), &receiver.url());
    let run = a.post(&format!("/threads/{thread}/runs"), &slow).await;
    a.until_ticking("t").await;
    stored(&a, run.header("content-location")).await;
    of_a.trouble(Trouble::All);
    within("it is taken over", take_over(&b)).await;
    let (_, told) = within("it is told", receiver.got(1)).await.remove(0);
    assert_eq!((&told["run_id"], &told["status"]), (&run.json()["run_id"], &json!("error")));
    within("it is owed no more", until_none_is_owed(&b)).await;
    drop(a);
}
