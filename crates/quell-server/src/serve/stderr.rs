//! [`Stderr`]: writes to stderr that never wait for its reader. Only the end of the process does,
//! and not for long.

use std::io::{self, Write};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// A thread that writes to stderr. Dropped, it gives that thread a second to finish.
#[derive(Debug)]
pub(super) struct Stderr {
    lines: Lines,
    _thread: WorkerGuard,
}

impl Stderr {
    pub(super) fn open() -> Self {
        Self::to(io::stderr())
    }

    /// Writes elsewhere instead.
    pub(super) fn to(writer: impl Write + Send + 'static) -> Self {
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
        let (writer, thread) = builder.thread_name("quell-stderr").finish(writer);
        Self { lines: Lines(writer), _thread: thread }
    }

    /// Yields the place where lines are handed to the thread.
    pub(super) const fn lines(&self) -> &Lines {
        &self.lines
    }
}

/// Where lines are handed to the thread that writes them.
#[derive(Clone, Debug)]
pub(super) struct Lines(NonBlocking);

impl Lines {
    /// Yields the writer for the log.
    pub(super) fn writer(&self) -> NonBlocking {
        self.0.clone()
    }

    /// Writes a line for the user.
    pub(super) fn say(&self, text: &str) {
        // If stderr cannot be written, the line is lost.
        let _ = self.writer().write_all(format!("{text}\n").as_bytes());
    }
}

/// The most lines that wait to be written. More are dropped.
const LINES_MAX: usize = 16_384;
