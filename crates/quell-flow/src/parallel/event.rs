//! [`Event`]: what the driver of a parallel step waits for, and [`At`]: why it asks the policy.

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
