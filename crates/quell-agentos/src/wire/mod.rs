//! The contract's words: pure functions from what the engine says to what the wire says.

pub(crate) mod event;
pub(crate) mod exact;
pub(crate) mod kinds;
pub(crate) mod listing;
pub(crate) mod position;
pub(crate) mod refusal;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod step;
pub(crate) mod tool;
