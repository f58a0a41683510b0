//! A large output that remembers which thread wrote it.

use std::sync::{Arc, Mutex};
use std::thread::{ThreadId, current};

use quell::Payload;
use serde::Serialize;

/// Which threads wrote outputs, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writers(Arc<Mutex<Vec<ThreadId>>>);

struct Large(Writers);

impl Serialize for Large {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.0.lock().unwrap().push(current().id());
        "x".repeat(BYTES).serialize(to)
    }
}

impl Writers {
    /// Makes an output that is written when somebody first reads it.
    pub(crate) fn output(&self) -> Payload {
        Payload::json_later(Large(self.clone()), 2 * BYTES)
    }

    /// Fails unless so many outputs were written, none of them by the thread of the test.
    pub(crate) fn assert_elsewhere(&self, count: usize) {
        let writers = self.0.lock().unwrap();
        assert_eq!(writers.len(), count);
        assert!(!writers.contains(&current().id()), "a thread of HTTP wrote it");
    }
}

const BYTES: usize = 100 << 10;
