//! [`router`] serves what the witness has recorded, and how much memory the process takes.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::Witness;

/// Serves `/_bench/ticks` and `/_bench/stats`, without access control.
pub fn router(witness: Witness) -> Router {
    Router::new()
        .route("/_bench/ticks", get(ticks))
        .route("/_bench/stats", get(stats))
        .with_state(witness)
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    probe: String,
}

#[derive(Debug, Serialize)]
struct Seen {
    probe: String,
    ticks: BTreeMap<String, u64>,
    marks: Vec<String>,
}

async fn ticks(State(witness): State<Witness>, Query(Asked { probe }): Query<Asked>) -> Json<Seen> {
    let (ticks, marks) = witness.get(&probe);
    Json(Seen { probe, ticks, marks })
}

#[derive(Debug, Serialize)]
struct Stats {
    pid: u32,
    rss_bytes: Option<u64>,
}

async fn stats() -> Json<Stats> {
    Json(Stats { pid: std::process::id(), rss_bytes: resident() })
}

/// Reads the resident memory of this process, in bytes. None where there is no `/proc`.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    Some(pages * page)
}
