//! Records as they are written. It runs in the task of the caller: the thread that writes has only
//! to bind texts.

use std::time::{Duration, SystemTime};

use quell_core::store::{Record, StoreError, Unreadable};
use quell_core::{RunKind, StopMode, limits};

/// A record with the text that is made of it.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) record: Record,
    /// Labels, event, cause or report, as JSON; empty if the record has none.
    pub(crate) text: String,
    /// The annotations of a run that is accepted, as JSON; empty if it has none.
    pub(crate) annotations: String,
}

/// Writes the texts of a batch, and counts their bytes.
///
/// # Errors
///
/// Fails if one is too large.
pub(crate) fn encode(batch: Vec<Record>) -> Result<(Vec<Write>, usize), StoreError> {
    let mut bytes = 0;
    let mut writes = Vec::with_capacity(batch.len());
    for record in batch {
        let text = match &record {
            Record::Accepted(accepted) if !accepted.labels.is_empty() => {
                serde_json::to_string(&accepted.labels)
            }
            Record::Event { event, .. } => serde_json::to_string(event),
            Record::StopAccepted(stop) => serde_json::to_string(&stop.cause),
            Record::Ended { report, .. } => serde_json::to_string(report),
            Record::Accepted(_)
            | Record::Started { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Checkpoint { .. }
            | Record::HoldBegan { .. }
            | Record::HoldEnded { .. }
            | Record::Quiesced { .. }
            | Record::Forgotten { .. } => Ok(String::new()),
        };
        let annotations = match &record {
            Record::Accepted(accepted) if !accepted.annotations.is_empty() => {
                serde_json::to_string(&accepted.annotations)
            }
            _ => Ok(String::new()),
        };
        let written = text.and_then(|text| Ok((text, annotations?)));
        let (text, annotations) =
            written.map_err(|error| Unreadable::new(Some(record.run()), "record", error))?;
        // Writes the texts of payloads as well, of which the thread that writes must not run code.
        let of_record = record.bytes().max(text.len() + annotations.len());
        if of_record > limits::STORE_RECORD_BYTES_MAX {
            let (what, bytes_max) = ("a record", limits::STORE_RECORD_BYTES_MAX);
            return Err(StoreError::TooLarge { what, bytes: of_record, bytes_max });
        }
        bytes += of_record;
        writes.push(Write { record, text, annotations });
    }
    Ok((writes, bytes))
}

/// Yields milliseconds since 1970; an earlier instant is 1970.
pub(crate) fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Yields the instant of so many milliseconds since 1970; none if there is no such.
pub(crate) fn instant(millis: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
}

/// Yields whole milliseconds.
pub(crate) fn span(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Kinds by their names.
pub(crate) const KINDS: [RunKind; 6] = [
    RunKind::Agent,
    RunKind::Team,
    RunKind::Workflow,
    RunKind::Step,
    RunKind::Branch,
    RunKind::Attempt,
];

/// Modes of a stop by their numbers.
pub(crate) const MODES: [StopMode; 3] =
    [StopMode::AfterStep, StopMode::Cooperative, StopMode::Abort];

/// What is large of a run, by its number in the table `large`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Large {
    Spec = 0,
    Input = 1,
    Paused = 2,
    Report = 3,
    Annotations = 4,
    Answer = 5,
}

/// A longer text stands in the table `large`.
pub(crate) const INLINE_BYTES_MAX: usize = 2 << 10;
