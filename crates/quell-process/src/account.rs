//! [`Account`]: what a program says of its run.

use quell::{Payload, RunContext};

use crate::calls::Calls;
use crate::event::{Event, Meaning};

/// What a program says of its run, with lines that are events on stdout or stderr.
#[derive(Debug)]
pub(crate) struct Account {
    ctx: RunContext,
    calls: Calls,
    result: Result<Option<Payload>, Cut>,
    /// How many events there were, lines as well.
    events: u64,
}

/// The last line that was to be the output is longer than an event may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

impl Account {
    pub(crate) fn new(ctx: RunContext) -> Self {
        Self { ctx, calls: Calls::default(), result: Ok(None), events: 0 }
    }

    /// Writes it down, or yields why that cannot be.
    pub(crate) fn hear(&mut self, event: Event) -> Result<(), String> {
        match event.meaning {
            Meaning::Said => {
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
        }
        self.events += 1;
        Ok(())
    }

    /// Notes that the program said what its output is, at a length that is not read.
    pub(crate) fn cut_result(&mut self) {
        self.result = Err(Cut);
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
    pub(crate) fn result(&self) -> Result<Option<&Payload>, Cut> {
        self.result.as_ref().map(Option::as_ref).map_err(|cut| *cut)
    }

    /// Ends its tool calls that are open.
    pub(crate) fn give_up_calls(&mut self, nothing_executes: bool) {
        self.calls.give_up(nothing_executes);
    }
}
