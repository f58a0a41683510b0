//! [`Reservations`] bounds the stops that are remembered for ids to come, by number, time, bytes
//! and requester.
//!
//! Invariant, under the one lock: a stop is in `ages` exactly as long as the registry holds it
//! under its id, and is counted for its requester. The lock is taken under a shard of the registry,
//! or alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use quell_core::limits;
use quell_core::{CancelRequest, RunId};

use crate::config::Limits;
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Reservations {
    /// How many stops are remembered at most.
    max: usize,
    /// How many of one requester at most.
    share: usize,
    /// How many bytes of one requester at most.
    bytes_share: usize,
    held: Mutex<Held>,
}

/// A stop that waits for its run.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) request: Box<CancelRequest>,
    /// When it is forgotten.
    pub(crate) until: Instant,
    /// Its key in [`Reservations`]: the number in the order in which stops were remembered.
    pub(crate) age: u64,
}

#[derive(Debug, Default)]
struct Held {
    made: u64,
    bytes: usize,
    ages: BTreeMap<u64, Stop>,
    shares: HashMap<Arc<str>, Share>,
}

#[derive(Debug)]
struct Stop {
    id: RunId,
    until: Instant,
    bytes: usize,
    by: Option<Arc<str>>,
}

/// What one requester has of them.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    ages: BTreeSet<u64>,
}

impl Reservations {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max = limits.reservations_max;
        Self {
            max,
            share: limits.share_of(max),
            bytes_share: limits.share_of(limits::RESERVATIONS_BYTES_MAX),
            held: Mutex::default(),
        }
    }

    /// Tells whether any stop is remembered.
    pub(crate) const fn is_on(&self) -> bool {
        self.max > 0
    }

    pub(crate) fn add(&self, id: RunId, request: &CancelRequest, until: Instant) -> Reserved {
        let mut held = self.held.lock();
        held.made += 1;
        let (age, by) = (held.made, request.asked_by().map(Arc::<str>::from));
        let bytes = request.bytes();
        held.bytes += bytes;
        if let Some(by) = &by {
            let share = held.shares.entry(Arc::clone(by)).or_default();
            share.bytes += bytes;
            share.ages.insert(age);
        }
        held.ages.insert(age, Stop { id, until, bytes, by });
        Reserved { request: Box::new(request.clone()), until, age }
    }

    /// Remembers a stop for longer.
    pub(crate) fn renew(&self, age: u64, until: Instant) {
        if let Some(stop) = self.held.lock().ages.get_mut(&age) {
            stop.until = until;
        }
    }

    pub(crate) fn remove(&self, age: u64) -> bool {
        self.held.lock().remove(age)
    }

    /// Finds a stop that must not be kept: the oldest of this requester, if it has more than its
    /// share; else the oldest of all, if its time is over or there are too many.
    pub(crate) fn surplus(&self, by: Option<&str>, now: Instant) -> Option<(u64, RunId)> {
        let held = self.held.lock();
        let of_share = by
            .and_then(|by| held.shares.get(by))
            .filter(|share| share.ages.len() > self.share || share.bytes > self.bytes_share);
        let oldest = || held.ages.first_key_value().map(|(age, _)| *age);
        let is_over = |age: &u64| held.ages.get(age).is_some_and(|stop| stop.until <= now);
        let too_many = held.ages.len() > self.max || held.bytes > limits::RESERVATIONS_BYTES_MAX;
        let age = match of_share.and_then(|share| share.ages.first()) {
            Some(age) => *age,
            None => oldest().filter(|age| too_many || is_over(age))?,
        };
        held.ages.get(&age).map(|stop| (age, stop.id))
    }
}

impl Held {
    fn remove(&mut self, age: u64) -> bool {
        let Some(stop) = self.ages.remove(&age) else { return false };
        self.bytes -= stop.bytes;
        if let Some(by) = stop.by
            && let Some(share) = self.shares.get_mut(&by)
        {
            share.bytes -= stop.bytes;
            share.ages.remove(&age);
            if share.ages.is_empty() {
                self.shares.remove(&by);
            }
        }
        true
    }
}
