//! The events of a run as server-sent events.

mod answer;
mod late;
mod speech;
mod stream;

pub(crate) use stream::{From, frames};
