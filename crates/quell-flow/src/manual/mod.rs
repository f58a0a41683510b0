//! The manual of this crate; that of the engine is [`quell::manual`].

#[doc = include_str!("workflows.md")]
pub mod workflows {}

#[doc = include_str!("parallel.md")]
pub mod parallel {}

#[doc = include_str!("../plan/plans.md")]
pub mod plans {}

#[doc = include_str!("../plan/templates.md")]
pub mod templates {}
