//! What is no store, is damaged, in use, or of another release.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use quell_core::store::{Page, Record, RunRecord, Store, StoreError};
use quell_core::{RunFilter, RunId, RunStatus};
use quell_sqlite::{SqliteReader, SqliteStore, backup, check};

use crate::child::Writing;
use crate::fixture::{Folder, accept, at, block_on, end, epoch, event, state};

/// Makes a store with so many runs.
fn filled(path: &Path, runs: usize) {
    let store = SqliteStore::open(path).unwrap();
    let epoch = epoch(&store);
    for nth in 0..runs {
        let run = RunId::from_text(&format!("run {nth}"));
        block_on(store.append(vec![accept(run, epoch), event(run, epoch, 1)])).unwrap();
    }
    block_on(store.close()).unwrap();
}

fn refused(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let error = SqliteStore::open(path).unwrap_err();
    assert_eq!(fs::read(path).unwrap(), before, "{error}: the file was changed");
    for beside in ["db-wal", "db-shm"] {
        assert!(!path.with_extension(beside).exists(), "{error}: it has a {beside}");
    }
    error.to_string()
}

#[test]
fn what_is_no_store_is_refused_and_stays_as_it_is() {
    let folder = Folder::new();
    let text = folder.file("text.db");
    fs::write(&text, "this is not a database, but it is long enough to be one ".repeat(99))
        .unwrap();
    assert!(refused(&text).contains("this is no store of quell"), "{}", refused(&text));
    for (name, pragma) in [("own.db", "user_version = 7"), ("id.db", "application_id = 7")] {
        let other = folder.file(name);
        let connection = rusqlite::Connection::open(&other).unwrap();
        connection.execute_batch(&format!("create table t (x); pragma {pragma}")).unwrap();
        drop(connection);
        assert!(refused(&other).contains("of another program"), "{}", refused(&other));
        assert!(SqliteReader::open(&other).is_err());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing stands beside them");
}

#[test]
fn a_newer_schema_is_refused_with_words_and_never_overwritten() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    filled(&path, 3);
    let lock = folder.file("runs.db.lock");
    fs::remove_file(&lock).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert_eq!(
        refused(&path),
        "the store has schema 99, this release knows those up to 7: use the release that wrote it, \
         or a newer one"
    );
    assert!(matches!(check(&path), Err(StoreError::NewerSchema { found: 99, known: 7 })));
    assert!(!lock.exists(), "no lock is left");
    // One that was there stays.
    fs::write(&lock, "1").unwrap();
    refused(&path);
    assert!(lock.exists());
}

#[test]
fn an_empty_file_becomes_a_store_for_its_owner_alone() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    filled(&path, 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    // Of a store that is there the rights are its owner's choice.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    block_on(SqliteStore::open(&path).unwrap().close()).unwrap();
    assert_eq!(mode(&path), 0o640);
}

#[test]
fn a_check_reads_all_and_names_what_cannot_be_read() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    filled(&path, 6);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        let epoch = epoch(&store);
        store.append(vec![state(run(3), epoch, "lane", 1)]).await.unwrap();
        for nth in 0..3 {
            store.append(vec![end(run(nth), epoch, RunStatus::Completed)]).await.unwrap();
        }
        store.close().await.unwrap();
    });
    assert_eq!(check(&path).unwrap(), []);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let damage = "update run set report = '{' where ord = 1;
        update run set report = 0 where ord = 2;
        update run set report = null where ord = 3;
        update run set spec = 'no JSON' where ord = 4;
        update run set input = cast(x'ff' as text) where ord = 5;
        update event set text = 'no JSON' where root = 6;
        update checkpoint set state = ''";
    connection.execute_batch(damage).unwrap();
    drop(connection);
    let found = check(&path).unwrap();
    let named: Vec<_> = found.iter().map(|one| (one.what.as_str(), one.run)).collect();
    let right = [
        ("report", Some(run(0))),
        ("spec", Some(run(3))),
        ("input", Some(run(4))),
        ("report", Some(run(1))),
        ("report", Some(run(2))),
        ("event", Some(run(5))),
        ("checkpoint 1 of the lane", Some(run(3))),
    ];
    assert_eq!(named, right);
    assert!(found[3].to_string().contains("cannot be read (it is gone)"), "{}", found[3]);
}

#[test]
fn a_missing_folder_is_said_to_be_missing() {
    let folder = Folder::new();
    let error = SqliteStore::open(folder.file("no").join("runs.db")).unwrap_err();
    assert!(matches!(error, StoreError::NoPlace { .. }), "{error}");
    assert!(error.to_string().contains("make its folder first"), "{error}");
    let own = folder.path().to_str().unwrap();
    for (path, says) in [("", "names no file"), (".", "is a folder"), (own, "is a folder")] {
        assert!(SqliteStore::open(path).unwrap_err().to_string().contains(says), "{path}");
    }
}

#[test]
fn a_file_is_for_its_owner_alone_and_so_is_what_stands_beside_it() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    block_on(store.append(vec![accept(RunId::from_text("r"), epoch(&store))])).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 4, "the file, its log, its index and its lock");
    block_on(store.close()).unwrap();
}

#[test]
fn a_second_process_is_refused_with_the_number_of_the_first() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    filled(&path, 3);
    let child = Writing::start("hold", &path);
    let by = child.process.id();
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(error, StoreError::Locked { by: Some(by) });
    assert!(error.to_string().contains(&format!("in use by process {by}")), "{error}");
    // By another name as well.
    let link = folder.file("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(SqliteStore::open(&link).unwrap_err(), StoreError::Locked { by: Some(by) });
    // Reading is allowed.
    assert_eq!(check(&path).unwrap(), []);
    backup(&path, folder.file("copy.db")).unwrap();
    child.kill();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.boot(), 3, "each opening counts");
    let own = std::process::id();
    assert_eq!(SqliteStore::open(&path).unwrap_err(), StoreError::Locked { by: Some(own) });
    block_on(store.close()).unwrap();
    block_on(SqliteStore::open(&path).unwrap().close()).unwrap();
}

#[test]
fn a_copy_is_whole_while_others_write_and_takes_nothings_place() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let mut child = Writing::start("live", &path);
    let mut said = Vec::new();
    for nth in 0..5 {
        for _ in 0..40 {
            said.extend(child.line());
        }
        let copy = folder.file(&format!("copy{nth}.db"));
        backup(&path, &copy).unwrap();
        crate::kills::verify(&copy, &said);
        let again = backup(&path, &copy).unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");
        assert!(!folder.file(&format!("copy{nth}.db.0.part")).exists());
    }
    child.kill();
}

#[test]
fn damage_is_found() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    filled(&path, 200);
    assert_eq!(check(&path).unwrap(), []);
    let whole = fs::read(&path).unwrap();
    // Pages in the middle.
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let pages = whole.len() as u64 / 4096;
    for page in pages / 2..pages / 2 + 4 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0x5a; 4096]).unwrap();
    }
    drop(file);
    assert!(matches!(check(&path), Err(StoreError::Corrupt { .. })), "{:?}", check(&path));
    assert!(backup(&path, folder.file("copy.db")).is_err(), "a copy of it is none");
    assert!(!folder.file("copy.db").exists());
    // Half of the file.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(check(&path).is_err());
    // Its begin.
    let mut begin = whole.clone();
    begin[..100].fill(0);
    fs::write(&path, begin).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Foreign { .. })));
    fs::write(&path, whole).unwrap();
    assert_eq!(check(&path).unwrap(), []);
}

#[test]
fn what_a_newer_release_has_stored_is_an_error_that_names_it() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    filled(&path, 2);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let newer = "update event set text = replace(text, 'emitted', 'levitated');
        update run set kind = 'swarm' where ord = 1; update run set at = -1 where ord = 2";
    connection.execute_batch(newer).unwrap();
    drop(connection);
    let store = SqliteStore::open(&path).unwrap();
    block_on(async {
        let run = RunId::from_text("run 0");
        let unreadable = store.events(run, 0, 9).await.unwrap()[0].clone().unwrap_err();
        assert_eq!((unreadable.run, unreadable.seq), (Some(run), Some(1)));
        let error = unreadable.to_string();
        assert!(error.contains(&format!("event 1 of run {run}")), "{error}");
        assert!(error.contains("unknown variant `levitated`"), "{error}");
        let error = store.get(run).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("kind of run {run}")) && error.contains("swarm"),
            "{error}"
        );
        let error = store.get(RunId::from_text("run 1")).await.unwrap_err().to_string();
        assert!(error.contains("-1"), "{error}");
        store.close().await.unwrap();
    });
}

#[test]
fn what_cannot_be_read_is_named_in_its_place_and_the_rest_is_read() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    filled(&path, 6);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        let epoch = epoch(&store);
        for nth in 0..3 {
            store.append(vec![state(run(0), epoch, "lane", nth)]).await.unwrap();
            store.append(vec![event(run(0), epoch, nth + 2)]).await.unwrap();
        }
        store.close().await.unwrap();
    });
    let connection = rusqlite::Connection::open(&path).unwrap();
    let newer = "update run set kind = 'swarm' where ord = 2;
        update run set id = x'0102' where ord = 4;
        update run set input = cast(x'ff' as text) where ord = 5;
        update event set text = 'no JSON' where seq = 3;
        update checkpoint set state = '' where nr = 2";
    connection.execute_batch(newer).unwrap();
    drop(connection);
    block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        let expected = [Some(run(0)), None, Some(run(2)), None, None, Some(run(5))];
        let (mut page, mut read) = (Page::first(2), Vec::new());
        loop {
            let part = store.recover(page).await.unwrap();
            read.extend(part.items);
            let Some(next) = part.next else { break };
            page = page.after(next);
        }
        let listed = store.list(RunFilter::new(), Page::first(9)).await.unwrap().items;
        assert!(listed.iter().eq(read.iter().rev()), "{listed:?}");
        let runs: Vec<_> = read.iter().map(|it| it.as_ref().ok().map(RunRecord::run)).collect();
        assert_eq!(runs, expected);
        let named: Vec<_> = read.into_iter().filter_map(Result::err).collect();
        assert_eq!(
            named.iter().map(|it| it.run).collect::<Vec<_>>(),
            [Some(run(1)), None, Some(run(4))]
        );
        let words = |fault| format!("cannot be read ({fault}): use the release that wrote it");
        let kind = format!("the stored kind of run {} {}", run(1), words("unknown: swarm"));
        assert!(named[0].to_string().starts_with(&kind), "{}", named[0]);
        assert!(named[1].to_string().contains("id of the run in row 4"), "{}", named[1]);
        assert!(named[2].to_string().contains("the stored input of run"), "{}", named[2]);

        let events = store.events(run(0), 0, 9).await.unwrap();
        let seqs: Vec<_> =
            events.iter().map(|it| it.as_ref().ok().map(|event| event.seq)).collect();
        assert_eq!(seqs, [Some(1), Some(2), None, Some(4)]);
        assert_eq!(events[2].as_ref().unwrap_err().seq, Some(3), "where to go on");
        let states = store.checkpoints("lane".into(), Page::first(9)).await.unwrap().items;
        let readable: Vec<_> = states.iter().map(Result::is_ok).collect();
        assert_eq!(readable, [true, false, true]);
        assert_eq!(states[1].as_ref().unwrap_err().run, Some(run(0)));

        // Its run can be ended and forgotten all the same.
        let epoch = epoch(&store);
        let forgotten = Record::Forgotten { run: run(1), epoch, at: at() };
        store.append(vec![end(run(1), epoch, RunStatus::Failed), forgotten]).await.unwrap();
        assert_eq!(store.get(run(1)).await, Ok(None));
        store.close().await.unwrap();
    });
}

/// Makes a file of the size of a page that SQLite takes for one with a log, and for an empty one.
fn without_its_log(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("pragma journal_mode = wal").unwrap();
    drop(connection);
    assert!(fs::metadata(path).unwrap().len() > 0);
}

#[test]
fn a_file_that_holds_no_store_is_not_copied() {
    let folder = Folder::new();
    let (empty, torn, copy) = (folder.file("e.db"), folder.file("k.db"), folder.file("copy.db"));
    fs::write(&empty, "").unwrap();
    without_its_log(&torn);
    for path in [&empty, &torn] {
        assert_eq!(backup(path, &copy).unwrap_err(), check(path).unwrap_err());
    }
    let error = check(&torn).unwrap_err().to_string();
    assert!(error.starts_with("this file holds no store. If it was copied from"), "{error}");
    assert!(error.contains("its `k.db-wal` belongs beside it"), "{error}");
    let error = SqliteReader::open(&torn).unwrap_err();
    assert!(matches!(error, StoreError::NoLog { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left");
}

#[test]
fn no_store_begins_in_a_file_whose_log_is_missing_or_torn() {
    let folder = Folder::new();
    let path = folder.file("k.db");
    without_its_log(&path);
    let before = fs::read(&path).unwrap();
    let refused = || {
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NoLog { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!folder.file("k.db.lock").exists());
    };
    refused();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left");
    let log = folder.file("k.db-wal");
    fs::write(&log, [0x5a; 9_000]).unwrap();
    refused();
    assert_eq!(fs::read(&log).unwrap(), [0x5a; 9_000], "the log stays as it is");
    // Nothing is in an empty file that could be lost.
    let empty = folder.file("empty.db");
    fs::write(&empty, "").unwrap();
    block_on(async { SqliteStore::open(&empty).unwrap().close().await.unwrap() });
}

#[test]
fn a_store_begins_anew_in_a_file_that_its_first_process_left_before_it_had_begun() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    without_its_log(&path);
    fs::write(folder.file("runs.db.lock"), "1").unwrap();
    for log in [None, Some(""), Some("torn")] {
        if let Some(log) = log {
            fs::write(folder.file("runs.db-wal"), log).unwrap();
        }
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NoLog { .. }), "it had begun: {error}");
    }
    fs::write(folder.file("runs.db.lock"), "").unwrap();
    fs::remove_file(folder.file("runs.db-wal")).unwrap();
    block_on(async { SqliteStore::open(&path).unwrap().close().await.unwrap() });
    assert_eq!(check(&path).unwrap(), []);
}
