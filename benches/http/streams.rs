//! Ten thousand live streams of ours at once: each is read to its end, none may lack a tick.

use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use quell_benches::figures::section;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::agentos;
use crate::client::{Body, Events, Http};
use crate::load::{AGENT, Pace};
use crate::memory::{mib, per_each};
use crate::side::Side;

/// Starts them, lets them tick, cancels all of them, and looks at what each has said.
pub(crate) async fn many(http: &Http, ours: &Side) -> Result<(), String> {
    let shape = format!(
        "{}: {STREAMS} streams, each ticks every {} ms; ours only",
        AGENT.component, PACE.tick_ms
    );
    section("http/streams: live streams at once", &shape);
    let before = ours.resident(http).await?;
    let start = |_| async {
        let live = agentos::start(http, &ours.url, &AGENT, PACE, "streams").await?;
        Ok::<_, String>((live.cancel, tokio::spawn(read(live.events))))
    };
    let live = stream::iter(0..STREAMS).map(start).buffer_unordered(AT_ONCE);
    let (cancels, readers): (Vec<_>, Vec<_>) =
        live.try_collect::<Vec<_>>().await?.into_iter().unzip();
    tokio::time::sleep(TICKING).await;
    let with = ours.resident(http).await?;
    let early = readers.iter().filter(|reader: &&JoinHandle<_>| reader.is_finished()).count();
    let cancelled = cancels.iter().map(|cancel| http.post(cancel, &Body::Empty));
    stream::iter(cancelled).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let all = tokio::time::timeout(ENDED_WITHIN, try_join_all(readers)).await;
    let all =
        all.map_err(|_| "cancelled streams do not end")?.map_err(|error| error.to_string())?;
    let ticks = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!(
        "   ours     {:.1} MiB before, {:.1} MiB with {STREAMS}: {:.0} bytes per stream",
        mib(before),
        mib(with),
        per_each(with.saturating_sub(before), STREAMS)
    );
    println!(
        "   ours     {early} ended early; {} ticks in all, at least {} of each; none missing",
        ticks.iter().sum::<usize>(),
        ticks.iter().min().copied().unwrap_or_default()
    );
    Ok(())
}

/// Reads a stream to its end, and yields its ticks, of which none may be missing.
async fn read(mut events: Events) -> Result<usize, String> {
    let (mut ticks, mut last) = (0, String::new());
    while let Some(event) = events.next().await? {
        if event.name == "RunContent" {
            let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            if data["content"] != format!("t{ticks} ") {
                return Err(format!("tick {ticks} is missing: {}", event.data));
            }
            ticks += 1;
        }
        last = event.name;
    }
    if last == "RunCancelled" { Ok(ticks) } else { Err(format!("a stream ended with {last:?}")) }
}

const STREAMS: usize = 10_000;

const PACE: Pace = Pace { tick_ms: 2_000, total_ms: 1_800_000 };

/// Requests at once.
const AT_ONCE: usize = 200;

/// How long they tick when the last one has begun.
const TICKING: Duration = Duration::from_secs(20);

const ENDED_WITHIN: Duration = Duration::from_mins(2);
