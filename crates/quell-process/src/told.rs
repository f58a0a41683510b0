//! [`Told`]: the lines of one read as events, joined where they are many.

use quell::Payload;

use crate::lines::{Line, is_many};

/// Where the lines of one read go.
#[derive(Debug)]
pub(crate) struct Told<E> {
    stream: &'static str,
    /// Whether lines are joined.
    is_many: bool,
    /// Lines that are to be one event.
    pending: Vec<u8>,
    emit: E,
}

impl<E: FnMut(Payload)> Told<E> {
    /// Takes the lines that become complete with what was read of a stream, or with its end, of
    /// which nothing is read.
    pub(crate) fn of(stream: &'static str, read: &[u8], emit: E) -> Self {
        Self { stream, is_many: is_many(read), pending: Vec::new(), emit }
    }

    pub(crate) fn take(&mut self, line: Line<'_>) {
        if self.is_many && line.is_plain() {
            if self.pending.len() + line.len() >= JOINED_BYTES_MAX {
                self.flush();
            }
            line.join_to(&mut self.pending);
        } else {
            self.flush();
            line.emit(self.stream, &mut self.emit);
        }
    }

    /// Emits what was joined: what was read is over.
    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        Line::joined(&pending).emit(self.stream, &mut self.emit);
    }
}

/// The longest event of joined lines, in bytes as they were written.
const JOINED_BYTES_MAX: usize = 32 << 10;
