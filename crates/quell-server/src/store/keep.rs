//! [`Keep`]: how much of what is over a server keeps in its store, by [`KeepArgs`] and its file.

use std::convert::Infallible;
use std::time::Duration;

use clap::Args;
use quell::{Engine, StoreRetention};

use crate::times;

/// What the command line of `quell serve` says of what its store keeps.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct KeepArgs {
    /// Keep runs in the store for this time after they have ended, for instance `30d`, with all
    /// below them; then they are deleted. `0s` keeps none beyond memory. Without any `--keep`, here
    /// or as `keep`, `keep_runs` and `keep_mib` of `[store]` of the configuration, all is kept, and
    /// the file grows for ever
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = times::parse_kept,
        allow_hyphen_values = true,
    )]
    keep: Option<Duration>,

    /// Keep at most so many ended runs in the store, those below others not counted; the ones that
    /// were accepted first are deleted. Zero keeps none beyond memory
    #[arg(long, value_name = "NUMBER", value_parser = count)]
    keep_runs: Option<u64>,

    /// Keep at most so many MiB in the store; while there are more, the ended runs that were
    /// accepted first are deleted. Zero keeps none beyond memory
    #[arg(long, value_name = "MIB", value_parser = count)]
    keep_mib: Option<u64>,
}

impl KeepArgs {
    /// Yields what it says.
    pub(crate) const fn keep(&self) -> Keep {
        Keep { time: self.keep, runs: self.keep_runs, mib: self.keep_mib }
    }
}

/// How much of what is over is kept; without any of them all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// For how long after the end.
    pub(crate) time: Option<Duration>,
    /// How many ended roots.
    pub(crate) runs: Option<u64>,
    /// How many MiB of all that is stored.
    pub(crate) mib: Option<u64>,
}

impl Keep {
    /// Takes from another one what this one does not say.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            time: self.time.or(other.time),
            runs: self.runs.or(other.runs),
            mib: self.mib.or(other.mib),
        }
    }

    /// Deletes what is over, at once and then every ten minutes, for ever.
    pub(crate) async fn prune(self, engine: &Engine) -> Infallible {
        let retention = self.retention();
        if retention.keeps_all() {
            return std::future::pending().await;
        }
        loop {
            match engine.prune_stored(&retention).await {
                Ok(0) => {}
                Ok(runs) => tracing::info!(runs, "ended runs have left the store"),
                Err(error) => tracing::warn!(%error, "ended runs could not be deleted"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn retention(self) -> StoreRetention {
        let mut retention = StoreRetention::new();
        retention.ttl = self.time;
        retention.trees_max = self.runs;
        retention.bytes_max = self.mib.map(|mib| mib.saturating_mul(1 << 20));
        retention
    }
}

/// Reads a number.
fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number from 0 on, such as `1000`".to_owned())
}

/// How often is looked.
const PERIOD: Duration = Duration::from_mins(10);
