//! [`Names::check_whole`] refuses `steps` where a value is needed.

use super::fault::Fault;
use super::names::{Names, output_of};
use crate::excerpt::excerpt;
use crate::plan::expression::{self, Path, reads_whole};

impl Names {
    /// Refuses `steps` without the name of a step: it is no value. Of which steps it had outputs
    /// would depend on when it is read.
    pub(super) fn check_whole(&self, path: &Path, text: &str, at: usize) -> Result<(), Fault> {
        let is_whole = |text: &str| reads_whole(text, "steps");
        let is_read = || {
            if expression::is_template(text) {
                expression::expressions(text).into_iter().any(is_whole)
            } else {
                is_whole(text)
            }
        };
        if *path != ["steps"] || !is_read() {
            return Ok(());
        }
        let right = match self.step_names().next() {
            Some(step) => format!("expected an output, such as `{}`", excerpt(&output_of(step))),
            None => "expected the output of a step, and none comes before".to_owned(),
        };
        let text = self.quoted(text, at);
        let message = format!("`steps` alone in `{text}` is no value; {right}");
        Err(self.fault(at, message))
    }
}
