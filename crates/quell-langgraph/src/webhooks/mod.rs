//! Webhooks: one request to a receiver, and what of them is owed.

mod post;
mod table;
mod turns;

pub(crate) use table::{Owed, Waiting, Webhooks, pause_behind};
