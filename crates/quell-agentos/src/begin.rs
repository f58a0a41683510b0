//! [`Begin`]: where a stream begins.

use quell_http::SseEvent;

/// Where a stream begins, and what is said of that.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    /// Events before this one and it are not shown.
    pub(crate) after: u64,
    /// Nor is a line before the one with this index.
    pub(crate) index: u64,
    /// What comes before all events.
    pub(crate) first: Option<SseEvent>,
    /// What comes behind the event with this number.
    pub(crate) then: Option<(u64, SseEvent)>,
}

impl Begin {
    /// Begins behind an event, a pause or zero.
    pub(crate) fn after(after: u64) -> Self {
        Self { after, ..Self::default() }
    }

    /// Tells whether it is behind a pause that has just been answered. Who comes back has lines.
    pub(crate) const fn is_behind_a_pause(&self) -> bool {
        self.after > 0 && self.index == 0
    }
}
