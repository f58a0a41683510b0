//! Instants as the engine counts them, timers, and when things happened.

pub(crate) mod clock;
pub(crate) mod idle;
mod jump;
pub(crate) mod ticks;
pub(crate) mod timers;
pub(crate) mod times;
