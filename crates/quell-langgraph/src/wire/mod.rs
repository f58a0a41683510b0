//! What is on the wire: pure functions, by direction.

pub(crate) mod address;
pub(crate) mod asked;
pub(crate) mod assistant;
pub(crate) mod cancel;
pub(crate) mod create;
pub(crate) mod drawing;
pub(crate) mod event_id;
pub(crate) mod exact;
pub(crate) mod failure;
pub(crate) mod hosts;
pub(crate) mod interrupt;
pub(crate) mod item;
pub(crate) mod listing;
pub(crate) mod message;
pub(crate) mod modes;
pub(crate) mod nodes;
pub(crate) mod noted;
pub(crate) mod query;
pub(crate) mod refusal;
pub(crate) mod rows;
pub(crate) mod search;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod ttl;
pub(crate) mod webhook;
