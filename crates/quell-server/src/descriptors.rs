//! [`Shares`]: how many file descriptors connections and programs may use.
//!
//! The soft limit is raised to the hard limit at the start; programs get the original one
//! ([`quell_process::raise_descriptors`]).

use rustix::process::{Resource, getrlimit};

/// The bounds of connections and programs, so that neither can use up all descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Programs at once. Further ones wait.
    pub(crate) programs: usize,
}

impl Shares {
    /// Divides the descriptors that this process may have.
    pub(crate) fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::of(limit.and_then(|limit| limit.try_into().ok()).unwrap_or(usize::MAX))
    }

    /// Yields how many of the connections may be streams, waits and starts: three quarters. The
    /// rest is for cancels and reads.
    pub(crate) fn streams(&self) -> usize {
        (self.connections / 4 * 3).max(1)
    }

    /// Yields how many runs may run at once, unless the configuration says how many.
    pub(crate) fn running(&self) -> usize {
        self.programs.min(RUNNING_MAX)
    }

    /// A quarter is for programs, a quarter, or a bound, is room, and the rest for connections.
    fn of(limit: usize) -> Self {
        let (quarter, half) = (limit / 4, limit / 2);
        let connections = half + quarter.saturating_sub(ROOM_MAX);
        Self {
            connections: connections.clamp(1, CONNECTIONS_MAX),
            programs: (quarter / PER_PROGRAM).max(1),
        }
    }
}

/// Connections at once, however many descriptors there are: ten thousand streams, and cancels.
const CONNECTIONS_MAX: usize = 14_000;

/// Descriptors for all else: stores, files, listeners.
const ROOM_MAX: usize = 1_536;

/// Runs at once, however many descriptors there are.
const RUNNING_MAX: usize = 256;

/// The most descriptors of a running program: three pipes and the process.
const PER_PROGRAM: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_programs_together_leave_room() {
        for (limit, connections, programs, running) in [
            (256, 128, 16, 16),
            (1_024, 512, 64, 64),
            (6_144, 3_072, 384, 256),
            (8_192, 4_608, 512, 256),
            (20_000, 13_464, 1_250, 256),
            (usize::MAX, 14_000, usize::MAX / 16, 256),
        ] {
            let shares = Shares::of(limit);
            assert_eq!(shares, Shares { connections, programs });
            assert_eq!(shares.running(), running);
            let room = limit - connections - programs * PER_PROGRAM;
            assert!(room >= ROOM_MAX.min(limit / 4));
        }
        assert_eq!(Shares::of(0), Shares { connections: 1, programs: 1 });
    }
}
