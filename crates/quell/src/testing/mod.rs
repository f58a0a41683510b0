//! For tests of embedders and our own (feature `test-util`): the trace checker, a leak probe, and
//! the suite that every store passes.

pub mod cluster;
mod pauses;
pub mod store;
mod trace;

pub use trace::{Checked, Held, check_trace, engine, held, hurry_store, now, trace};
