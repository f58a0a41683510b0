//! How long to wait between two attempts.

use std::time::Duration;

/// The pauses between attempts: a time that doubles with every failure up to a cap, and of that a
/// random part, from nothing to all of it (*full jitter*, after Amazon's builders' library), so
/// that many who failed together do not try again together. What waits for something alone sets
/// the shortest pause with [`min`](Self::min), so that its attempts are not over at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_flow::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_secs(1)).cap(Duration::from_secs(5));
/// let bounds = [1, 2, 3, 4].map(|failures| backoff.bound(failures).as_secs());
/// assert_eq!(bounds, [1, 2, 4, 5]);
/// assert!(backoff.delay(3, 42) <= Duration::from_secs(4));
/// assert_eq!(backoff.delay(3, 42), backoff.delay(3, 42));
/// assert!(backoff.min(Duration::from_secs(3)).delay(3, 42) >= Duration::from_secs(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a backoff does nothing until it is given to a retry"]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    min: Duration,
    has_jitter: bool,
}

impl Backoff {
    /// The longest pause of all, unless [`cap`](Self::cap) sets another one: 30 s.
    pub(crate) const CAP: Duration = Duration::from_secs(30);

    /// Waits so long, at most, after the first failure. Zero waits no longer than
    /// [`min`](Self::min), which is not at all by default.
    pub const fn exponential(base: Duration) -> Self {
        Self { base, cap: Self::CAP, min: Duration::ZERO, has_jitter: true }
    }

    /// Bounds every pause. Defaults to 30 s. Zero never waits.
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets the shortest pause: the random part is from this to the bound, which is not below it.
    /// The cap bounds this too. Defaults to zero, which is no such pause.
    pub const fn min(mut self, min: Duration) -> Self {
        self.min = min;
        self
    }

    /// Waits all of the time, always.
    pub const fn without_jitter(mut self) -> Self {
        self.has_jitter = false;
        self
    }

    /// Yields the longest pause after so many failures, counted from 1.
    pub fn bound(&self, failures: u32) -> Duration {
        let factor = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).max(self.min).min(self.cap)
    }

    /// Yields the pause after so many failures, counted from 1. It depends on nothing but the
    /// arguments.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let bound = self.bound(failures);
        if !self.has_jitter {
            return bound;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let range = nanos(self.min.min(bound))..=nanos(bound);
        let mut random = fastrand::Rng::with_seed(seed ^ u64::from(failures).rotate_left(32));
        Duration::from_nanos(random.u64(range))
    }
}

/// Waits up to 100 ms after the first failure, and never more than 30 s.
impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100))
    }
}

impl From<Duration> for Backoff {
    fn from(base: Duration) -> Self {
        Self::exponential(base)
    }
}
