//! The events of a run as server-sent events.

mod answer;
mod growth;
mod late;
mod pause;
mod speech;
mod stream;

pub(crate) use stream::{From, frames};
