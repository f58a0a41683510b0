//! The report of a run as text.

mod parallel;
mod text;

pub(crate) use text::render;
