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
    let runs = format!("{url}/threads/{}/runs/stream", thread(http, url, &json!({})).await?);
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

/// A thread, and what is read of it while no run of it is live.
pub(crate) struct Former {
    pub(crate) id: String,
    /// Its row, its state and the ids of its runs.
    pub(crate) read: Value,
}

/// Makes threads without values.
pub(crate) async fn empty(http: &Http, url: &str, count: usize) -> Result<Vec<Former>, String> {
    let make = |_| async move {
        Ok::<_, String>(Former { id: thread(http, url, &json!({})).await?, read: Value::Null })
    };
    stream::iter(0..count).map(make).buffer_unordered(AT_ONCE).try_collect().await
}

/// Makes threads with values of their own: every other one has them from a run that has ended,
/// those of the others were put.
pub(crate) async fn filled(http: &Http, url: &str, count: usize) -> Result<Vec<Former>, String> {
    let fill = |nth| async move {
        let text = format!("former-{nth}");
        let (metadata, path, request) = if nth % 2 == 0 {
            let run = json!({ "assistant_id": "echo", "input": { "text": text } });
            (json!({}), "runs/wait", run)
        } else {
            // Without a run the graph of a thread is what its metadata say.
            (json!({ "graph_id": "slow" }), "state", json!({ "values": { "text": text } }))
        };
        let id = thread(http, url, &json!({ "metadata": metadata })).await?;
        http.post(&format!("{url}/threads/{id}/{path}"), &Body::Json(&request)).await?;
        let read = read(http, url, &id).await?;
        let is_filled = [&read["row"], &read["state"]].map(|it| it["values"]["text"] == text);
        if is_filled != [true; 2] || read["row"]["status"] != "idle" {
            return Err(format!("{url}/threads/{id}: no {text}: {read}"));
        }
        Ok(Former { id, read })
    };
    stream::iter(0..count).map(fill).buffer_unordered(AT_ONCE).try_collect().await
}

/// Reads the row of a thread, its state, and the ids of its runs.
pub(crate) async fn read(http: &Http, url: &str, thread: &str) -> Result<Value, String> {
    let path = format!("{url}/threads/{thread}");
    let (row, state) = (http.get(&path).await?, http.get(&format!("{path}/state")).await?);
    let runs = http.get(&format!("{path}/runs")).await?;
    let runs = runs.as_array().ok_or(format!("{path}/runs: no list"))?;
    let runs: Vec<_> = runs.iter().map(|run| &run["run_id"]).collect();
    Ok(json!({ "row": row, "state": state, "runs": runs }))
}

/// Starts a run in each of these threads that ticks and that nobody reads.
pub(crate) async fn crowd(
    http: &Http,
    url: &str,
    pace: Pace,
    probe: &str,
    threads: &[Former],
) -> Result<(), String> {
    let input = json!({ "ms": pace.total_ms, "chunk_ms": pace.tick_ms, "tag": probe });
    let request = json!({ "assistant_id": "slow", "input": input, "stream_mode": ["custom"] });
    let start = |thread: &Former| {
        let (runs, request) = (format!("{url}/threads/{}/runs", thread.id), &request);
        async move { http.post(&runs, &Body::Json(request)).await.map(drop) }
    };
    stream::iter(threads).map(start).buffer_unordered(AT_ONCE).try_collect().await
}

/// Requests at once while runs are started and looked at.
pub(crate) const AT_ONCE: usize = 32;

/// Makes a thread, and tells how soon a run of it says something.
pub(crate) async fn first_event(http: &Http, url: &str) -> Result<Duration, String> {
    let runs = format!("{url}/threads/{}/runs/stream", thread(http, url, &json!({})).await?);
    let request = json!({ "assistant_id": "echo", "input": { "text": "hi" } });
    let began = Instant::now();
    let (_, mut events) = http.watch(&runs, &Body::Json(&request)).await?;
    events.next().await?.ok_or(format!("{runs}: no event"))?;
    let first = began.elapsed();
    events.finish().await?;
    Ok(first)
}

/// Makes a thread, and yields its id.
async fn thread(http: &Http, url: &str, request: &Value) -> Result<String, String> {
    let threads = format!("{url}/threads");
    let thread = http.post(&threads, &Body::Json(request)).await?;
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
