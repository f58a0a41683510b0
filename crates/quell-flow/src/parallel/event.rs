//! [`Event`]: what the driver of a parallel step waits for, and [`At`]: why it asks the policy.

use quell::RunRef;

/// What happened next.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// A branch ended.
    Ended(usize),
    /// A branch that had ended before became quiescent.
    Quiesced(usize),
    /// The step is stopping, and branches have ended whose watchers do not know yet.
    Sweep,
    /// An instant came for which the step was waiting.
    Tick,
    /// The limiter lets the next branch start, as happens after every event.
    Permit,
}

/// What of a branch is waited for.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// Its end.
    Ended,
    /// That nothing of it executes any more.
    Quiescent,
}

/// Waits for a branch.
pub(super) async fn watch(branch: usize, run: RunRef, until: Until) -> Event {
    match until {
        Until::Ended => {
            run.ended_status().await;
            Event::Ended(branch)
        }
        Until::Quiescent => {
            run.quiescent_status().await;
            Event::Quiesced(branch)
        }
    }
}

/// Why the policy is asked.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// Nothing has started.
    Start,
    /// This branch ended.
    End(usize),
    /// The deadline of the policy is over.
    Deadline,
}
