//! What a body writes: within bounds, and not after the end.

use std::sync::Arc;
use std::time::Instant;

use quell_core::{EventKind, Payload, Stopped, ToolOutcome, limits};

use crate::context::Written;
use crate::faults;
use crate::node::{Extra, Node, State};
use crate::sync::MutexGuard;
use crate::waiters::Wakers;

impl Node {
    /// Writes an event of the body down, unless it is too large or too late.
    pub(crate) fn write_event(&self, bytes: usize, make: impl FnOnce() -> EventKind) -> Written {
        let (now, mut wakers) = (self.shared.clock.now(), Wakers::new());
        let bound = Bound { what: "event", bytes, bytes_max: limits::EVENT_BYTES_MAX };
        let written = match self.lock_for_body(bound, now, &mut wakers) {
            Ok(mut state) => {
                self.append(&mut state, now, make, &mut wakers);
                state.touch(self, now);
                Written::Yes
            }
            Err(not) => not,
        };
        crate::foreign::wake(wakers);
        written
    }

    /// Sets the output of the body, unless it is too large or too late.
    pub(crate) fn write_output(&self, output: Payload) -> Written {
        let (now, mut wakers) = (self.shared.clock.now(), Wakers::new());
        let (bytes, bytes_max) = (output.bytes_max(), limits::PAYLOAD_BYTES_MAX);
        // What was set before may hold a value of somebody else's: it goes when no lock is held.
        let mut before = None;
        let bound = Bound { what: "output", bytes, bytes_max };
        let written = match self.lock_for_body(bound, now, &mut wakers) {
            Ok(mut state) => {
                before = state.output.replace(output);
                Written::Yes
            }
            Err(not) => not,
        };
        crate::foreign::wake(wakers);
        drop(before);
        written
    }

    /// Locks the state for what the body writes: within a bound, and not after the end.
    fn lock_for_body(
        &self,
        Bound { what, bytes, bytes_max }: Bound,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<MutexGuard<'_, State>, Written> {
        let mut state = self.lock();
        if state.times.ended.is_some() && !faults::on("accept-late-write") {
            state.late = state.late.saturating_add(1);
            return Err(Written::Late);
        }
        if bytes > bytes_max {
            let refused = EventKind::Refused { what: what.into(), bytes, bytes_max };
            self.write(&mut state, now, refused, wakers);
            return Err(Written::TooLarge);
        }
        Ok(state)
    }

    pub(crate) fn skip_unregistered_hook(&self) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            let extra = state.extra();
            let number = extra.hooks_made;
            extra.hooks_made += 1;
            self.skip_hook(&mut state, number, self.shared.clock.now(), &mut wakers);
        }
        crate::foreign::wake(wakers);
    }

    /// Writes an event if something may start now, and notes it; otherwise yields why not.
    pub(crate) fn write_unless_fenced(
        &self,
        shielded: bool,
        kind: EventKind,
        note: impl FnOnce(&mut Extra),
    ) -> Option<Stopped> {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            if state.life.is_fenced(shielded) {
                return Some(self.refusal(&state));
            }
            note(state.extra());
            self.write(&mut state, self.shared.clock.now(), kind, &mut wakers);
        }
        crate::foreign::wake(wakers);
        None
    }

    /// Records the outcome of a tool call, unless the end of the run has done so.
    pub(crate) fn close_call(&self, call: &Arc<str>, outcome: ToolOutcome) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            let calls = &mut state.extra().calls;
            let Some(place) = calls.iter().position(|open| Arc::ptr_eq(open, call)) else { return };
            let call = if faults::on("record-a-call-twice") {
                Arc::clone(&calls[place])
            } else {
                calls.swap_remove(place)
            };
            let kind = EventKind::ToolEnded { call, outcome };
            self.write(&mut state, self.shared.clock.now(), kind, &mut wakers);
        }
        crate::foreign::wake(wakers);
    }

    /// Records one outcome for every call that is still open.
    pub(crate) fn close_calls(
        &self,
        state: &mut State,
        outcome: &ToolOutcome,
        now: Instant,
        wakers: &mut Wakers,
    ) {
        let Some(extra) = &mut state.extra else { return };
        for call in std::mem::take(&mut extra.calls) {
            self.write(state, now, EventKind::ToolEnded { call, outcome: outcome.clone() }, wakers);
        }
    }
}

/// What a body wants to write, and how large it may be.
struct Bound {
    what: &'static str,
    bytes: usize,
    bytes_max: usize,
}
