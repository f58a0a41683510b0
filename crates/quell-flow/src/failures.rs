//! What failures that went through the handles of runs hold and say.

use std::error::Error;

use quell::{Failure, PauseAsked, RunError};

/// Finds an error of a type in a failure, in the failures of runs that it quotes too.
pub(crate) fn find<E: Error + 'static>(failure: &Failure) -> Option<&E> {
    let mut next = failure;
    loop {
        if let Some(found) = next.downcast_ref::<E>() {
            return Some(found);
        }
        let RunError::Failed(failed) = next.downcast_ref::<RunError>()? else { return None };
        next = &failed.failure;
    }
}

/// Tells whether a failure asks for a pause, or passes on that a run below asks for one.
pub(crate) fn is_pause(failure: &Failure) -> bool {
    let passed_on = matches!(failure.downcast_ref(), Some(RunError::Paused(_)));
    passed_on || failure.downcast_ref::<PauseAsked>().is_some()
}

/// Yields the message of a failed run without its name, which the caller adds.
pub(crate) fn message_of(error: &RunError) -> String {
    match error {
        RunError::Failed(failed) => failed.failure.to_string(),
        other => other.to_string(),
    }
}
