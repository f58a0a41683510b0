//! I34 to I37: engines that are killed, one after the other on one file. What they had said is
//! the witness.

use std::sync::Arc;

use quell::{Engine, EngineConfig, Recovery};
use quell_core::store::{Accepted, Record, Store};
use quell_core::{RunId, RunKind};
use quell_sqlite::SqliteStore;
use quell_test_support::{is_repeat, seeds};

use crate::child::Writing;
use crate::dying::{Death, KINDS, POINTS};
use crate::fixture::{Folder, accept, block_on, epoch};
use crate::killed::Killed;
use crate::told::Told;

/// Engines on one file: one for every other point of a kind of record.
const LIVES: usize = KINDS.len() * POINTS.len() / 2;

/// Files: an even number, so that both halves of the points have their turn.
const FILES: u64 = 6;

/// What one of them says at most before it is killed, in lines.
const LINES_MAX: usize = 1_500;

/// Appends of a kind before the one at which it dies, at most.
const BEFORE_MAX: usize = 6;

#[test]
fn i34_what_an_engine_has_acknowledged_survives_its_kill_and_a_stopped_run_never_goes_on() {
    let (mut killed, mut said) = (Killed::of("engines"), Told::default());
    let all = || (0..KINDS.len()).flat_map(|kind| (0..POINTS.len()).map(move |at| (kind, at)));
    for (seed, mut rng) in seeds(FILES) {
        killed.seed(seed.0);
        let folder = Folder::new();
        let file = folder.file("runs.db");
        let mut told = Told::default();
        let half = usize::from(seed.0 % 2 == 0);
        let mut deaths: Vec<_> = all().skip(half).step_by(2).collect();
        rng.shuffle(&mut deaths);
        for (life, (kind, point)) in deaths.into_iter().enumerate() {
            let death = Death::new(kind, point, rng.usize(0..BEFORE_MAX));
            let how = format!("{} {death}", rng.u64(..));
            let lines = Writing::start_how("engine", &file, &how).until_it_dies_or(LINES_MAX);
            match lines.len() {
                LINES_MAX.. => killed.at("by its parent", "at any time"),
                _ => killed.at(POINTS[point], KINDS[kind].1),
            }
            told.take(life, lines);
            told.look(&file);
        }
        // The last one decides what is left, and is killed when it has.
        let mut child = Writing::start("engine", &file);
        let mut lines = std::mem::take(&mut child.before);
        lines.extend(child.kill());
        told.take(LIVES, lines);
        killed.at("by its parent", "when it is up");
        told.verify(&file);
        said.count(&told);
    }
    said.assert_enough(if is_repeat() { 0 } else { 10 });
    let named = |(kind, at): (usize, usize)| (POINTS[at].to_owned(), KINDS[kind].1.to_owned());
    killed.tell(all().map(named));
}

#[test]
fn what_is_below_a_root_that_cannot_be_read_is_left_as_it_is_and_named() {
    let folder = Folder::new();
    let file = folder.file("runs.db");
    let [root, below] = ["root", "below"].map(RunId::from_text);
    let store = SqliteStore::open(&file).unwrap();
    let mut child = Accepted::new(
        below,
        RunKind::Step,
        "below".into(),
        epoch(&store),
        std::time::SystemTime::now(),
    );
    (child.root, child.parent) = (root, Some(root));
    let batch = vec![accept(root, epoch(&store)), Record::Accepted(child.into())];
    block_on(store.append(batch)).unwrap();
    block_on(store.close()).unwrap();
    let newer = rusqlite::Connection::open(&file).unwrap();
    let sql = "update run set kind = 'swarm' where parent is null";
    assert_eq!(newer.execute(sql, []).unwrap(), 1);
    drop(newer);
    let store = Arc::new(SqliteStore::open(&file).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
        let engine = Engine::with_config(config);
        let recovered = engine.recover(|_| Recovery::Fail).await.unwrap();
        assert_eq!(recovered.ended.total(), 0, "{recovered:?}");
        let runs: Vec<_> = recovered.unreadable.iter().map(|it| it.run.unwrap()).collect();
        assert_eq!(runs, [root, below]);
        assert!(!store.get(below).await.unwrap().unwrap().status.is_terminal());
    });
}
