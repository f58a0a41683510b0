//! [`Histogram`]: how long something took, as often as it happened, in fixed steps.

use std::time::Duration;

use crate::sync::{Ordering, Tally};

/// How often something has taken how long since the engine was made.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::Histogram;
///
/// /// Tells how many took longer than the default grace.
/// fn beyond_the_grace(durations: &Histogram) -> u64 {
///     let within = durations.buckets().take_while(|(most, _)| *most <= quell::limits::GRACE);
///     durations.count() - within.map(|(_, count)| count).sum::<u64>()
/// }
/// # assert_eq!(Histogram::BOUNDS[9], quell::limits::GRACE);
/// # assert_eq!(Histogram::BOUNDS[10], quell::limits::GRACE + quell::limits::ABORT_WAIT);
/// # let _ = beyond_the_grace;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// How many are within each bound and above the one before; last, those above all.
    counts: [u64; COUNTS],
    sum: Duration,
}

impl Histogram {
    /// The upper bounds, each of them included. They are the same for all that an engine measures,
    /// and fixed, so that the numbers of several engines can be added up.
    ///
    /// A stop of what asks nothing takes microseconds. What ends within 5 s gave way within the
    /// default grace, what ends within 6 s was aborted within the default abort wait, and what took
    /// longer was abandoned then. Waits for a place in a queue may take an hour.
    pub const BOUNDS: [Duration; 16] = [
        Duration::from_micros(100),
        Duration::from_millis(1),
        Duration::from_millis(10),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(6),
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_mins(1),
        Duration::from_mins(5),
        Duration::from_hours(1),
    ];

    /// Yields each of [`BOUNDS`](Self::BOUNDS), with how many are within it and above the one
    /// before. Those above all of them are in [`count`](Self::count) alone.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + use<> {
        Self::BOUNDS.into_iter().zip(self.counts)
    }

    /// Yields how many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Yields how long all of them took together.
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

/// What is measured, while it is.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// As [`Histogram::counts`].
    counts: [Tally; COUNTS],
    /// In nanoseconds: they last for 584 years.
    sum: Tally,
}

impl Durations {
    pub(crate) fn record(&self, took: Duration) {
        let place = Histogram::BOUNDS.partition_point(|most| *most < took);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Yields what was measured so far. What is measured meanwhile may be in the counts already and
    /// not in the sum, or the other way round.
    pub(crate) fn so_far(&self) -> Histogram {
        Histogram {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)),
        }
    }
}

const COUNTS: usize = Histogram::BOUNDS.len() + 1;

#[cfg(all(test, not(any(quell_loom, quell_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_bound_includes_itself_and_what_is_above_all_is_counted() {
        let durations = Durations::default();
        let nano = Duration::from_nanos(1);
        durations.record(Duration::ZERO);
        for bound in Histogram::BOUNDS {
            durations.record(bound);
            durations.record(bound + nano);
        }
        let all = durations.so_far();
        let counts: Vec<_> = all.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2; 16]);
        assert_eq!(all.count(), 33, "and one above all bounds");
        assert_eq!(all.sum(), 2 * Histogram::BOUNDS.iter().sum::<Duration>() + 16 * nano);
        assert!(Histogram::BOUNDS.is_sorted());
    }
}
