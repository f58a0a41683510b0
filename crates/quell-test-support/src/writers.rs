//! [`Writers`]: a large output that remembers which thread wrote it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{ThreadId, current};

use quell::Payload;
use serde::Serialize;

/// The threads that wrote outputs, in order.
#[derive(Clone, Debug, Default)]
pub struct Writers(Arc<Mutex<Vec<ThreadId>>>);

struct Large(Writers);

impl Serialize for Large {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.lock().push(current().id());
        "x".repeat(BYTES).serialize(to)
    }
}

impl Writers {
    /// Makes an output that is written when somebody first reads it.
    pub fn output(&self) -> Payload {
        Payload::json_later(Large(self.clone()), 2 * BYTES)
    }

    /// Fails unless so many outputs were written, none of them by the thread of the test.
    pub fn assert_elsewhere(&self, count: usize) {
        let writers = self.lock();
        assert_eq!(writers.len(), count);
        assert!(!writers.contains(&current().id()), "a thread of HTTP wrote it");
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ThreadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const BYTES: usize = 100 << 10;
