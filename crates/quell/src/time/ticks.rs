//! [`Ticks`]: an instant of the clock of an engine.

use std::num::NonZeroU64;
use std::time::Duration;

/// An instant in eight bytes, whether it is there or not: nanoseconds since the start of the clock,
/// plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(NonZeroU64);

impl Ticks {
    /// Makes those of an instant so many nanoseconds behind the start.
    pub(super) fn at(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN))
    }

    pub(super) const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    pub(super) fn after(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Yields how long it is since an earlier instant; nothing since a later one.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}
