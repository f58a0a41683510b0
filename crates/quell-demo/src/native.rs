//! A component of the native API only: the worst case, a body that awaits nothing.

use std::hint;
use std::time::{Duration, Instant};

use quell::{Payload, RunContext};
use quell_flow::{Catalog, Component};
use quell_http::NATIVE;
use serde_json::Value;

use crate::{Record, Witness};

/// Adds `spinner`: it keeps its worker thread busy for `ms` (default 1000), counts a tick every
/// millisecond under the probe `tag`, and awaits nothing, so that no stop reaches it.
pub(crate) fn components(catalog: Catalog, witness: &Witness, prefix: &str) -> Catalog {
    let witness = witness.clone();
    let body = move |ctx: RunContext, input: Payload| {
        let witness = witness.clone();
        async move { Ok(spin(&ctx, &input, &witness)) }
    };
    let spinner = Component::agent(format!("{prefix}spinner"), body);
    catalog.with(spinner.exposed_in([NATIVE]))
}

fn spin(ctx: &RunContext, input: &Payload, witness: &Witness) -> Payload {
    let input: Value = input.parse().unwrap_or_default();
    let probe = input["tag"].as_str().map(str::to_owned);
    let ms = input["ms"].as_u64().unwrap_or(1000).min(SPIN_MS_MAX);
    let record = Record::start(witness, probe, "spinner");
    let mut has_seen = ctx.is_stopping();
    let began = Instant::now();
    for tick in 1..=ms {
        while began.elapsed() < Duration::from_millis(tick) {
            hint::spin_loop();
        }
        record.tick();
        if ctx.is_stopping() && !has_seen {
            has_seen = true;
            record.see_stop();
        }
    }
    record.finish();
    Payload::from("done")
}

/// The longest that it spins.
const SPIN_MS_MAX: u64 = 600_000;
