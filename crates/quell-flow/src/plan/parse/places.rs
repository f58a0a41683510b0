//! [`Places`] tells at which line and column an offset in the text of a plan is.

use crate::plan::error::Place;

/// Finds the places of a text. Each search starts at the last one, so that a pass over the text
/// costs one count.
pub(super) struct Places<'a> {
    pub(super) text: &'a str,
    /// The text as messages may show it.
    pub(super) shown: &'a str,
    last: (usize, Place),
}

impl<'a> Places<'a> {
    pub(super) const fn new(text: &'a str, shown: &'a str) -> Self {
        Self { text, shown, last: (0, Place::START) }
    }

    pub(super) fn find(&mut self, at: usize) -> Place {
        let (last, place) = self.last;
        let bytes = self.text.as_bytes();
        let at = at.min(bytes.len());
        let found = if at < last { Place::of(bytes, at) } else { place.after(&bytes[last..at]) };
        self.last = (at, found);
        found
    }
}
