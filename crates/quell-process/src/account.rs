//! [`Account`]: what a program, or a service, says of its run.

use std::fmt;

use quell::{Payload, RunContext, Work, limits};

use crate::calls::Calls;
use crate::event::{Event, Meaning};

/// What a program says of its run, with lines that are events on stdout or stderr, or a service
/// with its answer.
#[derive(Debug)]
pub(crate) struct Account {
    ctx: RunContext,
    calls: Calls,
    result: Result<Option<Payload>, Lost>,
    content: Content,
    /// How many events there were, lines as well.
    events: u64,
}

/// The pieces of the answer's text, joined, up to a bound.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) text: String,
    /// How many bytes there were, kept or not.
    pub(crate) bytes: u64,
    /// The most bytes that are kept.
    max: usize,
}

impl Content {
    /// Makes one that keeps so many bytes.
    pub(crate) const fn up_to(max: usize) -> Self {
        Self { text: String::new(), bytes: 0, max }
    }

    /// Adds a piece. After one that does not fit none is kept: the text has no gaps.
    fn push(&mut self, piece: &str) {
        let is_whole = self.bytes == self.text.len() as u64;
        if is_whole && piece.len() <= self.max - self.text.len() {
            self.text.push_str(piece);
        }
        self.bytes += piece.len() as u64;
    }
}

/// Why the last line that was to be the output is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is longer than an event may be.
    Cut,
    /// Its JSON cannot be read again.
    Unreadable(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => {
                let most = limits::EVENT_BYTES_MAX;
                write!(f, "its `result` is cut: an event has at most {most} bytes")
            }
            Self::Unreadable(fault) => write!(f, "its `result` is refused: {fault}"),
        }
    }
}

impl Account {
    /// Makes one for a run whose tool calls are executed by this sort of work. It keeps so many
    /// bytes of the answer's text.
    pub(crate) fn new(ctx: RunContext, what: Work, content_kept_max: usize) -> Self {
        let content = Content::up_to(content_kept_max);
        Self { ctx, calls: Calls::new(what), result: Ok(None), content, events: 0 }
    }

    /// Writes it down, or yields why that cannot be.
    pub(crate) fn hear(&mut self, event: Event) -> Result<(), String> {
        match event.meaning {
            Meaning::Said => {
                self.ctx.emit(event.line);
            }
            Meaning::Content(piece) => {
                self.content.push(&piece);
                self.ctx.emit(event.line);
            }
            Meaning::Progress(fraction) => {
                self.ctx.progress(fraction);
            }
            Meaning::Used(usage) => {
                self.ctx.usage(usage);
            }
            Meaning::ToolStarted(call) => self.calls.start(&self.ctx, call)?,
            Meaning::ToolEnded(id, end) => self.calls.end(&id, end)?,
            Meaning::Result(output) => {
                self.result = Ok(Some(output));
                self.ctx.emit(event.line);
            }
            Meaning::Unreadable(fault) => {
                self.result = Err(Lost::Unreadable(fault.clone()));
                return Err(fault);
            }
        }
        self.events += 1;
        Ok(())
    }

    /// Notes that the program said what its output is, at a length that is not read.
    pub(crate) fn cut_result(&mut self) {
        self.result = Err(Lost::Cut);
    }

    /// Emits lines that are no events.
    pub(crate) fn emit(&mut self, lines: Payload) {
        self.events += 1;
        self.ctx.emit(lines);
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    /// Yields what the program said is its output, if it did.
    pub(crate) fn result(&self) -> Result<Option<&Payload>, &Lost> {
        self.result.as_ref().map(Option::as_ref)
    }

    /// Yields the answer's text so far.
    pub(crate) const fn content(&self) -> &Content {
        &self.content
    }

    /// Ends its tool calls that are open.
    pub(crate) fn give_up_calls(&mut self, nothing_executes: bool) {
        self.calls.give_up(nothing_executes);
    }
}
