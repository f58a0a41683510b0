//! [`Lease`] knows until when an engine may execute what it owns.
//!
//! A renewal reaches the store after it was sent. So a lease that is counted from the moment at
//! which its last successful renewal was *sent* is over here before it is over there, whatever the
//! clocks of the two hosts say, as long as both run about as fast. A renewal that hangs extends
//! nothing.
//!
//! ```text
//! sent           renew_at                   lapses_at                          over
//!  ├── lasts / 5 ──┤                            ├─ grace ─┬─ abort wait ─┬ margin ─┤
//!  │               │  renewed, or tried again   │  stopped with `LeaseLost`        │ others may
//!  │               │  until it lapses           │  ended, or abandoned by then     │ take over
//! ```

use std::time::{Duration, Instant};

use quell_core::lifecycle::later;

/// The lease of this engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// When its last successful renewal, or the join, was sent.
    since: Instant,
    /// How long it lasts.
    lasts: Duration,
    /// What of it is needed to stop everything.
    reserve: Duration,
}

impl Lease {
    pub(super) const fn new(since: Instant, lasts: Duration, reserve: Duration) -> Self {
        Self { since, lasts, reserve }
    }

    /// Takes a renewal that has succeeded; one that was sent earlier changes nothing.
    pub(super) fn renewed(&mut self, sent: Instant) {
        self.since = self.since.max(sent);
    }

    /// When everything that executes is to be stopped.
    pub(super) fn lapses_at(&self) -> Instant {
        later(self.since, self.lasts.saturating_sub(self.reserve))
    }

    /// When it is to be renewed.
    pub(crate) fn renew_at(&self) -> Instant {
        later(self.since, self.lasts / RENEWALS)
    }

    /// Has it be over now.
    pub(super) const fn revoke(&mut self) {
        self.lasts = Duration::ZERO;
    }

    /// Tells whether it can be renewed before it lapses.
    pub(super) fn leaves_time(&self) -> bool {
        self.lasts > shortest(self.reserve)
    }

    /// How long a renewal may be under way before another one is sent in its place.
    pub(crate) fn renewal_wait(&self) -> Duration {
        self.lasts / RENEWALS
    }
}

/// What a lease has to be longer than of which so much is needed to stop everything: it is to be
/// renewed before it lapses.
pub(super) fn shortest(reserve: Duration) -> Duration {
    reserve.saturating_add(reserve / (RENEWALS - 1))
}

/// How often a lease would be renewed while it lasts.
const RENEWALS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_counts_from_the_sending_of_its_last_renewal_and_never_shrinks() {
        let joined = Instant::now();
        let mut lease = Lease::new(joined, 15 * SECOND, 7 * SECOND);
        assert_eq!(
            (lease.renew_at(), lease.lapses_at()),
            (joined + 3 * SECOND, joined + 8 * SECOND)
        );
        lease.renewed(joined + 3 * SECOND);
        assert_eq!(lease.lapses_at(), joined + 11 * SECOND);
        lease.renewed(joined + SECOND);
        assert_eq!(lease.lapses_at(), joined + 11 * SECOND, "an answer may come late");
    }

    #[test]
    fn a_lease_that_leaves_no_time_to_stop_lapses_at_once() {
        let joined = Instant::now();
        let lease = Lease::new(joined, SECOND, 2 * SECOND);
        assert_eq!((lease.lapses_at(), lease.leaves_time()), (joined, false));
        let mut lease = Lease::new(joined, 9 * SECOND, 7 * SECOND);
        assert!(lease.leaves_time());
        lease.revoke();
        assert_eq!(lease.lapses_at(), joined);
    }
}
