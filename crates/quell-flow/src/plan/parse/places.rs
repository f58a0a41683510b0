//! [`Places`] tells at which line and column an offset in the text of a plan is.

use super::masked::Masked;
use crate::plan::error::Place;
use crate::plan::line_index::LineIndex;

/// The text of a plan, with its places.
pub(super) struct Places<'a> {
    pub(super) text: &'a str,
    /// The text as messages may show it.
    pub(super) masked: &'a Masked,
    lines: LineIndex,
}

impl<'a> Places<'a> {
    pub(super) fn new(text: &'a str, masked: &'a Masked) -> Self {
        Self { text, masked, lines: LineIndex::new(text) }
    }

    pub(super) fn find(&self, at: usize) -> Place {
        self.lines.place(self.text, at)
    }
}
