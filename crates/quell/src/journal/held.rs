//! [`Held`] counts what entries hold that wait for the store.

use crate::journal::Entry;
use crate::log::bytes_of;
use crate::metadata::bytes_of as bytes_of_annotations;

/// What entries hold that are pending.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Entries besides events.
    pub(super) others: usize,
    pub(super) event_bytes: usize,
    pub(super) state_bytes: usize,
}

impl Held {
    pub(super) fn of<R>(entry: &Entry<R>) -> Self {
        match entry {
            // A gap was not counted.
            Entry::Event(_, event) if event.seq == 0 => Self::default(),
            Entry::Event(_, event) => {
                Self { event_bytes: bytes_of(&event.kind) + EVENT_BYTES, ..Self::default() }
            }
            Entry::Saved { state, .. } => {
                Self { others: 1, state_bytes: state.len(), event_bytes: 0 }
            }
            Entry::Annotated(_, all) => {
                Self { others: 1, state_bytes: bytes_of_annotations(all), event_bytes: 0 }
            }
            Entry::Paused(_, pause) => {
                let state_bytes = pause.request.len() + pause.so_far.bytes();
                Self { others: 1, state_bytes, event_bytes: 0 }
            }
            Entry::Resumed(_, given) => {
                Self { others: 1, state_bytes: given.answer.len(), event_bytes: 0 }
            }
            _ => Self { others: 1, ..Self::default() },
        }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.others += other.others;
        self.event_bytes += other.event_bytes;
        self.state_bytes += other.state_bytes;
    }

    pub(super) const fn remove(&mut self, other: Self) {
        self.others -= other.others;
        self.event_bytes -= other.event_bytes;
        self.state_bytes -= other.state_bytes;
    }
}

/// What an event has besides its texts.
const EVENT_BYTES: usize = 256;
