//! The one clock of an engine.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use crate::sync;

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
        let wall = sync::wall();
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall_nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { start: sync::now(), wall, wall_nanos }
    }

    #[expect(clippy::unused_self, reason = "callers should not care where the time comes from")]
    pub(crate) fn now(&self) -> Instant {
        sync::now()
    }

    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.start)
    }

    pub(crate) fn ticks(&self, at: Instant) -> Ticks {
        let since = at.saturating_duration_since(self.start);
        let whole = since.as_secs().saturating_mul(1_000_000_000);
        let since = whole.saturating_add(u64::from(since.subsec_nanos()));
        Ticks(NonZeroU64::MIN.saturating_add(since))
    }

    pub(crate) fn at_ticks(&self, ticks: Ticks) -> Instant {
        self.start + ticks.since_start()
    }

    pub(crate) fn wall_at(&self, ticks: Ticks) -> SystemTime {
        self.wall + ticks.since_start()
    }

    /// Nanoseconds since 1970, as far as they go.
    pub(crate) fn wall_nanos(&self, at: Instant) -> u64 {
        self.wall_nanos.saturating_add(self.ticks(at).get())
    }
}

/// An instant in eight bytes, whether it is there or not: nanoseconds since the start of the clock,
/// plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(NonZeroU64);

impl Ticks {
    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN))
    }

    const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}
