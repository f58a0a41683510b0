//! A process is killed at each write of a migration, of a new file and of filled ones of each
//! schema before. Its successor reads all.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell_core::store::{Page, Record, Store as _};
use quell_core::{Counts, RunEvent, RunFilter, RunId, RunKind, RunReport, RunRow, RunStatus};
use quell_sqlite::{SqliteReader, SqliteStore};
use quell_test_support::seeds;
use rusqlite::Connection;

use crate::acts::Act;
use crate::child::{Writing, say};
use crate::fixture::{Folder, at, beside, block_on, epoch};
use crate::killed::Killed;
use crate::{death, dump};

/// Schemas before this one.
const OLD: std::ops::RangeInclusive<i64> = 1..=6;

/// The schema of this release.
const NEWEST: i64 = 7;

/// Half of a page in the log of SQLite, with what stands before it.
const HALF: u64 = 2_060;

/// What a child does: it opens a file, and dies when a file grows beyond so many bytes, or at last.
pub(crate) fn opens(file: &Path, how: &str) -> ! {
    if let Ok(bytes) = how.parse() {
        death::beyond(bytes);
    }
    let _store = SqliteStore::open(file).unwrap();
    say("up");
    death::now()
}

#[test]
fn a_kill_within_or_between_the_steps_of_a_migration_loses_nothing() {
    let mut killed = Killed::of("migrations");
    for (seed, mut rng) in seeds(1) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let from = rng.u64(0..HALF);
        // Each file was left by a process that was killed at the first write of a later step.
        let old = from_nothing(&folder, from, &mut killed);
        let source = folder.file("source.db");
        fill(&source);
        for schema in OLD {
            let filled = folder.file(&format!("filled {schema}.db"));
            copy(&old[&schema], &filled);
            fill_from(&source, &filled, schema);
            let image = folder.file(&format!("image {schema}.db"));
            // The log has it all, as after a kill of the release before.
            let on = dump::as_it_is(&filled);
            on.execute_batch("pragma journal_mode = wal").unwrap();
            copy(&filled, &image);
            drop(on);
            assert_eq!(events_of(&image), events_of(&source), "schema {schema}");
            of_a_filled_one(&folder, &image, schema, from, &mut killed);
        }
    }
    let within = (0..NEWEST).flat_map(|from| (from..NEWEST).map(move |at| (from, at)));
    // A file of the last schema but one has one step, so that nothing is between two.
    let between = (0..NEWEST).flat_map(|from| (from + 1..NEWEST).map(move |at| (from, at)));
    let within = within.map(|(from, at)| of_step(from, at));
    killed.tell(within.chain(between.map(|(from, at)| after_step(from, at))));
}

fn of_step(from: i64, at: i64) -> (String, String) {
    (format!("within the step to {}", at + 1), format!("from {from}"))
}

fn after_step(from: i64, at: i64) -> (String, String) {
    (format!("between the steps to {at} and {}", at + 1), format!("from {from}"))
}

/// Kills processes that make a file; yields one of each schema, as it was left.
fn from_nothing(folder: &Folder, from: u64, killed: &mut Killed) -> HashMap<i64, PathBuf> {
    let mut old = HashMap::new();
    let mut before = 0;
    for nth in 0_u64.. {
        let file = folder.file(&format!("{nth}.db"));
        let bytes = from + nth * HALF;
        let said = Writing::start_how("open", &file, &bytes.to_string()).until_it_dies();
        let kept = folder.file(&format!("kept {nth}.db"));
        if file.exists() {
            copy(&file, &kept);
        }
        let schema = if file.exists() { number(&file) } else { 0 };
        let (point, of) = point(0, before, schema);
        killed.at(point, of);
        before = schema;
        if schema > 0 {
            old.entry(schema).or_insert(kept);
        }
        let store = SqliteStore::open(&file).unwrap();
        assert!((1..=2).contains(&store.boot()), "{}", store.boot());
        block_on(store.close()).unwrap();
        assert_eq!(quell_sqlite::check(&file).unwrap(), []);
        if said.contains(&"up".into()) {
            break;
        }
    }
    old
}

/// Kills processes that bring a filled file to the newest schema.
fn of_a_filled_one(folder: &Folder, image: &Path, from: i64, offset: u64, killed: &mut Killed) {
    let file = folder.file("filled.db");
    copy(image, &file);
    let right = dump::after_it_is_opened(&file);
    let events = events_of(&file);
    let runs = SqliteReader::open(&file).unwrap().list(&RunFilter::new(), Page::first(99)).unwrap();
    let mut before = from;
    let begin = fs::metadata(beside(image, "-wal")).unwrap().len();
    assert!(begin > 64 << 10, "{begin}: the log has what was stored");
    for nth in 0_u64.. {
        copy(image, &file);
        // The first one dies before its first write.
        let bytes = begin + nth.checked_sub(1).map_or(0, |nth| offset + nth * HALF);
        let said = Writing::start_how("open", &file, &bytes.to_string()).until_it_dies();
        let schema = number(&file);
        let (point, of) = point(from, before, schema);
        killed.at(point, of);
        before = schema;
        let reader = SqliteReader::open(&file).unwrap();
        let read = reader.list(&RunFilter::new(), Page::first(99)).unwrap().items;
        assert!(read.len() == runs.items.len() && read.iter().all(Result::is_ok), "{read:?}");
        let ended = reader.ended(Page::first(99)).unwrap().items;
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        drop(reader);
        assert_eq!(events_of(&file), events, "from {from}, at {bytes} of {begin}");
        assert_eq!(dump::after_it_is_opened(&file), right, "from {from}, at {bytes} of {begin}");
        if said.contains(&"up".into()) {
            break;
        }
    }
}

/// Names where a process was killed that leaves a schema, if the one that was killed half a page
/// before has left this one.
fn point(from: i64, before: i64, schema: i64) -> (String, String) {
    match schema {
        NEWEST => ("after the last step".to_owned(), format!("from {from}")),
        schema if schema > before => after_step(from, schema),
        schema => of_step(from, schema),
    }
}

fn number(file: &Path) -> i64 {
    dump::as_it_is(file).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Copies a file with its log.
fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let _ = fs::remove_file(beside(to, "-shm"));
    let _ = fs::remove_file(beside(to, "-wal"));
    if beside(from, "-wal").exists() {
        fs::copy(beside(from, "-wal"), beside(to, "-wal")).unwrap();
    }
}

/// Reads the events of every root of a file as it is.
fn events_of(path: &Path) -> BTreeMap<RunId, Vec<RunEvent>> {
    let reader = SqliteReader::open(path).unwrap();
    let runs = reader.list(&RunFilter::new(), Page::first(99)).unwrap().items;
    let roots = runs.into_iter().map(|run| run.unwrap().run());
    let read = |root| {
        let read = reader.events(root, 0, 99).unwrap();
        (root, read.into_iter().map(Result::unwrap).collect())
    };
    roots.map(read).collect()
}

/// Fills a file of this release with what every schema has.
fn fill(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let epoch = epoch(&store);
    block_on(async {
        store.append(Act::before(epoch)).await.unwrap();
        for act in [Act::Stop, Act::Save, Act::Pause, Act::Answer] {
            for batch in act.appends(epoch) {
                store.append(batch).await.unwrap();
            }
        }
        // Their reports are texts, as they were before schema 4.
        for (run, below) in [("run 3", "below 3"), ("run 5", "below 5")] {
            let [run, below] = [run, below].map(RunId::from_text);
            let row = |run| {
                let (kind, status) = (RunKind::Agent, RunStatus::Failed);
                RunRow::new(run, kind, "a run".into(), status, at())
            };
            let report = RunReport::new(vec![row(run), row(below)], Counts::default());
            let ended = Record::Ended { run, epoch, report: Arc::new(report), rollback: false };
            store.append(vec![ended]).await.unwrap_or_default();
        }
        store.close().await.unwrap();
    });
}

/// Fills a file of an old schema with what one of this release has, as the old one says it.
fn fill_from(source: &Path, path: &Path, schema: i64) {
    let on: Connection = dump::as_it_is(path);
    assert_eq!(number(path), schema);
    on.execute("attach ? as newest", [source.to_str().unwrap()]).unwrap();
    on.execute_batch("pragma wal_autocheckpoint = 0; begin").unwrap();
    for table in ["run", "large", "label", "claim", "checkpoint"] {
        let columns: Vec<String> = on
            .prepare(&format!("select name from pragma_table_info('{table}')"))
            .and_then(|mut it| it.query_map([], |row| row.get(0))?.collect())
            .unwrap();
        let columns = columns.join(", ");
        let sql = format!("insert into {table} ({columns}) select {columns} from newest.{table}");
        assert!(on.execute(&sql, []).unwrap() > 0 || table == "label", "{table}");
    }
    // Each event was a row, as text, with all that belongs to it.
    let mut count = 0;
    for (run, events) in events_of(source) {
        for event in events {
            let sql = "insert into event (root, seq, text)
                values ((select ord from run where id = ?), ?, ?)";
            let text = serde_json::to_string(&event).unwrap();
            let values = (run.as_uuid().into_bytes(), event.seq.cast_signed(), text);
            count += on.execute(sql, values).unwrap();
        }
    }
    assert!(count > 12, "{count} events");
    if schema == 1 {
        on.execute_batch("update run set status = 1 where status = -1").unwrap();
    }
    on.execute_batch("commit; detach newest").unwrap();
}
