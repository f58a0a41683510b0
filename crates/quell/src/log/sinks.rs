//! [`Sinks`] is what a log writes with, besides itself.

use crate::log::firehose::AllEvents;
use crate::tables::ledger::Ledger;
use crate::time::clock::Clock;

/// What every log of an engine writes with.
#[derive(Clone, Copy)]
pub(crate) struct Sinks<'a> {
    /// Says at which wall time an event happens.
    pub(crate) clock: &'a Clock,
    /// The stream of the events of every tree.
    pub(crate) events: &'a AllEvents,
    /// Charges the account of a log that grows.
    pub(crate) ledger: &'a Ledger,
}
