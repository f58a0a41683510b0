//! [`Sinks`] is what an append to a log uses besides the log.

use quell_core::RunEvent;

use crate::log::firehose::AllEvents;
use crate::tables::ledger::Ledger;
use crate::time::clock::Clock;

/// What every log of an engine uses to append.
#[derive(Clone, Copy)]
pub(crate) struct Sinks<'a> {
    /// The clock, which yields the wall time of an event.
    pub(crate) clock: &'a Clock,
    /// The stream of the events of every tree.
    pub(crate) events: &'a AllEvents,
    /// The ledger, which is charged when a log grows.
    pub(crate) ledger: &'a Ledger,
    /// What is on its way into the store, if there is one.
    pub(crate) journal: Option<&'a dyn KeepsEvents>,
}

/// Takes the events that are to be stored.
pub(crate) trait KeepsEvents {
    /// Takes an event, whose texts have so many bytes. Called under the lock of its log.
    fn push_event(&self, attempt: u32, event: RunEvent, bytes: usize);
}
