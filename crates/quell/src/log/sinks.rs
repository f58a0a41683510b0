//! [`Sinks`] is what an append to a log uses besides the log.

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
}
