//! What is on the wire: pure functions from runs, events and refusals to the contract's JSON.

mod ending;
pub(crate) mod event;
pub(crate) mod exact;
pub(crate) mod history;
pub(crate) mod kinds;
pub(crate) mod listing;
pub(crate) mod nothing;
pub(crate) mod pause;
pub(crate) mod position;
pub(crate) mod refusal;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod session_body;
pub(crate) mod session_query;
pub(crate) mod socket;
pub(crate) mod status;
pub(crate) mod step;
pub(crate) mod tool;
