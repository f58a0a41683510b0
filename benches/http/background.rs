//! What a live background run takes, and how soon after its creation a run says something.

use quell_benches::figures::{latencies, ratio, section};
use uuid::Uuid;

use crate::client::Http;
use crate::langgraph;
use crate::load::Pace;
use crate::memory::{EVENTS, print_slope, ticked};
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
    latencies("http/first_event/p50", "request to first event", (us, them));
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

async fn slope(http: &Http, side: &Side, name: &str) -> Result<f64, String> {
    let probe = Uuid::now_v7().to_string();
    let start = async |count| {
        let threads = langgraph::empty(http, &side.url, count).await?;
        langgraph::crowd(http, &side.url, PACE, &probe, &threads).await
    };
    start(FEW).await?;
    let few = ticked(http, side, &probe, FEW).await?;
    start(MANY - FEW).await?;
    let many = ticked(http, side, &probe, MANY).await?;
    Ok(print_slope(name, "run", (few, FEW), (many, MANY)))
}

const FIRSTS: usize = 40;

const FEW: usize = 200;

const MANY: usize = 2_000;

const PACE: Pace = Pace { tick_ms: 1_000, total_ms: 900_000 };
