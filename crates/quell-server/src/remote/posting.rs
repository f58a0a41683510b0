//! [`Posting`]: cancels that are posted beyond the ends of their runs, and the end of this process.

use std::sync::LazyLock;
use std::time::Duration;

use quell_report::text::span;
use tokio::sync::watch;

use crate::signals::Signals;

/// A cancel that is posted after the end of the run, or just before that.
#[derive(Debug)]
pub(super) struct Posting;

impl Posting {
    pub(super) fn begin() -> Self {
        POSTING.send_modify(|count| *count += 1);
        Self
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        POSTING.send_modify(|count| *count -= 1);
    }
}

/// Waits until services that runs left in doubt confirm the cancel, for a while or until a signal.
/// If there are such services, it says so first.
pub(crate) async fn confirmed(signals: &mut Signals, say: impl FnOnce(String)) {
    let mut posting = POSTING.subscribe();
    if *posting.borrow() == 0 {
        return;
    }
    let wait = span(WAIT_MAX);
    say(format!("services are told to stop, for {wait} at most; a signal ends that"));
    tokio::select! {
        // A confirmation that is there counts.
        biased;
        // Its sender is there as long as the process.
        _ = posting.wait_for(|count| *count == 0) => {}
        _ = signals.next() => {}
        () = tokio::time::sleep(WAIT_MAX) => {}
    }
}

/// How many cancels are posted to services in doubt.
static POSTING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// How long services may take to confirm a cancel at the end of this process. A service that is
/// told once has it within that.
const WAIT_MAX: Duration = Duration::from_secs(5);
