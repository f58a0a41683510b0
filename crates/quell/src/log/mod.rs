//! [`Log`] holds the events of one tree, `AllEvents` those of all trees of an engine.

pub(crate) mod firehose;
mod log;
pub(crate) mod ring;
mod sinks;

pub(crate) use log::{Entry, Log, NODE_BYTES, bytes_of};
pub(crate) use sinks::Sinks;
