//! What a live stream takes: resident memory of the server with few and with many of them, each
//! after fifty events, replay included; the slope between.
//!
//! Once only: a second time a process would use again what it has taken before. Ours is a fresh
//! process, unless one was named.

use std::time::{Duration, Instant};

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
        "{}: {FEW} and then {MANY} streams, each ticks every {} ms; read when they have ticked \
         {EVENTS} times each; once",
        load.component, PACE.tick_ms
    );
    section(&format!("http/memory/{}: resident bytes per live stream", load.name), &shape);
    let (us, them) =
        (slope(http, load, ours, "ours").await?, slope(http, load, theirs, "theirs").await?);
    ratio(&format!("http/memory/{}", load.name), us / them);
    Ok(())
}

async fn slope(http: &Http, load: &Load, side: &Side, name: &str) -> Result<f64, String> {
    let first = Crowd::gather(http, side, load, PACE, FEW).await?;
    let few = ticked(http, side, &first, FEW).await?;
    let second = Crowd::gather(http, side, load, PACE, MANY - FEW).await?;
    let many = ticked(http, side, &second, MANY - FEW).await?;
    let each = per_stream(many.saturating_sub(few), MANY - FEW);
    println!(
        "   {name:<8} {:.1} MiB with {FEW}, {:.1} MiB with {MANY}: {each:.0} bytes per stream",
        mib(few),
        mib(many)
    );
    first.disperse(http).await?;
    second.disperse(http).await?;
    Ok(each)
}

/// Waits until the runs of a crowd have ticked often enough, and reads the memory.
async fn ticked(http: &Http, side: &Side, crowd: &Crowd, runs: usize) -> Result<u64, String> {
    let wanted = u64::try_from(runs).unwrap_or(u64::MAX) * EVENTS;
    let began = Instant::now();
    while side.counted(http, &crowd.probe).await? < wanted {
        if began.elapsed() > PATIENCE {
            return Err(format!("{}: its bodies tick too slowly", side.url));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    side.resident(http).await
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
pub(crate) fn per_stream(bytes: u64, streams: usize) -> f64 {
    bytes as f64 / streams as f64
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const FEW: usize = 200;

const MANY: usize = 2_000;

const EVENTS: u64 = 50;

/// Slow enough for either side to keep up.
const PACE: Pace = Pace { tick_ms: 2_000, total_ms: 900_000 };

const PATIENCE: Duration = Duration::from_mins(8);
