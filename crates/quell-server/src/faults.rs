//! [`in_full`] and [`joined`]: the messages of errors and of lists of faults.

use std::error::Error;
use std::fmt::Write as _;

use quell_flow::PlanError;

/// Yields the message of an error, followed by those of its sources.
pub(crate) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Yields the messages of all faults, with a text between each two.
pub(crate) fn joined(faults: &[PlanError], between: &str) -> String {
    let messages: Vec<String> = faults.iter().map(|fault| in_full(fault)).collect();
    messages.join(between)
}
