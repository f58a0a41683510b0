//! [`Clock`] is the one clock of an engine.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use crate::sync::{self, AtomicBool, AtomicU64, Mutex, Ordering};

/// Yields monotonic instants and the wall time that belongs to each.
///
/// The wall clock is read when the engine starts, and compared with the monotonic clock where
/// something happens, now and then. Where the two have come apart, because the machine was
/// suspended or the clock was set, times follow the wall clock from there on. They never
/// run backwards: a clock that is set back lets them stand still until it is there again.
///
/// It is tokio's clock: a test that pauses it pauses the engine, and nothing is compared.
///
/// The lock is a leaf.
#[derive(Debug)]
pub(crate) struct Clock {
    /// What the monotonic clock said when the engine was made: no instant is before it.
    start: Instant,
    /// What the wall clock said then.
    wall: SystemTime,
    /// The same in nanoseconds since 1970.
    wall_nanos: u64,
    /// When the clocks are compared next, in ticks.
    compare_at: AtomicU64,
    /// Whether they have ever come apart.
    has_jumped: AtomicBool,
    /// Where the two came apart since.
    jumps: Mutex<Jumps>,
}

/// Where the wall clock went another way than the monotonic one.
#[derive(Debug)]
struct Jumps {
    /// The start, or the last one that is no longer in the list.
    first: Jump,
    /// Those after it, the oldest first; at most [`JUMPS_MAX`].
    later: VecDeque<Jump>,
}

/// From here on the wall clock goes another way.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// When it was found.
    from: Ticks,
    /// What the wall clock says there.
    wall: SystemTime,
    /// What times were before: none after it is earlier.
    floor: SystemTime,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::start_at(sync::now(), sync::wall())
    }

    fn start_at(start: Instant, wall: SystemTime) -> Self {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall_nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let first = Jump { from: Ticks(NonZeroU64::MIN), wall, floor: wall };
        let jumps = Mutex::new(Jumps { first, later: VecDeque::new() });
        let (compare_at, has_jumped) = (AtomicU64::new(COMPARE_EVERY), AtomicBool::new(false));
        Self { start, wall, wall_nanos, compare_at, has_jumped, jumps }
    }

    /// Yields the instant before which there is none.
    pub(crate) const fn beginning(&self) -> Instant {
        self.start
    }

    #[expect(clippy::unused_self, reason = "it is the clock of one engine, whatever it reads")]
    pub(crate) fn now(&self) -> Instant {
        sync::now()
    }

    /// Yields when something happens, for which the clock was read just now. The clocks are
    /// compared if it is time.
    pub(crate) fn stamp(&self, now: Instant) -> Ticks {
        let ticks = self.ticks(now);
        if !IS_MODELLED && ticks.get() >= self.compare_at.load(Ordering::Relaxed) {
            self.compare(now);
        }
        ticks
    }

    /// As [`Clock::stamp`], for a caller that needs no ticks: yields the instant before which there
    /// is no need to ask again.
    #[cold]
    pub(crate) fn compare_if_due(&self, now: Instant) -> Instant {
        self.stamp(now);
        now + Duration::from_nanos(COMPARE_EVERY)
    }

    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        self.wall_at(self.ticks(at))
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

    #[inline]
    pub(crate) fn wall_at(&self, ticks: Ticks) -> SystemTime {
        if self.follows_start() {
            return self.wall + ticks.since_start();
        }
        self.wall_after_jump(ticks)
    }

    #[cold]
    fn wall_after_jump(&self, ticks: Ticks) -> SystemTime {
        let jumps = self.jumps.lock();
        let before = jumps.later.partition_point(|jump| jump.from <= ticks);
        let last = before.checked_sub(1).and_then(|last| jumps.later.get(last));
        last.unwrap_or(&jumps.first).time_at(ticks)
    }

    /// Nanoseconds since 1970, as far as they go.
    pub(crate) fn wall_nanos(&self, at: Ticks) -> u64 {
        if self.follows_start() {
            return self.wall_nanos.saturating_add(at.get());
        }
        let since = self.wall_at(at).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn follows_start(&self) -> bool {
        IS_MODELLED || !self.has_jumped.load(Ordering::Acquire)
    }

    /// Compares the clocks, for an instant that was read just now.
    #[cold]
    fn compare(&self, now: Instant) {
        let next = self.ticks(now).get().saturating_add(COMPARE_EVERY);
        self.compare_at.store(next, Ordering::Relaxed);
        let before = Instant::now();
        let (at, wall) = (sync::now(), sync::wall());
        let after = Instant::now();
        // A clock that is paused, or was, says nothing about the wall clock. And a thread that was
        // held up in between has not read two clocks at one instant.
        if before <= at && at <= after && after.saturating_duration_since(before) < TOLERANCE / 2 {
            let since = at.saturating_duration_since(now);
            self.follow(now, wall.checked_sub(since).unwrap_or(wall));
        }
    }

    /// Follows the wall clock, if it is not where it is expected at an instant.
    fn follow(&self, at: Instant, wall: SystemTime) {
        let ticks = self.ticks(at);
        let floor = self.wall_at(ticks);
        let mut jumps = self.jumps.lock();
        let last = *jumps.later.back().unwrap_or(&jumps.first);
        if ticks <= last.from {
            // Another thread has just done so.
            return;
        }
        let expected = last.wall + ticks.since(last.from);
        let ahead = wall.duration_since(expected).unwrap_or_default();
        let behind = expected.duration_since(wall).unwrap_or_default();
        if ahead.max(behind) < TOLERANCE {
            return;
        }
        if jumps.later.len() == JUMPS_MAX
            && let Some(oldest) = jumps.later.pop_front()
        {
            jumps.first = oldest;
        }
        jumps.later.push_back(Jump { from: ticks, wall, floor: floor.max(wall) });
        self.has_jumped.store(true, Ordering::Release);
    }
}

impl Jump {
    /// Yields the time of an instant, as if the wall clock had gone no other way since.
    fn time_at(&self, ticks: Ticks) -> SystemTime {
        if ticks < self.from {
            // The jumps before it are no longer known.
            let earlier = self.floor.checked_sub(self.from.since(ticks));
            return earlier.unwrap_or(SystemTime::UNIX_EPOCH);
        }
        self.floor.max(self.wall + ticks.since(self.from))
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

    /// Yields how long it is since an earlier instant; nothing since a later one.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// A model has a time of its own, and the clock is no part of it.
const IS_MODELLED: bool = cfg!(any(quell_loom, quell_shuttle));

/// How often the clocks are compared, in nanoseconds: what happens after a suspend has the wrong
/// time for so long at most. Reading the wall clock each time would cost an event a third more.
const COMPARE_EVERY: u64 = 10_000_000;

/// How far the clocks may be apart. A clock that is slewed comes here in some minutes.
const TOLERANCE: Duration = Duration::from_millis(50);

/// Jumps that are known. Times before the oldest are what they would be without those before it.
const JUMPS_MAX: usize = 64;

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn wall() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(480_000)
    }

    #[test]
    fn after_a_suspend_times_are_right_and_those_before_stay_as_they_were() {
        let start = Instant::now();
        let clock = Clock::start_at(start, wall());
        // The monotonic clock stands still while the machine sleeps.
        let asleep = start + 5 * SECOND;
        clock.follow(asleep, wall() + HOUR);
        assert_eq!(clock.wall(start + SECOND), wall() + SECOND);
        assert_eq!(clock.wall(asleep), wall() + HOUR);
        assert_eq!(clock.wall(asleep + SECOND), wall() + HOUR + SECOND);
        let nanos = clock.wall_nanos(clock.ticks(asleep + SECOND));
        let since = (wall() + HOUR + SECOND).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(u128::from(nanos), since.as_nanos());
    }

    #[test]
    fn a_clock_that_is_set_back_lets_times_stand_still() {
        let start = Instant::now();
        let clock = Clock::start_at(start, wall());
        let set_back = start + 100 * SECOND;
        clock.follow(set_back, wall() + 40 * SECOND);
        // It is where it says, so nothing is to be followed again.
        for seconds in 101..=120 {
            let at = start + seconds * SECOND;
            clock.follow(at, wall() + (seconds - 60) * SECOND);
        }
        assert_eq!(clock.jumps.lock().later.len(), 1);
        let mut last = wall();
        for seconds in 0..300 {
            let at = clock.wall(start + seconds * SECOND);
            assert!(at >= last, "after {seconds} s");
            last = at;
        }
        assert_eq!(clock.wall(start + 150 * SECOND), wall() + 100 * SECOND);
        assert_eq!(clock.wall(start + 200 * SECOND), wall() + 140 * SECOND);
    }

    #[test]
    fn small_differences_are_none_and_the_oldest_jumps_are_forgotten_in_order() {
        let start = Instant::now();
        let clock = Clock::start_at(start, wall());
        clock.follow(start + SECOND, wall() + SECOND + TOLERANCE / 2);
        assert!(clock.jumps.lock().later.is_empty());
        for hour in 1..=200 {
            clock.follow(start + hour * SECOND, wall() + hour * HOUR);
        }
        assert_eq!(clock.jumps.lock().later.len(), JUMPS_MAX);
        let mut last = SystemTime::UNIX_EPOCH;
        for half in 0..402 {
            let at = clock.wall(start + half * SECOND / 2);
            assert!(at >= last, "after {half} half seconds");
            last = at;
        }
        assert_eq!(clock.wall(start + 200 * SECOND), wall() + 200 * HOUR);
    }

    #[test]
    fn a_clock_that_nobody_sets_is_followed_without_a_jump() {
        let clock = Clock::start();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            clock.compare(clock.now());
        }
        assert!(!clock.has_jumped.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_is_compared_with_none() {
        let clock = Clock::start();
        tokio::time::advance(HOUR).await;
        let now = clock.now();
        assert_eq!(clock.wall(now), clock.wall + now.duration_since(clock.start));
        assert!(!clock.has_jumped.load(Ordering::Relaxed));
    }
}
