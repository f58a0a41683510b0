//! What is answered when a run is deleted while somebody reads it, or what was made of it.

use std::sync::Arc;

use quell::store::{MemoryStore, Store as _};
use quell::testing::cluster::Nodes;
use quell::{CancelRequest, EngineConfig, Payload, RunContext, RunId, RunStatus, Work};
use quell_flow::Component;
use quell_test_support::{Catch, Counted, ms, secs, soon, within};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::late::{body, counted, left, made, quick, said, soon_said};
use crate::nodes_gone::take_over;
use crate::talk::{Answer, Server, id_of};
use crate::threads::delete;

/// Asks while the nth read of a single run waits for what it has read, or to be asked, and a run is
/// deleted meanwhile.
async fn asked_while_deleted(
    (reader, store): (&Server, &Counted),
    (at, nth): (Catch, usize),
    path: String,
    run: &str,
) -> Answer {
    let before = store.caught();
    store.catch_gets(at);
    let own = reader.clone();
    let asked = tokio::spawn(async move { own.get(&path).await });
    for nth in 1..nth {
        soon("it reads", || store.caught() >= before + nth).await;
        store.let_gets_go();
    }
    soon("it reads that", || store.caught() >= before + nth).await;
    store.catch_gets(None);
    assert_eq!(delete(reader, run).await.status, 204);
    let id = RunId::from_text(id_of(run));
    within("it leaves", async {
        while store.get(id).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    store.let_gets_go();
    within("it is answered", asked).await.unwrap()
}

#[tokio::test]
async fn a_history_that_is_read_while_a_run_is_deleted_has_the_states_of_the_others() {
    for at in [Catch::Asked, Catch::Answered] {
        let (server, store) = counted(Arc::new(MemoryStore::new()), EngineConfig::new());
        let thread = server.thread().await;
        left(&server, &thread, 1).await;
        let second = left(&server, &thread, 2).await;
        left(&server, &thread, 3).await;
        // From here on the thread is in memory with all that it has.
        assert_eq!(said(&server, &thread).await, json!([1, 2, 3]));
        let path = format!("/threads/{thread}/history");
        let told = asked_while_deleted((&server, &store), (at, 2), path, &second).await;
        assert_eq!(told.status, 200, "{at:?} {told:?}");
        let told = told.json();
        let told = told.as_array().unwrap().iter();
        let told = told.filter(|state| state["metadata"]["source"] != "input");
        let told = told.map(|state| state["values"]["said"].clone());
        // What had been read before it left may be shown.
        let was_read = at == Catch::Answered;
        let mut told: Vec<_> = told.collect();
        told.retain(|said| !was_read || *said != json!([1, 2]));
        assert_eq!(told, [json!([1, 2, 3]), json!([1])], "{at:?}");
    }
}

#[tokio::test]
async fn who_joins_a_run_that_is_deleted_while_it_is_read_is_told_that_there_is_none() {
    for at in [Catch::Asked, Catch::Answered] {
        let (server, store) = counted(Arc::new(MemoryStore::new()), EngineConfig::new());
        let thread = server.thread().await;
        let run = left(&server, &thread, 1).await;
        let path = format!("{run}/join");
        let told = asked_while_deleted((&server, &store), (at, 1), path, &run).await;
        let (said, error) = (&told.json()["said"], &told.json()["__error__"]["message"]);
        let was_read = at == Catch::Answered && *said == json!([1]);
        assert!(was_read || error == "404: Run not found", "{at:?} {told:?}");
    }
}

#[tokio::test]
async fn a_run_is_shown_on_what_those_before_it_have_left_of_which_one_is_deleted_meanwhile() {
    for at in [Catch::Asked, Catch::Answered] {
        let (server, store) = counted(Arc::new(MemoryStore::new()), EngineConfig::new());
        let thread = server.thread().await;
        let mut large = body("quick", 1);
        // What comes behind it keeps nothing of that.
        large["input"]["text"] = "x".repeat(1_100_000).into();
        let path = format!("/threads/{thread}/runs/wait");
        let large = server.post(&path, &large).await;
        left(&server, &thread, 2).await;
        let last = left(&server, &thread, 3).await;
        assert_eq!(said(&server, &thread).await, json!([1, 2, 3]));
        let of = large.header("content-location");
        let path = format!("/threads/{thread}/state/{}", id_of(&last));
        let told = asked_while_deleted((&server, &store), (at, 2), path, of).await;
        assert_eq!(told.status, 200, "{at:?} {told:?}");
        let told = told.json()["values"]["said"].clone();
        assert!(told == json!([2, 3]) || told == json!([1, 2, 3]), "{at:?} {told}");
    }
}

#[tokio::test]
async fn a_run_due_later_in_a_copy_starts_on_what_was_copied_on_the_node_that_takes_it_over() {
    let nodes = Nodes::new(secs(30));
    let of_b = nodes.join("b");
    let config = EngineConfig::new().node(nodes.join("a"));
    let a = Server::serving_with(config, [quick()]);
    let b = Server::serving_with(EngineConfig::new().node(Arc::clone(&of_b)), [quick()]);
    let thread = a.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    assert_eq!(a.post(&path, &body("quick", 1)).await.status, 200);
    let copy = a.post(&format!("/threads/{thread}/copy"), &Value::Null).await.json();
    let copy = copy["thread_id"].as_str().unwrap();
    let mut late = body("quick", 2);
    late["after_seconds"] = 0.3.into();
    made(&a, copy, &late).await;
    a.service.engine().shutdown(quell::Shutdown::default()).await;
    take_over(&b, &of_b).await;
    let engine = b.service.engine();
    let is_over = || engine.runs(&quell::RunFilter::new().live()).is_empty();
    soon("it has run", is_over).await;
    soon_said(&b, copy, json!([1, 2])).await;
}

/// Something of it executes until the test lets it go.
#[tokio::test]
async fn without_a_store_a_run_that_is_deleted_leaves_when_nothing_of_it_executes_any_more() {
    let go_on = Arc::new(Notify::new());
    let lets_go = Arc::clone(&go_on);
    let graph = Component::agent("r", move |ctx: RunContext, _input: Payload| {
        let (hold, lets_go) = (ctx.hold(Work::Process, "outside"), Arc::clone(&lets_go));
        async move {
            let hold = hold?;
            tokio::spawn(async move {
                lets_go.notified().await;
                drop(hold);
            });
            std::future::pending().await
        }
    });
    let server = Server::serving([graph.grace(secs(0))]);
    for of_thread in [false, true] {
        let thread = server.thread().await;
        let run = server.start(&thread, "r", json!({})).await;
        let live = server.service.engine().get(RunId::from_text(id_of(&run))).unwrap();
        soon("it holds something", || live.status() == RunStatus::Running).await;
        tokio::task::yield_now().await;
        live.cancel(CancelRequest::because("enough"));
        within("it has ended", live.ended()).await;
        let deleted = if of_thread { &format!("/threads/{thread}") } else { &run };
        assert_eq!(delete(&server, deleted).await.status, 204);
        for _ in 0..20 {
            assert_eq!(server.status(&run).await, "gone");
            let joined = server.get(&format!("{run}/join")).await;
            assert!(joined.text.contains("404: Run not found"), "{joined:?}");
            tokio::time::sleep(ms(5)).await;
        }
        let is_there = || server.service.engine().get(live.id()).is_some();
        assert!(is_there(), "something of it executes");
        go_on.notify_one();
        soon("it leaves", || !is_there()).await;
    }
}

#[tokio::test]
async fn nothing_is_shown_of_a_run_that_was_rolled_back_once_its_thread_is_deleted() {
    let server = Server::new();
    let thread = server.thread().await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "back" });
    let run = server.start(&thread, "slow", input).await;
    server.until_ticking("back").await;
    let cancel = format!("{run}/cancel?wait=1&action=rollback");
    assert_eq!(server.post(&cancel, &Value::Null).await.status, 200);
    let join = format!("{run}/join");
    assert!(!server.get(&join).await.text.contains("404"), "it is shown for a minute");
    assert_eq!(delete(&server, &format!("/threads/{thread}")).await.status, 204);
    let joined = server.get(&join).await;
    assert!(joined.text.contains("404: Run not found"), "{joined:?}");
}
