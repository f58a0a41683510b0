//! The events of a tree, and their readers.

pub(crate) mod firehose;
mod log;
mod members;
pub(crate) mod ring;
pub(crate) mod stream;

pub(crate) use log::{Entry, Log, NODE_BYTES, bytes_of};
