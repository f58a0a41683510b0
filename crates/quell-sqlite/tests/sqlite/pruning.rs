//! T14: processes that are killed while trees leave: each tree is whole or gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quell::{Engine, EngineConfig, StoreRetention};
use quell_core::store::{Accepted, Record, Store};
use quell_core::{RunId, RunKind, RunStatus};
use quell_sqlite::SqliteStore;
use quell_test_support::seeds;

use crate::child::{Writing, say};
use crate::fixture::{Folder, accept, at, block_on, end, epoch, event};
use crate::killed::Killed;

/// Trees of a file.
const TREES: usize = 400;

/// Trees that leave with one pass of a child.
const STEP: usize = 40;

fn run(nth: usize, below: usize) -> RunId {
    RunId::from_text(&format!("run {nth}.{below}"))
}

/// What a child does: all that is over leaves, in several passes.
pub(crate) fn prunes(file: &Path) {
    let store = Arc::new(SqliteStore::open(file).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let engine = Engine::with_config(config);
        say("up");
        let mut gone = 0;
        for rest in (0..TREES).step_by(STEP).rev() {
            let retention = StoreRetention::new().trees_max(rest as u64);
            gone += engine.prune_stored(&retention).await.unwrap();
            say(&format!("gone {gone}"));
        }
    });
}

/// Stores trees of three runs and two events each.
fn fill(file: &Path) {
    let store = SqliteStore::open(file).unwrap();
    let (epoch, mut batch) = (epoch(&store), Vec::new());
    for nth in 0..TREES {
        let root = run(nth, 0);
        let below = |below| {
            let mut accepted =
                Accepted::new(run(nth, below), RunKind::Agent, "below".into(), epoch, at());
            (accepted.root, accepted.parent) = (root, Some(root));
            Record::Accepted(accepted.into())
        };
        let ends = [1, 2, 0].map(|below| end(run(nth, below), epoch, RunStatus::Completed));
        let begin = [accept(root, epoch), below(1), below(2)];
        let events = [event(root, epoch, 1), event(root, epoch, 2)];
        batch.extend(begin.into_iter().chain(events).chain(ends));
    }
    block_on(store.append(batch)).unwrap();
    block_on(store.close()).unwrap();
}

/// Counts the trees that are left; each of them is whole.
fn left(file: &Path) -> usize {
    assert_eq!(quell_sqlite::check(file).unwrap(), []);
    let store = SqliteStore::open(file).unwrap();
    let mut left = 0;
    for nth in 0..TREES {
        let there = [0, 1, 2].map(|below| block_on(store.get(run(nth, below))).unwrap().is_some());
        let events = block_on(store.events(run(nth, 0), 0, 9)).unwrap().len();
        let is_there = there[0];
        assert_eq!((there, events), ([is_there; 3], if is_there { 2 } else { 0 }), "tree {nth}");
        left += usize::from(is_there);
    }
    block_on(store.close()).unwrap();
    left
}

#[test]
fn after_a_kill_while_trees_leave_each_is_whole_or_gone_and_the_next_pass_goes_on() {
    let full = Folder::new();
    fill(&full.file("runs.db"));
    let mut killed = Killed::of("prunes");
    for (seed, mut rng) in seeds(6) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let file = folder.file("runs.db");
        std::fs::copy(full.file("runs.db"), &file).unwrap();
        let mut child = Writing::start("prune", &file);
        let passes = rng.usize(0..TREES / STEP);
        for _ in 0..passes {
            child.line();
        }
        // The kill does not always follow a line.
        std::thread::sleep(Duration::from_micros(rng.u64(0..2_000)));
        drop(child.kill());
        killed.at("by its parent", "while trees leave");
        let rest = left(&file);
        assert!(rest <= TREES - passes * STEP, "{rest} are left after {passes} passes");
        let said = Writing::start("prune", &file).rest();
        assert!(said.contains(&format!("gone {rest}")), "{rest} were left: {said:?}");
        assert_eq!(left(&file), 0);
    }
    killed.tell([]);
}

#[test]
fn the_room_of_what_has_left_is_used_again() {
    let folder = Folder::new();
    let file = folder.file("runs.db");
    fill(&file);
    let size = || std::fs::metadata(&file).unwrap().len();
    let before = size();
    let said = Writing::start("prune", &file).rest();
    assert!(said.contains(&format!("gone {TREES}")), "{said:?}");
    let store = SqliteStore::open(&file).unwrap();
    assert!(block_on(store.bytes()).unwrap() < before / 4);
    block_on(store.close()).unwrap();
    assert_eq!(size(), before, "the file keeps its size");
    fill(&file);
    assert!(size() < before + before / 8, "{} after {before}", size());
}
