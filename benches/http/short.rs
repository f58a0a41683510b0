//! Runs that return at once, as many as will go through some connections.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quell_benches::figures::{per, quotient, ratio, section};
use quell_benches::race::{Race, Took};
use tokio::task::JoinSet;

use crate::client::Http;
use crate::side::Side;
use crate::{agentos, langgraph};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An agent, which answers at its end.
    Agent,
    /// An agent, whose events are read.
    Streamed,
    /// A graph, which is waited for.
    Graph,
}

/// Both sides by turns, a batch of runs each.
pub(crate) async fn race(
    http: &Http,
    kind: Kind,
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let (name, runs, what) = match kind {
        Kind::Agent => ("agent", 800, "short-agent, stream=false"),
        Kind::Streamed => ("streamed", 800, "short-agent, stream=true, read to the end"),
        Kind::Graph => ("graph", 320, "echo, POST /runs/wait"),
    };
    let what = format!("{what}; {} connections", connections(kind));
    let name = format!("http/short/{name}");
    by_turns(http, kind, (&name, &what, runs), ours, theirs).await
}

/// The same runs of a fresh server with a store in a file, and of one without, by turns.
pub(crate) async fn stored(http: &Http, stored: &Side, without: &Side) -> Result<(), String> {
    let what = format!(
        "short-agent, stream=false, theirs without; {} connections",
        connections(Kind::Agent)
    );
    by_turns(http, Kind::Agent, ("http/stored", &what, 800), stored, without).await
}

async fn by_turns(
    http: &Http,
    kind: Kind,
    (name, what, runs): (&str, &str, usize),
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let shape = format!("{what}, {ROUNDS} rounds of {runs} runs a side, by turns");
    section(&format!("{name}: time per short run"), &shape);
    batch(http, kind, ours, runs).await?;
    batch(http, kind, theirs, runs).await?;
    let mut race = Race::default();
    for _ in 0..ROUNDS {
        race.ours.push(batch(http, kind, ours, runs).await?);
        race.theirs.push(batch(http, kind, theirs, runs).await?);
    }
    let both = race.medians();
    for (side, time) in [("ours", both.0), ("theirs", both.1)] {
        let micros = per(time, runs) / 1e3;
        println!("   {side:<8} {:.0} runs per second, {micros:.1} µs per run", 1e6 / micros);
    }
    ratio(name, quotient(both));
    Ok(())
}

/// As many runs of one side.
pub(crate) async fn batch(
    http: &Http,
    kind: Kind,
    side: &Side,
    runs: usize,
) -> Result<Took, String> {
    let left = Arc::new(AtomicUsize::new(runs));
    let mut workers = JoinSet::new();
    let began = Instant::now();
    for (http, left) in iter::repeat_n((http.clone(), left), connections(kind)) {
        let url = side.url.clone();
        workers.spawn(async move {
            while take(&left) {
                match kind {
                    Kind::Agent => agentos::short(&http, &url).await?,
                    Kind::Streamed => agentos::streamed(&http, &url).await?,
                    Kind::Graph => langgraph::short(&http, &url).await?,
                }
            }
            Ok::<(), String>(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.map_err(|error| error.to_string())??;
    }
    Ok(Took { time: began.elapsed(), processor: Duration::ZERO })
}

/// Takes one of those that are left.
fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

const fn connections(kind: Kind) -> usize {
    match kind {
        Kind::Agent | Kind::Streamed => 32,
        Kind::Graph => 50,
    }
}

const ROUNDS: usize = 5;
