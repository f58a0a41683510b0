//! What an engine counts, and how it is read.

pub(crate) mod counters;
pub(crate) mod histogram;
pub(crate) mod visitor;

pub(crate) use counters::Counters;
