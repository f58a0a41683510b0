//! [`Node::release_lost`] lets go of what a node had of a run that was forgotten.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::store::StoredHold;
use quell_core::{EventKind, RunId};

use crate::foreign;
use crate::journal::Entry;
use crate::node::outputs::bytes_of_lost;
use crate::node::{Node, State, flags};
use crate::sync::waiters::Wakers;

/// What of a root in memory has ended with nodes that were forgotten.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// Work of the root itself, and of runs below it that earlier attempts have left.
    pub(crate) holds: Vec<(RunId, StoredHold)>,
    /// Runs of those of which nothing executes any more, children first, and of which the log does
    /// not tell it yet.
    pub(crate) quiesced: Vec<RunId>,
}

impl Node {
    /// Has a root name less of what earlier attempts have left, in its report and in the store. If
    /// it has ended, and nothing of it executes any more, it says so in its log, with the next
    /// number. That comes after what is said of the runs below.
    pub(crate) fn release_lost(self: &Arc<Self>, released: &Released) {
        let (now, mut wakers) = (self.shared.clock.now(), Wakers::new());
        {
            let mut state = self.lock();
            // A successor gives the numbers to other events.
            if self.is_left() || self.is_unkept() {
                return;
            }
            for run in &released.quiesced {
                let sinks = self.shared.sinks();
                let log = Arc::clone(self.log_of(&mut state));
                log.append(sinks, (run, now), 0, || EventKind::Quiesced, &mut wakers);
            }
            let had_any = self.let_go(&mut state, released);
            state.note_quiescence(released, self.shared.clock.wall(now));
            // One of which something executes here still says so itself, when that has ended.
            let is_over = state.times.ended.is_some() && state.life.is_quiescent();
            if had_any && is_over && !state.is_in_doubt() {
                let at = state.times.next(self.shared.clock.stamp(now));
                state.times.quiesced = Some(at);
                self.journal(|node| Entry::Quiesced(node, at));
                self.write(&mut state, now, EventKind::Quiesced, &mut wakers);
            }
            // Behind that: what is stored as open is released again by whoever has the run next.
            let own = released.holds.iter().filter(|(run, _)| *run == self.id);
            for (_, hold) in own {
                self.journal(|node| Entry::HoldEnded(node, hold.nr));
            }
        }
        foreign::wake(&self.shared.couriers, wakers);
    }

    /// Strikes what was released off what the run names, and gives back what it was charged for
    /// that. Equal entries stand for each other: each hold takes one of them away. Yields whether
    /// the run has named any.
    fn let_go(&self, state: &mut State, released: &Released) -> bool {
        let lost = &mut state.extra().lost;
        let before = (lost.len(), bytes_of_lost(lost));
        for (run, hold) in &released.holds {
            let work = hold.abandoned(*run);
            if let Some(place) = lost.iter().position(|named| *named == work) {
                lost.remove(place);
            }
        }
        let (left, bytes) = (lost.len(), before.1 - bytes_of_lost(lost));
        // What is released with the tree is counted as it is then.
        if self.flags() & flags::RELEASED == 0 {
            self.shared.ledger.release(self.account(state), bytes);
        }
        left < before.0
    }
}

impl State {
    /// Has the rows that the run has of earlier attempts say of which of them nothing executes any
    /// more. What was in doubt at their ends they name still.
    fn note_quiescence(&mut self, released: &Released, at: SystemTime) {
        let pausing = self.extra.as_mut().and_then(|extra| extra.pausing.as_mut());
        let Some(earlier) = pausing.and_then(|pausing| pausing.earlier.as_mut()) else { return };
        for row in earlier.rows.iter_mut().filter(|row| released.quiesced.contains(&row.run)) {
            (row.quiescent, row.quiesced_at) = (true, Some(at));
        }
    }
}
