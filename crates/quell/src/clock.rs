//! The one clock of an engine.

use std::time::{Duration, Instant, SystemTime};

/// Yields monotonic instants and the wall time that belongs to each.
///
/// The wall clock is read once, when the engine starts; from there it follows the monotonic clock,
/// so that times in events and reports never run backwards. It is tokio's clock: a test that
/// pauses it pauses the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    wall: SystemTime,
    /// The same in nanoseconds since 1970.
    wall_nanos: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now();
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall_nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { start: Self::read(), wall, wall_nanos }
    }

    #[expect(clippy::unused_self, reason = "callers should not care where the time comes from")]
    pub(crate) fn now(&self) -> Instant {
        Self::read()
    }

    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.start)
    }

    /// Nanoseconds since 1970, as far as they go.
    pub(crate) fn wall_nanos(&self, at: Instant) -> u64 {
        self.wall_nanos.saturating_add(self.ticks(at))
    }

    /// Nanoseconds since the start, for atomics.
    pub(crate) fn ticks(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn at_ticks(&self, ticks: u64) -> Instant {
        self.start + Duration::from_nanos(ticks)
    }

    fn read() -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
