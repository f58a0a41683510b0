//! The control thread: whatever has to happen at an instant.

pub(crate) mod turns;
