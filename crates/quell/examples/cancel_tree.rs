//! Cancels a tree of runs: one call reaches every run below, and the report says what stopped.
//!
//! `cargo run -p quell --example cancel_tree`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::{CancelRequest, Engine, EventKind, Failure, RunContext, RunSpec, SubmitError};

#[tokio::main]
async fn main() -> Result<(), SubmitError> {
    cancel().await
}

/// Starts a team of two agents with two steps each, and cancels the team.
pub(crate) async fn cancel() -> Result<(), SubmitError> {
    let engine = Engine::new();
    let witness = Witness::default();
    let seen = witness.clone();
    let team = engine.submit(RunSpec::team("research"), async move |ctx| {
        let mut agents = Vec::new();
        for name in ["web", "papers"] {
            let witness = witness.clone();
            agents.push(ctx.spawn(RunSpec::agent(name), async |ctx| agent(ctx, witness).await));
        }
        for agent in agents {
            agent.await?;
        }
        Ok(())
    })?;

    // A step emits a value when it has begun. Every reader sees the whole log of the tree.
    let mut events = team.events();
    let mut begun = 0;
    while begun < 4
        && let Some(event) = events.next().await
    {
        begun += usize::from(matches!(event.kind, EventKind::Emitted(_)));
    }
    println!("before the cancel, {} steps are at work", seen.at_work());

    // Every run of the tree is signalled when this returns.
    let answer = team.cancel(CancelRequest::because("user pressed stop").by("ada"));
    println!("the engine answers: {}", answer.as_str());

    let report = team.ended().await;
    for row in &report.rows {
        let cause = row.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        println!(
            "{:indent$}{} {}: {cause}",
            "",
            row.name,
            row.status,
            indent = 2 * row.depth as usize
        );
    }
    println!("nothing of the tree executes any more: {}", report.quiescent);
    println!("after the cancel, {} steps are at work", seen.at_work());
    Ok(())
}

async fn agent(ctx: RunContext, witness: Witness) -> Result<(), Failure> {
    let (first, second) = (witness.clone(), witness);
    let first = ctx.spawn(RunSpec::step("search"), async |ctx| search(ctx, first).await);
    let second = ctx.spawn(RunSpec::step("read"), async |ctx| search(ctx, second).await);
    first.await?;
    second.await?;
    Ok(())
}

/// Knows nothing of stops: it is dropped where it waits.
async fn search(ctx: RunContext, witness: Witness) -> Result<(), Failure> {
    let _at_work = witness.enter();
    ctx.emit("searching");
    std::future::pending::<()>().await;
    Ok(())
}

/// Counts, outside the engine, the bodies that are at work.
#[derive(Clone, Default)]
struct Witness(Arc<AtomicUsize>);

impl Witness {
    fn enter(&self) -> AtWork {
        self.0.fetch_add(1, Ordering::SeqCst);
        AtWork(self.clone())
    }

    fn at_work(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A body is at work until it drops this, or is dropped itself.
struct AtWork(Witness);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
