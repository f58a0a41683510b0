//! [`Node::record_end`] records that a run has become terminal, and what of it still executes;
//! [`child_ended`] counts it out at its parent.

use std::sync::Arc;
use std::time::Instant;

use quell_core::lifecycle::{Effects, Input};
use quell_core::{Abandoned, EventKind, RunStatus, ToolOutcome, Work};

use crate::failure::RunFailure;
use crate::foreign;
use crate::journal::Entry;
use crate::node::{Node, Piece, Reader, State, flags};
use crate::step::StopOrigin;
use crate::step::deferred::{ChildEnd, Deferred, Propagation};

impl Node {
    /// Names what still executes. It comes before the end: nothing is added to a final report.
    fn record_abandoned(&self, state: &mut State, now: Instant, deferred: &mut Deferred) {
        if !deferred.fx.body_abandoned && state.extra.is_none() {
            return;
        }
        let mut abandoned = Vec::new();
        if deferred.fx.body_abandoned {
            abandoned.push(Abandoned::new(self.id, Arc::clone(&self.name), Work::Body));
        }
        if let Some(extra) = &mut state.extra {
            let works = extra.works.iter();
            abandoned.extend(works.map(|(_, Piece { what, name, site })| {
                let mut left = Abandoned::new(self.id, Arc::clone(name), *what);
                left.site = site.map(|site| site.to_string().into());
                left
            }));
            // What earlier attempts have left below is in the log, with the ends of those runs.
            let (own, below) =
                extra.lost.iter().cloned().partition::<Vec<_>, _>(|it| it.run == self.id);
            abandoned.extend(own);
            Abandoned::name_nodes_once(&mut abandoned);
            extra.abandoned.clone_from(&abandoned);
            extra.abandoned.extend(below);
            Abandoned::name_nodes_once(&mut extra.abandoned);
            if let Some(link) = extra.link.take() {
                deferred.rare().link = Some(link);
            }
        } else if !abandoned.is_empty() {
            state.extra().abandoned.clone_from(&abandoned);
        }
        for Abandoned { name, what, .. } in abandoned {
            if !self.is_unkept() {
                self.shared.counters.work_abandoned(what);
            }
            self.write(state, now, EventKind::Abandoned { what, name }, &mut deferred.wakers);
        }
    }

    /// Records what the run leaves: what still executes, and calls without an outcome.
    pub(super) fn record_left(&self, state: &mut State, now: Instant, deferred: &mut Deferred) {
        self.record_abandoned(state, now, deferred);
        self.close_calls(state, &ToolOutcome::Unknown, now, &mut deferred.wakers);
    }

    /// Gives back what the run took of the bounds, before the event is written that says so: who
    /// reads that, or is woken, finds room. The bytes of a tree that is to be stored are given back
    /// when it is. `is_last` says that nothing of a tree executes any more.
    pub(super) fn give_back(&self, state: &State, fx: &Effects, is_last: bool) {
        if fx.ended.is_some() {
            self.shared.ledger.count_out(self.account(state));
            self.shared.registry.count_out();
        }
        let is_stored = self.shared.journal.is_some() && !self.is_unkept();
        if is_last && !is_stored {
            self.release_bytes(state);
        }
    }

    pub(super) fn record_end(
        self: &Arc<Self>,
        state: &mut State,
        status: RunStatus,
        now: Instant,
        deferred: &mut Deferred,
    ) -> u32 {
        let ticks = state.times.next(self.shared.clock.stamp(now));
        let non_quiescent = !state.life.is_quiescent();
        if non_quiescent {
            // The stream must know what may follow before it meets the event.
            self.set(flags::ENDED_NON_QUIESCENT);
        } else {
            state.times.quiesced = Some(ticks);
            state.leave_call();
        }
        let rollback = state.is_rollback();
        // What is taken back ends and leaves at once: nothing of it may come behind that.
        let is_over = !non_quiescent && !state.is_in_doubt();
        self.count_end(state, status, ticks, is_over);
        let leaves = rollback && is_over && state.parent_id.is_none();
        if !leaves {
            // Before the event, which follows from it: if the process ends between the two, a
            // reader of the store still finds the end that the run had.
            self.journal(|node| Entry::Ended(node, rollback));
        }
        let stays = self.write_end(state, status, non_quiescent, now, &mut deferred.wakers);
        if leaves {
            self.journal(|node| Entry::TakenBack(node, ticks));
        }
        state.times.ended = Some(ticks);
        self.end_span(state, deferred);
        if state.parent_id.is_none() {
            self.shared.registry.count_root_out(&mut deferred.wakers);
        }
        let parent = state.parent.as_ref().and_then(std::sync::Weak::upgrade);
        let unseen_failure = status == RunStatus::Failed && state.reader == Reader::GoneUnread;
        // Nobody can ask for the error itself any more: drop it now, outside of the lock. The
        // parent takes it over if it fails of it.
        if state.failure.is_some()
            && state.reader != Reader::Held
            && !(unseen_failure && parent.is_some())
        {
            deferred.rare().failure = state.take_failure();
        }
        // A root's is asked by nobody.
        if let Some(parent) = parent {
            let gone = ChildEnd {
                status,
                slot: state.slot,
                unseen_failure,
                non_quiescent,
                stays,
                charged: self.charged(state),
                omitted: state.children.omitted().copied().map(Box::new),
            };
            deferred.propagations.push(Propagation::ChildEnded {
                parent,
                child: Arc::clone(self),
                gone,
            });
        }
        if non_quiescent { flags::ENDED_NON_QUIESCENT } else { 0 }
    }
}

/// Counts a child out, and keeps it for the report if there is a row for it.
pub(super) fn child_ended(
    deferred: &mut Deferred,
    parent: &Arc<Node>,
    child: &Arc<Node>,
    gone: &ChildEnd,
    now: Instant,
) {
    let input = Input::ChildEnded {
        unseen_failure: gone.unseen_failure,
        non_quiescent: gone.non_quiescent,
    };
    let (mut unlinked, mut unseen) = (None, None);
    parent.step_into(deferred, input, StopOrigin::default(), now, |state, _: &Effects| {
        if gone.unseen_failure {
            let failure = child.lock().take_failure();
            if state.failure.is_none() {
                state.failure =
                    Some(RunFailure::of_child(child.id, Arc::clone(&child.name), failure));
            } else {
                unseen = failure;
            }
        }
        if !gone.stays {
            unlinked = state.children.unlink(gone.slot);
            state.children.omit(gone.status, gone.omitted.as_deref());
            if gone.charged > 0 {
                let log = parent.log_of(state);
                log.count_charge(0, gone.charged);
                child.shared.ledger.release(log.account.as_ref(), gone.charged);
            }
        }
    });
    if unlinked.is_some() {
        child.shared.registry.remove(child.id, child);
    }
    if unseen.is_some() {
        // It may be the last claim on an error that is not ours.
        foreign::run(&child.shared.couriers, move || drop(unseen));
    }
}
