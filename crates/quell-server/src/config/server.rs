//! [`ServerEntry`]: the options of the engine and of the process, `[server]`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use quell::{EngineConfig, Limits, limits};
use quell_http::ServiceLimits;
use serde::Deserialize;

use super::file::Config;
use crate::times;

/// `[server]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerEntry {
    #[serde(deserialize_with = "times::deserialize")]
    grace: Duration,
    #[serde(deserialize_with = "times::deserialize")]
    abort_wait: Duration,
    pub(super) running_max: Option<usize>,
    memory_mib: usize,
    pub(super) trusted_hosts: Vec<String>,
    pub(super) trusted_origins: Vec<String>,
}

impl Default for ServerEntry {
    fn default() -> Self {
        Self {
            grace: limits::GRACE,
            abort_wait: limits::ABORT_WAIT,
            running_max: None,
            memory_mib: MEMORY_MIB,
            trusted_hosts: Vec::new(),
            trusted_origins: Vec::new(),
        }
    }
}

impl Config {
    /// Yields where to listen: as the command line says, as the file says, or on loopback.
    pub(crate) fn listen(&self, asked: Option<SocketAddr>) -> SocketAddr {
        let default = SocketAddrV4::new(Ipv4Addr::LOCALHOST, DEFAULT_PORT);
        asked.or(self.listen).unwrap_or_else(|| default.into())
    }

    /// Makes the configuration of the engine. If there are programs, `running_max` counts unless
    /// the file has another number.
    pub(crate) fn engine(&self, running_max: usize) -> EngineConfig {
        let ServerEntry { grace, abort_wait, running_max: asked, .. } = self.server;
        let mut limits = Limits::default();
        limits.live_bytes_max = self.memory(7);
        limits.ended_bytes_max = self.memory(2);
        let config = EngineConfig::new().grace(grace).abort_wait(abort_wait).limits(limits);
        let has_programs = !(self.agents.is_empty() && self.workflows.is_empty());
        let limits = self.run_limits(asked.or(has_programs.then_some(running_max)));
        let config =
            limits.into_iter().fold(config, |config, (scope, limits)| config.limit(scope, limits));
        let limits = self.limits_of_all_nodes().into_iter();
        limits.fold(config, |config, (scope, max)| config.limit_of_all_nodes(scope, max))
    }

    /// Yields the bounds of the HTTP service, with `places` for streams, waits and starts.
    pub(crate) fn limits(&self, places: usize) -> ServiceLimits {
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = self.memory(2);
        limits.kept_bytes_max = self.memory(2);
        limits.transcripts_bytes_max = self.memory(1);
        limits.streams_max = places;
        limits.long_requests_max = places;
        limits
    }

    /// Yields so many sixteenths of the memory that state may take, in bytes: 7 for live runs, 2
    /// for ended ones, 2 for requests under way, 2 for what contracts keep, 1 for the answers of
    /// deleted runs, which is half of that, and 1 each for the transcripts of live and of ended
    /// runs.
    const fn memory(&self, sixteenths: usize) -> usize {
        self.server.memory_mib.saturating_mul((1 << 20) / 16 * sixteenths)
    }

    /// Yields the time between a stop and abort.
    pub(crate) const fn grace(&self) -> Duration {
        self.server.grace
    }

    /// Yields the time between abort and abandon.
    pub(crate) const fn abort_wait(&self) -> Duration {
        self.server.abort_wait
    }
}

/// The memory that state may take, unless it is configured: 2 GiB.
const MEMORY_MIB: usize = 2_048;

/// The default port.
pub(super) const DEFAULT_PORT: u16 = 7777;
