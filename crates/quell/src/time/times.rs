//! [`Times`] holds when a run was queued, started, stopped, ended and quiescent.

use crate::time::ticks::Ticks;

/// When things happened to a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it was accepted.
    pub(crate) queued: Ticks,
    /// When its body started.
    pub(crate) started: Option<Ticks>,
    /// When its stop was accepted.
    pub(crate) stopped: Option<Ticks>,
    /// When it became terminal.
    pub(crate) ended: Option<Ticks>,
    /// When it became quiescent: at its end, or later if work was abandoned.
    pub(crate) quiesced: Option<Ticks>,
}

impl Times {
    pub(crate) const fn queued(at: Ticks) -> Self {
        Self { queued: at, started: None, stopped: None, ended: None, quiesced: None }
    }

    /// Yields the time of what happens now: never earlier than what has happened before, although
    /// the clock may have been read before the lock was taken.
    pub(crate) fn next(&self, read: Ticks) -> Ticks {
        // Each of them came from here, and they come in this order: the last one is the latest.
        let before = self.ended.or(self.stopped).or(self.started);
        read.max(before.unwrap_or(self.queued))
    }
}
