//! [`State`] is what the lock of admission guards: the queues, the lanes, and the groups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use quell_core::limits;

use super::Candidate;
use super::change::{PIECE, Rest};
use super::groups::Groups;
use super::held::Ticket;
use super::lane_runs::LaneRuns;
use super::rank::Rank;
use super::turns::Turns;
use crate::failure::SubmitError;
use crate::gate::{Lane, LaneMark};
use crate::queue::{QueuePosition, RunLimits, Scope, WaitsFor};

/// The queues, the lanes and the groups; the invariants are those of
/// [`Admission`](super::Admission).
#[derive(Debug)]
pub(super) struct State<R> {
    /// The number of the place that was given last. Numbers order the queues below.
    number: u64,
    /// Where each waiting run stands, so that it can leave in the middle of a queue.
    pub(super) places: HashMap<Who, Place>,
    /// Runs whose due time has not come, the earliest first.
    due: BTreeMap<(Instant, u64), Arc<R>>,
    /// The lanes that a run holds, by their keys.
    pub(super) lanes: HashMap<Arc<str>, Queue<R>>,
    /// The roots of all lanes, those that are due later among them.
    pub(super) lane_runs: LaneRuns<R>,
    /// The turns in lanes that several nodes share; none if there is one node.
    pub(super) turns: Option<Turns>,
    /// The limits, the roots that come under them, and those that wait for a slot: they hold their
    /// lane, or need none.
    pub(super) groups: Groups<R>,
    /// The roots that start next because no limit concerns them, and they have their lane.
    pub(super) passing: BTreeMap<Rank, Arc<R>>,
    /// The roots that come under limits and are queued, or were released and are not quiescent.
    pub(super) roots: HashMap<Who, Ticket>,
}

/// A run that waits, runs or holds a lane: its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who(usize);

impl Who {
    pub(super) fn of<R>(run: &Arc<R>) -> Self {
        Self(Arc::as_ptr(run).addr())
    }
}

/// Where a run waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Due(Instant, u64),
    /// It holds its lane here, and waits for its turn among all nodes.
    Turn(Rank),
    Ready(Rank),
    Behind(Rank),
}

/// A lane that a run holds, and the runs behind it.
#[derive(Debug)]
pub(super) struct Queue<R> {
    /// The run that holds the lane: it waits for its turn among all nodes, or for a slot, or has
    /// started and not ended.
    pub(super) holder: Arc<R>,
    /// The runs that wait for the lane.
    pub(super) behind: BTreeMap<Rank, Arc<R>>,
}

impl<R: Candidate> State<R> {
    pub(super) fn new() -> Self {
        Self {
            number: 0,
            places: HashMap::new(),
            due: BTreeMap::new(),
            lanes: HashMap::new(),
            lane_runs: LaneRuns::new(),
            turns: None,
            groups: Groups::new(),
            passing: BTreeMap::new(),
            roots: HashMap::new(),
        }
    }

    pub(super) fn limits(&self, scope: &Scope) -> Option<RunLimits> {
        self.groups.limits(scope)
    }

    /// Begins to change the limits of a scope. Yields what is left to be done.
    pub(super) fn change(&mut self, scope: &Scope, limits: RunLimits) -> Option<Rest> {
        self.groups.change(scope, limits)
    }

    /// Goes on with a change. Yields what is left to be done.
    pub(super) fn go_on(&mut self, scope: &Scope, limits: RunLimits, rest: Rest) -> Option<Rest> {
        self.groups.go_on(scope, limits, rest)
    }

    /// Gives a root its slots that runs already.
    pub(super) fn count_in(&mut self, run: &Arc<R>) {
        let who = Who::of(run);
        if !self.waits(run) && !self.roots.contains_key(&who) {
            self.roots.insert(who, self.groups.occupy(run));
        }
    }

    /// Asks the lane of a new root. Yields the roots that it supersedes, the newest first.
    pub(super) fn ask_lane(&self, run: &R) -> Result<Vec<Arc<R>>, SubmitError> {
        let Some(lane) = lane_of(run) else { return Ok(Vec::new()) };
        let unchanged_since = run.gate().and_then(|gate| gate.unchanged_since);
        let holder = self.lanes.get(&lane.key).map(|queue| &queue.holder);
        self.lane_runs.ask(lane, unchanged_since, holder)
    }

    /// Adds a piece of the roots of a lane to a list, the newest first of those with a number below
    /// this one. Yields the number below which the next piece is, if there may be one.
    pub(super) fn list(&self, lane: &str, below: u64, to: &mut Vec<Arc<R>>) -> Option<u64> {
        let (mut last, before) = (None, to.len());
        for (number, run) in self.lane_runs.newest_first(lane, below).take(PIECE) {
            last = Some(number);
            to.push(Arc::clone(run));
        }
        last.filter(|_| to.len() - before == PIECE)
    }

    pub(super) fn mark(&self) -> LaneMark {
        LaneMark(self.number)
    }

    /// Tells whether a root that is due would have to wait for its lane or a slot, once those that
    /// it supersedes wait no longer.
    pub(super) fn has_to_wait(&self, run: &R, superseded: &[Arc<R>]) -> bool {
        let queue = lane_of(run).and_then(|lane| self.lanes.get(&lane.key));
        let rank = Rank::of(run, self.number + 1);
        let leaves = |holder| self.waits(holder) && is_among(superseded, holder);
        let holds = |holder| !leaves(holder) && self.gives_way(holder, rank).is_none();
        queue.is_some_and(|queue| holds(&queue.holder)) || !self.has_room(run)
    }

    /// Tells whether a root has a slot as soon as it asks for one, or needs none.
    pub(super) fn has_room(&self, run: &R) -> bool {
        passes_by(run) || self.groups.has_room(run)
    }

    /// Yields the scope that lets no more roots wait, and how many it lets. Those that the new root
    /// supersedes wait no longer.
    pub(super) fn full_queue(&self, run: &R, superseded: &[Arc<R>]) -> Option<(Scope, usize)> {
        if passes_by(run) {
            return None;
        }
        let leaving = superseded.iter().filter(|run| self.waits(run));
        let leaving: Vec<_> =
            leaving.filter_map(|run| self.roots.get(&Who::of(run)).copied()).collect();
        self.groups.full_queue(run, &leaving)
    }

    /// Takes out the superseded roots of a lane that wait: from here on none of them starts. Puts
    /// the holder of the lane last.
    pub(super) fn supersede(&mut self, superseded: &mut [Arc<R>]) {
        let holds = |run: &Arc<R>| {
            let queue = lane_of(&**run).and_then(|lane| self.lanes.get(&lane.key));
            queue.is_some_and(|queue| Arc::ptr_eq(&queue.holder, run))
        };
        // It would hand the lane over to one of the others.
        superseded.sort_by_cached_key(holds);
        for run in superseded {
            if self.waits(run) {
                self.leave(run);
            }
        }
    }

    /// Takes in a root.
    pub(super) fn enter(&mut self, run: &Arc<R>, due: Option<Instant>) {
        self.queue(run);
        if let Some(lane) = lane_of(&**run) {
            let number = self.next_number();
            self.lane_runs.add(&lane.key, run, number);
        }
        match due {
            Some(due) => self.await_due(run, due),
            None => self.enqueue(Arc::clone(run)),
        }
    }

    /// Takes in a root that goes on after a pause.
    pub(super) fn enter_again(&mut self, run: &Arc<R>) {
        self.queue(run);
        let rank = Rank::of(&**run, self.next_number());
        debug_assert!(
            lane_of(&**run).is_none_or(|lane| {
                self.lanes.get(&lane.key).is_some_and(|queue| Arc::ptr_eq(&queue.holder, run))
            }),
            "it has kept its lane"
        );
        self.make_ready(rank, run);
    }

    pub(super) fn await_due(&mut self, run: &Arc<R>, due: Instant) {
        let number = self.next_number();
        self.places.insert(Who::of(run), Place::Due(due, number));
        self.due.insert((due, number), Arc::clone(run));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, _)| *due)
    }

    /// Tells whether a run waits for its due time, its lane or a slot.
    pub(super) fn waits(&self, run: &Arc<R>) -> bool {
        self.places.contains_key(&Who::of(run))
    }

    pub(super) fn is_behind(&self, run: &Arc<R>) -> bool {
        matches!(self.places.get(&Who::of(run)), Some(Place::Behind(_)))
    }

    /// Takes out a run that waits or has no use for its lane any more, and hands that over.
    pub(super) fn leave(&mut self, run: &Arc<R>) {
        let lane = lane_of(&**run);
        let _left = match self.places.remove(&Who::of(run)) {
            Some(Place::Due(due, number)) => self.due.remove(&(due, number)),
            Some(Place::Behind(rank)) => lane
                .and_then(|lane| self.lanes.get_mut(&lane.key))
                .and_then(|queue| queue.behind.remove(&rank)),
            Some(Place::Ready(rank)) => self.passing.remove(&rank),
            Some(Place::Turn(_)) | None => None,
        };
        self.unqueue(run);
        if let Some(lane) = lane {
            self.lane_runs.remove(&lane.key, run);
            self.forget_turn(run);
            // Does nothing for a run that waited behind the holder and never had the lane.
            self.hand_over(&lane.key, run);
        }
    }

    /// Takes a root out of its queue, if it waits there. Its lane it keeps.
    pub(super) fn stand_down(&mut self, run: &Arc<R>) {
        if let Some(Place::Ready(rank)) = self.places.remove(&Who::of(run)) {
            self.passing.remove(&rank);
        }
        self.unqueue(run);
    }

    /// Takes back the slots of a root, if it has them.
    pub(super) fn vacate(&mut self, run: &Arc<R>) {
        if let Some(ticket) = self.roots.remove(&Who::of(run)) {
            self.groups.remove(ticket);
        }
    }

    /// Takes out the runs that may start now, a piece of them. Tells whether there may be more:
    /// many were due at once, or a limit was raised. Who has raised it comes again; for what is due
    /// the control thread does.
    pub(super) fn release(&mut self, now: Instant) -> (Vec<Arc<R>>, bool) {
        let (mut free, mut left) = (Vec::new(), PIECE);
        while left > 0
            && let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            left -= 1;
            let run = first.remove();
            // A root goes on to its lane and a slot; a child starts at once.
            if !run.starts_when_due() {
                self.enqueue(run);
                continue;
            }
            self.places.remove(&Who::of(&run));
            if run.is_wanted() {
                free.push(run);
            }
        }
        // As many again: all that was taken in may go.
        left += PIECE;
        while left > 0
            && let Some((_, run)) = self.passing.pop_first()
        {
            left -= 1;
            self.places.remove(&Who::of(&run));
            if run.is_wanted() {
                free.push(run);
            }
        }
        while let Some(run) = self.groups.pop(&mut left) {
            self.places.remove(&Who::of(&run));
            // A run that was stopped takes no slot: its end is on the way to `leave`.
            if !run.is_wanted() {
                self.unqueue(&run);
            } else if let Some(ticket) = self.roots.get(&Who::of(&run)) {
                self.groups.start(*ticket);
                free.push(run);
            }
        }
        (free, left == 0)
    }

    /// Tells where a run waits, and how many would start before it.
    pub(super) fn position(
        &self,
        run: &Arc<R>,
        wall: impl FnOnce(Instant) -> SystemTime,
    ) -> Option<QueuePosition> {
        match self.places.get(&Who::of(run))? {
            Place::Due(due, _) => Some(QueuePosition::new(0, WaitsFor::DueTime(wall(*due)))),
            Place::Turn(_) => {
                let lane = &run.gate()?.lane.as_ref()?.key;
                Some(QueuePosition::new(0, WaitsFor::Lane(Arc::clone(lane))))
            }
            Place::Ready(rank) => {
                let ticket = *self.roots.get(&Who::of(run))?;
                let (scope, ahead) = self.groups.standing(ticket, *rank)?;
                Some(QueuePosition::new(ahead, WaitsFor::Slot(scope)))
            }
            Place::Behind(rank) => {
                let lane = &run.gate()?.lane.as_ref()?.key;
                let queue = self.lanes.get(lane)?;
                let holder = usize::from(self.waits(&queue.holder));
                let behind = queue.behind.range(..*rank).take(limits::QUEUE_AHEAD_MAX).count();
                Some(QueuePosition::new(holder + behind, WaitsFor::Lane(Arc::clone(lane))))
            }
        }
    }

    /// How many runs wait or hold a slot or a lane.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn len(&self) -> usize {
        let behind = self.lanes.values().map(|queue| queue.behind.len()).sum::<usize>();
        let (waiting, running) = self.groups.totals();
        let turns = self.places.values().filter(|place| matches!(place, Place::Turn(_))).count();
        let waiting = waiting + self.passing.len();
        debug_assert_eq!(self.places.len(), self.due.len() + waiting + behind + turns);
        let granted = self.turns.as_ref().map_or(0, Turns::len);
        self.places.len() + self.lanes.len() + self.lane_runs.len() + running + granted
    }

    /// Counts a root as queued, if limits concern it.
    fn queue(&mut self, run: &Arc<R>) {
        if !passes_by(&**run) {
            self.roots.insert(Who::of(run), self.groups.queue(run));
        }
    }

    /// Counts a root as queued no longer, if it is.
    pub(super) fn unqueue(&mut self, run: &Arc<R>) {
        let who = Who::of(run);
        if let Some(ticket) = self.roots.get(&who).copied()
            && !self.groups.is_running(ticket)
        {
            self.groups.unpark(ticket);
            self.groups.remove(ticket);
            self.roots.remove(&who);
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

pub(super) fn lane_of<R: Candidate>(run: &R) -> Option<&Lane> {
    run.gate()?.lane.as_ref()
}

/// Tells whether no limit concerns a root.
pub(super) fn passes_by<R: Candidate>(run: &R) -> bool {
    run.gate().is_some_and(|gate| gate.is_unlimited)
}

fn is_among<R>(runs: &[Arc<R>], run: &Arc<R>) -> bool {
    runs.iter().any(|one| Arc::ptr_eq(one, run))
}
