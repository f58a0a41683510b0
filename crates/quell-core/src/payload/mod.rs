//! Values that cross the boundary of a run.

mod convert;
mod json;
mod later;
mod payload;

pub use json::{JSON_LEVELS_MAX, JsonError, check_json};
pub use payload::Payload;
