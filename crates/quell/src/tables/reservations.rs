//! [`Reservations`] remembers stops for runs to come, by id and scope.
//!
//! A submit is not to take a lock of the whole engine, and mostly no stop is remembered. So it asks
//! a count first, and the invariants are:
//!
//! 1. `count` is the number of remembered stops, or one more while a stop is being remembered.
//! 2. A stop is remembered in this order, under the lock: raise the count, look for the run, keep
//!    the stop if there is none. A submit enters its run in the registry, and then reads the count.
//!    Look and entry are ordered by the shard of the registry: either the look finds the run, or
//!    the submit sees the count, waits for the lock, and takes the stop (I22).
//!
//! Lock order: node → this → shard of the registry. It is never taken under a shard.

use std::time::Instant;

use quell_core::limits;
use quell_core::{CancelRequest, RunId};

use crate::config::Limits;
use crate::stop_scope::StopScope;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::tables::aged::{Aged, Amount};

#[derive(Debug)]
pub(crate) struct Reservations {
    /// Whether any stop is remembered at all.
    is_on: bool,
    /// How many there are, for those that must not wait for the lock.
    count: AtomicUsize,
    stops: Mutex<Aged<Address, Box<CancelRequest>>>,
}

/// The stops that were remembered for one run, the first one first; there is one.
#[derive(Debug)]
pub(crate) struct Remembered(Vec<Stop>);

#[derive(Debug)]
struct Stop {
    of: Address,
    request: Box<CancelRequest>,
    /// Until when it is remembered.
    until: Instant,
}

impl Remembered {
    /// Yields what the run is asked: the first stop, with a rollback if one of them asks for it.
    pub(crate) fn request(&self) -> Option<Box<CancelRequest>> {
        let mut stops = self.0.iter().map(|stop| &stop.request);
        let mut first = stops.next()?.clone();
        stops.for_each(|later| first.merge(later));
        Some(first)
    }
}

/// The run to come: its id, and the scope that it has to be in, if any.
type Address = (RunId, Option<StopScope>);

impl Reservations {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max =
            Amount { entries: limits.reservations_max, bytes: limits::RESERVATIONS_BYTES_MAX };
        Self {
            is_on: limits.reservations_max > 0,
            count: AtomicUsize::new(0),
            stops: Mutex::new(Aged::new(max, limits.owner_share_percent)),
        }
    }

    /// Tells whether any stop is remembered at all.
    pub(crate) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Remembers a stop, unless `find` yields the run. Of several for one run the first one stands
    /// (I6), until the latest of their times. It takes the run back if any of them does (I7).
    pub(crate) fn remember<R>(
        &self,
        (id, scope): Address,
        request: &CancelRequest,
        (now, until): (Instant, Instant),
        find: impl FnOnce() -> Option<R>,
    ) -> Option<R> {
        let mut stops = self.stops.lock();
        self.count.store(stops.len() + 1, Ordering::SeqCst);
        let found = find();
        if found.is_none() {
            if let Some(first) = stops.extend(&(id, scope), now, until) {
                first.merge(request);
            } else {
                let owner = request.asked_by().map(Into::into);
                let stop = Box::new(request.clone());
                stops.put((id, scope), stop, (owner, request.bytes()), (now, until));
            }
        }
        self.count.store(stops.len(), Ordering::SeqCst);
        found
    }

    /// Takes the stops for a run that is in the registry: of several the first counts. The others
    /// go with it, for the id is in use now.
    #[inline]
    pub(crate) fn take(&self, id: RunId, scopes: &[StopScope], now: Instant) -> Option<Remembered> {
        if self.count.load(Ordering::SeqCst) == 0 { None } else { self.take_all(id, scopes, now) }
    }

    fn take_all(&self, id: RunId, scopes: &[StopScope], now: Instant) -> Option<Remembered> {
        let scopes = scopes.iter().copied().map(Some);
        let mut stops = self.stops.lock();
        let taken = [None].into_iter().chain(scopes).filter_map(|scope| {
            let until = stops.until(&(id, scope));
            let (age, request) = stops.remove(&(id, scope), now)?;
            Some((age, Stop { of: (id, scope), request, until: until? }))
        });
        let mut taken: Vec<_> = taken.collect();
        self.count.store(stops.len(), Ordering::SeqCst);
        drop(stops);
        taken.sort_unstable_by_key(|(age, _)| *age);
        let taken: Vec<_> = taken.into_iter().map(|(_, stop)| stop).collect();
        (!taken.is_empty()).then_some(Remembered(taken))
    }

    /// Remembers stops again that were taken, for as long as they were to be. The run that has
    /// taken them is in the registry still: none was remembered for it meanwhile.
    pub(crate) fn give_back(&self, remembered: Remembered, now: Instant) {
        let mut stops = self.stops.lock();
        self.count.store(stops.len() + remembered.0.len(), Ordering::SeqCst);
        for Stop { of, request, until } in remembered.0 {
            if until > now {
                let owner = request.asked_by().map(Into::into);
                let bytes = request.bytes();
                stops.put(of, request, (owner, bytes), (now, until));
            }
        }
        self.count.store(stops.len(), Ordering::SeqCst);
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn len(&self) -> usize {
        self.stops.lock().len()
    }
}
