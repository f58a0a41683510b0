//! Runs that return at once, as many as will go through some connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, iter, process};

use quell_benches::figures::{per, quotient, ratio, section};
use quell_benches::race::{Race, Took};
use tokio::task::JoinSet;

use crate::client::Http;
use crate::load::Contract;
use crate::side::Side;
use crate::{agentos, langgraph};

/// Both sides by turns, a batch of runs each.
pub(crate) async fn race(
    http: &Http,
    contract: Contract,
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let (name, runs, what) = match contract {
        Contract::AgentOs => ("agent", 800, "short-agent, stream=false"),
        Contract::LangGraph => ("graph", 320, "echo, POST /runs/wait"),
    };
    let what = format!("{what}; {} connections", connections(contract));
    let name = format!("http/short/{name}");
    by_turns(http, contract, (&name, &what, runs), ours, theirs).await
}

/// The same runs of a fresh server with a store in a file, and of one without, by turns.
pub(crate) async fn stored(
    http: &Http,
    quell: Option<&Path>,
    without: &Side,
) -> Result<(), String> {
    let folder = folder()?;
    let stored = Side::stored(quell, &folder.join("runs.db"))?;
    let what = format!(
        "short-agent, stream=false, theirs without; {} connections",
        connections(Contract::AgentOs)
    );
    let what = ("http/stored", &*what, 800);
    let measured = by_turns(http, Contract::AgentOs, what, &stored, without).await;
    drop(stored);
    fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    measured
}

/// Makes a folder for a store.
pub(crate) fn folder() -> Result<PathBuf, String> {
    let folder = env::temp_dir().join(format!("quell-http-{}", process::id()));
    fs::create_dir(&folder).map_err(|error| error.to_string())?;
    Ok(folder)
}

async fn by_turns(
    http: &Http,
    contract: Contract,
    (name, what, runs): (&str, &str, usize),
    ours: &Side,
    theirs: &Side,
) -> Result<(), String> {
    let shape = format!("{what}, {ROUNDS} rounds of {runs} runs a side, by turns");
    section(&format!("{name}: time per short run"), &shape);
    batch(http, contract, ours, runs).await?;
    batch(http, contract, theirs, runs).await?;
    let mut race = Race::default();
    for _ in 0..ROUNDS {
        race.ours.push(batch(http, contract, ours, runs).await?);
        race.theirs.push(batch(http, contract, theirs, runs).await?);
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
    contract: Contract,
    side: &Side,
    runs: usize,
) -> Result<Took, String> {
    let left = Arc::new(AtomicUsize::new(runs));
    let mut workers = JoinSet::new();
    let began = Instant::now();
    for (http, left) in iter::repeat_n((http.clone(), left), connections(contract)) {
        let url = side.url.clone();
        workers.spawn(async move {
            while take(&left) {
                match contract {
                    Contract::AgentOs => agentos::short(&http, &url).await?,
                    Contract::LangGraph => langgraph::short(&http, &url).await?,
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

const fn connections(contract: Contract) -> usize {
    match contract {
        Contract::AgentOs => 16,
        Contract::LangGraph => 50,
    }
}

const ROUNDS: usize = 5;
