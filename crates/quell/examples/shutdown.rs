//! Shuts an engine down in stages: after the step, with grace, by abort; and nothing new begins.
//!
//! `cargo run -p quell --example shutdown`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quell::{Engine, EventKind, Failure, RunContext, RunRef, RunSpec, Shutdown, SubmitError};

#[tokio::main]
async fn main() -> Result<(), SubmitError> {
    shut_down().await
}

/// Shuts down while three runs are live. A server would do this when a signal comes.
pub(crate) async fn shut_down() -> Result<(), SubmitError> {
    let engine = Engine::new();
    let steps = Steps::default();
    let counted = steps.clone();
    let batch = RunSpec::workflow("batch");
    let batch = engine.submit(batch, async move |ctx| batch_of(ctx, counted).await)?.into_ref();
    let chat = engine.submit(RunSpec::agent("chat"), listen)?.into_ref();
    let fetch = engine.submit(RunSpec::agent("fetch"), wait)?.into_ref();
    let runs = [batch, chat, fetch];
    for run in &runs {
        begun(run).await;
    }

    let plan = Shutdown {
        after_step: Duration::from_millis(300),
        grace: Duration::from_millis(200),
        abort_wait: Duration::from_millis(200),
    };
    // Admission closes when the shutdown is first polled, before it waits for anything.
    let (report, refused) = tokio::join!(biased; engine.shutdown(plan), async {
        engine.submit(RunSpec::agent("late"), wait).err()
    });
    if let Some(error) = refused {
        println!("a run that comes late is refused: {error}");
    }
    for run in &runs {
        let row = run.row();
        let cause = row.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("{} is {}: {cause}", row.name, row.status);
    }
    println!("of {} runs, {} were cancelled", report.roots.total(), report.roots.cancelled);
    println!("still executing: {}", report.abandoned.len());
    println!("steps of the batch that were torn: {}", steps.torn());
    Ok(())
}

/// Works in steps, and asks between two of them: the first stage stops it there.
async fn batch_of(ctx: RunContext, steps: Steps) -> Result<(), Failure> {
    ctx.emit("begun");
    loop {
        ctx.checkpoint()?;
        steps.begin();
        tokio::time::sleep(Duration::from_millis(20)).await;
        steps.finish();
    }
}

/// Has no steps. The second stage stops it, and it says goodbye within the grace.
async fn listen(ctx: RunContext) -> Result<(), Failure> {
    ctx.emit("begun");
    let cause = ctx.stopped().await;
    println!("chat says goodbye: {}", cause.kind);
    Ok(())
}

/// Never asks. The second stage drops it at once.
async fn wait(ctx: RunContext) -> Result<(), Failure> {
    ctx.emit("begun");
    std::future::pending::<()>().await;
    Ok(())
}

/// Waits until a body has emitted something.
async fn begun(run: &RunRef) {
    let mut events = run.events();
    while let Some(event) = events.next().await {
        if matches!(event.kind, EventKind::Emitted(_)) {
            return;
        }
    }
}

/// Counts steps outside the engine: those that began, and those that ended.
#[derive(Clone, Default)]
struct Steps(Arc<(AtomicUsize, AtomicUsize)>);

impl Steps {
    fn begin(&self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }

    fn finish(&self) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
    }

    fn torn(&self) -> usize {
        self.0.0.load(Ordering::SeqCst) - self.0.1.load(Ordering::SeqCst)
    }
}
