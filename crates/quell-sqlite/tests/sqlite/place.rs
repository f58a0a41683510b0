//! Who has a file, and what stands beside it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use quell_core::RunId;
use quell_core::store::{Store, StoreError};
use quell_sqlite::{Begun, SqliteStore, backup, check};

use crate::child::Writing;
use crate::fixture::{Folder, accept, block_on, epoch};

fn run(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

fn close(store: SqliteStore) {
    block_on(store.close()).unwrap();
    drop(store);
}

/// Tries to open a file, which somebody has.
fn refused(path: &Path) -> StoreError {
    SqliteStore::open(path).map(|store| store.boot()).unwrap_err()
}

/// A file of somebody else.
fn strange(path: &Path) -> &Path {
    fs::write(path, "precious").unwrap();
    path
}

fn is_untouched(path: &Path) {
    assert_eq!(fs::read_to_string(path).unwrap(), "precious", "{}", path.display());
}

#[test]
fn a_file_with_several_names_is_refused_by_each_of_them() {
    let folder = Folder::new();
    let (path, other) = (folder.file("a.db"), folder.file("b.db"));
    let store = SqliteStore::open(&path).unwrap();
    fs::hard_link(&path, &other).unwrap();
    let error = refused(&other);
    assert!(matches!(error, StoreError::SeveralNames { .. }), "{error}");
    assert!(error.to_string().contains("remove the other hard links"), "{error}");
    assert!(error.to_string().contains("b.db has 2"), "{error}");
    assert!(matches!(check(&other), Err(StoreError::SeveralNames { .. })));
    assert!(matches!(backup(&other, folder.file("c.db")), Err(StoreError::SeveralNames { .. })));
    block_on(store.append(vec![accept(run(1), epoch(&store))])).unwrap();
    close(store);
    assert!(matches!(refused(&path), StoreError::SeveralNames { .. }));
    fs::remove_file(&other).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert!(block_on(store.get(run(1))).unwrap().is_some());
    close(store);
}

#[test]
fn who_removes_the_lock_lets_nobody_else_in() {
    let folder = Folder::new();
    let (path, lock) = (folder.file("runs.db"), folder.file("runs.db.lock"));
    close(SqliteStore::open(&path).unwrap());
    let child = Writing::start("hold", &path);
    // Nobody knows whose it was, also when somebody has tried before.
    fs::remove_file(&lock).unwrap();
    for _ in 0..3 {
        assert_eq!(refused(&path), StoreError::Locked { by: None });
        assert!(!lock.exists(), "nothing is left of who was refused");
    }
    // As if somebody else had tried, and had been killed.
    fs::write(&lock, "").unwrap();
    assert_eq!(refused(&path), StoreError::Locked { by: None });
    child.kill();
    let store = SqliteStore::open(&path).unwrap();
    fs::remove_file(&lock).unwrap();
    assert_eq!(refused(&path), StoreError::Locked { by: None }, "within one process");
    block_on(store.append(vec![accept(run(1), epoch(&store))])).unwrap();
    close(store);
    // Without a lock, and nobody has it: as a copy that was put there.
    assert!(!lock.exists());
    let store = SqliteStore::open(&path).unwrap();
    assert!(block_on(store.get(run(1))).unwrap().is_some());
    assert_eq!(refused(&path), StoreError::Locked { by: Some(std::process::id()) });
    close(store);
}

#[test]
fn a_file_of_somebody_else_that_is_in_the_way_stays_as_it_is() {
    let folder = Folder::new();
    let in_the_way = |name: &str| {
        let error = refused(&folder.file(name));
        assert!(matches!(error, StoreError::InTheWay { .. }), "{error}");
        assert!(error.to_string().contains(&folder.file(name).display().to_string()), "{error}");
        assert!(!folder.file(name).exists(), "{name} was made");
    };
    let lock = folder.file("a.db.lock");
    strange(&lock);
    in_the_way("a.db");
    is_untouched(&lock);

    let linked = folder.file("linked");
    symlink(strange(&linked), folder.file("b.db.lock")).unwrap();
    in_the_way("b.db");
    is_untouched(&linked);
    symlink(folder.file("nowhere"), folder.file("c.db.lock")).unwrap();
    in_the_way("c.db");
    assert!(!folder.file("nowhere").exists());
    fs::hard_link(&linked, folder.file("d.db.lock")).unwrap();
    in_the_way("d.db");
    is_untouched(&linked);
    fs::create_dir(folder.file("e.db.lock")).unwrap();
    in_the_way("e.db");

    symlink(folder.file("nowhere"), folder.file("g.db")).unwrap();
    in_the_way("g.db");
    assert!(!folder.file("nowhere").exists());

    // What is left of a file that was moved away belongs to it.
    for suffix in ["-wal", "-journal"] {
        let left = folder.file(&format!("f.db{suffix}"));
        strange(&left);
        in_the_way("f.db");
        is_untouched(&left);
        fs::remove_file(left).unwrap();
    }
    close(SqliteStore::open(folder.file("f.db")).unwrap());
}

#[test]
fn a_copy_takes_no_name_of_somebody_else_and_leaves_nothing_else() {
    let folder = Folder::new();
    let (path, to) = (folder.file("runs.db"), folder.file("copy.db"));
    let store = SqliteStore::open(&path).unwrap();
    block_on(store.append(vec![accept(run(1), epoch(&store))])).unwrap();
    close(store);
    let names = ["copy.db.part", "copy.db.0.part", "copy.db.1.part-journal", "copy.db.2.part-wal"];
    let strangers = names.map(|name| folder.file(name));
    for stranger in &strangers {
        strange(stranger);
    }
    backup(&path, &to).unwrap();
    assert_eq!(check(&to).unwrap(), []);
    for stranger in &strangers {
        is_untouched(stranger);
    }
    assert!(!folder.file("copy.db.3.part").exists());

    // A copy of a file that has such a name itself.
    let (part, whole) = (folder.file("x.db.part"), folder.file("x.db"));
    fs::rename(&to, &part).unwrap();
    backup(&part, &whole).unwrap();
    assert_eq!(check(&part).unwrap(), []);
    assert_eq!(check(&whole).unwrap(), []);
}

#[test]
fn a_store_that_begins_tells_what_stood_in_its_place() {
    let folder = Folder::new();
    let path = folder.file("runs.db");
    let begun = |path: &Path| {
        let store = SqliteStore::open(path).unwrap();
        let begun = store.begun();
        block_on(store.append(vec![accept(run(1), epoch(&store))])).unwrap();
        close(store);
        begun
    };
    assert_eq!(begun(&path), Some(Begun::New));
    let reopened = SqliteStore::open(&path).unwrap();
    assert_eq!(reopened.begun(), None);
    close(reopened);
    // Emptied, or removed, and its lock stays.
    fs::write(&path, "").unwrap();
    assert_eq!(begun(&path), Some(Begun::AfterAnother));
    fs::remove_file(&path).unwrap();
    assert_eq!(begun(&path), Some(Begun::AfterAnother));
    let touched = folder.file("touched.db");
    fs::write(&touched, "").unwrap();
    assert_eq!(begun(&touched), Some(Begun::InEmptyFile));
}

#[test]
fn a_log_stays_whose_file_was_emptied_since_it_may_be_all_that_is_left() {
    let folder = Folder::new();
    let (path, log) = (folder.file("runs.db"), folder.file("runs.db-wal"));
    close(SqliteStore::open(&path).unwrap());
    let mut child = Writing::start("live", &path);
    for _ in 0..40 {
        child.line();
    }
    child.kill();
    let whole = fs::read(&log).unwrap();
    assert!(!whole.is_empty(), "what it has written is in the log");
    fs::write(&path, "").unwrap();
    for is_known in [true, false] {
        if !is_known {
            fs::remove_file(folder.file("runs.db.lock")).unwrap();
        }
        let reads = [check(&path).map(drop), backup(&path, folder.file("copy.db"))];
        let told = reads.into_iter().map(Result::unwrap_err).chain([refused(&path)]);
        for error in told {
            assert!(
                error.to_string().contains("runs.db-wal is of a file that is empty"),
                "{error}"
            );
        }
        assert_eq!(fs::read(&log).unwrap(), whole, "it is as it was");
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
