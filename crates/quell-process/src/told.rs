//! [`Told`]: the lines of one read as events, joined where they are many.

use quell::Payload;

use crate::event::Event;
use crate::lines::{Line, is_many};

/// Hears what lines say.
pub(crate) trait Hears {
    /// Takes a line that is an event, or yields why it is none now.
    fn hear(&mut self, event: Event) -> Result<(), String>;

    /// Takes the line of an event that was heard.
    fn note_event(&mut self, line: Line<'_>);

    /// Takes a line, or a piece of one, that is no event.
    fn print(&mut self, line: Line<'_>);

    /// Takes what becomes of printed lines in the log.
    fn emit(&mut self, lines: Payload);
}

/// Where the lines of one read go.
#[derive(Debug)]
pub(crate) struct Told<H> {
    stream: &'static str,
    /// Whether lines are joined.
    is_many: bool,
    /// Lines that are to be one event.
    pending: Vec<u8>,
    hears: H,
}

impl<H: Hears> Told<H> {
    /// Takes the lines that become complete with what was read of a stream, or with its end, of
    /// which nothing is read.
    pub(crate) fn of(stream: &'static str, read: &[u8], hears: H) -> Self {
        Self { stream, is_many: is_many(read), pending: Vec::new(), hears }
    }

    pub(crate) fn take(&mut self, line: Line<'_>) {
        let fault = match line.event() {
            Some(Ok(event)) => {
                self.flush();
                match self.hears.hear(event) {
                    Ok(()) => return self.hears.note_event(line),
                    Err(fault) => Some(fault),
                }
            }
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        line.pieces(|piece| self.print(piece, fault.as_deref()));
    }

    fn print(&mut self, line: Line<'_>, fault: Option<&str>) {
        self.hears.print(line);
        if self.is_many && line.is_whole() && fault.is_none() {
            if self.pending.len() + line.len() >= JOINED_BYTES_MAX {
                self.flush();
            }
            line.join_to(&mut self.pending);
        } else {
            self.flush();
            line.emit(self.stream, fault, &mut |lines| self.hears.emit(lines));
        }
    }

    /// Emits what was joined: what was read is over.
    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let joined = Line::joined(&pending);
        joined.emit(self.stream, None, &mut |lines| self.hears.emit(lines));
    }
}

/// The longest event of joined lines, in bytes as they were written.
const JOINED_BYTES_MAX: usize = 32 << 10;
