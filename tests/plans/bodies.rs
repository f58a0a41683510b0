//! What the commands of random plans do, and who saw them do it.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use quell::{Failure, Payload, RunContext, RunRef};
use quell_flow::{CommandStep, Runner};
use tokio::time::sleep;

use crate::support::*;

/// Runs commands, and sees from inside which of them run, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Bodies(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    witness: Witness,
    /// A stop of the whole plan was accepted.
    is_closed: AtomicBool,
    cleaned: AtomicUsize,
    intruders: Mutex<Vec<String>>,
}

impl Bodies {
    /// From now on only cleanup may begin.
    pub(super) fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }

    /// What began nevertheless.
    pub(super) fn intruders(&self) -> Vec<String> {
        self.0.intruders.lock().unwrap().clone()
    }

    pub(super) fn entered(&self) -> usize {
        self.0.witness.entered()
    }

    /// How many began that clean up.
    pub(super) fn cleaned(&self) -> usize {
        self.0.cleaned.load(Ordering::SeqCst)
    }

    pub(super) fn inside(&self) -> usize {
        self.0.witness.inside()
    }

    fn enter(&self, ctx: &RunContext, command: &[String]) -> Inside {
        let inside = self.0.witness.enter();
        ctx.emit("entered");
        let is_cleanup = command.first().is_some_and(|word| word == "clean");
        if is_cleanup {
            self.0.cleaned.fetch_add(1, Ordering::SeqCst);
        } else if self.0.is_closed.load(Ordering::SeqCst) && is_attached(ctx) {
            self.0.intruders.lock().unwrap().push(command.join(" "));
        }
        inside
    }
}

/// Tells whether a run is below the plan, and not below a branch that has left it.
fn is_attached(ctx: &RunContext) -> bool {
    let above = std::iter::successors(Some(ctx.run().clone()), RunRef::parent);
    above.last().is_some_and(|root| root.name() == "plan")
}

impl Runner for Bodies {
    async fn run(&self, ctx: RunContext, step: CommandStep) -> Result<Payload, Failure> {
        let _inside = self.enter(&ctx, &step.command);
        let [_, how, time, ..] = &step.command[..] else { return Err(Failure::new("no time")) };
        let time = ms(time.parse()?);
        match how.as_str() {
            "ok" => sleep(time).await,
            "fail" => {
                sleep(time).await;
                return Err(Failure::new("failed on purpose"));
            }
            "panic" => {
                sleep(time).await;
                resume_unwind(Box::new("panicked on purpose"));
            }
            "deaf" => {
                let _ = ctx.is_stopping();
                sleep(time).await;
            }
            "ignorant" => {
                let _ = ctx.is_stopping();
                pending::<()>().await;
            }
            "naive" => pending().await,
            "tidy" => {
                ctx.stopped().await;
                sleep(time).await;
            }
            "half" => {
                ctx.set_output("half".into());
                sleep(time).await;
            }
            other => return Err(Failure::new(format!("no such command: {other}"))),
        }
        Ok(step.command.join(" ").into())
    }
}
