//! Random trees and commands under a paused clock, with `Lifecycle` as oracle.
//!
//! A [`plan`] says who is spawned when, how bodies behave, and what is asked from outside. It is
//! played twice: by the engine, with [`bodies`] that keep books of what really runs ([`played`]),
//! and by an [`oracle`], a tree of bare lifecycles with a driver of its own that knows neither
//! tasks nor locks. Where no two timers meet at one instant ([`ties`]) both must tell the same
//! story, to the millisecond ([`agree`]); what is promised whatever meets is checked always
//! ([`promises`]).
//!
//! What takes a store, a queue or an answer is in [`stored`], with an oracle of its own.

mod agree;
mod bodies;
mod effects;
mod oracle;
mod plan;
mod played;
mod promises;
mod script;
mod shapes;
mod stored;
mod ties;
mod trees;
