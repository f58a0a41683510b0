//! [`Pace`]: how often the store is read again for news of a run that another node has.
//!
//! Who [watches](quell::cluster::LogWatch) a log is told when there is something new, and looks
//! once a second besides. Anybody else polls: a poll is one look-up by a key, for as long as
//! somebody waits, and what is learned is late by a pause, 250 ms at most. Each wait and each
//! stream holds a place among those that are bounded
//! ([`ServiceLimits`](crate::ServiceLimits::long_requests_max)), so `n` of them at rest are `4 n`
//! reads a second.

use std::time::Duration;

use quell::cluster::LogWatch;
use tokio::time::{sleep, timeout};

/// The pauses between reads: longer and longer while nothing is new.
#[derive(Debug)]
pub(crate) struct Pace {
    first: Duration,
    next: Duration,
    /// Who tells that it is time to read.
    watch: Option<Box<dyn LogWatch>>,
    /// Whether the last pause ended because of that.
    was_told: bool,
}

impl Pace {
    /// Begins with a pause of this length.
    pub(crate) const fn new(first: Duration) -> Self {
        Self { first, next: first, watch: None, was_told: false }
    }

    /// Ends pauses when there is something new, as far as that is told.
    pub(crate) fn watching(mut self, watch: Option<Box<dyn LogWatch>>) -> Self {
        self.watch = watch;
        self
    }

    /// Begins again: something was new. Who was told of that will be told again.
    pub(crate) fn restart(&mut self) {
        self.next = if self.was_told { self.longest() } else { self.first };
    }

    /// Waits for the next read. Cancel safe.
    pub(crate) async fn rest(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest());
        self.was_told = if let Some(watch) = &mut self.watch {
            timeout(pause, watch.heard()).await.is_ok()
        } else {
            sleep(pause).await;
            false
        };
    }

    /// Waits for the next read of a store that is in trouble. Cancel safe.
    pub(crate) async fn rest_in_trouble(&mut self) {
        self.next = PAUSE_MAX;
        sleep(TROUBLE).await;
    }

    /// Tells whether the last pause ended because there was something new.
    pub(crate) const fn was_told(&self) -> bool {
        self.was_told
    }

    /// Yields how many of the longest pauses a second has, if nothing was new for so long that the
    /// pauses grow no longer.
    pub(crate) fn slow_per_second(&self) -> Option<u32> {
        if self.is_told() {
            return (self.next >= PAUSE_TOLD_MAX).then_some(1);
        }
        (self.next >= PAUSE_MAX).then_some(4)
    }

    fn is_told(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_told())
    }

    fn longest(&self) -> Duration {
        if self.is_told() { PAUSE_TOLD_MAX } else { PAUSE_MAX }
    }
}

/// The longest pause: a quarter of a second.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The longest pause of who is told when there is something new.
const PAUSE_TOLD_MAX: Duration = Duration::from_secs(1);

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
                assert_eq!(pace.slow_per_second(), Some(4));
                pace.restart();
            }
            pace.rest().await;
            at.push(began.elapsed().as_millis());
        }
        assert_eq!(at, [10, 30, 70, 150, 310, 560, 810, 820]);
    }

    /// Tells after so long, counted from when it is asked; `None` when it is not to be heard of.
    #[derive(Debug)]
    struct Tells(Option<Duration>);

    impl LogWatch for Tells {
        fn heard(&mut self) -> quell::store::BoxFuture<'_, ()> {
            let after = self.0;
            Box::pin(async move {
                match after {
                    Some(after) => sleep(after).await,
                    None => std::future::pending().await,
                }
            })
        }

        fn is_told(&self) -> bool {
            true
        }
    }

    async fn pauses(pace: &mut Pace, count: usize, is_new: bool) -> Vec<u128> {
        let mut all = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            pace.rest().await;
            all.push(began.elapsed().as_millis());
            if is_new {
                pace.restart();
            }
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_looks_then_and_once_a_second() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(20)).watching(Some(Box::new(Tells(None))));
        assert_eq!(pauses(&mut pace, 8, false).await, [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        assert_eq!(pace.slow_per_second(), Some(1));
        // Something is new of which nobody has told: it may be so again.
        pace.restart();
        assert_eq!(pauses(&mut pace, 3, true).await, [20, 20, 20]);
        let mut pace = Pace::new(ms(20)).watching(Some(Box::new(Tells(Some(ms(300))))));
        assert_eq!(pauses(&mut pace, 4, false).await, [20, 40, 80, 160]);
        assert_eq!(pauses(&mut pace, 3, true).await, [300, 300, 300]);
        pace.watch = Some(Box::new(Tells(None)));
        assert_eq!(pauses(&mut pace, 1, false).await, [1_000]);
    }
}
