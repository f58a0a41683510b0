//! [`Jump`]: where the wall clock of a machine went another way than its monotonic one.

use std::time::SystemTime;

use super::ticks::Ticks;

/// From here on the wall clock goes another way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
    /// From when on it counts.
    pub(super) from: Ticks,
    /// What the wall clock says there.
    pub(super) wall: SystemTime,
    /// What times were before, or to what they were raised: none after it is earlier.
    pub(super) floor: SystemTime,
    /// Times go on from the floor, as they were raised to it, and do not stand still.
    pub(super) is_raised: bool,
}

impl Jump {
    /// Yields the time of an instant behind it, as if the wall clock had gone no other way since.
    pub(super) fn time_at(&self, ticks: Ticks) -> SystemTime {
        let since = ticks.since(self.from);
        let floor = if self.is_raised { self.floor + since } else { self.floor };
        floor.max(self.wall + since)
    }
}
