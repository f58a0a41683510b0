//! Values of records as columns keep them: whole numbers.

use std::time::{Duration, SystemTime};

use quell_core::store::Epoch;
use quell_core::{RunStatus, StopMode, Usage};

/// Yields an epoch as a column keeps it. Its order holds below 2^31 boots.
pub const fn number(epoch: Epoch) -> i64 {
    epoch.as_u64().cast_signed()
}

/// Yields the number of an event, or a place in a list, as a column keeps it. One beyond the
/// largest is the largest.
pub fn bits(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Yields a status as a number: terminal from 3 on, and live below that.
pub fn status_number(status: RunStatus) -> i64 {
    if status == RunStatus::Paused {
        return PAUSED;
    }
    RunStatus::ALL.iter().zip(0..).find(|(it, _)| **it == status).map_or(0, |(_, nth)| nth)
}

/// Yields the status of a number, if there is one.
pub fn status_of(number: i64) -> Option<RunStatus> {
    RunStatus::ALL.into_iter().find(|status| status_number(*status) == number)
}

/// Yields a mode as a number: the more urgent, the higher.
pub fn mode_number(mode: StopMode) -> i64 {
    // One that is not known here is as urgent as a stop is by default.
    MODES.iter().zip(0..).find(|(it, _)| **it == mode).map_or(1, |(_, nth)| nth)
}

/// Yields milliseconds since 1970; an earlier instant is 1970.
pub fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Yields the instant of so many milliseconds since 1970; none if it is before that. One behind the
/// year 9999 is its end: nothing that writes instants as texts knows a later one, whatever a clock
/// that was wrong, or somebody by hand, has put there.
pub fn instant(millis: i64) -> Option<SystemTime> {
    let millis = u64::try_from(millis).ok()?.min(LAST_MILLIS);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// Yields whole milliseconds.
pub fn span(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Yields what was used as a text; none if nothing was.
pub fn usage_text(used: Usage) -> Option<String> {
    // Three numbers can be written.
    (!used.is_zero()).then(|| serde_json::to_string(&used).ok()).flatten()
}

/// Modes of a stop by their numbers.
pub(crate) const MODES: [StopMode; 3] =
    [StopMode::AfterStep, StopMode::Cooperative, StopMode::Abort];

/// The last millisecond of the year 9999.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// The number of the status `Paused`. It came after those that are terminal.
const PAUSED: i64 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_one_that_can_be_written() {
        let last = SystemTime::UNIX_EPOCH + Duration::from_millis(LAST_MILLIS);
        for at in [0, 1, 253_402_300_799_999] {
            assert_eq!(instant(at).map(millis), Some(at));
        }
        for beyond in [253_402_300_800_000, i64::MAX] {
            assert_eq!(instant(beyond), Some(last));
        }
        assert_eq!((instant(-1), instant(i64::MIN)), (None, None));
    }
}
