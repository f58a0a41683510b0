//! Subscribers of `tracing` that panic.

use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::{CancelRequest, RunSpec};
use tokio::runtime::Builder;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use crate::support::{PATIENCE, Scratch, is_any_alive, script, start};

/// Counts what this crate says, and panics at the event of this number.
#[derive(Clone)]
struct Panics {
    at: usize,
    heard: Arc<AtomicUsize>,
}

impl Subscriber for Panics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("quell_process")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        assert!(self.heard.fetch_add(1, Ordering::Relaxed) != self.at, "a subscriber panics");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn i4_a_subscriber_that_panics_leaves_nothing_of_a_program() {
    // While there is one alone, what another thread is the first to say is heard by nobody.
    let _beside = Dispatch::new(Panics { at: usize::MAX, heard: Arc::default() });
    for at in 0.. {
        // It cannot be started, which is said at every news.
        let guarded = quell_process::guarded_by(Command::new("/nonexistent"));
        let name = format!("subscriber-{at}-{}", process::id());
        let heard = Arc::new(AtomicUsize::new(0));
        let scratch = Scratch::new(&name);
        let panics = Panics { at, heard: Arc::clone(&heard) };
        let program = script("echo $$ > pid; exec sleep 600").cwd(scratch.path());
        let program = program.env("SUBSCRIBER", &name);
        let until_over = async {
            let started = start(RunSpec::step("program").grace(PATIENCE), program);
            let run = started.run().clone();
            tokio::select! {
                biased;
                _ = run.ended() => {}
                _ = scratch.pid("pid") => {}
            }
            run.cancel(CancelRequest::because("the test says so"));
            started.end().await.1
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let report = tracing::subscriber::with_default(panics, || runtime.block_on(until_over));
        assert!(report.quiescent, "event {at}: {report:?}");
        // A look may miss what becomes another program at that moment.
        for _ in 0..20 {
            assert!(!is_any_alive("SUBSCRIBER", &name), "event {at}");
        }
        drop(guarded);
        if heard.load(Ordering::Relaxed) <= at {
            assert!(at >= 3, "it heard of a guardian twice, and of the start: {at}");
            return;
        }
    }
}
