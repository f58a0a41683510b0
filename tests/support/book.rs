//! What happened to a run and its hooks, in the order in which it did.

use std::sync::{Arc, Mutex};

use quell::{EventKind, HookOutcome, RunContext, RunRef};
use tokio::time::sleep;

use super::ms;

/// What happened, in the order in which it did.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Vec<String>>>);

impl Book {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Registers a hook of every end that takes some time.
    pub(crate) fn end_hook(&self, ctx: &RunContext, name: &'static str, millis: u64) {
        let book = self.clone();
        ctx.on_end(async move |cause| {
            let why = cause.map_or("no stop", |cause| cause.kind.as_str());
            book.note(format!("{name}: {why}"));
            sleep(ms(millis)).await;
        });
    }

    /// Registers a hook of a stop.
    pub(crate) fn stop_hook(&self, ctx: &RunContext, name: &'static str) {
        let book = self.clone();
        ctx.on_stop(async move |cause| book.note(format!("{name}: {}", cause.kind)));
    }
}

/// Tells how the hooks of a run ended.
pub(crate) async fn hook_outcomes(run: &RunRef) -> Vec<(u32, HookOutcome)> {
    let trace = quell::testing::trace(run).await;
    let own = trace.into_iter().filter(|event| event.run == run.id());
    let hooks = own.filter_map(|event| match event.kind {
        EventKind::HookEnded { hook, outcome } => Some((hook, outcome)),
        _ => None,
    });
    hooks.collect()
}
