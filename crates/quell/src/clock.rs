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
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Self::read(), wall: SystemTime::now() }
    }

    #[expect(clippy::unused_self, reason = "callers should not care where the time comes from")]
    pub(crate) fn now(&self) -> Instant {
        Self::read()
    }

    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.start)
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
