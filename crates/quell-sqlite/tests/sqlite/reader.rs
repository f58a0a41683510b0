//! A file is read while another process, or this one, has it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use quell_core::store::{Page, Store, StoreError};
use quell_core::{RunFilter, RunId, RunStatus};
use quell_sqlite::{SqliteReader, SqliteStore, backup, check};
use uuid::Uuid;

use crate::child::Writing;
use crate::fixture::{Folder, accept, block_on, end, epoch, event};

#[test]
fn what_is_appended_is_read_while_the_store_is_open_and_after_it_was_closed() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let reader = SqliteReader::open(&path).unwrap();
    let (run, epoch) = (RunId::from_text("r"), epoch(&store));
    assert_eq!(reader.get(run).unwrap(), None);
    block_on(store.append(vec![accept(run, epoch), event(run, epoch, 1)])).unwrap();
    let status = |reader: &SqliteReader| reader.get(run).unwrap().unwrap().status;
    assert_eq!(status(&reader), RunStatus::Queued);
    assert_eq!(reader.events(run, 0, 9).unwrap().len(), 1);
    block_on(store.append(vec![end(run, epoch, RunStatus::Completed)])).unwrap();
    assert_eq!(status(&reader), RunStatus::Completed);
    let all = reader.list(&RunFilter::new(), Page::first(9)).unwrap();
    assert_eq!(all.items.len(), 1);
    block_on(store.close()).unwrap();
    assert_eq!(status(&reader), RunStatus::Completed);
    drop(reader);
    assert_eq!(status(&SqliteReader::open(&path).unwrap()), RunStatus::Completed);
    // It counts as no opening, and holds up nobody.
    assert_eq!(SqliteStore::open(&path).unwrap().boot(), 2);
}

#[test]
fn a_file_that_is_not_there_is_not_made_and_an_empty_one_is_no_store() {
    let folder = Folder::new();
    let error = SqliteReader::open(folder.file("runs.db")).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(error.to_string().starts_with("there is no such store: name one"), "{error}");
    let error = check(folder.file("no").join("runs.db")).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let empty = folder.file("empty.db");
    fs::write(&empty, "").unwrap();
    let error = SqliteReader::open(&empty).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

/// Makes a store with one run, and closes it.
fn closed(path: &Path) -> RunId {
    let store = SqliteStore::open(path).unwrap();
    let run = RunId::from_text("r");
    block_on(store.append(vec![accept(run, epoch(&store))])).unwrap();
    block_on(store.close()).unwrap();
    run
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_left_beside_a_file_that_was_read() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let run = closed(&path);
    let before = fs::read(&path).unwrap();
    assert_eq!(names(&folder), ["runs.db", "runs.db.lock"]);
    let reader = SqliteReader::open(&path).unwrap();
    assert!(reader.get(run).unwrap().is_some());
    drop(reader);
    assert_eq!(names(&folder), ["runs.db", "runs.db.lock"]);
    assert_eq!(check(&path).unwrap(), []);
    backup(&path, folder.file("copy.db")).unwrap();
    assert_eq!(names(&folder), ["copy.db", "runs.db", "runs.db.lock"]);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn the_log_that_a_killed_process_has_left_is_read_and_stays() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let child = Writing::start("hold", &path);
    child.kill();
    let log = folder.file("runs.db-wal");
    let (before, of_log) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    assert!(!of_log.is_empty(), "it has what the file has not");
    assert_eq!(check(&path).unwrap(), []);
    assert_eq!((fs::read(&path).unwrap(), fs::read(&log).unwrap()), (before, of_log));
}

#[test]
fn nothing_is_left_beside_a_file_that_a_store_has_written_and_closed_meanwhile() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    closed(&path);
    let reader = SqliteReader::open(&path).unwrap();
    let mut child = Writing::start("hold", &path);
    drop(child.process.stdin.take());
    child.rest();
    drop(reader);
    assert_eq!(names(&folder), ["runs.db", "runs.db.lock"]);
}

#[test]
fn a_reader_that_is_open_when_another_process_is_killed_leaves_the_log_of_that_as_it_is() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    closed(&path);
    let reader = SqliteReader::open(&path).unwrap();
    let child = Writing::start("hold", &path);
    child.kill();
    let log = folder.file("runs.db-wal");
    let (before, of_log) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    assert!(!of_log.is_empty(), "it has what the file has not");
    drop(reader);
    assert_eq!((fs::read(&path).unwrap(), fs::read(&log).unwrap()), (before, of_log));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Prepares a test of this file alone in a process of its own; of root, as a user that owns nothing
/// here, because root may write everything.
fn as_nobody(programs: &Folder, name: &str) -> Command {
    let program = programs.file("tests");
    if !program.exists() {
        // That user may not get to where it was built. Another program copies it: what another test
        // starts at that moment would hold the copy open, and nobody executes such a file.
        let copied =
            Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut test = Command::new(program);
    test.args(["--exact", &format!("reader::{name}"), "--nocapture"]).current_dir("/");
    if is_root() {
        test.uid(65_534).gid(65_534);
    }
    test
}

#[test]
fn a_file_is_read_where_nothing_may_be_written() {
    if let Some(path) = std::env::var_os("QUELL_SQLITE_READS") {
        return reads(Path::new(&path));
    }
    let folder = Folder::new();
    let path = folder.file("what is?a%20#name.db");
    closed(&path);
    // As long as a copy of a file that a process has: its log is not in the file.
    let of_killed = folder.file("killed.db");
    Writing::start("hold", &of_killed).kill();
    let _ = fs::remove_file(folder.file("killed.db-shm"));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for name in names(&folder) {
        mode(&folder.file(&name), 0o444).unwrap();
    }
    let before = names(&folder);
    let programs = Folder::new();
    let run = |path: &Path| {
        let mut test = as_nobody(&programs, "a_file_is_read_where_nothing_may_be_written");
        let ended = test.env("QUELL_SQLITE_READS", path).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    };
    // The file, and then its folder as well.
    for rights in [0o777, 0o555] {
        mode(folder.path(), rights).unwrap();
        run(&path);
        assert_eq!(names(&folder), before, "nothing is left in a folder of {rights:o}");
    }
    run(&of_killed);
    assert_eq!(names(&folder), before);
    mode(folder.path(), 0o755).unwrap();
}

fn reads(path: &Path) {
    if path.ends_with("killed.db") {
        let error = SqliteReader::open(path).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        let words =
            "killed.db-wal has what is not in the file yet, and is read only with the right";
        assert!(error.to_string().contains(words), "{error}");
        return;
    }
    let reader = SqliteReader::open(path).unwrap();
    assert!(reader.get(RunId::from_text("r")).unwrap().is_some());
    assert_eq!(check(path).unwrap(), []);
}

#[test]
fn an_answer_of_a_file_that_is_read_as_it_was_is_given_only_if_it_is_as_it_was() {
    if let Some(path) = std::env::var_os("QUELL_SQLITE_WATCHES") {
        return watches(Path::new(&path));
    }
    if !is_root() {
        // Only one who may write what the reader may not can show it.
        return;
    }
    let folder = Folder::new();
    let path = folder.file("runs.db");
    closed(&path);
    for name in names(&folder) {
        fs::set_permissions(folder.file(&name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let programs = Folder::new();
    let name = "an_answer_of_a_file_that_is_read_as_it_was_is_given_only_if_it_is_as_it_was";
    let mut test = as_nobody(&programs, name);
    test.env("QUELL_SQLITE_WATCHES", &path);
    let mut child = test.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("has read")), "it reads");
    // Another process has the store now, and closes it: then the log is gone again.
    let store = SqliteStore::open(&path).unwrap();
    block_on(store.append(vec![accept(RunId::from_text("other"), epoch(&store))])).unwrap();
    block_on(store.close()).unwrap();
    writeln!(child.stdin.take().unwrap(), "read again").unwrap();
    assert!(said.any(|line| line.contains("is being written: try again")), "it is told");
    assert!(child.wait().unwrap().success());
}

fn watches(path: &Path) {
    let reader = SqliteReader::open(path).unwrap();
    let read = || reader.get(RunId::from_text("r"));
    assert!(read().unwrap().is_some());
    say("has read");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    say(&read().unwrap_err().to_string());
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").unwrap();
}

#[test]
fn ids_are_found_between_two_of_them() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let store = SqliteStore::open(&path).unwrap();
    let id = |number| RunId::from_uuid(Uuid::from_u128(number));
    for number in [5, 7, u128::MAX, 6] {
        block_on(store.append(vec![accept(id(number), epoch(&store))])).unwrap();
    }
    let reader = SqliteReader::open(&path).unwrap();
    let ids = |from, to, limit| reader.ids(id(from), id(to), limit).unwrap();
    assert_eq!(ids(5, 6, 9), [id(5), id(6)]);
    assert_eq!(ids(0, u128::MAX, 2), [id(5), id(6)]);
    assert_eq!(ids(8, u128::MAX, 9), [id(u128::MAX)]);
    assert_eq!(ids(0, 4, 9), []);
}
