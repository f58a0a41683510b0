//! Who is told of an entry beside the readers of its tree: those of the engine, and the store.

use quell_core::RunEvent;

use crate::log::log::Held;
use crate::log::{Entry, Log, Sinks};
use crate::sync::waiters::Wakers;

impl Log {
    /// Appends an entry, and tells the readers of the engine and the store. Out of line: most runs
    /// have neither, and their events are the cheaper for it (bench `events`).
    #[inline(never)]
    pub(super) fn append_told(
        &self,
        held: &mut Held,
        sinks: Sinks<'_>,
        entry: Entry,
        bytes: usize,
        wakers: &mut Wakers,
    ) -> bool {
        let event = self.event(sinks.clock, held.entries.next(), entry.clone());
        if sinks.events.has_readers() {
            sinks.events.append(bytes, event.clone(), wakers);
        }
        self.journal(sinks, event, bytes);
        held.entries.push(bytes, || entry, wakers)
    }

    /// Leaves an event for the store, if the log is stored. Called under the lock of the log.
    pub(super) fn journal(&self, sinks: Sinks<'_>, event: RunEvent, bytes: usize) {
        if let (Some(attempt), Some(journal)) = (self.attempt, sinks.journal) {
            journal.push_event(attempt, event, bytes);
        }
    }
}
