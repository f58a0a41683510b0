//! What a live background run takes, and how soon after its creation a run says something.

use std::time::{Duration, Instant};

use quell_benches::figures::{latency, quotient, ratio, section};
use quell_benches::race::median;
use uuid::Uuid;

use crate::client::Http;
use crate::langgraph;
use crate::load::Pace;
use crate::side::Side;

/// From the request that makes a run to its first event, by turns.
pub(crate) async fn first_event(http: &Http, ours: &Side, theirs: &Side) -> Result<(), String> {
    let shape = format!("echo, POST /threads/…/runs/stream; {FIRSTS} a side, by turns");
    section("http/first_event: from the request to the first event", &shape);
    let (mut us, mut them) = (Vec::new(), Vec::new());
    for _ in 0..FIRSTS {
        us.push(langgraph::first_event(http, &ours.url).await?);
        them.push(langgraph::first_event(http, &theirs.url).await?);
    }
    latency("ours", "request to first event", us.clone());
    latency("theirs", "request to first event", them.clone());
    ratio("http/first_event/p50", quotient((median(us), median(them))));
    Ok(())
}

/// Resident memory with few and with many, each after fifty events: the slope between.
pub(crate) async fn memory(http: &Http, ours: &Side, theirs: &Side) -> Result<(), String> {
    let shape = format!(
        "slow: {FEW} and then {MANY} background runs, each ticks every {} ms; read when they have \
         ticked {EVENTS} times each; once, ours in a fresh process",
        PACE.tick_ms
    );
    section("http/background: resident bytes per live background run", &shape);
    let (us, them) = (slope(http, ours, "ours").await?, slope(http, theirs, "theirs").await?);
    ratio("http/background", us / them);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure has three digits")]
async fn slope(http: &Http, side: &Side, name: &str) -> Result<f64, String> {
    let probe = Uuid::now_v7().to_string();
    langgraph::crowd(http, &side.url, PACE, &probe, FEW).await?;
    let few = ticked(http, side, &probe, FEW).await?;
    langgraph::crowd(http, &side.url, PACE, &probe, MANY - FEW).await?;
    let many = ticked(http, side, &probe, MANY).await?;
    let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "   {name:<8} {:.1} MiB with {FEW}, {:.1} MiB with {MANY}: {each:.0} bytes per run",
        mib(few),
        mib(many)
    );
    Ok(each)
}

/// Waits until so many runs have ticked often enough from now on, and reads the memory.
async fn ticked(http: &Http, side: &Side, probe: &str, runs: usize) -> Result<u64, String> {
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

const FIRSTS: usize = 40;

const FEW: usize = 200;

const MANY: usize = 2_000;

const EVENTS: u64 = 50;

const PACE: Pace = Pace { tick_ms: 1_000, total_ms: 900_000 };

const PATIENCE: Duration = Duration::from_mins(5);
