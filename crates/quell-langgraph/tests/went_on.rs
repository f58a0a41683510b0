//! A run that goes on in another process than the one in which it began is streamed whole, with
//! what it said before: as on a node that never had it.

use std::future::pending;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use quell::store::Store;
use quell::testing::cluster::{Node, Nodes};
use quell::{
    EngineConfig, EventKind, Payload, Recovery, RunContext, RunEvent, RunId, RunRef, RunSpec,
};
use quell_flow::{Component, Emit, OnWorkerLost, Reducer};
use quell_http::events_by_now;
use quell_test_support::{secs, soon, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::nodes::stored;
use crate::positions::{frames, say};
use crate::talk::{Server, id_of};

/// Says something in every mode in each attempt, by itself and within a graph of its own. The first
/// attempt does not end, and neither does what it has begun last.
fn story(go_on: &Arc<Semaphore>) -> Component {
    let go_on = Arc::clone(go_on);
    let body = move |ctx: RunContext, _input: Payload| {
        let go_on = Arc::clone(&go_on);
        async move {
            let attempt = ctx.attempt();
            say(&ctx, 2 * attempt - 1);
            let inner = ctx.spawn(RunSpec::workflow("inner"), async |ctx: RunContext| {
                Emit::content("within").send(&ctx);
                Emit::content(" it").send(&ctx);
                Ok(())
            });
            inner.await?;
            let values = json!({ "log": [attempt] });
            Emit::Values { values: values.clone().into() }.send(&ctx);
            if attempt == 1 {
                let open = ctx.spawn(RunSpec::workflow("open"), async |ctx: RunContext| {
                    Emit::content("still open").send(&ctx);
                    pending::<()>().await;
                    Ok(())
                });
                open.await?;
            }
            go_on.acquire().await.unwrap().forget();
            say(&ctx, 2 * attempt);
            // What it has said is its message.
            Ok(Payload::from(Value::Null))
        }
    };
    let story = Component::agent("story", body).reducer("log", Reducer::Append);
    story.on_worker_lost(OnWorkerLost::Continue)
}

fn server(node: &Arc<Node>, go_on: &Arc<Semaphore>) -> Server {
    Server::serving_with(EngineConfig::new().node(Arc::clone(node)), [story(go_on)])
}

/// Starts a story in a thread that has a value already.
async fn begun(server: &Server) -> String {
    let thread = server.thread().await;
    let echo = json!({ "assistant_id": "echo", "input": { "before": 1 } });
    let told = server.post(&format!("/threads/{thread}/runs/wait"), &echo).await;
    assert_eq!(told.status, 200, "{told:?}");
    let body = json!({ "assistant_id": "story", "input": {}, "stream_resumable": true,
        "stream_subgraphs": true, "stream_mode": ["values", "updates", "custom", "messages"] });
    let made = server.post(&format!("/threads/{thread}/runs"), &body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.header("content-location").to_owned()
}

fn run_of(server: &Server, run: &str) -> RunRef {
    server.service.engine().get(RunId::from_text(id_of(run))).unwrap()
}

fn says(event: &RunEvent, text: &str) -> bool {
    matches!(&event.kind, EventKind::Emitted(said) if said.as_json().contains(text))
}

/// Waits until somebody has said this.
async fn soon_said(run: &RunRef, text: &str) {
    soon("it says that", || events_by_now(run, 0).any(|event| says(&event, text))).await;
}

/// Waits until that is stored: events may be when their run has long been.
async fn soon_stored(server: &Server, run: &RunRef, text: &str) {
    let is_stored = async || {
        let events = server.service.engine().stored_events(run.id(), 0, 1_000).await.unwrap();
        events.iter().flatten().any(|event| says(event, text))
    };
    within("it is stored", async {
        while !is_stored().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Opens the stream of a run; yields what it says to its end.
async fn opened(server: &Server, run: &str, from: Option<&str>) -> impl Future<Output = String> {
    let request = Request::get(format!("{run}/stream"));
    let request = from.iter().fold(request, |it, from| it.header("last-event-id", *from));
    let request = request.body(Body::empty()).unwrap();
    let response = server.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    async move {
        let body = within("it ends", response.into_body().collect()).await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }
}

/// Has a run begin in one process, and go on in the next one. Yields the reader whose process never
/// had it, and the process that has it.
async fn went_on(go_on: &Arc<Semaphore>) -> (Server, Server, String) {
    let nodes = Nodes::new(secs(30));
    let first = server(&nodes.join("a"), go_on);
    let run = begun(&first).await;
    soon_stored(&first, &run_of(&first, &run), "still open").await;
    // Its process is gone, and the next one has its name.
    let node = nodes.join("a");
    let next = server(&node, go_on);
    let port: Arc<dyn Store> = Arc::clone(&node) as _;
    let decide = |run: &_| next.service.catalog().recovery(run, &port).unwrap_or(Recovery::Fail);
    assert_eq!(next.service.engine().recover(decide).await.unwrap().resumed.len(), 1);
    soon_said(&run_of(&next, &run), r#""log":[2]"#).await;
    drop(first);
    (server(&nodes.join("far"), go_on), next, run)
}

#[tokio::test]
async fn a_run_that_goes_on_in_another_process_is_streamed_from_its_first_event_on() {
    let go_on = Arc::new(Semaphore::new(0));
    let (far, next, run) = went_on(&go_on).await;
    let early = opened(&next, &run, Some("-1")).await;
    let now = opened(&next, &run, None).await;
    go_on.add_permits(1);
    let (early, now) = (early.await, now.await);
    let all = frames(&opened(&far, &run, Some("-1")).await.await);
    let text = all.values().cloned().collect::<Vec<_>>().join("\n");
    for said in ["still open", "within it", "text 1 ", "text 4 ", r#""log":["echo:",1]"#] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(frames(&early), all);
    let late = opened(&next, &run, Some("-1")).await.await;
    assert_eq!(frames(&late), all, "also when it has ended");
    let now = frames(&now);
    let (first, announced) = now.first_key_value().unwrap();
    assert!(announced.contains("messages/metadata"), "{announced}");
    assert!(now.len() < all.len(), "from where it came: {now:?}");
    for (id, frame) in all.range(first.clone()..) {
        assert_eq!(now.get(id), Some(frame));
    }
}

#[tokio::test]
async fn who_comes_back_to_a_run_that_goes_on_in_another_process_has_all_that_follows() {
    let go_on = Arc::new(Semaphore::new(0));
    let (far, next, run) = went_on(&go_on).await;
    let whole = opened(&far, &run, Some("-1")).await;
    go_on.add_permits(1);
    let all = frames(&whole.await);
    for from in all.keys() {
        let told = opened(&next, &run, Some(from)).await.await;
        let rest: Vec<_> = all.range(from.clone()..).skip(1).collect();
        assert_eq!(frames(&told).iter().collect::<Vec<_>>(), rest, "{from}");
    }
}

#[tokio::test]
async fn what_a_run_has_said_in_two_processes_is_its_message_and_nothing_of_it_is_missing() {
    let go_on = Arc::new(Semaphore::new(0));
    let (far, next, run) = went_on(&go_on).await;
    go_on.add_permits(1);
    within("it ends", run_of(&next, &run).ended()).await;
    let said = |nth: u32| format!("text {nth} {}y", "x".repeat(4_000));
    let all: String = [1, 3, 4].map(said).concat();
    for server in [&next, &far, &next.forgetful()] {
        assert_ne!(server.get(&run).await.json()["quell"]["truncated"], true);
        let values = server.get(&format!("{run}/join")).await.json();
        let messages = values["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 1, "{values}");
        assert!(messages[0]["content"] == all, "{}", messages[0]["content"]);
        assert_ne!(messages[0]["response_metadata"]["truncated"], true);
    }
}

#[tokio::test]
async fn what_an_earlier_process_has_paused_is_whole_whoever_reads_it_first() {
    let nodes = Nodes::new(secs(30));
    let of = |node: &Arc<Node>| {
        let body = async |ctx: RunContext, _input: Payload| {
            Emit::content("it has said this").send(&ctx);
            Err::<Payload, _>(ctx.pause("may I?"))
        };
        let asks = Component::agent("asks", body).resumable();
        Server::serving_with(EngineConfig::new().node(Arc::clone(node)), [asks])
    };
    let first = of(&nodes.join("a"));
    let thread = first.thread().await;
    let run = first.start(&thread, "asks", json!({})).await;
    within("it asks", run_of(&first, &run).paused()).await;
    soon_stored(&first, &run_of(&first, &run), "it has said this").await;
    stored(&first, &run).await;
    let node = nodes.join("a");
    let next = of(&node);
    let port: Arc<dyn Store> = Arc::clone(&node) as _;
    let decide = |run: &_| next.service.catalog().recovery(run, &port).unwrap_or(Recovery::Fail);
    assert_eq!(next.service.engine().recover(decide).await.unwrap().paused.len(), 1);
    let told = next.get(&run).await.json();
    assert_eq!(told["quell"]["status"], "paused");
    assert_ne!(told["quell"]["truncated"], true, "{told}");
    let list = next.get(&format!("/threads/{thread}/runs")).await.json();
    assert_ne!(list[0]["quell"]["truncated"], true, "{list}");
    drop(first);
}
