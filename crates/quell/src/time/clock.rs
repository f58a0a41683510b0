//! [`Clock`] is the one clock of an engine.

use std::time::{Duration, Instant, SystemTime};

use super::jump::Jump;
use super::ticks::Ticks;
use crate::sync::{self, AtomicBool, AtomicU64, Mutex, Ordering};

/// Yields monotonic instants and the wall time that belongs to each.
///
/// The wall clock is read when the engine starts, and compared with the monotonic clock where
/// something happens, now and then. Where the two have come apart, because the machine was
/// suspended or the clock was set, times follow the wall clock from there on. They never run
/// backwards: a clock that is set back lets them stand still until it is there again. Where they
/// were raised, as another process was ahead, they stay ahead until the wall clock is.
///
/// The wall time of an instant never changes: runs of one id are told apart by when they were
/// accepted, as the store has it, and states of a thread are in the order in which runs ended. So
/// no jump is forgotten, and one counts from behind the last instant that anybody may have asked
/// for. Whoever asks has read the monotonic clock before, and
///
/// - either sees `has_jumped` unset: then it is set, and the clock read, after that;
/// - or has the lock before the jump is found: the clock is read under it;
/// - or has it later, and sees the jump.
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
    /// Whether they may ever have come apart.
    has_jumped: AtomicBool,
    /// Where the two came apart since, the oldest first; at most [`JUMPS_MAX`].
    jumps: Mutex<Vec<Jump>>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::start_at(sync::now(), sync::wall())
    }

    fn start_at(start: Instant, wall: SystemTime) -> Self {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall_nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let (compare_at, has_jumped) = (AtomicU64::new(COMPARE_EVERY), AtomicBool::new(false));
        Self { start, wall, wall_nanos, compare_at, has_jumped, jumps: Mutex::new(Vec::new()) }
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
    /// compared if it is time: what happens after a suspend has its time by that.
    pub(crate) fn stamp(&self, now: Instant) -> Ticks {
        let ticks = self.ticks(now);
        if !IS_MODELLED && ticks.get() >= self.compare_at.load(Ordering::Relaxed) {
            return self.compare(ticks).unwrap_or(ticks);
        }
        ticks
    }

    /// As [`Clock::stamp`], for a caller that needs no ticks: yields also the instant before which
    /// there is no need to ask again.
    #[cold]
    pub(crate) fn compare_if_due(&self, now: Instant) -> (Instant, Instant) {
        let ticks = self.ticks(now);
        let stamp = self.stamp(now);
        let at = if stamp > ticks { self.at_ticks(stamp) } else { now };
        (at, now + Duration::from_nanos(COMPARE_EVERY))
    }

    pub(crate) fn wall(&self, at: Instant) -> SystemTime {
        self.wall_at(self.ticks(at))
    }

    pub(crate) fn ticks(&self, at: Instant) -> Ticks {
        let since = at.saturating_duration_since(self.start);
        let whole = since.as_secs().saturating_mul(1_000_000_000);
        let since = whole.saturating_add(u64::from(since.subsec_nanos()));
        Ticks::at(since)
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
        self.wall_by(&self.jumps.lock(), ticks)
    }

    /// Yields the time at which something is due by the wall clock, as it goes now: what a later
    /// process, or another node, waits for. Times that were raised are ahead of that.
    pub(crate) fn due(&self, at: Instant) -> SystemTime {
        self.expected(&self.jumps.lock(), self.ticks(at))
    }

    /// Yields how far the time of something is ahead of the wall clock, as that goes now.
    pub(crate) fn ahead(&self, at: Ticks) -> Duration {
        if self.follows_start() {
            return Duration::ZERO;
        }
        let jumps = self.jumps.lock();
        let wall = self.expected(&jumps, at);
        self.wall_by(&jumps, at).duration_since(wall).unwrap_or_default()
    }

    fn wall_by(&self, jumps: &[Jump], ticks: Ticks) -> SystemTime {
        let before = jumps.partition_point(|jump| jump.from <= ticks);
        let last = before.checked_sub(1).and_then(|last| jumps.get(last));
        last.map_or_else(|| self.wall + ticks.since_start(), |jump| jump.time_at(ticks))
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

    /// Compares the clocks. Yields from when on another time counts, if they have come apart.
    #[cold]
    fn compare(&self, now: Ticks) -> Option<Ticks> {
        let read = self.read_both()?;
        let (is_apart, found) = {
            let jumps = self.jumps.lock();
            (self.are_apart(&jumps, read), jumps.len() / RARER_EVERY)
        };
        let pause = COMPARE_EVERY << found.min(PAUSE_DOUBLES_MAX);
        self.compare_at.store(now.get().saturating_add(pause), Ordering::Relaxed);
        if !is_apart {
            return None;
        }
        // From here on everybody asks under the lock.
        self.has_jumped.store(true, Ordering::SeqCst);
        let mut jumps = self.jumps.lock();
        let (at, wall) = self.read_both()?;
        self.follow(&mut jumps, at, wall)
    }

    /// Has no time from here on be before this one: times go on from there until the wall clock has
    /// come further. Tells whether that is so.
    pub(crate) fn raise(&self, floor: SystemTime) -> bool {
        // A raise counts from there: also one that was made just now.
        let from = self.ticks(self.now()).after(BEHIND);
        if self.wall_at(from) >= floor {
            return true;
        }
        self.has_jumped.store(true, Ordering::SeqCst);
        let mut jumps = self.jumps.lock();
        let now = self.ticks(self.now());
        let is_over = |now: SystemTime| now.checked_add(AHEAD_MAX).is_none_or(|max| floor > max);
        if jumps.len() == JUMPS_MAX || is_over(self.expected(&jumps, now)) {
            return false;
        }
        let from = now.after(BEHIND);
        let floor = floor.max(self.wall_by(&jumps, from));
        let wall = self.expected(&jumps, from);
        jumps.push(Jump { from, wall, floor, is_raised: true });
        true
    }

    /// Reads both clocks at one instant, if that can be told.
    fn read_both(&self) -> Option<(Ticks, SystemTime)> {
        let before = Instant::now();
        let (at, wall) = (sync::now(), sync::wall());
        let after = Instant::now();
        // A clock that is paused, or was, says nothing about the wall clock. And a thread that was
        // held up in between has not read two clocks at one instant.
        let is_one = before <= at && at <= after;
        let is_one = is_one && after.saturating_duration_since(before) < TOLERANCE / 2;
        is_one.then(|| (self.ticks(at), wall))
    }

    fn are_apart(&self, jumps: &[Jump], (at, wall): (Ticks, SystemTime)) -> bool {
        if jumps.last().is_some_and(|last| at < last.from) {
            // Another thread has just followed it.
            return false;
        }
        let expected = self.expected(jumps, at);
        let ahead = wall.duration_since(expected).unwrap_or_default();
        let behind = expected.duration_since(wall).unwrap_or_default();
        ahead.max(behind) >= TOLERANCE
    }

    /// Yields what the wall clock says at an instant behind all jumps, if it is not set again.
    fn expected(&self, jumps: &[Jump], at: Ticks) -> SystemTime {
        let last = jumps.last();
        last.map_or_else(|| self.wall + at.since_start(), |last| last.wall + at.since(last.from))
    }

    /// Follows the wall clock, if it is not where it is expected at an instant.
    fn follow(&self, jumps: &mut Vec<Jump>, at: Ticks, wall: SystemTime) -> Option<Ticks> {
        if !self.are_apart(jumps, (at, wall)) || jumps.len() == JUMPS_MAX {
            return None;
        }
        let (from, wall) = (at.after(BEHIND), wall + BEHIND);
        let floor = self.wall_by(jumps, from).max(wall);
        let is_raised = floor > wall && jumps.last().is_some_and(|last| last.is_raised);
        jumps.push(Jump { from, wall, floor, is_raised });
        Some(from)
    }
}

/// A model has a time of its own, and the clock is no part of it.
const IS_MODELLED: bool = cfg!(any(quell_loom, quell_shuttle));

/// How often the clocks are compared, in nanoseconds: what happens after a suspend has the wrong
/// time for so long at most. Reading the wall clock each time would cost an event a third more.
const COMPARE_EVERY: u64 = 10_000_000;

/// How far the clocks may be apart. A clock that is slewed comes here in some minutes.
const TOLERANCE: Duration = Duration::from_millis(50);

/// How far behind the instant at which it is found a jump counts: more than a processor may have
/// read ahead.
const BEHIND: Duration = Duration::from_micros(1);

/// How far times are raised at most: a clock that is further ahead was wrong.
const AHEAD_MAX: Duration = Duration::from_hours(24);

/// Jumps that are known, of 48 bytes each. Further ones are not followed.
const JUMPS_MAX: usize = 65_536;

/// With each so many of them the clocks are compared half as often: a clock that is set all the
/// time fills the list in a month. And how often that is so: to once in eleven minutes.
const RARER_EVERY: usize = 4_096;
const PAUSE_DOUBLES_MAX: usize = 16;

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn wall() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(480_000)
    }

    fn follow(clock: &Clock, at: Instant, wall: SystemTime) {
        clock.has_jumped.store(true, Ordering::SeqCst);
        clock.follow(&mut clock.jumps.lock(), clock.ticks(at), wall);
    }

    #[test]
    fn after_a_suspend_times_are_right_and_those_before_stay_as_they_were() {
        let start = Instant::now();
        let clock = Clock::start_at(start, wall());
        // The monotonic clock stands still while the machine sleeps.
        let asleep = start + 5 * SECOND;
        follow(&clock, asleep, wall() + HOUR);
        assert_eq!(clock.wall(start + SECOND), wall() + SECOND);
        assert_eq!(clock.wall(asleep), wall() + 5 * SECOND, "somebody may have asked for it");
        assert_eq!(clock.wall(asleep + BEHIND), wall() + HOUR + BEHIND);
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
        follow(&clock, set_back, wall() + 40 * SECOND);
        // It is where it says, so nothing is to be followed again.
        for seconds in 101..=120 {
            let at = start + seconds * SECOND;
            follow(&clock, at, wall() + (seconds - 60) * SECOND);
        }
        assert_eq!(clock.jumps.lock().len(), 1);
        let mut last = wall();
        for seconds in 0..300 {
            let at = clock.wall(start + seconds * SECOND);
            assert!(at >= last, "after {seconds} s");
            last = at;
        }
        assert_eq!(clock.wall(start + 150 * SECOND), wall() + 100 * SECOND + BEHIND);
        assert_eq!(clock.wall(start + 200 * SECOND), wall() + 140 * SECOND);
    }

    #[test]
    fn the_time_of_an_instant_stays_however_often_the_clock_is_set() {
        let start = Instant::now();
        let clock = Clock::start_at(start, wall());
        follow(&clock, start + SECOND, wall() + SECOND + TOLERANCE / 2);
        assert!(clock.jumps.lock().is_empty(), "small differences are none");
        let of = |second: u32| clock.wall(start + second * SECOND);
        let mut told = vec![of(0)];
        for second in 1..=200 {
            // It is set on by two hours, and back by one.
            let hours = second + second % 2 * 2;
            follow(&clock, start + second * SECOND, wall() + hours * HOUR);
            told.push(of(second));
        }
        assert_eq!(clock.jumps.lock().len(), 200);
        let again: Vec<_> = (0..=200).map(of).collect();
        assert_eq!(again, told);
        assert!(told.is_sorted());
        let later = start + 200 * SECOND + 2 * HOUR;
        assert_eq!(clock.wall(later), wall() + 202 * HOUR);
    }

    #[test]
    fn times_go_on_from_where_another_process_has_left_them_until_the_clock_is_further() {
        let clock = Clock::start();
        let begun = clock.now();
        let ahead = clock.wall(begun) + HOUR;
        assert!(clock.raise(ahead) && clock.raise(ahead - SECOND));
        assert_eq!(clock.jumps.lock().len(), 1, "they are there by now");
        let told = clock.wall(begun);
        assert!(told < ahead, "what was before stays");
        let now = clock.now() + BEHIND;
        let raised = clock.wall(now);
        assert!(raised >= ahead && raised < ahead + 60 * SECOND);
        assert_eq!(clock.wall(now + SECOND), raised + SECOND, "they do not stand still");
        assert_eq!(clock.due(now + SECOND), told + (now + SECOND - begun), "by the wall clock");
        // A small step of the wall clock leaves them ahead, and one beyond them counts.
        let near = |seconds: u32| clock.wall(now + seconds * SECOND);
        let wall_at = |at: Instant| told + (at - begun);
        let at = now + 10 * SECOND;
        follow(&clock, at, wall_at(at) + 2 * TOLERANCE);
        assert_eq!(near(20), raised + 20 * SECOND);
        let at = now + 30 * SECOND;
        follow(&clock, at, wall_at(at) + 2 * HOUR);
        assert_eq!(near(40), wall_at(now + 40 * SECOND) + 2 * HOUR);
        assert!(!clock.raise(near(0) + 60 * HOUR), "that clock was wrong");
    }

    #[test]
    fn a_jump_beyond_those_that_are_kept_is_not_followed() {
        let start = Instant::now();
        let clock = Clock::start_at(start, wall());
        let count = u32::try_from(JUMPS_MAX).unwrap() + 9;
        for second in 1..=count {
            follow(&clock, start + second * SECOND, wall() + second * 2 * SECOND);
        }
        let jumps = clock.jumps.lock();
        assert_eq!(jumps.len(), JUMPS_MAX);
        assert_eq!(clock.wall_by(&jumps, clock.ticks(start)), wall());
        let last = clock.wall_by(&jumps, clock.ticks(start + count * SECOND));
        assert_eq!(last, wall() + (2 * count - 9) * SECOND);
    }

    #[test]
    fn a_clock_that_nobody_sets_is_followed_without_a_jump() {
        let clock = Clock::start();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            clock.compare(clock.ticks(clock.now()));
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
