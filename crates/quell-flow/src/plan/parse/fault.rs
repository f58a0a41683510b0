//! [`Fault`] is an error in a text, with its offset.

use super::places::Places;
use crate::excerpt::{Line, excerpt};
use crate::plan::error::{Place, PlanError};

/// A fault at an offset of the text; it becomes a [`PlanError`] where the text is at hand.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
    /// Whether another fault, which has been noted, is probably its reason.
    pub(crate) is_consequence: bool,
    /// Whether the message has no word of the value that it is about.
    pub(crate) is_bare: bool,
    /// Further faults of the same value.
    pub(crate) others: Vec<Self>,
}

impl Fault {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { at, message, is_consequence: false, is_bare: false, others: Vec::new() }
    }

    /// Adds another fault of the same value.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// Names the key whose value has the faults.
    pub(crate) fn of(mut self, key: &str) -> Self {
        self.message.insert_str(0, &format!("`{}`: ", excerpt(key)));
        self.others = self.others.into_iter().map(|other| other.of(key)).collect();
        self
    }

    /// Makes the error, with the line of the text as it may be shown.
    pub(super) fn in_text(self, places: &Places<'_>) -> PlanError {
        let (at, line) = (places.find(self.at), Line::of(&places.masked.shown, self.at));
        PlanError::new(places.masked.message(self)).at(at).showing(line)
    }

    /// Makes the error, with a line that may be shown.
    pub(crate) fn on_line(self, text: &str, line: Line) -> PlanError {
        PlanError::new(self.message).at(Place::of(text.as_bytes(), self.at)).showing(line)
    }
}
