//! Runs of the `LangGraph` contract.

use hyper::header::CONTENT_LOCATION;
use serde_json::json;

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
    let threads = format!("{url}/threads");
    let thread = http.post(&threads, &Body::Json(&json!({}))).await?;
    let thread: serde_json::Value = serde_json::from_slice(&thread).unwrap_or_default();
    let thread = thread["thread_id"].as_str().ok_or(format!("{threads}: no thread_id"))?;
    let runs = format!("{threads}/{thread}/runs/stream");
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
