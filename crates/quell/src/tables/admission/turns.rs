//! [`Turns`] knows which runs have their turn in lanes that several nodes share.
//!
//! Whose turn it is the store decides, with the acceptance of a run or when it is asked later. A
//! run that holds its lane here waits for that first, and needs no slot meanwhile: who waits for
//! another node takes nobody's. The holder of a lane that waits may not be the one whose turn the
//! store says it is; then that one takes its place.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use quell_core::RunId;

use super::change::PIECE;
use super::state::{Place, Queue, State, Who, lane_of};
use super::{Admission, Candidate, Free};
use crate::gate::{Lane, OnBusy};
use crate::queue::Scope;
use crate::tables::lane_turns::LaneTurns;

/// The turns of the runs of one node.
#[derive(Debug)]
pub(super) struct Turns {
    /// What asks for them.
    asks: Arc<LaneTurns>,
    /// The runs that have their turn, until they leave.
    given: HashSet<Who>,
    /// The lanes whose holder waits for its turn, and perhaps some that have none any more.
    awaited: BTreeSet<Arc<str>>,
}

impl Turns {
    /// How many runs have their turn.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }
}

/// Notes that a root may not wait for another node: a full queue lets no more roots wait.
pub(super) fn refuse_to_wait(run: &impl Candidate, scope: Scope, max: usize) {
    if let Some(gate) = run.gate() {
        _ = gate.full.set((scope, max));
    }
}

impl<R: Candidate> State<R> {
    /// Tells whether a root may have to wait for another node, as the store decides later.
    pub(super) fn may_await_turn(&self, run: &R) -> bool {
        let waits_for_lane = |lane: &Lane| lane.on_busy != OnBusy::Reject;
        self.turns.is_some() && lane_of(run).is_some_and(waits_for_lane)
    }

    /// Tells whether the run may have its lane as far as other nodes are concerned.
    pub(super) fn has_turn(&self, run: &Arc<R>) -> bool {
        self.turns.as_ref().is_none_or(|turns| turns.given.contains(&Who::of(run)))
    }

    /// Tells whether the run has its turn from other nodes, and so gives way to none.
    pub(super) fn keeps_turn(&self, run: &Arc<R>) -> bool {
        self.turns.is_some() && self.has_turn(run)
    }

    /// Notes that the run has its turn, if that is to be known.
    pub(super) fn note_turn(&mut self, run: &Arc<R>) {
        if let Some(turns) = &mut self.turns {
            turns.given.insert(Who::of(run));
        }
    }

    pub(super) fn forget_turn(&mut self, run: &Arc<R>) {
        if let Some(turns) = &mut self.turns {
            turns.given.remove(&Who::of(run));
        }
    }

    /// Notes that the holder of a lane waits for its turn. Has it be asked for, unless the store
    /// has still to say what it decides with the acceptance.
    pub(super) fn await_turn(&mut self, lane: &Arc<str>, run: &R) {
        if let Some(turns) = &mut self.turns {
            turns.awaited.insert(Arc::clone(lane));
            if run.is_stored() {
                turns.asks.ask(lane);
            }
        }
    }

    /// Gives a run its turn: from now on it is the holder of its lane, or, if another one holds
    /// that which has its turn too, the next one.
    fn give_turn(&mut self, run: &Arc<R>) {
        match self.places.get(&Who::of(run)).copied() {
            Some(Place::Turn(rank)) => {
                self.note_turn(run);
                self.make_ready(rank, run);
            }
            Some(Place::Behind(rank)) => {
                self.note_turn(run);
                let Some(lane) = lane_of(&**run) else { return };
                let Some(queue) = self.lanes.get_mut(&lane.key) else { return };
                let holder = Who::of(&queue.holder);
                if let Some(Place::Turn(at)) = self.places.get(&holder).copied() {
                    queue.behind.remove(&rank);
                    let holder = std::mem::replace(&mut queue.holder, Arc::clone(run));
                    self.places.insert(Who::of(&holder), Place::Behind(at));
                    queue.behind.insert(at, holder);
                    self.make_ready(rank, run);
                }
            }
            Some(Place::Due(..)) => self.note_turn(run),
            // It has it already, or is over.
            Some(Place::Ready(_)) | None => {}
        }
    }

    /// Yields the run that holds a lane and waits for its turn.
    fn awaits(&self, lane: &str) -> Option<RunId> {
        let Queue { holder, .. } = self.lanes.get(lane)?;
        let place = self.places.get(&Who::of(holder));
        matches!(place, Some(Place::Turn(_))).then(|| holder.id())
    }

    /// Lists those of a piece of the lanes behind one whose holders wait for their turns. Yields
    /// the last lane of the piece as well, if there may be more behind it.
    fn awaited(&mut self, after: Option<&Arc<str>>) -> (Vec<Arc<str>>, Option<Arc<str>>) {
        let Some(turns) = &self.turns else { return (Vec::new(), None) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let piece = turns.awaited.range::<Arc<str>, _>((from, Bound::Unbounded)).take(PIECE);
        let piece: Vec<_> = piece.cloned().collect();
        let last = piece.last().filter(|_| piece.len() == PIECE).cloned();
        let (awaited, over): (Vec<_>, Vec<_>) =
            piece.into_iter().partition(|lane| self.awaits(lane).is_some());
        if let Some(turns) = &mut self.turns {
            for lane in over {
                turns.awaited.remove(&lane);
            }
        }
        (awaited, last)
    }
}

impl<R: Candidate> Admission<R> {
    /// Has runs wait for their turns among several nodes, if there are several.
    pub(crate) fn sharing(self, asks: Option<Arc<LaneTurns>>) -> Self {
        let (given, awaited) = (HashSet::new(), BTreeSet::new());
        self.state().turns = asks.map(|asks| Turns { asks, given, awaited });
        self
    }

    /// Gives a run its turn, of which the store has said so. Yields what may start.
    pub(crate) fn give_turn(&self, run: &Arc<R>, now: Instant) -> Free<R> {
        let mut state = self.state();
        state.give_turn(run);
        self.released(state, now).0
    }

    /// Yields the run that holds a lane here and waits for its turn.
    pub(crate) fn awaits_turn(&self, lane: &str) -> Option<RunId> {
        self.state().awaits(lane)
    }

    /// Lists some of the lanes behind one, in the order of their keys, in which a run waits for its
    /// turn. None only if there is none.
    pub(crate) fn awaited_lanes(&self, after: Option<&Arc<str>>) -> Vec<Arc<str>> {
        let mut after = after.cloned();
        loop {
            let (awaited, last) = self.state().awaited(after.as_ref());
            // In a whole piece nobody may wait any more: others do so behind it, perhaps.
            if !awaited.is_empty() || last.is_none() {
                return awaited;
            }
            after = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::naive::Run;
    use super::*;
    use crate::gate::Gate;
    use crate::sync::AtomicBool;
    use quell_core::RunKind;

    fn run(lane: &str) -> Arc<Run> {
        let lane = Some(Lane { key: lane.into(), on_busy: OnBusy::Enqueue });
        Arc::new(Run {
            id: RunId::from_text("a"),
            kind: RunKind::Agent,
            name: "a",
            owner: None,
            gate: Some(Gate { lane, ..Gate::default() }),
            wanted: AtomicBool::new(true),
            released: AtomicBool::new(false),
        })
    }

    #[test]
    fn a_lane_in_which_a_run_waits_is_listed_however_many_before_it_have_their_turn() {
        let (ours, now) = (Admission::new(&[], &[]).sharing(Some(Arc::default())), Instant::now());
        let lanes = (0..3 * PIECE).map(|nth| format!("lane {nth:04}"));
        let runs: Vec<_> = lanes.chain(["the last".to_owned()]).map(|lane| run(&lane)).collect();
        for run in &runs {
            ours.enter(run, now).unwrap().free.start();
        }
        for run in &runs[..3 * PIECE] {
            ours.give_turn(run, now).start();
        }
        assert_eq!(ours.awaited_lanes(None), ["the last".into()]);
        assert_eq!(ours.awaited_lanes(Some(&"the last".into())), []);
        assert_eq!(ours.awaited_lanes(None), ["the last".into()], "it is listed once more");
    }
}
