//! Events are read one by one, however many of them have one row.

use std::ops::RangeInclusive;
use std::path::Path;

use quell_core::store::{Record, Store as _, StoreError};
use quell_core::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_sqlite::{SqliteReader, SqliteStore, check};
use quell_test_support::seeds;
use rusqlite::Connection;

use crate::fixture::{Folder, accept, at, block_on, end, epoch};

/// Makes an event of the log of a root: every third one is of a run below it.
fn event(root: RunId, seq: u64) -> RunEvent {
    let below = RunId::from_text("below");
    let run = if seq.is_multiple_of(3) { below } else { root };
    let kind = match seq % 4 {
        0 => EventKind::Emitted(Payload::from(format!("line\n{seq} 😀"))),
        1 => EventKind::Started,
        // As it came, and not as it would be written here.
        2 => EventKind::Emitted(Payload::from_json_text("{ \"a\" :\n [1, 2] }").unwrap()),
        _ => EventKind::Progress(0.5),
    };
    RunEvent::new(seq, root, run, at(), kind)
}

/// How many rows of events a file has, and how many bytes the longest text of them.
fn rows(file: &Path) -> (usize, usize) {
    let on = Connection::open(file).unwrap();
    let sql = "select count(*), max(length(cast(text as blob))) from event";
    let (count, bytes): (u32, u32) =
        on.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (count as usize, bytes as usize)
}

#[test]
fn events_are_read_as_they_were_appended_from_each_number_on_and_so_many_as_are_asked_for() {
    for (_, mut rng) in seeds(4) {
        let folder = Folder::new();
        let file = folder.file("runs.db");
        let root = RunId::from_text("root");
        let (mut all, mut appends) = (Vec::<RunEvent>::new(), 0);
        let store = SqliteStore::open(&file).unwrap();
        let epoch = epoch(&store);
        block_on(async {
            store.append(vec![accept(root, epoch)]).await.unwrap();
            let mut next = 1;
            while next < 60 {
                let mut batch = Vec::new();
                for _ in 0..rng.u64(1..9) {
                    // A gap stands for several.
                    let gap = rng.u64(0..20);
                    let one = if gap < 4 {
                        let (from, to) = (next, next + gap);
                        next = to;
                        RunEvent::new(0, root, root, at(), EventKind::Lagged { from, to })
                    } else {
                        event(root, next)
                    };
                    batch.push(Record::Event { epoch, event: one.clone() });
                    all.push(one);
                    next += 1;
                }
                store.append(batch).await.unwrap();
                appends += 1;
            }
            for after in 0..=60 {
                for limit in [1, 2, 5, 99] {
                    let behind = all.iter().filter(|event| event.last_seq() > after);
                    let right: Vec<_> = behind.take(limit).cloned().map(Ok).collect();
                    assert_eq!(store.events(root, after, limit).await.unwrap(), right);
                }
            }
            store.close().await.unwrap();
        });
        assert_eq!(check(&file).unwrap(), []);
        let gaps = all.iter().filter(|event| event.seq == 0).count();
        let (count, bytes) = rows(&file);
        assert!(count <= appends + 2 * gaps, "those of one append share a row");
        assert!(bytes <= 960, "a row of {bytes} bytes");
    }
}

#[test]
fn an_event_is_stored_once_however_it_comes_again_and_the_first_one_that_is_there_is_named() {
    let folder = Folder::new();
    let file = folder.file("runs.db");
    let store = SqliteStore::open(&file).unwrap();
    let (root, epoch) = (RunId::from_text("root"), epoch(&store));
    let batch = |numbers: RangeInclusive<u64>| -> Vec<Record> {
        numbers.map(|seq| Record::Event { epoch, event: event(root, seq) }).collect()
    };
    block_on(async {
        store.append(vec![accept(root, epoch)]).await.unwrap();
        store.append(batch(4..=6)).await.unwrap();
        for (again, taken) in [(4..=6, 4), (6..=9, 6), (1..=4, 4), (5..=5, 5), (1..=9, 4)] {
            let refused = store.append(batch(again.clone())).await.unwrap_err();
            assert_eq!(refused, StoreError::SeqTaken { root, seq: taken }, "{again:?}");
        }
        store.append(batch(1..=3)).await.unwrap();
        store.append(batch(7..=9)).await.unwrap();
        let read = store.events(root, 0, 99).await.unwrap();
        assert_eq!(read, (1..=9).map(|seq| Ok(event(root, seq))).collect::<Vec<_>>());
        store.close().await.unwrap();
    });
    assert_eq!(rows(&file).0, 3);
}

#[test]
fn what_is_refused_beside_others_in_their_transaction_leaves_them_and_nothing_of_itself() {
    let folder = Folder::new();
    let file = folder.file("runs.db");
    let store = SqliteStore::open(&file).unwrap();
    let (root, epoch) = (RunId::from_text("root"), epoch(&store));
    let batch = |numbers: RangeInclusive<u64>| -> Vec<Record> {
        numbers.map(|seq| Record::Event { epoch, event: event(root, seq) }).collect()
    };
    block_on(store.append(vec![accept(root, epoch)])).unwrap();
    // While somebody else writes the appends come together.
    let other = Connection::open(&file).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let mut appends: Vec<_> =
        [1..=3, 2..=5, 4..=6, 6..=6].map(|numbers| store.append(batch(numbers))).into();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for append in &mut appends {
        assert!(append.as_mut().poll(&mut context).is_pending());
    }
    other.execute_batch("rollback").unwrap();
    block_on(async {
        let answers = futures::future::join_all(appends).await;
        let taken = |seq| Err(StoreError::SeqTaken { root, seq });
        assert_eq!(answers, [Ok(()), taken(2), Ok(()), taken(6)]);
        let read = store.events(root, 0, 99).await.unwrap();
        assert_eq!(read, (1..=6).map(|seq| Ok(event(root, seq))).collect::<Vec<_>>());
        store.close().await.unwrap();
    });
    assert_eq!(rows(&file).0, 2);
}

#[test]
fn events_leave_with_their_run_and_their_numbers_are_free_again() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file("runs.db")).unwrap();
    let (root, epoch) = (RunId::from_text("root"), epoch(&store));
    let of = |seq| Record::Event { epoch, event: event(root, seq) };
    let ended = || end(root, epoch, RunStatus::Completed);
    let forgotten = || Record::Forgotten { run: root, epoch, at: at() };
    block_on(async {
        let begin = vec![accept(root, epoch), of(1), of(2), ended()];
        store.append(begin).await.unwrap();
        // What comes again has its events behind what has left.
        let again = vec![forgotten(), accept(root, epoch), of(1), ended(), of(2)];
        store.append(again).await.unwrap();
        let both = vec![of(3), forgotten(), accept(root, epoch), of(4)];
        store.append(both).await.unwrap();
        assert_eq!(store.events(root, 0, 9).await.unwrap(), [Ok(event(root, 4))]);
        store.close().await.unwrap();
    });
}

#[test]
fn an_event_that_cannot_be_read_is_named_and_those_of_its_row_are_read() {
    let folder = Folder::new();
    let file = folder.file("runs.db");
    let store = SqliteStore::open(&file).unwrap();
    let (root, epoch) = (RunId::from_text("root"), epoch(&store));
    let batch = (1..=9).map(|seq| Record::Event { epoch, event: event(root, seq) });
    block_on(async {
        store.append([accept(root, epoch)].into_iter().chain(batch).collect()).await.unwrap();
        store.close().await.unwrap();
    });
    assert_eq!(rows(&file).0, 1);
    let read = || SqliteReader::open(&file).unwrap().events(root, 1, 3).unwrap();
    let damage = |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    damage("update event set text = replace(text, 'progress', 'regress')");
    let events = read();
    assert_eq!((&events[0], &events[2]), (&Ok(event(root, 2)), &Ok(event(root, 4))));
    let unreadable = events[1].as_ref().unwrap_err();
    assert_eq!((unreadable.run, unreadable.seq), (Some(root), Some(3)));
    assert_eq!(check(&file).unwrap().len(), 2, "3 and 7");
    // A place is missing, so that nobody knows which number is whose; then all are.
    for (sql, words) in [
        ("update event set text = json_remove(text, '$[4]')", "8 events from 1"),
        ("update event set text = substr(text, 2)", "trailing characters"),
        ("update event set text = x'ff'", "Invalid type"),
    ] {
        damage(sql);
        let events = read();
        let named = events.iter().map(|event| event.as_ref().unwrap_err().seq.unwrap());
        assert_eq!(named.collect::<Vec<_>>(), [2, 3, 4], "{sql}");
        let told = events[0].as_ref().unwrap_err().to_string();
        assert!(told.contains(words), "{sql}: {told}");
        assert_eq!(check(&file).unwrap().len(), 9, "{sql}");
    }
    // No row has so many.
    for first in ["10", "-1", "seq - 64"] {
        damage(&format!("update event set text = '[]', first = {first}"));
        let events = read();
        let named: Vec<_> = events.iter().map(|event| event.as_ref().unwrap_err().seq).collect();
        assert_eq!(named, [Some(9)], "{first}");
    }
}
