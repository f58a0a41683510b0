//! [`Pace`]: how often the store is read again for news of a run that another node has.
//!
//! It is polled. Nodes do not talk to each other, and a notification for each event would slow down
//! the commits of all of them; the one that PostgreSQL sends for a stop tells the owner, not those
//! who read. A poll is one look-up by a key, for as long as somebody waits: each wait and each
//! stream holds a place among those that are bounded
//! ([`ServiceLimits`](crate::ServiceLimits::long_requests_max)), so `n` of them at rest are `4 n`
//! reads a second. What they learn is late by a pause, 250 ms at most.

use std::time::Duration;

use tokio::time::sleep;

/// The pauses between reads: longer and longer while nothing is new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    first: Duration,
    next: Duration,
}

impl Pace {
    /// Begins with a pause of this length.
    pub(crate) const fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// Begins again: something was new.
    pub(crate) const fn restart(&mut self) {
        self.next = self.first;
    }

    /// Waits for the next read. Cancel safe.
    pub(crate) async fn rest(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        sleep(pause).await;
    }

    /// Waits for the next read of a store that is in trouble. Cancel safe.
    pub(crate) async fn rest_in_trouble(&mut self) {
        self.next = PAUSE_MAX;
        sleep(TROUBLE).await;
    }

    /// Tells whether nothing was new for so long that the pauses grow no longer.
    pub(crate) fn is_slow(&self) -> bool {
        self.next >= PAUSE_MAX
    }
}

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The pause of who waits for a store in trouble: the log says so each time.
const TROUBLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_quarter_of_a_second_and_begin_again_with_what_is_new() {
        let (mut pace, began, mut at) =
            (Pace::new(Duration::from_millis(10)), Instant::now(), Vec::new());
        for round in 0..8 {
            if round == 7 {
                assert!(pace.is_slow());
                pace.restart();
            }
            pace.rest().await;
            at.push(began.elapsed().as_millis());
        }
        assert_eq!(at, [10, 30, 70, 150, 310, 560, 810, 820]);
    }
}
