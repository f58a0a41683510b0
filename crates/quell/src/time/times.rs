//! When things happened to a run.

use crate::time::clock::Ticks;

/// When things happened to a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) queued: Ticks,
    pub(crate) started: Option<Ticks>,
    pub(crate) stopped: Option<Ticks>,
    pub(crate) ended: Option<Ticks>,
    pub(crate) quiesced: Option<Ticks>,
}

impl Times {
    pub(crate) const fn queued(at: Ticks) -> Self {
        Self { queued: at, started: None, stopped: None, ended: None, quiesced: None }
    }

    /// Yields the time of what happens now: never earlier than what has happened before, although
    /// the clock may have been read before the lock was taken.
    pub(crate) fn next(&self, read: Ticks) -> Ticks {
        // Each of them came from here, and in this order.
        let before = self.ended.or(self.stopped).or(self.started);
        read.max(before.unwrap_or(self.queued))
    }
}
