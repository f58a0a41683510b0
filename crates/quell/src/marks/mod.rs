//! What the current thread polls at the moment: cleanup of a run, or a tool call.

pub(crate) mod call;
pub(crate) mod shield;
