//! Disks that are full, and writes that fail.

use std::time::Duration;

use quell_core::store::{Record, Store, StoreError, StoredPause};
use quell_core::{EventKind, Payload, RunEvent, RunId, RunStatus};
use quell_sqlite::{SqliteOptions, SqliteStore, check};

use crate::child::Writing;
use crate::fixture::{Folder, accept, at, block_on, end, epoch, event, stop};

#[test]
fn a_store_that_is_full_says_so_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let mut options = SqliteOptions::default();
    options.bytes_max = Some(400 << 10);
    let store = SqliteStore::open_with(&path, &options).unwrap();
    let epoch = epoch(&store);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    let begin = |nth| vec![accept(run(nth), epoch), event(run(nth), epoch, 1)];
    block_on(async {
        let mut taken = 0;
        while taken < 50 {
            store.append(begin(taken)).await.unwrap();
            let ended = end(run(taken), epoch, RunStatus::Completed);
            store.append(vec![ended]).await.unwrap();
            taken += 1;
        }
        let full = loop {
            match store.append(begin(taken)).await {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, StoreError::Full { .. }), "{full}");
        assert!(full.to_string().contains("make room on it"), "{full}");
        assert!(taken > 100, "{taken}");
        for nth in 0..taken {
            assert_eq!(store.events(run(nth), 0, 9).await.unwrap().len(), 1, "run {nth}");
        }
        assert_eq!(store.get(run(taken)).await.unwrap(), None, "nothing of what was refused");
        for nth in 0..50 {
            let forgotten = Record::Forgotten { run: run(nth), epoch, at: at() };
            store.append(vec![forgotten]).await.unwrap();
        }
        store.append(begin(taken)).await.unwrap();
        store.close().await.unwrap();
    });
    check(&path).unwrap();
}

#[test]
fn an_append_for_which_there_is_no_room_takes_no_other_with_it() {
    let folder = Folder::new();
    let mut options = SqliteOptions::default();
    options.bytes_max = Some(1 << 20);
    let store = SqliteStore::open_with(folder.file("runs.db"), &options).unwrap();
    let epoch = epoch(&store);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    let runs = (0..4).map(|nth| accept(run(nth), epoch)).collect();
    block_on(store.append(runs)).unwrap();
    let large = |seq| {
        let kind = EventKind::Emitted(Payload::from("x".repeat(2 << 20)));
        Record::Event { epoch, event: RunEvent::new(seq, run(0), run(0), at(), kind) }
    };
    // While somebody else writes the appends come together.
    let other = rusqlite::Connection::open(store.path()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let mut appends: Vec<_> = [
        vec![event(run(0), epoch, 1)],
        vec![event(run(1), epoch, 1), large(2)],
        vec![event(run(9), epoch, 1)],
        vec![event(run(1), epoch, 1)],
        vec![stop(run(2), epoch)],
        vec![large(3)],
        vec![stop(run(3), epoch)],
    ]
    .into_iter()
    .map(|batch| store.append(batch))
    .collect();
    block_on(async {
        std::future::poll_fn(|context| {
            for append in &mut appends {
                assert!(append.as_mut().poll(context).is_pending());
            }
            std::task::Poll::Ready(())
        })
        .await;
        other.execute_batch("rollback").unwrap();
        let mut answers = Vec::new();
        for append in appends {
            answers.push(append.await);
        }
        let is_full = |nth: usize| matches!(answers[nth], Err(StoreError::Full { .. }));
        assert!(is_full(1) && is_full(5), "{answers:?}");
        assert_eq!(answers[2], Err(StoreError::Unknown { run: run(9) }), "its own answer");
        for nth in [0, 3, 4, 6] {
            assert_eq!(answers[nth], Ok(()), "append {nth}");
        }
        for nth in [2, 3] {
            assert!(store.get(run(nth)).await.unwrap().unwrap().stop.is_some(), "run {nth}");
        }
        assert_eq!(store.events(run(0), 0, 9).await.unwrap().len(), 1);
        assert_eq!(store.events(run(1), 0, 9).await.unwrap().len(), 1);
        store.close().await.unwrap();
    });
}

#[test]
fn after_a_commit_that_fails_what_was_acknowledged_is_there() {
    let folder = Folder::new();
    let mut failed = 0;
    for (nth, blocks) in [300, 700, 1_500].into_iter().enumerate() {
        let path = folder.file(&format!("{nth}.db"));
        let said = Writing::with_files_of(blocks, "fail", &path).rest();
        failed += said.iter().filter(|line| line.starts_with("x ")).count();
        let acknowledged = said.iter().filter(|line| line.starts_with("a ")).count();
        assert!(acknowledged > 20, "only {acknowledged} of {blocks} blocks: {said:?}");
        assert_eq!(said.iter().filter(|line| *line == "closed").count(), 1, "{said:?}");
        crate::kills::verify(&path, &said);
    }
    assert!(failed >= 3 * 3 * 16, "only {failed} appends failed");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let error = SqliteStore::open("/proc/self/runs.db").unwrap_err();
    assert!(error.to_string().contains("/proc/"), "{error}");
}

#[test]
fn what_is_large_of_a_pause_leaves_with_the_end_of_its_run_but_its_last_answer() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let (epoch, at) = (epoch(&store), at());
    let long = || Payload::from("x".repeat(9_000));
    let paused = |run, nth| Record::Paused {
        run,
        epoch,
        pause: Box::new(StoredPause::new(long(), nth, at)),
    };
    let resumed =
        |run, answer| Record::Resumed { run, epoch, attempt: 2, answer, stood: Duration::ZERO, at };
    let other = rusqlite::Connection::open(store.path()).unwrap();
    let large = |record: Record| {
        block_on(store.append(vec![record])).unwrap();
        let count = "select count(*) from large";
        other.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let [a, b, c] = ["a", "b", "c"].map(RunId::from_text);
    let completed = |run| end(run, epoch, RunStatus::Completed);
    let answered = [accept(a, epoch), paused(a, 1), resumed(a, long()), completed(a)];
    assert_eq!(answered.map(large), [0, 1, 2, 1]);
    // It ends in a later pause, or behind a small answer: the large one is that of none.
    let asks = [accept(b, epoch), paused(b, 1), resumed(b, long()), paused(b, 2)];
    assert_eq!(asks.map(large), [1, 2, 3, 3]);
    assert_eq!(large(end(b, epoch, RunStatus::Cancelled)), 1);
    for record in [accept(c, epoch), paused(c, 1), resumed(c, long()), paused(c, 2)] {
        large(record);
    }
    assert_eq!([resumed(c, "no".into()), completed(c)].map(large), [3, 1]);
    let answer = |run| block_on(store.get(run)).unwrap().unwrap().answer;
    assert_eq!([a, b, c].map(answer), [Some(long()), None, Some("no".into())]);
    block_on(store.close()).unwrap();
    check(&path).unwrap();
}
