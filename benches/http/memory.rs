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
    let few = ticked(http, side, &first.probe, FEW).await?;
    let second = Crowd::gather(http, side, load, PACE, MANY - FEW).await?;
    let many = ticked(http, side, &second.probe, MANY - FEW).await?;
    let each = print_slope(name, "stream", (few, FEW), (many, MANY));
    first.disperse(http).await?;
    second.disperse(http).await?;
    Ok(each)
}

/// Waits until so many runs have ticked often enough from now on, and reads the memory.
pub(crate) async fn ticked(
    http: &Http,
    side: &Side,
    probe: &str,
    runs: usize,
) -> Result<u64, String> {
    let wanted =
        side.counted(http, probe).await? + u64::try_from(runs).unwrap_or(u64::MAX) * EVENTS;
    let began = Instant::now();
    while side.counted(http, probe).await? < wanted {
        if began.elapsed() > PATIENCE {
            return Err(format!("{}: its bodies tick too slowly", side.url));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    side.resident(http).await
}

/// Prints the resident bytes with so many and with more; yields how many each of these takes.
pub(crate) fn print_slope(
    name: &str,
    what: &str,
    (fewer, few): (u64, usize),
    (more, many): (u64, usize),
) -> f64 {
    let each = per_each(more.saturating_sub(fewer), many - few);
    println!(
        "   {name:<8} {:.1} MiB with {few}, {:.1} MiB with {many}: {each:.0} bytes per {what}",
        mib(fewer),
        mib(more)
    );
    each
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
pub(crate) fn per_each(bytes: u64, streams: usize) -> f64 {
    bytes as f64 / streams as f64
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

const FEW: usize = 200;

const MANY: usize = 2_000;

/// Ticks of each before the memory is read.
pub(crate) const EVENTS: u64 = 50;

/// Slow enough for either side to keep up.
const PACE: Pace = Pace { tick_ms: 2_000, total_ms: 900_000 };

const PATIENCE: Duration = Duration::from_mins(8);
