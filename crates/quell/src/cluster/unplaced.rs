//! [`Unplaced`]: stops that were asked of a member for runs that it has not in memory.
//!
//! A stop is carried out once, so that its answer says what it has done: by what takes its run in,
//! or, if the run is there, by the loop that has read it.
//!
//! ```text
//!            take                    decide
//!   Waits ─────────► Taken ───────────────────► Decided
//!     │
//!     └── claim: the loop carries it out
//! ```

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use quell_core::cluster::AskedStop;
use quell_core::{Disposition, RunId, limits};

/// At most [`limits::ASKED_STOPS_WAITING_MAX`], the first ones.
#[derive(Debug, Default)]
pub(super) struct Unplaced {
    /// By their numbers.
    stops: BTreeMap<u64, (AskedStop, How)>,
    /// The numbers of those that wait, by their runs: a recovery asks of each run that was left.
    waiting: BTreeSet<(RunId, u64)>,
}

/// How a stop stands.
#[derive(Debug)]
enum How {
    /// For its run, which is not in memory.
    Waits,
    /// What has taken the run in carries it out.
    Taken,
    /// It has.
    Decided(Disposition),
}

/// Who carries a stop out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Who asks.
    Own,
    /// What has taken the run in; with the answer, if that is known.
    Taken(Option<Disposition>),
}

impl Unplaced {
    pub(super) fn note(&mut self, stop: &AskedStop) {
        if self.stops.len() < limits::ASKED_STOPS_WAITING_MAX
            && let Entry::Vacant(new) = self.stops.entry(stop.nr)
        {
            new.insert((stop.clone(), How::Waits));
            self.waiting.insert((stop.run, stop.nr));
        }
    }

    pub(super) fn forget(&mut self, nr: u64) {
        if let Some((stop, _)) = self.stops.remove(&nr) {
            self.waiting.remove(&(stop.run, nr));
        }
    }

    /// Yields those that wait for a run that was accepted at this time, in the order in which they
    /// were asked for.
    pub(super) fn of(&self, run: RunId, accepted_at: SystemTime) -> Vec<AskedStop> {
        let of_id = self.waiting.range((run, 0)..=(run, u64::MAX));
        let of_id = of_id.filter_map(|(_, nr)| Some(&self.stops.get(nr)?.0));
        of_id.filter(|stop| stop.means(accepted_at)).cloned().collect()
    }

    /// Takes those that wait for a run, in that order.
    pub(super) fn take(&mut self, run: RunId, accepted_at: SystemTime) -> Vec<AskedStop> {
        let taken = self.of(run, accepted_at);
        for stop in &taken {
            self.waiting.remove(&(run, stop.nr));
            if let Some((_, how)) = self.stops.get_mut(&stop.nr) {
                *how = How::Taken;
            }
        }
        taken
    }

    /// Notes what came of one that was taken.
    pub(super) fn decide(&mut self, nr: u64, answer: Disposition) {
        if let Some((_, how)) = self.stops.get_mut(&nr) {
            *how = How::Decided(answer);
        }
    }

    /// Yields the answer to one that was taken, if it is known.
    pub(super) fn answer(&self, nr: u64) -> Option<Disposition> {
        match self.stops.get(&nr) {
            Some((_, How::Decided(answer))) => Some(answer.clone()),
            _ => None,
        }
    }

    /// Has the loop carry one out, unless it was taken.
    pub(super) fn claim(&mut self, nr: u64) -> Claim {
        match self.stops.get(&nr).map(|(_, how)| how) {
            Some(How::Taken) => Claim::Taken(None),
            Some(How::Decided(answer)) => Claim::Taken(Some(answer.clone())),
            Some(How::Waits) | None => {
                self.forget(nr);
                Claim::Own
            }
        }
    }
}
