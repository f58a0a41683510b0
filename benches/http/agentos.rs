//! Runs of the `AgentOS` contract.

use serde_json::Value;

use crate::client::{Body, Events, Http};
use crate::load::{Live, Load, Pace};

/// Starts a run with a stream, and knows its id from the first event.
pub(crate) async fn start(
    http: &Http,
    url: &str,
    load: &Load,
    pace: Pace,
    probe: &str,
) -> Result<Live, String> {
    let runs = format!("{url}/{}/runs", load.component);
    let ticks = pace.total_ms / pace.tick_ms;
    let message = format!("ticks={ticks} tick_ms={} probe={probe}", pace.tick_ms);
    let form = [("message", message.as_str()), ("stream", "true")];
    let (_, mut events) = http.watch(&runs, &Body::Form(&form)).await?;
    let id =
        first_id(&mut events).await?.ok_or(format!("{runs}: the first event has no run_id"))?;
    Ok(Live { events, cancel: format!("{runs}/{id}/cancel") })
}

async fn first_id(events: &mut Events) -> Result<Option<String>, String> {
    let Some(first) = events.next().await? else { return Ok(None) };
    let data: Value = serde_json::from_str(&first.data).unwrap_or_default();
    Ok(data["run_id"].as_str().map(str::to_owned))
}

/// Runs a short agent to its end, without a stream.
pub(crate) async fn short(http: &Http, url: &str) -> Result<(), String> {
    let runs = format!("{url}/agents/short-agent/runs");
    let answer = http.post(&runs, &Body::Form(&[("message", "hi"), ("stream", "false")])).await?;
    let done = b"\"COMPLETED\"";
    if answer.windows(done.len()).any(|bytes| bytes == done) {
        return Ok(());
    }
    Err(format!("{runs}: not completed: {}", String::from_utf8_lossy(&answer)))
}

/// Runs a short agent to its end, and reads what it says.
pub(crate) async fn streamed(http: &Http, url: &str) -> Result<(), String> {
    let runs = format!("{url}/agents/short-agent/runs");
    let form = [("message", "hi"), ("stream", "true")];
    let (_, mut events) = http.watch(&runs, &Body::Form(&form)).await?;
    let mut is_completed = false;
    while let Some(event) = events.next().await? {
        is_completed |= event.name == "RunCompleted";
    }
    if is_completed { Ok(()) } else { Err(format!("{runs}: ended without RunCompleted")) }
}

/// Starts a run that sleeps for an hour, in the background; yields where a POST cancels it.
pub(crate) async fn sleeper(http: &Http, url: &str) -> Result<String, String> {
    let runs = format!("{url}/agents/slow-agent/runs");
    let form = [("message", "first_ms=3600000"), ("stream", "false"), ("background", "true")];
    let answer = http.post(&runs, &Body::Form(&form)).await?;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let id = answer["run_id"].as_str().ok_or(format!("{runs}: no run_id in {answer}"))?;
    Ok(format!("{runs}/{id}/cancel"))
}
