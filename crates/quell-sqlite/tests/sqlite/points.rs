//! I34 to I36: a process is killed at every point of an append, whatever is appended. What it
//! leaves is exactly what was there before or what the append leaves, as the point demands.

use std::fs;
use std::path::{Path, PathBuf};

use quell_core::store::Store as _;
use quell_sqlite::SqliteStore;
use quell_test_support::seeds;

use crate::acts::{Act, At};
use crate::child::Writing;
use crate::dump;
use crate::fixture::{Folder, beside, block_on, epoch};
use crate::killed::Killed;

/// Points of an append.
const POINTS: [&str; 5] = [
    "before its write",
    "after its statements and before COMMIT",
    "within COMMIT",
    "after COMMIT and before it is acknowledged",
    "after it is acknowledged",
];

/// A page in the log of SQLite, with what stands before it.
const FRAME: u64 = 24 + 4_096;

/// Kills within the statements and the COMMIT of one append.
const WITHIN_MAX: u64 = 5;

#[test]
fn i34_at_each_point_of_each_append_a_kill_leaves_all_of_it_or_nothing() {
    let mut killed = Killed::of("acts");
    for (seed, mut rng) in seeds(1) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let full = folder.file("full.db");
        let store = SqliteStore::open(&full).unwrap();
        block_on(store.append(Act::before(epoch(&store)))).unwrap();
        block_on(store.close()).unwrap();
        for act in Act::ALL {
            let cases = Cases { folder: &folder, full: &full, act };
            let (_, before, logs) = cases.of(At::Nothing);
            let from = logs[0];
            let (_, after, logs) = cases.of(At::Told);
            killed.at(point(4, act), act);
            let more = ["run:", "event:", "checkpoint:"].map(|table| {
                let of = |rows: &[String]| rows.iter().filter(|row| row.starts_with(table)).count();
                of(&after).cast_signed() - of(&before).cast_signed()
            });
            assert_eq!(more, act.adds(), "{act}: runs, rows of events and states");
            let to = logs[1];

            let (log, left, _) = cases.of(At::Handed);
            assert_eq!((log, &left), (from, &before), "{act}: nothing is written");
            killed.at(point(0, act), act);
            let (_, left, _) = cases.of(At::Committed);
            assert_eq!(left, after, "{act}: it is there before anybody is told");
            killed.at(point(3, act), act);

            // Of a transaction that is rolled back pages may be in the log, behind which nothing
            // is: the next one takes their place.
            let (log, left, _) = cases.of(At::Written(from));
            assert_eq!((log, &left), (from, &before), "{act}: nothing is written");
            killed.at(point(1, act), act);
            let step = ((to - from) / FRAME / WITHIN_MAX).max(1) * FRAME;
            for begin in (from..to).step_by(usize::try_from(step).unwrap()) {
                let within = begin + rng.u64(1..FRAME);
                let (log, left, _) = cases.of(At::Written(within));
                assert!(log <= within, "{act}: {log} bytes are written");
                let is_right = left == before || act == Act::Full && left == after;
                assert!(is_right, "{act}: half of it after {within} of {to} bytes: {left:#?}");
                killed.at(point(2, act), act);
            }
        }
    }
    let all = |act| (0..POINTS.len()).map(move |nth| (point(nth, act).to_owned(), act.to_string()));
    killed.tell(Act::ALL.into_iter().flat_map(all));
}

/// Names a point. What is too large for its transaction is written before it is rolled back.
fn point(nth: usize, act: Act) -> &'static str {
    match (act, nth) {
        (Act::Full, 1 | 2) => "within a transaction that is rolled back, or COMMIT of the next",
        _ => POINTS[nth],
    }
}

/// Processes that die at points of one append, each with a file of its own.
struct Cases<'a> {
    folder: &'a Folder,
    full: &'a Path,
    act: Act,
}

impl Cases<'_> {
    /// Yields how long the log was when the process died, what is stored then, and what it said of
    /// the log.
    fn of(&self, at: At) -> (u64, Vec<String>, Vec<u64>) {
        let file: PathBuf = self.folder.file("runs.db");
        for besides in ["-wal", "-shm"] {
            let _ = fs::remove_file(beside(&file, besides));
        }
        fs::copy(self.full, &file).unwrap();
        let said = Writing::start_how("act", &file, &at.told(self.act)).until_it_dies();
        let log = fs::metadata(beside(&file, "-wal")).unwrap().len();
        let numbers = said.iter().filter_map(|line| line.strip_prefix("log ")?.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        let is_told = numbers.len() == 2;
        assert_eq!(is_told, at == At::Told, "{}: {at:?}: {said:?}", self.act);
        (log, dump::after_it_is_opened(&file), numbers)
    }
}
