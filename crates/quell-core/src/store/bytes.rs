//! How many bytes a record has, about.

use crate::store::{Accepted, Record};
use crate::{Annotations, EventKind, Payload, RunReport, RunRow, ToolOutcome};

impl Record {
    /// Yields about how many bytes it has: its payloads, texts and rows, and a little for itself.
    /// The text of a payload that is written later is written now.
    pub fn bytes(&self) -> usize {
        RECORD_BYTES
            + match self {
                Self::Accepted(accepted) => of_accepted(accepted),
                Self::Annotated { annotations, .. } => of_annotations(annotations),
                Self::Event { event, .. } => of_event(&event.kind),
                Self::StopAccepted(stop) => stop.cause.bytes(),
                Self::Paused { pause, .. } => pause.request.len() + pause.so_far.bytes(),
                Self::Resumed { answer, .. } => answer.len(),
                Self::Checkpoint { lane, state, .. } => lane.len() + state.len(),
                Self::HoldBegan { hold, .. } => hold.name.len(),
                Self::Ended { report, .. } => of_report(report),
                Self::Started { .. }
                | Self::HoldEnded { .. }
                | Self::Quiesced { .. }
                | Self::Forgotten { .. } => 0,
            }
    }
}

fn of_accepted(accepted: &Accepted) -> usize {
    let texts = [&accepted.owner, &accepted.lane].into_iter().flatten().map(|text| text.len());
    let labels = accepted.labels.iter().map(|(key, value)| key.len() + value.len());
    let key = accepted.key.as_ref().map_or(0, |key| key.key.len());
    let payloads = of_all([&accepted.spec, &accepted.input]);
    let annotations = of_annotations(&accepted.annotations);
    accepted.name.len()
        + texts.sum::<usize>()
        + labels.sum::<usize>()
        + annotations
        + key
        + payloads
}

pub(super) fn of_annotations(annotations: &Annotations) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn of_event(kind: &EventKind) -> usize {
    match kind {
        EventKind::Queued { name, .. }
        | EventKind::Abandoned { name, .. }
        | EventKind::Detached { name, .. } => name.len(),
        EventKind::Emitted(payload) | EventKind::Paused { request: payload } => payload.len(),
        EventKind::ToolStarted { call, name, input } => call.len() + name.len() + input.len(),
        EventKind::ToolEnded { call, outcome } => {
            call.len()
                + match outcome {
                    ToolOutcome::Result(result) => of_all([result]),
                    ToolOutcome::Error(words) => words.len(),
                    ToolOutcome::Cancelled | ToolOutcome::Unknown => 0,
                }
        }
        EventKind::StopRequested(cause) | EventKind::Stopping(cause) => cause.bytes(),
        EventKind::Skipped { name, unmet } => name.len() + unmet.len(),
        EventKind::Decided { decided_by, .. } => decided_by.as_ref().map_or(0, |by| by.len()),
        EventKind::Refused { what, .. } => what.len(),
        EventKind::Started
        | EventKind::Resumed { .. }
        | EventKind::Progress(_)
        | EventKind::Used(_)
        | EventKind::HookEnded { .. }
        | EventKind::Aborted
        | EventKind::Ended(_)
        | EventKind::Settled { .. }
        | EventKind::Quiesced
        | EventKind::Lagged { .. } => 0,
    }
}

fn of_report(report: &RunReport) -> usize {
    report.rows.iter().map(of_row).sum::<usize>() + report.abandoned.len() * ROW_BYTES / 4
}

fn of_row(row: &RunRow) -> usize {
    let error = row.error.as_ref().map_or(0, |error| error.len());
    let errors: usize = row.cleanup_errors.iter().map(|error| error.len()).sum();
    let cause = row.cause.as_ref().map_or(0, |cause| cause.bytes());
    let payloads = of_all([&row.output, &row.partial, &row.summary]);
    ROW_BYTES + row.name.len() + error + errors + cause + payloads
}

fn of_all<'a>(payloads: impl IntoIterator<Item = &'a Option<Payload>>) -> usize {
    payloads.into_iter().flatten().map(Payload::len).sum()
}

/// A record besides its texts.
const RECORD_BYTES: usize = 256;

/// A row of a report besides its texts.
const ROW_BYTES: usize = 512;
