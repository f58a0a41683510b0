//! Stderr, without waiting for whoever reads it: not even the end of the process does for long.

use std::io::{self, Write as _};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// What is written to stderr, by a thread of its own. Dropped, it gives that thread a second.
#[derive(Debug)]
pub(super) struct Stderr {
    writer: NonBlocking,
    _thread: WorkerGuard,
}

impl Stderr {
    pub(super) fn open() -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
        let (writer, thread) = builder.thread_name("quell-stderr").finish(io::stderr());
        Self { writer, _thread: thread }
    }

    /// Yields what the log is written to.
    pub(super) fn writer(&self) -> NonBlocking {
        self.writer.clone()
    }

    /// Says something to people.
    pub(super) fn say(&self, text: &str) {
        // With nobody at stderr there is nobody to tell.
        let _ = self.writer.clone().write_all(format!("{text}\n").as_bytes());
    }
}

/// Lines that wait to be read. Further ones are dropped.
const LINES_MAX: usize = 16_384;
