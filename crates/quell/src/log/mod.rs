//! The events of a tree, and of all trees of an engine.

pub(crate) mod firehose;
mod log;
pub(crate) mod ring;
mod sinks;

pub(crate) use log::{Entry, Log, NODE_BYTES, bytes_of};
pub(crate) use sinks::Sinks;
