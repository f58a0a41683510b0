//! The manual of this crate; that of the engine is [`quell::manual`].

#[doc = include_str!("workflows.md")]
pub mod workflows {}

#[doc = include_str!("parallel.md")]
pub mod parallel {}
