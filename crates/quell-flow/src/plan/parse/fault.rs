//! [`Fault`] is an error in a text, with its offset.

use crate::plan::error::{Place, PlanError};

/// A fault at an offset of the text; it becomes a [`PlanError`] where the text is at hand.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    pub(crate) fn in_text(self, text: &str) -> PlanError {
        PlanError::new(self.message).at(Place::of(text.as_bytes(), self.at))
    }
}
