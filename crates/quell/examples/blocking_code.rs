//! Stops blocking code: a closure that asks ends in time, one that does not is abandoned and named.
//!
//! `cargo run -p quell --example blocking_code`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use quell::{CancelRequest, Engine, EngineConfig, EventKind, RunSpec, SubmitError};

#[tokio::main]
async fn main() -> Result<(), SubmitError> {
    stop_threads().await
}

/// Stops a run that has two closures on threads of the blocking pool.
pub(crate) async fn stop_threads() -> Result<(), SubmitError> {
    // A stop takes at most grace and abort wait, whatever the code does: 0.5 s here.
    let (grace, wait) = (Duration::from_millis(300), Duration::from_millis(200));
    let engine = Engine::with_config(EngineConfig::new().grace(grace).abort_wait(wait));
    let threads = Arc::new(AtomicUsize::new(0));
    let witness = Arc::clone(&threads);
    // What the stubborn closure waits for. Without it the closure gives up after 10 s.
    let (release, held) = mpsc::channel::<()>();

    let run = engine.submit(RunSpec::agent("cruncher"), async move |ctx| {
        let (first, second) = (Arc::clone(&threads), threads);
        let polite = ctx.spawn(RunSpec::step("polite"), async move |ctx| {
            let here = ctx.clone();
            let sum = ctx.spawn_blocking(move |blocking| {
                let _at_work = AtWork::enter(&first);
                here.emit("polite has begun");
                (0..u64::MAX).take_while(|_| !blocking.is_stopping()).count()
            });
            Ok(sum.await?)
        });
        let stubborn = ctx.spawn(RunSpec::step("stubborn"), async move |ctx| {
            let here = ctx.clone();
            let work = ctx.spawn_blocking(move |_| {
                let _at_work = AtWork::enter(&second);
                here.emit("stubborn has begun");
                held.recv_timeout(Duration::from_secs(10)).is_ok()
            });
            Ok(work.await?)
        });
        polite.await?;
        stubborn.await?;
        Ok(())
    })?;

    let (mut events, mut begun) = (run.events(), 0);
    while begun < 2
        && let Some(event) = events.next().await
    {
        begun += usize::from(matches!(event.kind, EventKind::Emitted(_)));
    }
    println!("{} threads are at work", witness.load(Ordering::SeqCst));
    run.cancel(CancelRequest::because("enough"));

    let report = run.ended().await;
    println!("cruncher is {}, on time; quiescent: {}", report.status, report.quiescent);
    for work in &report.abandoned {
        println!("no longer waited for: {} work of {}", work.what.as_str(), work.name);
    }
    println!("{} thread is still at work", witness.load(Ordering::SeqCst));

    // Nobody can end a thread from outside. When it ends by itself, the engine says so.
    drop(release);
    let report = run.run().quiescent().await;
    println!("later; quiescent: {}", report.quiescent);
    println!("{} threads are at work", witness.load(Ordering::SeqCst));
    Ok(())
}

/// Counts a thread, outside the engine, for as long as its closure runs.
struct AtWork(Arc<AtomicUsize>);

impl AtWork {
    fn enter(threads: &Arc<AtomicUsize>) -> Self {
        threads.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(threads))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
