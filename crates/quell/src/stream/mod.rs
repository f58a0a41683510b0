//! Readers of events: of a run and its subtree, or of a whole engine.

mod members;
mod stream;

pub use stream::EventStream;
