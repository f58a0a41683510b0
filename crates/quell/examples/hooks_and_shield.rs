//! Cleans up in the grace: a shield lets a section finish, hooks run when the body has ended.
//!
//! `cargo run -p quell --example hooks_and_shield`

#![cfg_attr(not(test), expect(clippy::print_stdout, reason = "an example shows what happens"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quell::{CancelRequest, Engine, EventKind, Failure, RunContext, RunSpec, SubmitError};

#[tokio::main]
async fn main() -> Result<(), SubmitError> {
    stop_while_saving().await
}

/// Stops a run in the middle of a section that must not be torn.
pub(crate) async fn stop_while_saving() -> Result<(), SubmitError> {
    let engine = Engine::new();
    let machine = Machine::default();
    let rented = machine.clone();
    let run =
        engine.submit(RunSpec::agent("trainer"), async move |ctx| train(ctx, rented).await)?;

    let mut events = run.events();
    while let Some(event) = events.next().await {
        if matches!(event.kind, EventKind::Emitted(_)) {
            break;
        }
    }
    println!("the machine is rented: {}", machine.is_rented());
    println!("the stop comes while the body saves");
    run.cancel(CancelRequest::because("out of money").grace(Duration::from_secs(2)));

    let report = run.ended().await;
    println!("trainer is {}, with errors of cleanup: {}", report.status, errors(&report));
    println!("the machine is rented: {}", machine.is_rented());
    Ok(())
}

async fn train(ctx: RunContext, machine: Machine) -> Result<(), Failure> {
    machine.set_rented(true);
    // Registered first, so run last: what was built first is torn down last.
    ctx.on_stop(async move |cause| {
        machine.set_rented(false);
        println!("hook: the machine is given back, because of {}", cause.kind);
    });
    ctx.on_stop(async |_| println!("hook: scratch files are deleted"));

    let here = ctx.clone();
    let saved = ctx
        .shield(async move {
            here.emit("saving");
            here.stopped().await; // For the example: the stop comes in the middle.
            tokio::time::sleep(Duration::from_millis(50)).await;
            println!("shield: the weights are saved, although the run is to stop");
        })
        .await;
    if saved.is_err() {
        println!("shield: the grace was over before the weights were saved");
    }
    // Past the shield, the next step fails: nothing new begins.
    ctx.checkpoint()?;
    println!("never printed");
    Ok(())
}

fn errors(report: &quell::RunReport) -> usize {
    report.rows.iter().map(|row| row.cleanup_errors.len()).sum()
}

/// Something outside the engine that has to be given back.
#[derive(Clone, Default)]
struct Machine(Arc<AtomicBool>);

impl Machine {
    fn set_rented(&self, is_rented: bool) {
        self.0.store(is_rented, Ordering::SeqCst);
    }

    fn is_rented(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
