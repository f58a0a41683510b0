//! Gives three bodies the same grace: one uses it, one does not ask for it, one overstays it.
//!
//! `cargo run -p quell --example grace_and_partial`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::time::Duration;

use quell::{CancelRequest, Engine, EventKind, Failure, Outcome, Payload, RunContext, RunError};
use quell::{RunSpec, Stopped};

#[tokio::main]
async fn main() -> Result<(), RunError> {
    stop_three().await
}

/// Stops three writers when the first one has written three words.
pub(crate) async fn stop_three() -> Result<(), RunError> {
    let engine = Engine::new();
    let desk = engine.submit(RunSpec::team("desk"), async |ctx| {
        let attentive = ctx.spawn(RunSpec::agent("attentive"), attentive);
        let naive = ctx.spawn(RunSpec::agent("naive"), naive);
        let tardy = ctx.spawn(RunSpec::agent("tardy"), tardy);
        // `?` would end the team at the first child that was stopped; `outcome` does not.
        if let Outcome::Stopped { cause, partial } = attentive.outcome().await {
            println!("attentive returned {partial:?} after the stop ({})", cause.kind);
        }
        naive.outcome().await;
        tardy.outcome().await;
        Ok(())
    })?;

    // Three words of the first, one value of each of the others.
    let (mut events, mut emitted) = (desk.events(), 0);
    while emitted < 5
        && let Some(event) = events.next().await
    {
        emitted += usize::from(matches!(event.kind, EventKind::Emitted(_)));
    }
    let grace = Duration::from_millis(400);
    desk.cancel(CancelRequest::because("three words will do").grace(grace));

    let report = desk.ended().await;
    for row in &report.rows[1..] {
        let partial = row.partial.as_ref().map_or("nothing", Payload::as_json);
        let how = if row.aborted { "dropped when the grace was over" } else { "ended in time" };
        println!("{} is {}, {how}, and left {partial}", row.name, row.status);
    }
    Ok(())
}

/// Waits through its context, and hands over what it has when the stop comes.
async fn attentive(ctx: RunContext) -> Result<String, Failure> {
    let mut text = Vec::new();
    for word in ["once", "upon", "a"] {
        text.push(word);
        ctx.set_output(Payload::from(text.join(" ")));
        ctx.emit(word);
    }
    match ctx.run_until_stopped(std::future::pending::<()>()).await {
        Ok(()) => text.push("time"),
        // The grace has begun.
        Err(Stopped { .. }) => text.push("…"),
    }
    Ok(text.join(" "))
}

/// Never asks about stops: it has nothing to say in a grace, and is dropped at once.
/// What it emitted is kept.
async fn naive(ctx: RunContext) -> Result<(), Failure> {
    ctx.emit("a first thought");
    tokio::time::sleep(Duration::from_hours(1)).await;
    Ok(())
}

/// Asks, so that it has the grace, and then does not end.
async fn tardy(ctx: RunContext) -> Result<(), Failure> {
    ctx.emit("begun");
    ctx.stopped().await;
    ctx.set_output(Payload::from("one more thing"));
    tokio::time::sleep(Duration::from_hours(1)).await;
    Ok(())
}
