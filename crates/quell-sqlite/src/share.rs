//! [`share`]: events of one append share rows, and [`split`]: each has a row of its own again.
//!
//! A row is stored in the place of its first event, before what stands between that and the others.
//! What is stored is the same; which record of an append is refused first may not be. So an append
//! that is refused is applied once more with every record by itself.

use std::collections::HashMap;

use quell_core::store::{Epoch, Record};
use quell_core::{EventKind, RunId};
use quell_durable::Write;
use serde_json::value::RawValue;

use crate::event_row::ROW_BYTES_MAX;

/// A row to which events may be added.
struct Open {
    /// Where its first event is in the batch.
    first: usize,
    /// The number of the next event.
    next: u64,
    epoch: Epoch,
}

/// Puts events of a root that follow one another into one row.
///
/// All that an event asks for is that its root is there, and has no higher epoch than its own: what
/// changes neither may stand between two of them.
pub(crate) fn share(writes: &mut [Write]) {
    let mut open: HashMap<RunId, Open> = HashMap::new();
    for nth in 0..writes.len() {
        let (before, rest) = writes.split_at_mut(nth);
        let Some(write) = rest.first_mut() else { return };
        let (run, epoch) = (write.record.run(), write.record.epoch());
        let row = open.get_mut(&run).filter(|row| row.epoch == epoch);
        let Record::Event { event, .. } = &write.record else {
            if matches!(write.record, Record::Forgotten { .. }) {
                // Those below it leave as well, some of which may be roots by now.
                open.clear();
            } else if row.is_none() {
                open.remove(&run);
            }
            continue;
        };
        // A gap has more numbers than one, and more is stored of a run that leaves the tree.
        let is_plain = !matches!(event.kind, EventKind::Lagged { .. } | EventKind::Detached { .. });
        if let Some(row) = row.filter(|row| is_plain && row.next == event.seq)
            && let Some(first) = before.get_mut(row.first)
            && add(first, &write.text)
        {
            row.next = row.next.saturating_add(1);
            (write.text, write.events) = (String::new(), 0);
        } else if is_plain {
            open.insert(run, Open { first: nth, next: event.seq.saturating_add(1), epoch });
        } else {
            open.remove(&run);
        }
    }
}

/// Adds the event of a row to another row, if there is room. Yields whether there was.
fn add(to: &mut Write, text: &str) -> bool {
    let has_room = to.text.len() + text.len() <= ROW_BYTES_MAX;
    if has_room {
        // Both are arrays: `[a]` and `[b]` become `[a,b]`.
        to.text.pop();
        to.text.push(',');
        to.text.push_str(text.get(1..).unwrap_or_default());
        to.events += 1;
    }
    has_room
}

/// Has each record of an append stand for itself: each event has a row, and each start a statement.
/// Yields whether one did not.
pub(crate) fn split(writes: &mut [Write]) -> bool {
    let mut left: HashMap<RunId, Vec<String>> = HashMap::new();
    let mut has_changed = false;
    for write in writes {
        has_changed |= write.started.take().is_some();
        if !matches!(write.record, Record::Event { .. }) {
            continue;
        }
        let texts = left.entry(write.record.run()).or_default();
        if write.events > 1 {
            let Ok(places) = serde_json::from_str::<Vec<&RawValue>>(&write.text) else { continue };
            *texts = places.into_iter().rev().map(|place| format!("[{place}]")).collect();
            has_changed = true;
        } else if write.events == 1 {
            continue;
        }
        if let Some(text) = texts.pop() {
            (write.text, write.events) = (text, 1);
        }
    }
    has_changed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use quell_core::{Counts, RunEvent, RunKind, RunReport, RunRow, RunStatus};

    use super::*;
    use crate::encode::encode;
    use crate::event_row::EVENTS_MAX;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    /// An event of a root, in its first epoch.
    fn event(root: RunId, seq: u64) -> Record {
        event_of(root, 1, seq, EventKind::Started)
    }

    fn event_of(root: RunId, attempt: u32, seq: u64, kind: EventKind) -> Record {
        let event = RunEvent::new(seq, root, root, AT, kind);
        Record::Event { epoch: Epoch::new(1, attempt), event }
    }

    fn ended(run: RunId, epoch: Epoch) -> Record {
        let row = RunRow::new(run, RunKind::Agent, "a".into(), RunStatus::Completed, AT);
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        Record::Ended { run, epoch, report, rollback: false }
    }

    /// Yields how many events the row of each record has. Each row is as it has to be, and falls
    /// apart into what its events are by themselves.
    fn rows(records: Vec<Record>) -> Vec<u64> {
        let (mut writes, _) = encode(records.clone()).unwrap();
        for write in &writes {
            let is_event = matches!(write.record, Record::Event { .. });
            assert_eq!(is_event && write.text.is_empty(), write.is_stored_by_another() && is_event);
            if write.events > 0 {
                let places: Vec<serde_json::Value> = serde_json::from_str(&write.text).unwrap();
                assert_eq!(places.len() as u64, write.events);
            }
            assert!(write.events <= 1 || write.text.len() <= ROW_BYTES_MAX);
        }
        let found = writes.iter().map(|write| write.events).collect();
        split(&mut writes);
        for (write, record) in writes.iter().zip(records) {
            let (alone, _) = encode(vec![record]).unwrap();
            assert_eq!((&write.text, write.events), (&alone[0].text, alone[0].events));
            assert!(write.started.is_none() && !write.is_stored_by_another());
        }
        found
    }

    #[test]
    fn events_that_follow_one_another_share_a_row_unless_something_between_would_be_passed() {
        let (epoch, [a, b]) = (Epoch::new(1, 1), ["a", "b"].map(RunId::from_text));
        assert_eq!(rows(vec![event(a, 1), event(a, 2), event(a, 3)]), [3, 0, 0]);
        assert_eq!(rows(vec![event(a, 1), event(b, 7), event(a, 2), event(b, 8)]), [2, 2, 0, 0]);
        assert_eq!(rows(vec![event(a, 1), event(a, 3), event(a, 2), event(a, 2)]), [1, 1, 1, 1]);
        let started = |run, epoch| Record::Started { run, epoch, at: AT };
        let passed = [
            started(a, epoch),
            ended(a, epoch),
            Record::HoldEnded { run: a, epoch, nr: 0 },
            started(b, Epoch::new(1, 2)),
        ];
        for between in passed {
            assert_eq!(rows(vec![event(a, 1), between, event(a, 2)]), [2, 0, 0]);
        }
        let other = EventKind::Started;
        let apart = [
            Record::Forgotten { run: b, epoch, at: AT },
            started(a, Epoch::new(1, 2)),
            started(a, Epoch::new(1, 0)),
            event_of(a, 2, 2, other.clone()),
            event_of(a, 1, 0, EventKind::Lagged { from: 2, to: 2 }),
        ];
        for between in apart {
            let found = rows(vec![event(a, 1), between, event(a, 2), event(a, 3)]);
            assert_eq!((found[0], &found[2..]), (1, [2, 0].as_slice()), "{found:?}");
        }
        let gap = |seq| event_of(a, 1, seq, EventKind::Lagged { from: 2, to: 5 });
        assert_eq!(rows(vec![gap(0), event(a, 1), event(a, 2)]), [1, 2, 0]);
        assert_eq!(rows(vec![event(a, 1), gap(2), event(a, 3)]), [1, 1, 1]);
        let left = EventKind::Detached { from: b, name: "a".into() };
        assert_eq!(rows(vec![event(a, 1), event_of(a, 1, 2, left), event(a, 3)]), [1, 1, 1]);
        let both = vec![started(a, epoch), event(a, 1), event(a, 2), ended(a, epoch)];
        assert_eq!(rows(both), [0, 2, 0, 0]);
    }

    #[test]
    fn a_row_of_several_events_has_its_bounds_and_a_large_event_a_row_alone() {
        let a = RunId::from_text("a");
        let of = |seq, bytes: usize| {
            // As many characters of text as the event has bytes.
            let text = |more: usize| EventKind::Emitted("x".repeat(more).into());
            let least = encode(vec![event_of(a, 1, seq, text(0))]).unwrap().0[0].text.len();
            event_of(a, 1, seq, text(bytes - least))
        };
        let half = ROW_BYTES_MAX / 2;
        assert_eq!(rows(vec![of(1, half), of(2, half), event(a, 3)]), [2, 0, 1]);
        assert_eq!(rows(vec![of(1, half), of(2, half + 1), event(a, 3)]), [1, 2, 0]);
        let large = vec![event(a, 1), of(2, 1 << 20), event(a, 3), event(a, 4)];
        assert_eq!(rows(large), [1, 1, 2, 0]);
        // None is shorter.
        let found = rows((1..=99).map(|seq| event(a, seq)).collect());
        assert!((1..EVENTS_MAX).contains(&found[0]), "{found:?}");
    }
}
