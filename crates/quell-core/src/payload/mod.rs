//! Values that cross the boundary of a run.

mod convert;
mod later;
mod payload;

pub use payload::Payload;
