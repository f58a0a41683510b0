//! [`Witness`]: what really ran, in atomics outside the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the code that has begun, and the code that still runs. Guards inside the bodies keep it.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    entered: AtomicUsize,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Witness {
    /// Has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that code runs, until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> Inside {
        self.0.entered.fetch_add(1, Ordering::SeqCst);
        let inside = self.0.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(inside, Ordering::SeqCst);
        Inside(self.clone())
    }

    /// How many have entered so far.
    pub fn entered(&self) -> usize {
        self.0.entered.load(Ordering::SeqCst)
    }

    /// How many are inside now.
    pub fn inside(&self) -> usize {
        self.0.inside.load(Ordering::SeqCst)
    }

    /// How many were inside at once, at most.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }
}

/// Code runs as long as this lives.
#[derive(Debug)]
pub struct Inside(Witness);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
