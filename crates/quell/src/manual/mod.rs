//! The manual: what a run is, how it stops, and why it is built this way.
//!
//! Chapters hold no items; their code is compiled and run with the tests.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("lifecycle.md")]
pub mod lifecycle {}

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("pausing.md")]
pub mod pausing {}

#[doc = include_str!("lanes.md")]
pub mod lanes {}

#[doc = include_str!("partial.md")]
pub mod partial {}

#[doc = include_str!("blocking.md")]
pub mod blocking {}

#[doc = include_str!("promises.md")]
pub mod promises {}

#[doc = include_str!("events.md")]
pub mod events {}

#[doc = include_str!("stores.md")]
pub mod stores {}

#[doc = include_str!("nodes.md")]
pub mod nodes {}

#[doc = include_str!("scale.md")]
pub mod scale {}

#[doc = include_str!("watching.md")]
pub mod watching {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("why.md")]
pub mod why {}
