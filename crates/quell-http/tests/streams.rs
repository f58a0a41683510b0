use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use quell::testing::check_trace;
use quell::{CancelRequest, EngineConfig, Limits, RunEvent};
use quell_http::{Heartbeat, SseEvent, Wait, router, sse_response, stream_body};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{
    Client, Pieces, Witness, get, post, send, serve, service, service_with, soon, start,
};

/// One event as a client reads it.
#[derive(Debug)]
struct Read {
    event: String,
    data: Value,
    id: Option<u64>,
}

fn read(text: &str) -> Vec<Read> {
    assert!(!text.contains('\r'), "lines end with LF: {text:?}");
    let blocks = text.split_terminator("\n\n").filter(|block| !block.starts_with(':'));
    let read = blocks.map(|block| {
        let mut lines = block.lines();
        let mut field =
            |name: &str| lines.next().map(|line| line.strip_prefix(name).expect(block).to_owned());
        let event = field("event: ").unwrap();
        let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
        Read { event, data, id: field("id: ").map(|id| id.parse().unwrap()) }
    });
    read.collect()
}

#[tokio::test]
async fn the_log_is_streamed_in_order_to_its_terminal_event_and_then_closed() {
    let app = router(service());
    start(&app, "echo", "r", json!("hi")).await;
    let answer = get(&app, "/v1/runs/r/events").await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let events = read(&answer.text);
    let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(names, ["queued", "started", "emitted", "emitted", "ended"]);
    let ids: Vec<_> = events.iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    for event in &events {
        assert_eq!(event.data["event"], event.event.as_str());
        assert_eq!(event.data["seq"].as_u64(), event.id);
    }
    assert_eq!(events[2].data["data"], json!({ "event": "content", "text": "hello " }));
    assert_eq!(events[4].data["data"], "completed");
}

#[tokio::test]
async fn a_client_that_comes_back_gets_each_event_once() {
    let app = router(service());
    start(&app, "echo", "r", json!("hi")).await;
    let whole = get(&app, "/v1/runs/r/events").await.text;
    for last in 0..=5_u64 {
        let expected: Vec<_> = (last + 1..=5).collect();
        let id = last.to_string();
        let by_header =
            send(&app, "GET", "/v1/runs/r/events?after=0", &[("last-event-id", &id)], "").await;
        let by_query = get(&app, &format!("/v1/runs/r/events?after={last}")).await;
        assert_eq!(by_header.text, by_query.text);
        let ids: Vec<_> = read(&by_header.text).iter().filter_map(|event| event.id).collect();
        assert_eq!(ids, expected);
        assert!(whole.ends_with(&by_header.text));
    }
}

#[tokio::test]
async fn a_reader_that_is_too_late_is_told_what_it_missed() {
    let mut limits = Limits::default();
    limits.events_per_root_max = 4;
    let app = router(service_with(EngineConfig::new().limits(limits), &Witness::default()));
    start(&app, "talker", "r", json!(20)).await;
    let service_sees_end =
        || async { get(&app, "/v1/runs/r").await.json()["status"] == "completed" };
    while !service_sees_end().await {
        sleep(Duration::from_millis(2)).await;
    }
    let events = read(&get(&app, "/v1/runs/r/events").await.text);
    assert_eq!(events[0].event, "lagged");
    assert_eq!(events[0].id, None, "a mark is not in the log: a client keeps its last id");
    assert_eq!(events[0].data["data"], json!({ "from": 1, "to": 19 }));
    let ids: Vec<_> = events[1..].iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, [20, 21, 22, 23]);
    assert_eq!(events[4].event, "ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_readable_before_it_is_streamed() {
    let service = service();
    let app = router(service.clone());
    for round in 0..2_000 {
        let id = format!("r{round}");
        start(&app, "talker", &id, json!(round % 8)).await;
        let run = service.engine().get(quell_http::parse_id(&id).unwrap()).unwrap();
        let mut events = service.events(&run, 0);
        while let Some(event) = events.next().await {
            if matches!(event.kind, quell::EventKind::Ended(_)) {
                assert!(run.status().is_terminal(), "round {round}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_ends_at_the_terminal_event_although_something_still_executes() {
    let config = EngineConfig::new().abort_wait(Duration::from_millis(50));
    let service = service_with(config, &Witness::default());
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let run = service.engine().submit(quell::RunSpec::agent("blocker"), async move |ctx| {
        ctx.spawn_blocking(move |_| gate.recv()).await?.unwrap();
        Ok(())
    });
    let run = run.unwrap().into_ref();
    let app = router(service.clone());
    sleep(Duration::from_millis(20)).await;
    run.cancel(CancelRequest::because("enough").grace(Duration::from_millis(20)));
    let path = format!("/v1/runs/{}/events", run.id());
    let events = read(&get(&app, &path).await.text);
    assert_eq!(events.last().unwrap().event, "ended");
    let again = get(&app, &path.replace("/events", "")).await.json();
    assert_eq!((&again["status"], &again["quiescent"]), (&json!("cancelled"), &json!(false)));
    assert!(!again["abandoned"].as_array().unwrap().is_empty());
    release.send(()).unwrap();
    run.quiescent().await;
    let events = read(&get(&app, &path).await.text);
    assert_eq!(events.last().unwrap().event, "quiesced");
    assert_eq!(get(&app, &path.replace("/events", "")).await.json()["quiescent"], true);
}

#[tokio::test]
async fn what_is_streamed_is_a_lawful_trace() {
    let service = service();
    let app = router(service.clone());
    start(&app, "steps", "r", Value::Null).await;
    let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
    soon("the step runs", || run.report().rows.len() == 2).await;
    let collected = tokio::spawn(service.events(&run, 0).collect::<Vec<RunEvent>>());
    let body = json!({ "reason": "enough", "wait": "terminal" });
    post(&app, "/v1/runs/r/cancel", &body).await;
    check_trace(&collected.await.unwrap()).unwrap();
}

#[tokio::test]
async fn each_event_is_on_the_wire_at_once() {
    let to = serve(router(service())).await;
    let body = r#"{"component":{"kind":"agent","id":"sleeper"},"id":"r"}"#;
    Client::connect(to).await.send("POST", "/v1/runs", body).await.rest().await;
    let mut client = Client::connect(to).await;
    let mut events = client.send("GET", "/v1/runs/r/events", "").await;
    // The run goes on for ever: what is read now was not held back for more.
    events.until("event: started\n").await;
    let cancel = Client::connect(to).await.send("POST", "/v1/runs/r/cancel", "").await;
    assert_eq!(cancel.0.status(), 200);
    let rest = events.rest().await;
    assert!(rest.contains("event: stopping\n") && rest.contains("event: ended\n"), "{rest}");
}

#[tokio::test]
async fn a_slow_reader_costs_the_run_nothing_and_is_told_that_it_lags() {
    let mut limits = Limits::default();
    limits.events_per_root_max = 8;
    let service = service_with(EngineConfig::new().limits(limits), &Witness::default());
    let to = serve(router(service.clone())).await;
    let body = r#"{"component":{"kind":"agent","id":"shouter"},"id":"r","input":500}"#;
    Client::connect(to).await.send("POST", "/v1/runs", body).await.rest().await;
    let mut client = Client::connect(to).await;
    let mut events: Pieces = client.send("GET", "/v1/runs/r/events", "").await;
    events.next().await.unwrap();
    let run = service.engine().get(quell_http::parse_id("r").unwrap()).unwrap();
    let waited = Wait::terminal().at_most(Duration::from_mins(1)).of(&run).await;
    assert!(waited.is_reached, "nobody waits for a reader");
    let rest = events.rest().await;
    assert!(rest.contains("event: lagged\n"), "it was told");
    assert!(rest.contains("event: ended\n"), "and it saw the end");
}

async fn pieces(mut body: Body) -> Vec<(u64, String)> {
    let began = Instant::now();
    let mut pieces = Vec::new();
    while let Some(piece) = body.frame().await {
        let text = String::from_utf8(piece.unwrap().into_data().unwrap().to_vec()).unwrap();
        pieces.push((began.elapsed().as_secs(), text));
    }
    pieces
}

fn every(seconds: &'static [u64]) -> impl futures::Stream<Item = Bytes> + Send + 'static {
    stream::iter(seconds).then(|seconds| async move {
        sleep(Duration::from_secs(*seconds)).await;
        Bytes::from("x")
    })
}

fn at(seconds: u64, text: &str) -> (u64, String) {
    (seconds, text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_idle_heartbeat_comes_after_silence_only() {
    let beat = Heartbeat::idle(Duration::from_secs(15), ": heartbeat\n\n");
    let found = pieces(stream_body(every(&[10, 10, 32]), beat, None)).await;
    let beat = ": heartbeat\n\n";
    assert_eq!(found, [at(10, "x"), at(20, "x"), at(35, beat), at(50, beat), at(52, "x")]);
}

#[tokio::test(start_paused = true)]
async fn a_steady_heartbeat_keeps_its_pace_whatever_the_traffic() {
    let beat = Heartbeat::steady(Duration::from_secs(5), "\n");
    let found = pieces(stream_body(every(&[3, 3, 3, 3]), beat, None)).await;
    let expected = [at(3, "x"), at(5, "\n"), at(6, "x"), at(9, "x"), at(10, "\n"), at(12, "x")];
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn without_a_heartbeat_there_is_silence() {
    for beat in [Heartbeat::none(), Heartbeat::idle(Duration::ZERO, "x")] {
        assert_eq!(pieces(stream_body(every(&[100]), beat, None)).await, [at(100, "x")]);
    }
}

#[tokio::test]
async fn the_headers_of_a_stream_may_be_the_adapters_own() {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", "no-store".parse().unwrap());
    headers.insert("content-location", "/runs/1".parse().unwrap());
    let frames = stream::iter([SseEvent::new("a", "1")]);
    let response = sse_response(frames, Heartbeat::none(), None, headers);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["content-location"], "/runs/1");
    assert_eq!(response.headers().get_all("cache-control").iter().count(), 1);
}

#[test]
fn a_frame_holds_no_line_that_it_was_not_given() {
    let text = |frame: SseEvent| String::from_utf8(frame.to_bytes().to_vec()).unwrap();
    assert_eq!(text(SseEvent::new("a", "1")), "event: a\ndata: 1\n\n");
    assert_eq!(text(SseEvent::new("", "1").id("7")), "data: 1\nid: 7\n\n");
    assert_eq!(text(SseEvent::new("a", "")), "event: a\ndata: \n\n");
    assert_eq!(
        text(SseEvent::new("a", "1\n2\r\n3\r4")),
        "event: a\ndata: 1\ndata: 2\ndata: 3\ndata: 4\n\n"
    );
    assert_eq!(
        text(SseEvent::new("a\ndata: forged\n\n", "1").id("1\nretry: 0")),
        "event: adata: forged\ndata: 1\nid: 1retry: 0\n\n"
    );
    assert_eq!(
        text(SseEvent::json("a", &json!({ "b": "c\nd" }))),
        "event: a\ndata: {\"b\":\"c\\nd\"}\n\n"
    );
}

#[tokio::test]
async fn what_is_ready_goes_out_in_chunks_and_others_have_their_turn_in_between() {
    let made = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&made);
    let pieces = stream::repeat_with(move || {
        counts.fetch_add(1, Ordering::SeqCst);
        Bytes::from_static(b"piece\n")
    });
    let mut body = stream_body(pieces.take(100), Heartbeat::none(), None);
    let (mut sizes, mut turns) = (Vec::new(), 0);
    loop {
        let before = made.load(Ordering::SeqCst);
        match futures::poll!(body.frame()) {
            Poll::Pending => turns += 1,
            Poll::Ready(Some(frame)) => sizes.push(frame.unwrap().into_data().unwrap().len() / 6),
            Poll::Ready(None) => break,
        }
        assert!(made.load(Ordering::SeqCst) - before <= 32, "so many in one go");
    }
    assert_eq!((sizes, turns), (vec![32, 32, 32, 4], 3));
    let pieces = stream::repeat(Bytes::from(vec![b'x'; 10 << 10])).take(4);
    let mut body = stream_body(pieces, Heartbeat::none(), None);
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.len(), 20 << 10, "a chunk of 16 KiB or more is full");
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 20 << 10);
}
