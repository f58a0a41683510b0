//! Runs of the `LangGraph` contract.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hyper::header::CONTENT_LOCATION;
use serde_json::{Value, json};

use crate::client::{Body, Http};
use crate::load::{Live, Load, Pace};

/// Makes a thread, starts a run of it with a stream, and knows its id from the headers.
pub(crate) async fn start(
    http: &Http,
    url: &str,
    load: &Load,
    pace: Pace,
    probe: &str,
) -> Result<Live, String> {
    let runs = format!("{url}/threads/{}/runs/stream", thread(http, url).await?);
    let request = json!({
        "assistant_id": load.component,
        "input": { "ms": pace.total_ms, "chunk_ms": pace.tick_ms, "tag": probe },
        "stream_mode": ["custom"],
    });
    let (headers, events) = http.watch(&runs, &Body::Json(&request)).await?;
    let run = headers.get(CONTENT_LOCATION).and_then(|location| location.to_str().ok());
    let run = run.ok_or(format!("{runs}: no Content-Location"))?;
    Ok(Live { events, cancel: format!("{url}{run}/cancel") })
}

/// Makes threads, and starts a run in each that ticks and that nobody reads. Yields the ids of the
/// threads.
pub(crate) async fn crowd(
    http: &Http,
    url: &str,
    pace: Pace,
    probe: &str,
    count: usize,
) -> Result<Vec<String>, String> {
    let input = json!({ "ms": pace.total_ms, "chunk_ms": pace.tick_ms, "tag": probe });
    let request = json!({ "assistant_id": "slow", "input": input, "stream_mode": ["custom"] });
    let start = |_| async {
        let thread = thread(http, url).await?;
        http.post(&format!("{url}/threads/{thread}/runs"), &Body::Json(&request)).await?;
        Ok(thread)
    };
    stream::iter(0..count).map(start).buffer_unordered(AT_ONCE).try_collect().await
}

/// Requests at once while runs are started and looked at.
pub(crate) const AT_ONCE: usize = 32;

/// Makes a thread, and tells how soon a run of it says something.
pub(crate) async fn first_event(http: &Http, url: &str) -> Result<Duration, String> {
    let runs = format!("{url}/threads/{}/runs/stream", thread(http, url).await?);
    let request = json!({ "assistant_id": "echo", "input": { "text": "hi" } });
    let began = Instant::now();
    let (_, mut events) = http.watch(&runs, &Body::Json(&request)).await?;
    events.next().await?.ok_or(format!("{runs}: no event"))?;
    let first = began.elapsed();
    events.finish().await?;
    Ok(first)
}

/// Makes a thread, and yields its id.
async fn thread(http: &Http, url: &str) -> Result<String, String> {
    let threads = format!("{url}/threads");
    let thread = http.post(&threads, &Body::Json(&json!({}))).await?;
    let thread: Value = serde_json::from_slice(&thread).unwrap_or_default();
    let id = thread["thread_id"].as_str().ok_or(format!("{threads}: no thread_id"))?;
    Ok(id.to_owned())
}

/// Runs a graph that returns at once, without a thread, and waits for its values.
pub(crate) async fn short(http: &Http, url: &str) -> Result<(), String> {
    let runs = format!("{url}/runs/wait");
    let request = json!({ "assistant_id": "echo", "input": { "text": "hi" } });
    let answer = http.post(&runs, &Body::Json(&request)).await?;
    let done = b"\"echo:hi\"";
    if answer.windows(done.len()).any(|bytes| bytes == done) {
        return Ok(());
    }
    Err(format!("{runs}: not done: {}", String::from_utf8_lossy(&answer)))
}
