//! What a live stream takes: resident memory of the server, without and with two hundred of them.
//!
//! Once only: a second time a process would use again what it has taken before. Ours is a fresh
//! process, unless one was named.

use std::time::Duration;

use quell_benches::figures::{ratio, section};

use crate::client::Http;
use crate::crowd::Crowd;
use crate::load::{Load, Pace};
use crate::side::Side;

/// One side after the other.
pub(crate) async fn compare(
    http: &Http,
    load: &Load,
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let shape = format!(
        "{}: {STREAMS} streams, each ticks every {} ms; once, after one run that does not count",
        load.component, PACE.tick_ms
    );
    section(&format!("http/memory/{}: resident bytes per live stream", load.name), &shape);
    let ours = per_stream(http, load, ours, "ours").await?;
    let theirs = per_stream(http, load, theirs, "theirs").await?;
    ratio(&format!("http/memory/{}", load.name), ours / theirs);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
async fn per_stream(http: &Http, load: &Load, side: &Side, name: &str) -> Result<f64, String> {
    Crowd::gather(http, side, load, PACE, 1).await?.disperse(http).await?;
    let before = side.resident(http).await?;
    let crowd = Crowd::gather(http, side, load, PACE, STREAMS).await?;
    tokio::time::sleep(SETTLED).await;
    let with = side.resident(http).await?;
    crowd.disperse(http).await?;
    let each = with.saturating_sub(before) as f64 / STREAMS as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "   {name:<8} {:.1} MiB before, {:.1} MiB with them: {each:.0} bytes per stream",
        mib(before),
        mib(with)
    );
    Ok(each)
}

const STREAMS: usize = 200;

/// Slow enough for either side to keep up.
const PACE: Pace = Pace { tick_ms: 500, total_ms: 300_000 };

/// How long they tick before the memory is read.
const SETTLED: Duration = Duration::from_secs(2);
