//! How a lane goes from its holder to the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use quell_core::RunId;

use super::Candidate;
use super::rank::Rank;
use super::state::{Place, Queue, State, Who, lane_of};

impl<R: Candidate> State<R> {
    /// Takes in a root that is paused: it has its lane, and its turn among all nodes. If another
    /// one has the lane, that is yielded; one that only waits for its turn gives way.
    pub(super) fn enter_paused(&mut self, run: &Arc<R>) -> Option<RunId> {
        let lane = lane_of(&**run)?;
        let mut behind = BTreeMap::new();
        if let Some(queue) = self.lanes.get_mut(&lane.key) {
            let holder = Who::of(&queue.holder);
            let Some(Place::Turn(at)) = self.places.get(&holder).copied() else {
                return Some(queue.holder.id());
            };
            self.places.insert(holder, Place::Behind(at));
            behind = std::mem::take(&mut queue.behind);
            behind.insert(at, Arc::clone(&queue.holder));
        }
        let nth = self.next_number();
        self.lane_runs.add(&lane.key, run, nth);
        self.note_turn(run);
        let queue = Queue { holder: Arc::clone(run), behind };
        self.lanes.insert(Arc::clone(&lane.key), queue);
        None
    }

    /// Gives a run whose due time has come its lane, or has it wait for that.
    pub(super) fn enqueue(&mut self, run: Arc<R>) {
        let rank = Rank::of(&*run, self.next_number());
        let Some(lane) = lane_of(&*run) else {
            return self.make_ready(rank, &run);
        };
        let gives_way = match self.lanes.get(&lane.key) {
            Some(queue) => self.gives_way(&queue.holder, rank),
            None => None,
        };
        let Some(queue) = self.lanes.get_mut(&lane.key) else {
            let queue = Queue { holder: Arc::clone(&run), behind: BTreeMap::new() };
            self.lanes.insert(Arc::clone(&lane.key), queue);
            return self.make_ready(rank, &run);
        };
        let Some(at) = gives_way else {
            self.places.insert(Who::of(&run), Place::Behind(rank));
            queue.behind.insert(rank, run);
            return;
        };
        let holder = std::mem::replace(&mut queue.holder, Arc::clone(&run));
        match self.roots.get(&Who::of(&holder)) {
            Some(ticket) => self.groups.unpark(*ticket),
            None => drop(self.passing.remove(&at)),
        }
        self.places.insert(Who::of(&holder), Place::Behind(at));
        queue.behind.insert(at, holder);
        self.make_ready(rank, &run);
    }

    /// Tells whether the holder of a lane gives way to a run with this rank: it waits for its turn
    /// or a slot itself, and comes after it. Yields its own rank. One that has its turn among
    /// several nodes gives way to none.
    pub(super) fn gives_way(&self, holder: &Arc<R>, to: Rank) -> Option<Rank> {
        match self.places.get(&Who::of(holder)) {
            Some(Place::Turn(rank)) if to < *rank => Some(*rank),
            Some(Place::Ready(rank))
                if to < *rank && !holder.keeps_lane() && !self.keeps_turn(holder) =>
            {
                Some(*rank)
            }
            _ => None,
        }
    }

    /// Hands a lane over from its holder to the first run behind it that would still start.
    pub(super) fn hand_over(&mut self, lane: &Arc<str>, holder: &Arc<R>) {
        if !self.lanes.get(lane).is_some_and(|queue| Arc::ptr_eq(&queue.holder, holder)) {
            return;
        }
        while let Some(queue) = self.lanes.get_mut(lane)
            && let Some((rank, next)) = queue.behind.pop_first()
        {
            if next.is_wanted() {
                queue.holder = Arc::clone(&next);
                return self.make_ready(rank, &next);
            }
            // Stopped while it waited: it does not get the lane.
            self.places.remove(&Who::of(&next));
            self.unqueue(&next);
        }
        self.lanes.remove(lane);
    }

    /// Has the holder of a lane, or a run without one, wait for a slot, if it needs one: behind its
    /// turn, if there are several nodes.
    pub(super) fn make_ready(&mut self, rank: Rank, run: &Arc<R>) {
        if let Some(lane) = lane_of(&**run).filter(|_| !self.has_turn(run)) {
            self.places.insert(Who::of(run), Place::Turn(rank));
            return self.await_turn(&lane.key, run);
        }
        self.places.insert(Who::of(run), Place::Ready(rank));
        match self.roots.get(&Who::of(run)) {
            Some(ticket) => self.groups.park(*ticket, rank),
            None => drop(self.passing.insert(rank, Arc::clone(run))),
        }
    }
}
