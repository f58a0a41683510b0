//! The foreign-code matrix: every place where code of a user runs, by every way in which its run
//! may end there, by every call that such code can make.
//!
//! In each cell the code at the place looks where it is, and then makes its call. It must run on no
//! control thread and, where locks are counted, under no lock of the engine (they are in the
//! instrumented copy, where `mutations` runs this). Whatever it calls, its tree ends, the log of
//! the tree is sound, the deadline of another run fires while the code blocks, and the engine goes
//! on and shuts down.

mod actor;
mod places;
mod stage;
pub(crate) mod subscriber;
mod things;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use quell::testing::{self, held};
use quell::{Engine, RunFilter, RunRef, RunSpec, RunStatus, Shutdown};
use tokio::runtime::Handle;

use crate::support::{body_runtime, config, ms, naive, secs};
use actor::{Actor, Call};
use places::Place;
use stage::{Cell, Scene};

/// Each cell has so long for everything: a deadlock is told, not waited for.
const PATIENCE: Duration = secs(30);

/// A cell in which nothing ran proves nothing: on a machine that stood still, the time of a run was
/// over before its code came to its place. It is played again with its times so much longer.
const PACES: [u32; 3] = [1, 8, 64];

/// Cells at a time: most of them wait.
const AT_ONCE: usize = 16;

#[expect(clippy::print_stderr, reason = "how many cells there were")]
#[test]
fn i14_i26_no_foreign_code_breaks_a_promise_wherever_it_runs_and_whatever_it_calls() {
    let mut cells = Vec::new();
    for place in Place::ALL {
        for end in place.ends() {
            cells.extend(Call::ALL.iter().map(|call| (*place, *end, *call)));
        }
    }
    let count = cells.len();
    // Cells that block hold up workers.
    let (bodies, judges) = (body_runtime(4 * AT_ONCE), body_runtime(2));
    let handle = bodies.handle().clone();
    let run = |(place, end, call)| {
        let handle = handle.clone();
        async move {
            let mut told = Ok(false);
            for pace in PACES {
                let played = tokio::spawn(play(Cell { place, end, pace }, call, handle.clone()));
                told = match tokio::time::timeout(PATIENCE, played).await {
                    Ok(Ok(told)) => told,
                    Ok(Err(panic)) => Err(format!("panicked: {panic}")),
                    Err(_) => Err("did not end".to_owned()),
                };
                if told != Ok(false) {
                    break;
                }
            }
            let fault = match told {
                Ok(true) => return None,
                Ok(false) => "nothing ran".to_owned(),
                Err(what) => what,
            };
            Some(format!("{place:?}, {end:?}, {call:?}: {fault}"))
        }
    };
    let faults: Vec<_> = judges.block_on(
        stream::iter(cells)
            .map(run)
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect(),
    );
    judges.shutdown_background();
    bodies.shutdown_background();
    let mut by_what = BTreeMap::<_, Vec<_>>::new();
    for fault in &faults {
        let (cell, what) = fault.split_once(": ").unwrap_or((fault, ""));
        by_what.entry(what).or_default().push(cell);
    }
    assert!(faults.is_empty(), "{} of {count} cells: {by_what:#?}", faults.len());
    assert!(count > 1_800, "the matrix has {count} cells");
    eprintln!("foreign code: {count} cells");
}

/// Plays one cell, and says whether the code ran.
async fn play(cell: Cell, makes: Call, handle: Handle) -> Result<bool, String> {
    let Cell { place, pace, .. } = cell;
    let mut config = config().runtime(handle).grace(pace * ms(30)).abort_wait(pace * ms(60));
    if place.is_at_expiry() {
        config = config.limits(crate::support::bounded(|limits| limits.ended_trees_ttl = ms(10)));
    }
    let engine = Engine::with_config(config);
    let actor = Actor::new(&engine, makes).await;
    let root = Scene { cell, actor: Arc::clone(&actor) }.play(&engine).await;
    let acted;
    if place.is_at_expiry() {
        // Nobody else holds the tree.
        root.quiescent().await;
        drop(root);
        acted = actor.acted().await;
    } else {
        acted = actor.acted().await;
        root.quiescent().await;
        is_sound(&root).await?;
    }
    if makes != Call::Shutdown {
        deadlines_fire(&engine).await?;
    }
    actor.leave();
    shut_down(&engine).await?;
    actor.faults().map(|()| acted)
}

/// The engine still does what it is there for.
async fn deadlines_fire(engine: &Engine) -> Result<(), String> {
    let run = engine.submit(RunSpec::agent("after").timeout(ms(5)), naive);
    let report = run.map_err(|error| error.to_string())?.ended().await;
    match report.status {
        RunStatus::TimedOut => Ok(()),
        other => Err(format!("a run with a deadline ended {other}")),
    }
}

/// The log of the tree tells a story that can have happened.
async fn is_sound(root: &RunRef) -> Result<(), String> {
    let trace = testing::trace(root).await;
    testing::check_trace(&trace).map(drop).map_err(|what| format!("trace: {what}: {trace:#?}"))
}

async fn shut_down(engine: &Engine) -> Result<(), String> {
    engine.shutdown(Shutdown { grace: ms(20), abort_wait: ms(20), ..Shutdown::default() }).await;
    for root in engine.runs(&RunFilter::new().roots()) {
        root.quiescent().await;
    }
    let at_rest = || {
        let held = held(engine);
        (held.live, held.timers, held.admission, held.bytes) == (0, 0, 0, 0)
    };
    // Waiters are woken before the last slot is given back.
    let since = Instant::now();
    while !at_rest() {
        if since.elapsed() > secs(20) {
            return Err(format!("an engine at rest holds something: {:?}", held(engine)));
        }
        tokio::time::sleep(ms(1)).await;
    }
    Ok(())
}

type Shared<T> = Arc<std::sync::Mutex<T>>;
