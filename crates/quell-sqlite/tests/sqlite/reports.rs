//! Reports of runs, whichever way they are stored, and what a refusal leaves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{Accepted, Epoch, Record, Store, StoreError};
use quell_core::{Counts, RunId, RunKind, RunReport, RunRow, RunStatus};
use quell_sqlite::SqliteStore;
use rusqlite::Connection;

use crate::fixture::{Folder, accept, at, block_on, epoch};

type Edit = fn(&mut RunRow);

fn later(millis: u64) -> SystemTime {
    at() + Duration::from_millis(millis)
}

/// The records of a run that completes alone.
fn short(run: RunId, epoch: Epoch, edit: impl FnOnce(&mut RunRow)) -> [Record; 3] {
    let accepted = Accepted::new(run, RunKind::Agent, "a run".into(), epoch, at());
    let mut row = RunRow::new(run, RunKind::Agent, "a run".into(), RunStatus::Completed, at());
    (row.started_at, row.ended_at, row.quiesced_at) =
        (Some(later(1)), Some(later(20)), Some(later(20)));
    row.quiescent = true;
    edit(&mut row);
    let report = Arc::new(RunReport::new(vec![row], Counts::default()));
    let started = Record::Started { run, epoch, at: later(1) };
    let ended = Record::Ended { run, epoch, report, rollback: false };
    [Record::Accepted(accepted.into()), started, ended]
}

#[test]
fn what_a_report_says_is_read_whether_its_row_says_it_too_or_not() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let epoch = epoch(&store);
    // Beside it: how the row has it.
    let edits: [(Edit, &str); 8] = [
        (|_| {}, "blob"),
        (|row| row.output = Some("tea".into()), "blob"),
        (|row| row.output = Some("x".repeat(5_000).into()), "integer"),
        (|row| row.error = Some("no".into()), "text"),
        (|row| row.quiesced_at = Some(later(99)), "blob"),
        // What the row of the run says otherwise.
        (|row| row.name = "another".into(), "text"),
        (|row| row.queued_at = later(7), "text"),
        (|row| row.started_at = Some(later(2)), "text"),
    ];
    for (nth, (edit, is)) in edits.into_iter().enumerate() {
        let run = RunId::from_text(&nth.to_string());
        let records = short(run, epoch, edit);
        let Record::Ended { report, .. } = &records[2] else { panic!("the end is the last one") };
        let report = Arc::clone(report);
        // In one append, and in two.
        let mut records = Vec::from(records);
        let rest = if nth % 2 == 0 { Vec::new() } else { records.split_off(2) };
        for batch in [records, rest] {
            block_on(store.append(batch)).unwrap();
        }
        let read = block_on(store.get(run)).unwrap().unwrap();
        assert_eq!(read.report, Some(report), "{nth}");
        assert_eq!((read.status, read.quiescent), (RunStatus::Completed, true), "{nth}");
        let on = Connection::open(&path).unwrap();
        let sql = "select typeof(report) from run where id = ?";
        let found = on.query_row(sql, [run.as_uuid().into_bytes()], |row| row.get(0));
        assert_eq!(found, Ok(is.to_owned()), "{nth}");
    }
    block_on(store.close()).unwrap();
}

#[test]
fn an_append_that_is_refused_leaves_nothing_whatever_came_with_it() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file("runs.db")).unwrap();
    let epoch = epoch(&store);
    let [a, b, c] = ["a", "b", "c"].map(RunId::from_text);
    block_on(async {
        store.append(vec![accept(a, epoch)]).await.unwrap();
        // Alone in its transaction, and then with another one that may be in it or not.
        let twice = |other| vec![accept(other, epoch), accept(a, epoch)];
        let refused = StoreError::Exists { run: a };
        assert_eq!(store.append(twice(b)).await, Err(refused.clone()));
        for _ in 0..50 {
            let both = (store.append(twice(b)), store.append(twice(c)));
            let both = tokio::join!(both.0, both.1);
            assert_eq!(both, (Err(refused.clone()), Err(refused.clone())));
            assert_eq!((store.get(b).await, store.get(c).await), (Ok(None), Ok(None)));
        }
        store.append(vec![accept(b, epoch)]).await.unwrap();
        store.close().await.unwrap();
    });
}
