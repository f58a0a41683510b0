//! [`within`], [`soon`], [`soon_in_real_time`] and [`eventually`]: how long a test waits for what
//! must happen.

use std::time::{Duration, Instant};

/// Yields the output of a future. Fails with these words when it takes longer than four
/// minutes: of the paused clock, if the runtime has one.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("{what}: did not happen in {PATIENCE:?}"))
}

/// Waits until a condition holds that no event announces.
pub async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(())).await;
}

/// Waits until a condition holds that another thread brings about, while the clock of the test is
/// paused: it does not advance. Fails with these words when it takes longer than a minute.
pub async fn soon_in_real_time(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while since.elapsed() < REAL_PATIENCE {
        if holds() {
            return;
        }
        std::thread::sleep(ms(1));
        tokio::task::yield_now().await;
    }
    panic!("{what}: did not happen in {REAL_PATIENCE:?}");
}

/// Waits until something is there that no event announces.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(ms(1)).await;
        }
    };
    within(what, poll).await
}

/// Seconds.
pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Milliseconds.
pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How long a test waits for what must happen. `mutations` shortens it, to find a fault sooner.
const PATIENCE: Duration = secs(240);

/// Of a clock that does not stand still.
const REAL_PATIENCE: Duration = Duration::from_mins(1);
