//! Records as they are written. It runs in the task of the caller: the thread that writes has only
//! to bind texts.

use std::collections::HashMap;
use std::time::SystemTime;

use quell_core::store::{Epoch, Record, StoreError, Unreadable};
use quell_core::{RunEvent, RunId, RunReport, limits};

/// A record with the text that is made of it.
#[derive(Debug)]
pub struct Write {
    /// The record.
    pub record: Record,
    /// Labels, event, cause or report, as JSON; empty if there is none, and of a report that is
    /// left out.
    pub text: String,
    /// Of an event: how many events its text has. That is 1, unless the store gives several one
    /// text: then the first of them has their number, and each other one has 0. Else it is 0.
    pub events: u64,
    /// The annotations that a run is accepted with, or has from now on, as JSON; empty if it has
    /// none.
    pub annotations: String,
    /// Of a start, of the end that follows it, and of events of the run between them: when the run
    /// started. One statement stores start and end, that of the end.
    pub started: Option<SystemTime>,
}

impl Write {
    /// Tells whether it is an end whose report was left out, which alone has no text.
    pub const fn is_without_text(&self) -> bool {
        matches!(self.record, Record::Ended { .. }) && self.text.is_empty()
    }

    /// Tells whether it needs no statement. It is a start, and the end that follows it says as
    /// much; or an event in the text of an earlier one.
    pub const fn is_stored_by_another(&self) -> bool {
        match self.record {
            Record::Started { .. } => self.started.is_some(),
            Record::Event { .. } => self.events == 0,
            _ => false,
        }
    }
}

/// Writes the texts of a batch, and counts their bytes. Of a report that the store leaves out no
/// text is made; that of an event is what the store makes of it.
///
/// # Errors
///
/// Fails if one is too large.
pub fn encode(
    batch: Vec<Record>,
    is_left_out: impl Fn(&RunReport) -> bool,
    of_event: impl Fn(&RunEvent) -> serde_json::Result<String>,
) -> Result<(Vec<Write>, usize), StoreError> {
    let mut bytes = 0;
    let mut writes = Vec::with_capacity(batch.len());
    for record in batch {
        let text = match &record {
            Record::Accepted(accepted) if !accepted.labels.is_empty() => {
                serde_json::to_string(&accepted.labels)
            }
            Record::Event { event, .. } => of_event(event),
            Record::StopAccepted(stop) => serde_json::to_string(&stop.cause),
            Record::Ended { report, .. } if !is_left_out(report) => serde_json::to_string(report),
            Record::Accepted(_)
            | Record::Annotated { .. }
            | Record::Started { .. }
            | Record::Paused { .. }
            | Record::Resumed { .. }
            | Record::Checkpoint { .. }
            | Record::HoldBegan { .. }
            | Record::HoldEnded { .. }
            | Record::Ended { .. }
            | Record::Quiesced { .. }
            | Record::Forgotten { .. } => Ok(String::new()),
        };
        let annotations = match &record {
            Record::Accepted(accepted) => Some(&accepted.annotations),
            Record::Annotated { annotations, .. } => Some(annotations),
            _ => None,
        };
        let annotations = annotations.filter(|all| !all.is_empty());
        let annotations = annotations.map_or(Ok(String::new()), serde_json::to_string);
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
        let events = u64::from(matches!(record, Record::Event { .. }));
        writes.push(Write { record, text, events, annotations, started: None });
    }
    join_starts(&mut writes);
    Ok((writes, bytes))
}

/// Joins starts with the ends that follow them in the batch, unless another record between the two
/// finds what the start leaves. An event of the same epoch does not: all it asks for is the epoch.
fn join_starts(writes: &mut [Write]) {
    let mut starts: HashMap<RunId, Start> = HashMap::new();
    for nth in 0..writes.len() {
        let record = &writes[nth].record;
        let (run, epoch) = (record.run(), record.epoch());
        let before = starts.remove(&run);
        match record {
            Record::Started { at, .. } => {
                drop(starts.insert(run, Start { epoch, at: *at, places: vec![nth] }));
            }
            Record::Accepted(accepted) => drop(starts.remove(&accepted.root)),
            Record::Event { .. } => {
                if let Some(mut start) = before.filter(|start| start.epoch == epoch) {
                    start.places.push(nth);
                    starts.insert(run, start);
                }
            }
            Record::Ended { .. } => {
                if let Some(start) = before.filter(|start| start.epoch == epoch) {
                    for place in start.places.into_iter().chain([nth]) {
                        writes[place].started = Some(start.at);
                    }
                }
            }
            _ => {}
        }
    }
}

/// A start whose end may follow.
struct Start {
    epoch: Epoch,
    at: SystemTime,
    /// Where it is in the batch, and events of its run behind it.
    places: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quell_core::store::Accepted;
    use quell_core::{Counts, EventKind, RunKind, RunRow, RunStatus};

    use super::*;

    /// Yields which of the records are joined.
    fn joined(records: Vec<Record>) -> Vec<usize> {
        let (writes, _) = encode(records, |_| false, serde_json::to_string).unwrap();
        (0..writes.len()).filter(|nth| writes[*nth].started.is_some()).collect()
    }

    #[test]
    fn a_start_is_joined_with_its_end_unless_something_comes_between_that_it_is_for() {
        let (at, epoch) = (SystemTime::UNIX_EPOCH, Epoch::new(1, 1));
        let [a, b] = ["a", "b"].map(RunId::from_text);
        let started = |run| Record::Started { run, epoch, at };
        let ended_in = |run, epoch| {
            let row = RunRow::new(run, RunKind::Agent, "a".into(), RunStatus::Completed, at);
            let report = Arc::new(RunReport::new(vec![row], Counts::default()));
            Record::Ended { run, epoch, report, rollback: false }
        };
        let ended = |run| ended_in(run, epoch);
        let below = |run, root| {
            let mut accepted = Accepted::new(run, RunKind::Step, "a".into(), epoch, at);
            accepted.root = root;
            Record::Accepted(accepted.into())
        };
        assert_eq!(joined(vec![started(a), ended(a)]), [0, 1]);
        assert_eq!(joined(vec![started(a), started(b), ended(a), ended(b)]), [0, 1, 2, 3]);
        assert_eq!(joined(vec![ended(a), started(a)]), [0_usize; 0]);
        assert_eq!(joined(vec![started(a), ended_in(a, Epoch::new(1, 2))]), [0_usize; 0]);
        assert_eq!(joined(vec![started(a), below(b, a), ended(a)]), [0_usize; 0]);
        let held = Record::HoldEnded { run: a, epoch, nr: 0 };
        assert_eq!(joined(vec![started(a), held, ended(a)]), [0_usize; 0]);
        let event = |root, epoch| {
            let event = RunEvent::new(1, root, root, at, EventKind::Started);
            Record::Event { epoch, event }
        };
        let between = vec![event(a, epoch), started(a), event(a, epoch), event(b, epoch), ended(a)];
        assert_eq!(joined(between), [1, 2, 4]);
        let taken_over = event(a, Epoch::new(1, 2));
        assert_eq!(joined(vec![started(a), taken_over, ended(a)]), [0_usize; 0]);
    }
}
