//! [`Queue`]: lanes and slots as the rules have them. It is one list, which is gone through for
//! every question.

use std::cmp::Reverse;

use quell::OnBusy;

use super::script::{Bounds, Gate};

/// The roots that wait, run, are paused or linger.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// In the order in which they were accepted.
    entries: Vec<Entry>,
    pub(super) bounds: Bounds,
    /// The number of the one that came last.
    arrivals: u64,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Entry {
    run: usize,
    lane: Option<u8>,
    priority: i8,
    place: Place,
    /// It was resumed.
    again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits for its lane and a slot. The number is that of its arrival.
    Waits(u64),
    /// It was resumed, and waits for a slot. Its lane it has.
    WaitsAgain(u64),
    Runs,
    /// It has its lane, and no slot.
    Paused,
    /// It has left its lane, and something of it still executes: it has a slot.
    Lingers,
}

/// Why a root is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    LaneBusy,
    Joined(usize),
    QueueFull,
}

impl Entry {
    fn waits(&self) -> bool {
        self.rank().is_some()
    }

    /// What is least comes first.
    fn rank(&self) -> Option<(Reverse<i8>, u64)> {
        match self.place {
            Place::Waits(arrival) | Place::WaitsAgain(arrival) => {
                Some((Reverse(self.priority), arrival))
            }
            _ => None,
        }
    }

    fn has_slot(&self) -> bool {
        matches!(self.place, Place::Runs | Place::Lingers)
    }

    /// No other run of its lane may start.
    fn has_lane(&self) -> bool {
        matches!(self.place, Place::Runs | Place::Paused | Place::WaitsAgain(_))
    }
}

impl Queue {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { entries: Vec::new(), bounds, arrivals: 0 }
    }

    /// Takes in a root, if it is not refused. Yields those whose place it takes.
    pub(super) fn submit(
        &mut self,
        run: usize,
        gate: Gate,
        is_stopping: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>, Refused> {
        let there = gate.lane.map(|(lane, _)| self.lane(lane)).unwrap_or_default();
        let gone = match gate.lane.map(|(_, on_busy)| on_busy) {
            Some(OnBusy::Reject) if !there.is_empty() => return Err(Refused::LaneBusy),
            Some(OnBusy::JoinExisting) => match there.into_iter().find(|run| !is_stopping(*run)) {
                Some(run) => return Err(Refused::Joined(run)),
                None => Vec::new(),
            },
            Some(OnBusy::CancelExisting | OnBusy::RollbackExisting) => there,
            _ => Vec::new(),
        };
        let before = self.clone();
        self.entries.retain(|it| !(it.waits() && gone.contains(&it.run)));
        let queued = self.queued();
        self.enter(run, gate);
        if !self.may_start(self.entries.len() - 1) && self.is_full(queued) {
            *self = before;
            return Err(Refused::QueueFull);
        }
        Ok(gone)
    }

    fn enter(&mut self, run: usize, gate: Gate) {
        self.arrivals += 1;
        let (lane, place) = (gate.lane.map(|(lane, _)| lane), Place::Waits(self.arrivals));
        self.entries.push(Entry { run, lane, priority: gate.priority, place, again: false });
    }

    /// A former process has left a root paused.
    pub(super) fn enter_paused(&mut self, run: usize, gate: Gate) {
        self.enter(run, gate);
        self.pause(run);
    }

    fn queued(&self) -> usize {
        self.entries.iter().filter(|it| it.waits()).count()
    }

    fn is_full(&self, queued: usize) -> bool {
        self.bounds.queued.is_some_and(|max| queued >= max)
    }

    /// A root is paused: it gives its slot back.
    pub(super) fn pause(&mut self, run: usize) {
        self.set(run, Place::Paused);
    }

    /// A paused root has its answer. False if it would have to wait, and may not.
    pub(super) fn resume(&mut self, run: usize) -> bool {
        if !self.has_room() && self.is_full(self.queued()) {
            return false;
        }
        self.arrivals += 1;
        self.set(run, Place::WaitsAgain(self.arrivals));
        self.entries.iter_mut().filter(|it| it.run == run).for_each(|it| it.again = true);
        true
    }

    fn set(&mut self, run: usize, place: Place) {
        self.entries.iter_mut().filter(|it| it.run == run).for_each(|it| it.place = place);
    }

    /// A root is stopped before its attempt has started. One that was resumed has its lane until it
    /// has ended.
    pub(super) fn stop_waiting(&mut self, run: usize) {
        let waits = self.waits(run);
        if !self.entries.iter().any(|it| it.run == run && it.again) {
            self.leave(run, waits);
        } else if waits {
            self.set(run, Place::Paused);
        }
    }

    pub(super) fn waits(&self, run: usize) -> bool {
        self.entries.iter().any(|it| it.run == run && it.waits())
    }

    /// Tells whether a root waits that was resumed.
    pub(super) fn waits_again(&self, run: usize) -> bool {
        self.entries.iter().any(|it| it.run == run && matches!(it.place, Place::WaitsAgain(_)))
    }

    /// A root leaves its lane, and if nothing of it executes, its slot.
    pub(super) fn leave(&mut self, run: usize, is_quiescent: bool) {
        self.entries.retain(|it| it.run != run || (!is_quiescent && it.has_slot()));
        self.set(run, Place::Lingers);
    }

    /// Lets those start that may, the best first.
    pub(super) fn release(&mut self) {
        let best = |queue: &Self| {
            let ready = (0..queue.entries.len()).filter(|at| queue.may_start(*at));
            ready.min_by_key(|at| queue.entries[*at].rank())
        };
        while let Some(next) = best(self) {
            self.entries[next].place = Place::Runs;
        }
    }

    /// Tells whether it was let start.
    pub(super) fn is_released(&self, run: usize) -> bool {
        self.entries.iter().any(|it| it.run == run && it.place == Place::Runs)
    }

    /// Lists the runs of a lane, the newest first.
    pub(super) fn lane(&self, lane: u8) -> Vec<usize> {
        let is_there = |it: &&Entry| it.lane == Some(lane) && it.place != Place::Lingers;
        self.entries.iter().rev().filter(is_there).map(|it| it.run).collect()
    }

    /// Tells whether one waits that could start if there was a slot.
    pub(super) fn waits_for_a_slot(&self) -> bool {
        let more = Self { bounds: Bounds::default(), ..self.clone() };
        (0..self.entries.len()).any(|at| more.may_start(at) && !self.may_start(at))
    }

    fn has_room(&self) -> bool {
        let running = self.entries.iter().filter(|it| it.has_slot()).count();
        self.bounds.running.is_none_or(|max| running < max)
    }

    /// Tells whether one that waits could start now: there is a slot, and nobody else has its lane
    /// or comes before it there.
    fn may_start(&self, at: usize) -> bool {
        let this = &self.entries[at];
        let Some(rank) = this.rank() else { return false };
        if matches!(this.place, Place::WaitsAgain(_)) {
            return self.has_room();
        }
        let is_before = |it: &Entry| it.rank().is_some_and(|other| other < rank);
        let mut lane = self.entries.iter().filter(|it| this.lane.is_some() && it.lane == this.lane);
        !lane.any(|it| it.has_lane() || is_before(it)) && self.has_room()
    }
}
