//! Processes that are killed while they write: what they had said is there, and nothing half.

use std::collections::HashSet;
use std::path::Path;

use fastrand::Rng;
use quell_core::store::{Page, RunRecord, Store};
use quell_core::{RunFilter, RunId, RunStatus};
use quell_sqlite::SqliteStore;
use quell_test_support::{is_repeat, seeds};

use crate::child::{Writing, run};
use crate::fixture::{Folder, block_on};
use crate::killed::Killed;

#[test]
fn i34_what_was_acknowledged_survives_a_kill_and_nothing_is_half() {
    let (mut lines, mut killed) = (0, Killed::of("writers"));
    for (seed, mut rng) in seeds(14) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let file = folder.file("runs.db");
        let mut said = Vec::new();
        // The second one finds what the first has left.
        for _ in 0..2 {
            let mut child = Writing::start("live", &file);
            for _ in 0..rng.usize(0..300) {
                said.extend(child.line());
            }
            pause(&mut rng);
            said.extend(child.kill());
            killed.at("by its parent", "while it writes");
        }
        lines += said.len();
        verify(&file, &said);
    }
    killed.tell([]);
    assert!(lines > 500 || is_repeat(), "only {lines} acknowledgements");
}

#[test]
fn a_kill_while_a_store_is_made_leaves_one_that_can_be_opened() {
    let mut killed = Killed::of("stores");
    for (seed, mut rng) in seeds(8) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let mut child = Writing::start("migrate", folder.path());
        for _ in 0..rng.usize(0..6) {
            child.line();
        }
        pause(&mut rng);
        let _ = child.kill();
        killed.at("by its parent", "while it makes stores");
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "db") {
                let store = SqliteStore::open(&path).unwrap();
                assert!((1..=2).contains(&store.boot()), "{}", store.boot());
                block_on(store.close()).unwrap();
                assert_eq!(quell_sqlite::check(&path).unwrap(), []);
            }
        }
    }
    killed.tell([]);
}

/// Lets some time pass, so that the kill does not always follow a line. It sleeps: beside
/// a thread that spins the child would get no time on a busy machine.
fn pause(rng: &mut Rng) {
    std::thread::sleep(std::time::Duration::from_micros(rng.u64(0..2_000)));
}

/// Compares what is stored with what was said.
pub(crate) fn verify(file: &Path, said: &[String]) {
    assert_eq!(quell_sqlite::check(file).unwrap(), []);
    let store = SqliteStore::open(file).unwrap();
    block_on(async {
        for line in said {
            let words: Vec<_> = line.split(' ').collect();
            let (["a" | "s" | "e"], [boot, nth, ..]) = words.split_at(1) else { continue };
            let run = run(boot.parse().unwrap(), nth.parse().unwrap());
            let stored = store.get(run).await.unwrap();
            let stored = stored.unwrap_or_else(|| panic!("{line}: it is not there"));
            match words[0] {
                "s" => assert_eq!(cause(&stored), Some("enough"), "{line}"),
                "e" => assert!(stored.report.is_some(), "{line}"),
                _ => {}
            }
        }
        let live = nothing_is_half(&store).await;
        let mut recovered = HashSet::new();
        let mut page = Page::first(100);
        loop {
            let read = store.recover(page).await.unwrap();
            recovered.extend(read.items.into_iter().map(|it| it.unwrap().run()));
            let Some(next) = read.next else { break };
            page = page.after(next);
        }
        assert_eq!(recovered, live, "what is recovered is what has not ended");
        store.close().await.unwrap();
    });
}

/// Checks every run by itself; yields those that have not ended.
async fn nothing_is_half(store: &SqliteStore) -> HashSet<RunId> {
    let (mut live, mut states, mut page) = (HashSet::new(), 0, Page::first(100));
    loop {
        let read = store.list(RunFilter::new(), page).await.unwrap();
        for record in read.items.iter().map(|it| it.as_ref().unwrap()) {
            let events = store.events(record.run(), 0, 9).await.unwrap().len();
            let has_ended = record.report.is_some();
            assert_eq!(record.status.is_terminal(), has_ended, "{record:?}");
            assert_eq!(events, if has_ended { 3 } else { 1 }, "{record:?}");
            if record.status == RunStatus::Cancelled {
                assert_eq!(cause(record), Some("enough"), "{record:?}");
            }
            if !has_ended {
                live.insert(record.run());
                states += 3;
            }
        }
        let Some(next) = read.next else { break };
        page = page.after(next);
    }
    // Those of an end are rolled back with it (I36).
    let (mut found, mut page) = (0, Page::first(100));
    loop {
        let read = store.checkpoints("lane".into(), page).await.unwrap();
        found += read.items.len();
        let Some(next) = read.next else { break };
        page = page.after(next);
    }
    assert_eq!(found, states, "states of runs that have not ended");
    live
}

fn cause(record: &RunRecord) -> Option<&str> {
    record.stop.as_ref()?.cause.message.as_deref()
}
