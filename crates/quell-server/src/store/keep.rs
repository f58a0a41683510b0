//! [`KeepArgs`]: how much of what is over a server keeps in its store.

use std::convert::Infallible;
use std::time::Duration;

use clap::Args;
use quell::{Engine, StoreRetention};

use crate::times;

/// What `quell serve` is told of what its store keeps.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct KeepArgs {
    /// Keep runs in the store for this time after they have ended, for instance `30d`, with all
    /// below them; then they are deleted. `0s` keeps none beyond memory. Without any `--keep` all
    /// is kept, and the file grows for ever
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = times::parse_kept,
        allow_hyphen_values = true,
        requires = "store",
    )]
    keep: Option<Duration>,

    /// Keep at most so many ended runs in the store, those below others not counted; the ones that
    /// were accepted first are deleted
    #[arg(long, value_name = "NUMBER", requires = "store")]
    keep_runs: Option<u64>,

    /// Keep at most so many MiB in the store; while there are more, the ended runs that were
    /// accepted first are deleted
    #[arg(long, value_name = "MIB", requires = "store")]
    keep_mib: Option<u64>,
}

impl KeepArgs {
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
        retention.ttl = self.keep;
        retention.trees_max = self.keep_runs;
        retention.bytes_max = self.keep_mib.map(|mib| mib.saturating_mul(1 << 20));
        retention
    }
}

/// How often is looked.
const PERIOD: Duration = Duration::from_mins(10);
