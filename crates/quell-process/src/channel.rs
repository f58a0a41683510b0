//! A [`Channel`]: what is read line by line, and what is kept of it.

use std::borrow::Cow;

use quell::Payload;

use crate::account::Account;
use crate::event::Event;
use crate::lines::{Line, Lines};
use crate::tail::Tail;
use crate::told::{Hears, Told};

/// What comes in line by line, from a pipe or a connection.
#[derive(Debug)]
pub(crate) struct Channel {
    name: &'static str,
    bytes: u64,
    lines: Lines,
    remains: Remains,
}

/// What is kept.
#[derive(Debug)]
struct Remains {
    tail: Tail,
    /// What was printed without events, if that is an output; none for stderr.
    printed: Option<Printed>,
}

/// What was printed, byte for byte up to a bound.
#[derive(Debug)]
struct Printed {
    kept: Vec<u8>,
    kept_max: usize,
    bytes: u64,
}

impl Channel {
    /// Makes one whose lines are an output, of which so many bytes are kept beside the last lines.
    pub(crate) fn of_output(name: &'static str, kept_max: usize) -> Self {
        Self::new(name, Some(Printed { kept: Vec::new(), kept_max, bytes: 0 }))
    }

    /// Makes one of which the last lines are kept.
    pub(crate) fn of_notes(name: &'static str) -> Self {
        Self::new(name, None)
    }

    fn new(name: &'static str, printed: Option<Printed>) -> Self {
        let remains = Remains { tail: Tail::default(), printed };
        Self { name, bytes: 0, lines: Lines::default(), remains }
    }

    /// Takes what was read.
    pub(crate) fn take(&mut self, read: &[u8], account: &mut Account) {
        self.bytes += read.len() as u64;
        let mut told = Told::of(self.name, read, Hearing { account, remains: &mut self.remains });
        self.lines.push(read, |line| told.take(line));
        told.flush();
    }

    /// Takes a last line without a newline.
    pub(crate) fn finish(&mut self, account: &mut Account) {
        let mut told = Told::of(self.name, &[], Hearing { account, remains: &mut self.remains });
        self.lines.finish(|line| told.take(line));
    }

    /// Yields how many bytes were read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn tail(&self) -> &Tail {
        &self.remains.tail
    }

    /// Yields what was printed without events as far as it is kept, and how much it was. A line
    /// that has no end yet is part of it.
    pub(crate) fn printed(&self) -> (Cow<'_, [u8]>, u64) {
        let pending = self.lines.pending();
        let Some(printed) = &self.remains.printed else { return (Cow::Borrowed(&[]), 0) };
        let bytes = printed.bytes + pending.len() as u64;
        if pending.is_empty() {
            return (Cow::Borrowed(&printed.kept), bytes);
        }
        let room = printed.room();
        (Cow::Owned([&printed.kept, &pending[..pending.len().min(room)]].concat()), bytes)
    }
}

impl Printed {
    const fn room(&self) -> usize {
        self.kept_max.saturating_sub(self.kept.len())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(self.room())]);
    }
}

/// Where the lines go.
struct Hearing<'a> {
    account: &'a mut Account,
    remains: &'a mut Remains,
}

impl Hears for Hearing<'_> {
    fn hear(&mut self, event: Event) -> Result<(), String> {
        self.account.hear(event)
    }

    fn note_event(&mut self, line: Line<'_>) {
        // Stderr is for people, who may look for what an event says: a library's log has them too.
        if self.remains.printed.is_none() {
            line.pieces(|piece| self.remains.tail.push(piece.text().into_owned()));
        }
    }

    fn print(&mut self, line: Line<'_>) {
        if line.is_cut_result() {
            self.account.cut_result();
        }
        self.remains.tail.push(line.text().into_owned());
        if let Some(printed) = &mut self.remains.printed {
            line.written(|bytes| printed.push(bytes));
        }
    }

    fn emit(&mut self, lines: Payload) {
        self.account.emit(lines);
    }
}
