//! [`Log`] holds the events of one tree, `AllEvents` those of all trees of an engine.

mod entries;
mod entry;
pub(crate) mod firehose;
mod log;
mod packed;
pub(crate) mod ring;
mod rows;
mod sinks;
mod told;

pub(crate) use entries::Entries;
pub(crate) use entry::{Entry, bytes_of};
pub(crate) use log::{Log, NODE_BYTES};
pub(crate) use sinks::{KeepsEvents, Sinks};
