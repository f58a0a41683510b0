//! Two servers on two nodes of one store: threads that the one has made, and runs of both in them.

use axum::http::Method;
use futures::StreamExt as _;
use quell_test_support::{ms, within};
use serde_json::{Value, json};

use crate::nodes::{stored, two};
use crate::talk::{Answer, Server};
use crate::threads::made;

async fn row(server: &Server, thread: &str) -> Value {
    let answer = server.get(&format!("/threads/{thread}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn echo(server: &Server, thread: &str, text: &str) -> Answer {
    let body = json!({ "assistant_id": "echo", "input": { "text": text } });
    server.post(&format!("/threads/{thread}/runs/wait"), &body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_two_nodes_make_at_once_is_there_whichever_of_them_has_the_run() {
    for round in 0..40 {
        let (a, b) = two();
        let thread = uuid::Uuid::now_v7();
        let mut body = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
        if round % 2 == 0 {
            body["multitask_strategy"] = "reject".into();
        }
        let ask = async |server: &Server| {
            let path = format!("/threads/{thread}/runs");
            server.saying("idempotency-key", "k").post(&path, &body).await.status
        };
        let told = tokio::join!(ask(&a), ask(&b));
        assert!(told.0 == 200 || told.1 == 200, "{round}: {told:?}");
        // What the other one takes back has left by then.
        tokio::time::sleep(ms(30)).await;
        for server in [&a, &b] {
            let row = server.get(&format!("/threads/{thread}")).await;
            assert_eq!(row.status, 200, "{round}: {told:?} {row:?}");
        }
    }
}

#[tokio::test]
async fn a_thread_is_made_once_and_found_by_every_node_with_what_it_was_given() {
    let (a, b) = two();
    let made = a.post("/threads", &json!({ "metadata": { "who": "ada" } })).await.json();
    let id = made["thread_id"].as_str().unwrap();
    assert_eq!(row(&b, id).await["metadata"], json!({ "who": "ada" }));
    let again = json!({ "thread_id": id, "metadata": { "who": "ben" } });
    for server in [&a, &b] {
        assert_eq!(server.post("/threads", &again).await.status, 409);
        let mut quiet = again.clone();
        quiet["if_exists"] = "do_nothing".into();
        let known = server.post("/threads", &quiet).await;
        assert_eq!(
            (known.status.as_u16(), &known.json()["metadata"]),
            (200, &json!({"who": "ada"}))
        );
    }
    // One that a run has made is there as well, and one that nobody has made is not.
    let own = "0b9f8c39-5c5c-4b0f-9d4c-111111111111";
    let body = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
    assert_eq!(a.post(&format!("/threads/{own}/runs/wait"), &body).await.status, 200);
    assert_eq!(b.post("/threads", &json!({ "thread_id": own })).await.status, 409);
    assert_eq!(row(&b, own).await["status"], "idle");
    let nobody = b.get("/threads/0b9f8c39-5c5c-4b0f-9d4c-222222222222").await;
    assert_eq!(nobody.status, 404);
}

#[tokio::test]
async fn values_grow_whichever_node_has_the_next_run() {
    let (a, b) = two();
    let thread = a.thread().await;
    let turns = [&a, &b, &b, &a, &a, &b];
    let mut log = Vec::new();
    for (nth, server) in turns.into_iter().enumerate() {
        let text = nth.to_string();
        log.push(format!("echo:{text}"));
        let wanted = json!({ "text": text, "log": log });
        let answer = echo(server, &thread, &text).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, wanted.clone()), "{nth}");
        for reader in [&a, &b] {
            let row = row(reader, &thread).await;
            assert_eq!((&row["values"], &row["status"]), (&wanted, &json!("idle")), "{nth}");
        }
    }
}

#[tokio::test]
async fn the_row_of_a_thread_tells_what_a_run_of_another_node_does() {
    let (a, b) = two();
    let thread = a.thread().await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "busy" });
    let run = a.start(&thread, "slow", input).await;
    a.until_ticking("busy").await;
    assert_eq!(row(&b, &thread).await["status"], "busy");
    assert_eq!(b.post(&format!("{run}/cancel?wait=1"), &Value::Null).await.status, 200);
    a.assert_stopped("busy").await;
    let over = row(&b, &thread).await;
    assert_eq!(
        (&over["status"], &over["error"]["error"]),
        (&json!("interrupted"), &json!("UserInterrupt"))
    );
    let asked = a.start(&thread, "ask", json!({ "n": 1 })).await;
    within("it asks", async {
        while row(&b, &thread).await["interrupts"] == json!({}) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let asks = row(&b, &thread).await;
    assert_eq!(asks["status"], "interrupted", "{asks} {asked}");
    let answer = json!({ "assistant_id": "ask", "command": { "resume": "yes" } });
    let told = b.post(&format!("/threads/{thread}/runs/wait"), &answer).await;
    assert_eq!(told.json()["told"], "yes", "{}", told.text);
    let over = row(&b, &thread).await;
    assert_eq!((&over["status"], &over["values"]["told"]), (&json!("idle"), &json!("yes")));
}

#[tokio::test]
async fn a_live_run_of_another_node_is_seen_behind_many_newer_ones() {
    let (a, b) = two();
    let thread = a.thread().await;
    let input = json!({ "ms": 60_000, "chunk_ms": 5, "tag": "busy" });
    a.start(&thread, "slow", input.clone()).await;
    a.until_ticking("busy").await;
    for _ in 0..25 {
        let queued = a.start(&thread, "slow", input.clone()).await;
        let stopped = a.post(&format!("{queued}/cancel?wait=1"), &Value::Null).await;
        assert_eq!(stopped.status, 200, "{}", stopped.text);
    }
    assert_eq!(row(&b, &thread).await["status"], "busy");
}

#[tokio::test]
async fn who_waits_for_a_run_that_is_left_to_another_node_is_not_told_that_it_is_over() {
    let (a, b) = two();
    let thread = a.thread().await;
    a.start(&thread, "slow", json!({ "ms": 60_000, "chunk_ms": 5, "tag": "busy" })).await;
    a.until_ticking("busy").await;
    let queued = a.start(&thread, "echo", json!({ "text": "hi" })).await;
    stored(&a, &queued).await;
    let waits = tokio::spawn({
        let (a, path) = (a.clone(), format!("{queued}/join"));
        async move { a.get(&path).await }
    });
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    a.service.drain();
    a.service.engine().shutdown(quell::Shutdown::default()).await;
    let told = within("it is told", waits).await.unwrap();
    assert!(told.text.trim().starts_with("{\"__error__\""), "{}", told.text);
    assert!(told.text.contains("503: "), "{}", told.text);
    assert_eq!(b.status(&queued).await, "pending");
}

/// Clients take an end for that of the run, and come back where a stream is cut.
#[tokio::test]
async fn the_stream_of_a_run_of_another_node_is_cut_when_its_own_shuts_down() {
    let (a, b) = two();
    let thread = made(&a, json!({})).await;
    let run = a.start(&thread, "slow", json!({ "ms": 60_000, "chunk_ms": 5, "tag": "on" })).await;
    a.until_ticking("on").await;
    stored(&a, &run).await;
    let streamed = b.open(Method::GET, &format!("{run}/stream"), "").await;
    let mut told = streamed.into_body().into_data_stream();
    within("it begins", told.next()).await.unwrap().unwrap();
    b.service.drain();
    b.service.engine().shutdown(quell::Shutdown::default()).await;
    let is_cut = async {
        loop {
            match told.next().await {
                Some(Ok(_)) => {}
                rest => return rest.is_some(),
            }
        }
    };
    assert!(within("nothing more is told", is_cut).await);
    assert_eq!(a.status(&run).await, "running");
    assert_eq!(a.post(&format!("{run}/cancel"), &Value::Null).await.status, 202);
}

#[tokio::test]
async fn who_waits_for_a_run_of_another_node_is_told_no_end_when_its_own_shuts_down() {
    let (a, b) = two();
    let thread = made(&a, json!({})).await;
    let run = a.start(&thread, "slow", json!({ "ms": 60_000, "chunk_ms": 5, "tag": "on" })).await;
    let other = made(&a, json!({})).await;
    let deaf = a.start(&other, "stubborn", json!({ "ms": 60_000, "tag": "d" })).await;
    for (tag, path) in [("on", &run), ("d", &deaf)] {
        a.until_ticking(tag).await;
        stored(&a, path).await;
    }
    let asks = |method: Method, path: String| {
        let b = b.clone();
        tokio::spawn(async move { b.send(method, &path, "").await })
    };
    let join = asks(Method::GET, format!("{run}/join"));
    let delete = asks(Method::DELETE, deaf.clone());
    let is_stopping = async || {
        while a.get(&deaf).await.json()["quell"]["status"] != "stopping" {
            tokio::time::sleep(ms(10)).await;
        }
    };
    within("it is told to stop", is_stopping()).await;
    b.service.drain();
    b.service.engine().shutdown(quell::Shutdown::default()).await;
    let told = within("it is told", join).await.unwrap();
    assert!(told.text.contains("503: "), "{}", told.text);
    let refused = within("it is refused", delete).await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert_eq!(a.status(&run).await, "running");
}

#[tokio::test]
async fn a_thread_is_made_although_no_run_may_start_or_wait() {
    let node = quell::testing::cluster::Nodes::new(quell_test_support::secs(30)).join("a");
    let server = crate::nodes::server(&node);
    let shut = quell::RunLimits::new().running_max(0).queued_max(0);
    server.service.engine().set_limit(quell::Scope::All, shut);
    let made = server.post("/threads", &json!({})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let run = json!({ "assistant_id": "echo", "input": {} });
    assert_eq!(server.post("/runs", &run).await.status, 429);
}
