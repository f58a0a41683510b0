//! A process is killed while the log of SQLite is copied into the file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quell_core::store::Store as _;
use quell_sqlite::SqliteStore;
use quell_test_support::seeds;

use crate::child::{Writing, run, say};
use crate::fixture::{Folder, accept, beside, block_on, epoch, event};
use crate::killed::Killed;
use crate::{death, dump};

/// Runs of which the log is full.
const RUNS: usize = 300;

/// Kills at pages of one copy.
const PAGES: u64 = 20;

/// Kills within a copy beside which others write, and how many are tried for that: a copy may be
/// through when its process dies.
const BESIDE_WRITERS: usize = 2;
const TRIES_MAX: usize = 20;

/// What a child does: it fills the log, and closes. It dies when that writes beyond so many bytes,
/// or at last.
pub(crate) fn closes(file: &Path, how: &str) -> ! {
    let store = SqliteStore::open(file).unwrap();
    let (boot, epoch) = (store.boot(), epoch(&store));
    let runs = (0..RUNS).map(|nth| run(boot, nth));
    let records = runs.flat_map(|run| [accept(run, epoch), event(run, epoch, 1)]);
    block_on(store.append(records.collect())).unwrap();
    say("told");
    if let Ok(bytes) = how.parse() {
        death::beyond(bytes);
    }
    block_on(store.close()).unwrap();
    say("closed");
    death::now()
}

/// What a child does: many write, until so much was written that the log is copied. Then it dies.
pub(crate) fn writes(file: &Path) {
    let path = file.to_owned();
    std::thread::spawn(move || {
        let changed = || fs::metadata(&path).and_then(|file| file.modified());
        // It has been made when the first line is said.
        while changed().is_err() || !beside(&path, "-wal").exists() {
            std::thread::yield_now();
        }
        let before = changed().unwrap();
        while changed().unwrap() == before {
            std::thread::sleep(Duration::from_micros(50));
        }
        death::now();
    });
    crate::child::live(file, usize::MAX);
}

#[test]
fn i34_what_was_acknowledged_is_there_although_a_process_was_killed_while_it_copied_the_log() {
    let mut killed = Killed::of("copies");
    for (seed, mut rng) in seeds(1) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let whole = folder.file("whole.db");
        Writing::start_how("close", &whole, "").until_it_dies();
        let bytes = fs::metadata(&whole).unwrap().len();
        let right = dump::after_it_is_opened(&whole);
        for nth in 0..PAGES {
            let file = folder.file(&format!("{nth}.db"));
            // Of the first one nothing is written, of each other one a part of a page as well.
            let beyond = if nth == 0 { 0 } else { (nth * bytes / PAGES) + rng.u64(1..4_096) };
            let said = Writing::start_how("close", &file, &beyond.to_string()).until_it_dies();
            assert!(!said.contains(&"closed".into()), "{beyond} of {bytes} bytes");
            let log = fs::metadata(beside(&file, "-wal")).unwrap().len();
            assert!(log > bytes / 2, "{log}: the log is there");
            assert!(is_copied(&file), "{beyond} of {bytes} bytes");
            assert_eq!(dump::after_it_is_opened(&file), right, "{beyond} of {bytes} bytes");
            killed.at(if nth == 0 { BEFORE } else { WITHIN }, "at its close");
        }
    }
    let mut within = 0;
    for nth in 0..TRIES_MAX {
        if within == BESIDE_WRITERS {
            break;
        }
        let folder = Folder::new();
        let file = folder.file("runs.db");
        // The first opening makes the file, so that it changes by copies alone.
        block_on(SqliteStore::open(&file).unwrap().close()).unwrap();
        let said = Writing::start_how("copy", &file, "").until_it_dies();
        let is_within = is_copied(&file);
        within += usize::from(is_within);
        assert!(said.len() > 200, "{nth}: {said:?}");
        crate::kills::verify(&file, &said);
        killed.at(if is_within { WITHIN } else { BESIDE }, "while others write");
    }
    assert_eq!(within, BESIDE_WRITERS, "kills within a copy, of {TRIES_MAX}");
    let points =
        [(BEFORE, "at its close"), (WITHIN, "at its close"), (WITHIN, "while others write")];
    killed.tell(points.map(|(point, what)| (point.to_owned(), what.to_owned())));
}

/// Tells whether a process was killed within a copy of its log: the index of the log says how many
/// pages a copy was to have copied, and how many it has.
fn is_copied(file: &Path) -> bool {
    let index = fs::read(beside(file, "-shm")).unwrap();
    let number = |at: usize| u32::from_ne_bytes(index[at..at + 4].try_into().unwrap());
    // `nBackfill` and `nBackfillAttempted` of the format of the index.
    number(96) < number(128)
}

const BEFORE: &str = "before the first page of the log is copied";
const WITHIN: &str = "while the log is copied";
const BESIDE: &str = "while no copy is under way";
