//! [`Fault`] is an error in a text, with its offset.

use crate::plan::error::PlanError;
use crate::plan::excerpt::excerpt;

/// A fault at an offset of the text; it becomes a [`PlanError`] where the text is at hand.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
    /// Whether another fault, which has been noted, is probably its reason.
    pub(crate) is_consequence: bool,
}

impl Fault {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), is_consequence: false }
    }

    /// Names the key whose value has the fault.
    pub(crate) fn of(mut self, key: &str) -> Self {
        self.message.insert_str(0, &format!("`{}`: ", excerpt(key)));
        self
    }

    pub(crate) fn in_text(self, text: &str) -> PlanError {
        PlanError::new(self.message).in_text(text, self.at)
    }
}
