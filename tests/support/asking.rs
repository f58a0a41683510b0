//! Runs that ask, and wait for their answer.

use quell::{CancelRequest, Engine, Failure, Payload, RunContext, RunHandle, RunRef, RunSpec};
use quell_test_support::{Witness, within};

/// A run that asks.
pub(crate) fn clerk() -> RunSpec {
    RunSpec::agent("clerk")
}

/// Asks once, and returns the answer.
pub(crate) async fn asks(ctx: RunContext) -> Result<Payload, Failure> {
    ctx.resumed_with().ok_or_else(|| ctx.pause("may I?"))
}

/// Submits a run that asks.
pub(crate) fn submit_asking(engine: &Engine, spec: RunSpec) -> RunHandle<Payload> {
    engine.submit_resumable(spec, asks).unwrap()
}

/// Submits a run that asks, and waits until it does.
pub(crate) async fn paused(engine: &Engine, spec: RunSpec) -> RunRef {
    let run = submit_asking(engine, spec).into_ref();
    assert_eq!(within("it asks", run.paused()).await, Some("may I?".into()));
    run
}

/// A plain stop.
pub(crate) fn stop() -> CancelRequest {
    CancelRequest::because("enough")
}

/// Notes when it is dropped.
pub(crate) struct Captured(pub(crate) Witness);

impl Drop for Captured {
    fn drop(&mut self) {
        drop(self.0.enter());
    }
}
