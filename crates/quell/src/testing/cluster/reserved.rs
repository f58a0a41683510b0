//! Stops that are remembered for runs to come, on whatever node these are accepted.

use std::sync::Arc;
use std::time::Instant;

use quell_core::cluster::{AskedStop, StopToCome};
use quell_core::lifecycle::later;
use quell_core::limits::share_of;
use quell_core::store::{Accepted, Record, StoreError};
use quell_core::{RunId, limits};

use crate::store::MemoryStore;
use crate::sync;
use crate::testing::cluster::Node;
use crate::testing::cluster::nodes::{AskedHere, Table};

#[derive(Clone, Debug)]
pub(super) struct Reserved {
    stop: StopToCome,
    until: Instant,
    asked: AskedStop,
}

impl Table {
    /// Takes the stops that were remembered for a run that is accepted: the first of them is asked
    /// of its owner from now on, and yielded. It takes the run back if any of them does.
    fn take_reserved(&mut self, accepted: &Accepted, owner: u32) -> Option<AskedStop> {
        self.drop_old_reserved();
        let is_meant = |stop: &StopToCome| {
            let scope = stop.scope.as_ref();
            stop.run == accepted.run
                && scope.is_none_or(|scope| accepted.stop_scopes.contains(scope))
        };
        let meant = self.reserved.extract_if(.., |_, reserved| is_meant(&reserved.stop));
        let reserved: Vec<_> = meant.collect();
        let ((nr, first), later) = reserved.split_first()?;
        let (nr, mut stop) = (*nr, first.asked.clone());
        for (_, later) in later {
            stop.request.merge(&later.asked.request);
        }
        let of = accepted.owner.clone();
        self.stops.insert(nr, AskedHere { stop: stop.clone(), owner, of, answer: None, reserved });
        Some(stop)
    }

    /// Remembers again what was remembered for runs that were refused, and used up by an append of
    /// which nobody knew.
    pub(super) fn give_back_reserved(&mut self, never: &[RunId]) {
        let unused = self.stops.extract_if(.., |_, asked| {
            asked.answer.is_none() && !asked.reserved.is_empty() && never.contains(&asked.stop.run)
        });
        self.reserved.extend(unused.flat_map(|(_, asked)| asked.reserved));
    }

    fn reserve(&mut self, stop: StopToCome) {
        self.drop_old_reserved();
        let until = later(sync::now(), stop.request.remembered_for());
        let same = |one: &&mut Reserved| (one.stop.run, one.stop.scope) == (stop.run, stop.scope);
        if let Some(first) = self.reserved.values_mut().find(same) {
            first.until = first.until.max(until);
            first.asked.request.merge(&stop.request);
            return;
        }
        self.next_stop += 1;
        let (nr, run, request) = (self.next_stop, stop.run, stop.request.clone());
        let asked = AskedStop { nr, run, accepted_ms: None, request, at: sync::wall() };
        let (max, percent) = (stop.max, stop.share_percent);
        let by = stop.request.asked_by().map(Arc::<str>::from);
        self.reserved.insert(nr, Reserved { stop, until, asked });
        let bytes = limits::RESERVATIONS_BYTES_MAX;
        if let Some(by) = by {
            self.trim(share_of(max, percent), share_of(bytes, percent), Some(&by));
        }
        self.trim(max, bytes, None);
    }

    /// Drops the oldest stops, of all or of one actor, until they are few enough.
    fn trim(&mut self, max: usize, bytes_max: usize, by: Option<&str>) {
        let (mut count, mut bytes) = (0, 0_usize);
        let of = |one: &Reserved| by.is_none_or(|by| one.stop.request.asked_by() == Some(by));
        let newest = self.reserved.iter().rev().filter(|(_, one)| of(one));
        let over: Vec<_> = newest
            .filter_map(|(nr, one)| {
                (count, bytes) = (count + 1, bytes + one.stop.request.bytes());
                (count > max || bytes > bytes_max).then_some(*nr)
            })
            .collect();
        self.reserved.retain(|nr, _| !over.contains(nr));
    }

    fn drop_old_reserved(&mut self) {
        let now = sync::now();
        self.reserved.retain(|_, reserved| reserved.until > now);
    }
}

impl Node {
    /// Remembers a stop for a run to come; false if there is such a run.
    pub(super) fn reserve(&self, stop: StopToCome) -> Result<bool, StoreError> {
        let shared = self.reach()?;
        let mut table = shared.table.lock();
        self.seat(&mut table)?;
        if shared.store.accepted_at(stop.run)?.is_some() {
            return Ok(false);
        }
        table.reserve(stop);
        Ok(true)
    }

    /// Takes the stops that were remembered for the runs of a batch that is stored in this moment.
    pub(super) fn take_reserved(&self, table: &mut Table, accepted: &[Accepted]) {
        let stops = accepted.iter().filter_map(|run| table.take_reserved(run, self.boot));
        self.remembered.lock().extend(stops);
    }
}

/// Yields the runs that a batch takes back because they were refused: they are forgotten as of a
/// time before they were accepted, by as long as keys are kept.
pub(super) fn never(store: &MemoryStore, batch: &[Record]) -> Result<Vec<RunId>, StoreError> {
    let mut never = Vec::new();
    for record in batch {
        if let Record::Forgotten { run, at, .. } = record
            && store.accepted_at(*run)?.is_some_and(|accepted| accepted >= *at + limits::KEYS_TTL)
        {
            never.push(*run);
        }
    }
    Ok(never)
}

/// Yields the runs that a batch accepts, if any stop is remembered.
pub(super) fn accepted(table: &Table, batch: &[Record]) -> Vec<Accepted> {
    let accepted = batch.iter().filter_map(|record| match record {
        Record::Accepted(accepted) => Some(Accepted::clone(accepted)),
        _ => None,
    });
    if table.reserved.is_empty() { Vec::new() } else { accepted.collect() }
}
