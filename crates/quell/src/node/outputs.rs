//! [`Said`] is what a run keeps of what its body says and returns; [`partial`] has the one order of
//! partial output.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use quell_core::{Abandoned, EventKind, Payload, RunId, limits};

use crate::failure::SubmitError;
use crate::foreign;
use crate::log::Log;
use crate::metadata::Metadata;
use crate::node::write::{Bound, Written};
use crate::node::{Node, State, flags};
use crate::spec::counted;
use crate::sync::waiters::Wakers;
use crate::tables::ledger::Full;

/// Yields the partial output of a run that does not complete: the output that it set last, else
/// what its body returned after the stop, else what it emitted. Reports, branches and the wire all
/// take it from here.
pub(crate) fn partial<T>(
    set: Option<T>,
    returned: Option<T>,
    emitted: impl FnOnce() -> Option<T>,
) -> Option<T> {
    set.or(returned).or_else(emitted)
}

impl Node {
    /// Yields the partial output of the run as a value of the caller's type.
    pub(crate) fn partial_output<T>(
        &self,
        returned: Option<T>,
        read: impl Fn(Payload) -> Option<T>,
    ) -> Option<T> {
        let (set, has_emitted) = {
            let state = self.lock();
            (state.output.clone(), state.has_emitted)
        };
        let emitted = || has_emitted.then(|| Emitted::of(self, [self.id]))?.take(self.id);
        partial(set.and_then(&read), returned, || emitted().and_then(read))
    }

    /// Keeps what the body says of itself, in the place of what it said before, unless it is too
    /// large or too late.
    pub(crate) fn write_kept(&self, said: Said, payload: Payload) -> Written {
        self.write_kept_if(said, payload, |_| true).unwrap_or(Written::Recorded)
    }

    /// Keeps the summary that `change` makes of the one before, also in the place of those that
    /// `change` itself has set: called again, it would set them again.
    pub(crate) fn update_summary(
        &self,
        mut change: impl FnMut(Option<&Payload>) -> Payload,
    ) -> Written {
        loop {
            let (before, seen) = {
                let state = self.lock();
                let extra = state.extra.as_ref();
                extra.map_or((None, 0), |extra| (extra.summary.clone(), extra.summary_sets.all))
            };
            let payload = change(before.as_ref());
            let is_expected = |state: &mut State| state.extra().summary_sets.are_own_since(seen);
            if let Some(written) = self.write_kept_if(Said::Summary, payload, is_expected) {
                return written;
            }
        }
    }

    /// Keeps a payload if what was said before is as expected; otherwise yields none.
    fn write_kept_if(
        &self,
        said: Said,
        payload: Payload,
        is_expected: impl FnOnce(&mut State) -> bool,
    ) -> Option<Written> {
        if self.shared.journal.is_some() {
            // Its text is written now, by the body, and not when it is stored.
            payload.len();
        }
        let (now, mut wakers) = (self.shared.clock.now(), Wakers::new());
        let (bytes, bytes_max) = (payload.bytes_max(), limits::PAYLOAD_BYTES_MAX);
        // A payload that is replaced or refused may hold a foreign value: drop it after the lock is
        // released.
        let unwanted;
        let what = said.as_str();
        let written = match self.lock_for_body(Bound { what, bytes, bytes_max }, now, &mut wakers) {
            Ok(mut state) => {
                if !is_expected(&mut state) {
                    unwanted = Some(payload);
                    None
                } else if let Err(max) = self.charge_for(&mut state, said, bytes) {
                    let kind = EventKind::Refused { what: what.into(), bytes, bytes_max: max };
                    self.write(&mut state, now, kind, &mut wakers);
                    unwanted = Some(payload);
                    Some(Written::TooLarge)
                } else {
                    unwanted = said.place(&mut state).replace(payload);
                    if matches!(said, Said::Summary) {
                        state.extra().summary_sets.note();
                    }
                    Some(Written::Recorded)
                }
            }
            Err(not) => {
                unwanted = Some(payload);
                Some(not)
            }
        };
        foreign::wake(&self.shared.couriers, wakers);
        foreign::release(unwanted);
        written
    }

    /// Keeps the payload that a body has returned without having set an output, in case its run
    /// does not complete. One that is too large is for the handle alone, as every other value is.
    pub(crate) fn keep_returned(&self, state: &mut State, payload: Payload) -> Option<Payload> {
        let bytes = payload.bytes_max();
        let fits = bytes <= limits::PAYLOAD_BYTES_MAX
            && state.output.is_none()
            && self.charge_for(state, Said::Returned, bytes).is_ok();
        if fits { Said::Returned.place(state).replace(payload) } else { Some(payload) }
    }

    /// Keeps a payload, or none, in the place of what was said before, and yields that: the caller
    /// drops it when the lock is released.
    pub(crate) fn keep_charged(
        &self,
        state: &mut State,
        said: Said,
        payload: Option<Payload>,
    ) -> Result<Option<Payload>, usize> {
        let bytes = payload.as_ref().map_or(0, Payload::bytes_max);
        self.charge_for(state, said, bytes)?;
        Ok(std::mem::replace(said.place(state), payload))
    }

    /// Charges the tree for what is said, in place of what was said before.
    fn charge_for(&self, state: &mut State, said: Said, bytes: usize) -> Result<(), usize> {
        let before = said.place(state).as_ref().map_or(0, |before| counted(before.bytes_max()));
        let bytes = counted(bytes);
        if before.max(bytes) == 0 {
            return Ok(());
        }
        let (account, ledger) = (self.account(state), &self.shared.ledger);
        // Charge before releasing: if the charge is refused, the former payload stays, paid for.
        let charged = ledger.charge(account, bytes);
        charged.map_err(|(Full::All(max) | Full::Share(max))| max)?;
        ledger.release(account, before);
        if state.parent_id.is_some()
            && let Some(log) = &state.log
        {
            log.count_charge(bytes, before);
        }
        Ok(())
    }

    /// Yields the bytes of what the run has of its spec, with annotations that were added since.
    fn brought_bytes(&self) -> usize {
        let of_about = self.about().map_or(0, Metadata::bytes);
        self.name.len() + of_about + self.input().map_or(0, Payload::len)
    }

    /// Charges the tree for so many bytes more of these.
    pub(crate) fn charge_more(&self, state: &State, more: usize) -> Result<(), SubmitError> {
        let had = self.brought_bytes();
        let bytes = counted(had + more) - counted(had);
        let charge = self.shared.charge(self.account(state), bytes)?;
        charge.keep();
        if state.parent_id.is_some()
            && let Some(log) = &state.log
        {
            log.count_charge(bytes, 0);
        }
        Ok(())
    }

    /// Yields the bytes that the tree was charged for because of this run.
    pub(crate) fn charged(&self, state: &State) -> usize {
        let brought = counted(self.brought_bytes());
        let of = |said: &Option<Payload>| said.as_ref().map_or(0, |said| counted(said.bytes_max()));
        let extra = state.extra.as_ref();
        let extra = extra.map_or(0, |extra| {
            let pausing = extra.pausing.as_ref();
            let pausing = pausing.map_or(0, |pausing| {
                let earlier = pausing.earlier.as_ref().map_or(0, |earlier| earlier.bytes());
                of(&pausing.request) + of(&pausing.answer) + earlier
            });
            of(&extra.summary) + of(&extra.returned) + pausing + bytes_of_lost(&extra.lost)
        });
        brought + of(&state.output) + extra
    }

    /// Gives back what was charged for the tree of a root. Called under the lock, when nothing of
    /// the tree executes any more: once, or with a store any number of times.
    pub(crate) fn release_bytes(&self, state: &State) {
        if self.shared.journal.is_some() && !self.mark(flags::RELEASED) {
            return;
        }
        let below = state.log.as_ref().map_or(0, |log| log.end_charges());
        self.shared.ledger.release(self.account(state), self.charged(state) + below);
    }
}

/// Yields what a tree is charged for what earlier processes have left of it.
pub(crate) fn bytes_of_lost(lost: &[Abandoned]) -> usize {
    lost.iter().map(|lost| lost.name.len() + size_of::<Abandoned>()).sum()
}

/// What runs of a tree have emitted, as far as its log holds that; of its root also in earlier
/// processes.
pub(crate) struct Emitted(HashMap<RunId, Vec<Payload>>);

impl Emitted {
    /// Reads the log of a run once for all of these, which are of its tree, after the logs that the
    /// tree was detached from.
    pub(crate) fn of(node: &Node, runs: impl IntoIterator<Item = RunId>) -> Self {
        let mut said: HashMap<_, _> = runs.into_iter().map(|run| (run, Vec::new())).collect();
        let mut logs: Vec<Arc<Log>> = {
            let state = node.lock();
            if let Some((own, earlier)) = said.get_mut(&node.id).zip(state.earlier()) {
                own.extend(earlier.emitted.iter().cloned());
            }
            state.log.iter().map(Arc::clone).collect()
        };
        while let Some(before) = logs.last().and_then(|log| log.before()) {
            logs.push(before);
        }
        for log in logs.iter().rev() {
            log.lock().entries.each(|entry| {
                if let EventKind::Emitted(payload) = &entry.kind
                    && let Some(said) = said.get_mut(&entry.run)
                {
                    said.push(payload.clone());
                }
            });
        }
        Self(said)
    }

    /// Yields what a run has emitted, as a list that is written when somebody reads it.
    pub(crate) fn take(&mut self, run: RunId) -> Option<Payload> {
        self.0.remove(&run).filter(|said| !said.is_empty()).map(listed)
    }
}

/// Makes a list of what a run has emitted, which is written when somebody reads it.
pub(crate) fn listed(said: Vec<Payload>) -> Payload {
    let bytes = said.iter().map(|said| said.len() + ",".len()).sum::<usize>();
    Payload::json_later(said, bytes + "[]".len())
}

/// How often the summary was set, and by whom of late.
#[derive(Default)]
pub(crate) struct SummarySets {
    /// How often in all.
    all: u64,
    /// The thread that set it last.
    by: Option<ThreadId>,
    /// How often before all that this thread has set since another one did.
    before: u64,
}

impl SummarySets {
    fn note(&mut self) {
        let own = Some(thread::current().id());
        if self.by != own {
            (self.by, self.before) = (own, self.all);
        }
        self.all += 1;
    }

    /// Tells whether none but this thread has set the summary since it was set so often. A change
    /// of the summary is called by one thread, so that what that has set meanwhile is the change's.
    fn are_own_since(&self, seen: u64) -> bool {
        self.all == seen || self.by == Some(thread::current().id()) && self.before <= seen
    }
}

/// What a run keeps of what its body says.
#[derive(Clone, Copy)]
pub(crate) enum Said {
    Output,
    Summary,
    /// What the body returned, if it set no output.
    Returned,
    /// What a pause asks.
    Request,
    /// The answer to a pause.
    Answer,
}

impl Said {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Output | Self::Returned => "output",
            Self::Summary => "summary",
            Self::Request => "request of a pause",
            Self::Answer => "answer to a pause",
        }
    }

    fn place(self, state: &mut State) -> &mut Option<Payload> {
        match self {
            Self::Output => &mut state.output,
            Self::Summary => &mut state.extra().summary,
            Self::Returned => &mut state.extra().returned,
            Self::Request => &mut state.extra().pausing().request,
            Self::Answer => &mut state.extra().pausing().answer,
        }
    }
}
