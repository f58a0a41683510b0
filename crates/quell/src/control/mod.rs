//! The control thread: whatever has to happen at an instant.

mod control;
pub(crate) mod turns;

pub(crate) use control::{Control, Link, Linked, by_token};
