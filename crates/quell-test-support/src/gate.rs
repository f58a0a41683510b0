//! [`Gate`]: code that blocks its thread until the test lets it go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Holds up blocking code until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Is closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything through.
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Tells whether it is open.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Blocks the thread, as code does that never awaits.
    pub fn spin(&self) {
        let since = Instant::now();
        while !self.is_open() {
            thread::yield_now();
            assert!(since.elapsed() < FORGOTTEN, "the test forgot to open its gate");
        }
    }

    /// Opens the gate when the test ends, however it ends: a runtime waits for blocked workers.
    #[must_use]
    pub fn at_end(&self) -> OpenAtEnd {
        OpenAtEnd(self.clone())
    }
}

/// Opens a gate when it is dropped.
#[derive(Debug)]
pub struct OpenAtEnd(Gate);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// After this time nobody will open a gate any more.
const FORGOTTEN: Duration = Duration::from_mins(2);
