//! [`Written`] is what became of something that a body wrote: within bounds, and not after the end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell_core::{EventKind, HookOutcome, Payload, RunStatus, Stopped, ToolOutcome, limits};

use crate::foreign;
use crate::node::{Node, RareState, State, report};
use crate::sync::MutexGuard;
use crate::sync::waiters::Wakers;

impl Node {
    /// Writes down what the body emits, unless it is too large or too late.
    pub(crate) fn write_emitted(&self, payload: Payload) -> Written {
        let note = |state: &mut State| state.has_emitted = true;
        self.write_event(payload.len(), note, || EventKind::Emitted(payload))
    }

    /// Writes down how far the body is, unless it is too late.
    pub(crate) fn write_progress(&self, fraction: f32) -> Written {
        self.write_event(0, |_| {}, || EventKind::Progress(fraction))
    }

    /// Writes down that the outcome of a run that decides over others is known, unless nothing may
    /// start in it any more: then it yields why not.
    pub(crate) fn write_decided(
        &self,
        decided_at: SystemTime,
        decided_by: Option<Arc<str>>,
    ) -> Option<Stopped> {
        let decided_by = decided_by.map(cut_name);
        let decided = EventKind::Decided { decided_at, decided_by };
        let now = self.shared.clock.now();
        let note = |extra: &mut RareState| extra.decided = Some(self.shared.clock.ticks(now));
        self.write_unless_fenced(false, decided, note)
    }

    /// Writes down that a run over which this one decides never starts, unless that is too late.
    pub(crate) fn write_skipped(&self, name: Arc<str>, unmet: Arc<str>) -> Written {
        let (name, unmet) = (cut_name(name), cut_name(unmet));
        self.write_event(0, |_| {}, || EventKind::Skipped { name, unmet })
    }

    /// Writes down when all that the run decides over had ended, unless that is too late.
    pub(crate) fn write_settled(&self, settled_at: SystemTime) -> Written {
        let now = self.shared.clock.now();
        let note = |state: &mut State| {
            if let Some(decided) = state.extra.as_mut().and_then(|extra| extra.decided.take()) {
                self.shared.counters.settle_lag.record(self.shared.clock.ticks(now).since(decided));
            }
        };
        self.write_event(0, note, || EventKind::Settled { settled_at })
    }

    #[inline]
    fn write_event(
        &self,
        bytes: usize,
        note: impl FnOnce(&mut State),
        make: impl FnOnce() -> EventKind,
    ) -> Written {
        let (now, mut wakers) = (self.shared.clock.now(), Wakers::new());
        let bound = Bound { what: "event", bytes, bytes_max: limits::EVENT_BYTES_MAX };
        let written = match self.lock_for_body(bound, now, &mut wakers) {
            Ok(mut state) => {
                note(&mut state);
                self.append(&mut state, now, bytes, make, &mut wakers);
                state.touch(self, now);
                Written::Recorded
            }
            Err(not) => not,
        };
        foreign::wake(&self.shared.couriers, wakers);
        written
    }

    /// Locks the state for what the body writes: within a bound, and not after the end.
    pub(crate) fn lock_for_body(
        &self,
        Bound { what, bytes, bytes_max }: Bound,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<MutexGuard<'_, State>, Written> {
        let mut state = self.lock();
        if state.times.ended.is_some() || state.life.is_paused() {
            self.note_late(&mut state, 1);
            return Err(Written::Late);
        }
        if bytes > bytes_max {
            let refused = EventKind::Refused { what: what.into(), bytes, bytes_max };
            self.write(&mut state, now, refused, wakers);
            return Err(Written::TooLarge);
        }
        Ok(state)
    }

    /// Notes what came after the end of the run.
    pub(crate) fn note_late(&self, state: &mut State, writes: u32) {
        state.late = state.late.saturating_add(writes);
        self.shared.counters.writes_were_late(writes);
    }

    /// Records that a hook was not started.
    pub(crate) fn skip_hook(
        &self,
        state: &mut State,
        hook: u32,
        now: Instant,
        wakers: &mut Wakers,
    ) {
        state.extra().hooks_skipped += 1;
        if state.times.ended.is_none() {
            let outcome = HookOutcome::Skipped;
            self.write(state, now, EventKind::HookEnded { hook, outcome }, wakers);
        }
    }

    /// Counts a hook that is one too many. After the end one of a stop that has not come does not
    /// count.
    pub(crate) fn skip_unregistered_hook(&self, hook: u32, at_end: bool) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            let is_over = state.life.status().is_terminal() && !state.life.is_stopping();
            if at_end || !is_over {
                self.skip_hook(&mut state, hook, self.shared.clock.now(), &mut wakers);
            }
        }
        foreign::wake(&self.shared.couriers, wakers);
    }

    /// Writes an event if something may start now, and notes it; otherwise yields why not.
    pub(crate) fn write_unless_fenced(
        &self,
        shielded: bool,
        kind: EventKind,
        note: impl FnOnce(&mut RareState),
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
        foreign::wake(&self.shared.couriers, wakers);
        None
    }

    /// Records the outcome of a tool call, unless the end of the run has done so.
    pub(crate) fn close_call(&self, place: usize, call: &Arc<str>, outcome: ToolOutcome) {
        let mut wakers = Wakers::new();
        {
            let mut state = self.lock();
            let calls = &mut state.extra().calls;
            // The end of the run empties the list.
            if !calls.get(place).is_some_and(|open| Arc::ptr_eq(open, call)) {
                return;
            }
            let kind = EventKind::ToolEnded { call: calls.remove(place), outcome };
            self.write(&mut state, self.shared.clock.now(), kind, &mut wakers);
        }
        foreign::wake(&self.shared.couriers, wakers);
    }

    /// Writes the end of a run. Yields whether it stays in the list of its parent: it has a row in
    /// the report, or is to be found for another reason.
    pub(crate) fn write_end(
        &self,
        state: &mut State,
        status: RunStatus,
        non_quiescent: bool,
        now: Instant,
        wakers: &mut Wakers,
    ) -> bool {
        let (Some(parent), Some(log)) = (state.parent_id, &state.log) else {
            self.write(state, now, EventKind::Ended(status), wakers);
            return true;
        };
        let has_row = log.take_row(status);
        let stays = has_row || !state.children.is_empty() || non_quiescent;
        if stays {
            log.count_remains(report::remains(self, state));
        }
        let leaves = (!stays).then_some(parent);
        // A successor gives the number to another event.
        if !self.is_left() {
            log.append_end(self.shared.sinks(), (&self.id, now), status, leaves, wakers);
        }
        state.touch(self, now);
        stays
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
        for (_, call) in std::mem::take(&mut extra.calls) {
            self.write(state, now, EventKind::ToolEnded { call, outcome: outcome.clone() }, wakers);
        }
    }
}

/// Cuts a name that is too long.
pub(crate) fn cut_name(name: Arc<str>) -> Arc<str> {
    match limits::cut(&name, limits::LABEL_BYTES_MAX) {
        Cow::Borrowed(_) => name,
        Cow::Owned(cut) => cut.into(),
    }
}

/// What a body wants to write, and how large it may be.
pub(crate) struct Bound {
    /// What it is called in the event that refuses it.
    pub(crate) what: &'static str,
    /// How large it is.
    pub(crate) bytes: usize,
    /// How large it may be.
    pub(crate) bytes_max: usize,
}

/// What became of something that a body wrote.
///
/// # Examples
///
/// ```
/// use quell::{RunContext, Written};
///
/// fn say(ctx: &RunContext, text: String) -> bool {
///     ctx.emit(text) == Written::Recorded
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Written {
    /// It is in the log, or in the report.
    Recorded,
    /// It is over its bound and was refused; the log says so.
    TooLarge,
    /// The run has ended, or is paused; it was refused and counted.
    Late,
}
