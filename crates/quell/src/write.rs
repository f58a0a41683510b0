//! What a body writes: within bounds, and not after the end.

use std::sync::Arc;
use std::time::Instant;

use quell_core::{EventKind, Stopped, ToolOutcome};

use crate::context::Written;
use crate::events::Entry;
use crate::faults;
use crate::node::{Extra, Node, State};
use crate::waiters::Wakers;

impl Node {
    /// Writes on behalf of the body: within a bound, and not after the end.
    pub(crate) fn write_from_body(
        &self,
        what: &str,
        bytes: usize,
        bytes_max: usize,
        write: impl FnOnce(&mut State) -> Option<EventKind>,
    ) -> Written {
        let now = self.shared.clock.now();
        let mut wakers = Wakers::new();
        let written = {
            let mut state = self.lock();
            if state.times.ended.is_some() && !faults::on("accept-late-write") {
                state.late = state.late.saturating_add(1);
                return Written::Late;
            }
            if bytes > bytes_max {
                let refused = EventKind::Refused { what: what.into(), bytes, bytes_max };
                self.write(&mut state, now, refused, &mut wakers);
                Written::TooLarge
            } else {
                // What follows is inlined, so that an event is made in its place in the log.
                if let Some(kind) = write(&mut state) {
                    let entry = Entry { run: self.id, at: now, kind };
                    self.log_of(&mut state).append(&self.shared, entry, &mut wakers);
                    state.touch(self, now);
                }
                Written::Yes
            }
        };
        crate::foreign::wake(wakers);
        written
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
