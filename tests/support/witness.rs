//! Who saw what really ran: atomics outside the engine, kept by guards inside the bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts who came in and who is still there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    entered: AtomicUsize,
    inside: AtomicUsize,
}

impl Witness {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Notes that code runs, until the guard is dropped.
    pub(crate) fn enter(&self) -> Inside {
        self.0.entered.fetch_add(1, Ordering::SeqCst);
        self.0.inside.fetch_add(1, Ordering::SeqCst);
        Inside(self.clone())
    }

    /// How many came in so far.
    pub(crate) fn entered(&self) -> usize {
        self.0.entered.load(Ordering::SeqCst)
    }

    /// How many are there now.
    pub(crate) fn inside(&self) -> usize {
        self.0.inside.load(Ordering::SeqCst)
    }
}

/// Somebody is inside as long as this lives.
#[derive(Debug)]
pub(crate) struct Inside(Witness);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Holds up blocking code until it is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Blocks the thread, as user code does that never awaits.
    pub(crate) fn spin(&self) {
        let since = std::time::Instant::now();
        while !self.is_open() {
            std::thread::yield_now();
            assert!(since.elapsed().as_secs() < 120, "the test forgot to open its gate");
        }
    }

    /// Opens the gate when the test ends, however it ends: a runtime waits for blocked workers.
    pub(crate) fn at_end(&self) -> OpenAtEnd {
        OpenAtEnd(self.clone())
    }
}

/// Opens a gate when it is dropped.
#[derive(Debug)]
pub(crate) struct OpenAtEnd(Gate);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}
