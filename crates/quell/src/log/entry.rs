//! [`Entry`] is an event as a log holds it.

use std::time::Instant;

use quell_core::{EventKind, RunId, ToolOutcome};

/// An event as a log holds it; the rest of a [`RunEvent`] follows from its position.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) run: RunId,
    pub(crate) at: Instant,
    pub(crate) kind: EventKind,
}

/// Yields the bytes of the texts of an event.
#[inline]
pub(crate) fn bytes_of(kind: &EventKind) -> usize {
    match kind {
        EventKind::Emitted(payload) | EventKind::Paused { request: payload } => payload.len(),
        EventKind::Queued { name, .. }
        | EventKind::Abandoned { name, .. }
        | EventKind::Detached { name, .. } => name.len(),
        EventKind::ToolStarted { call, name, input } => call.len() + name.len() + input.len(),
        EventKind::ToolEnded { call, outcome } => {
            call.len()
                + match outcome {
                    ToolOutcome::Result(Some(output)) => output.len(),
                    ToolOutcome::Error(words) => words.len(),
                    ToolOutcome::Result(None) | ToolOutcome::Cancelled | ToolOutcome::Unknown => 0,
                }
        }
        EventKind::StopRequested(cause) | EventKind::Stopping(cause) => cause.bytes(),
        EventKind::Decided { decided_by, .. } => decided_by.as_deref().map_or(0, str::len),
        EventKind::Skipped { name, unmet } => name.len() + unmet.len(),
        EventKind::Refused { what, .. } => what.len(),
        _ => 0,
    }
}
