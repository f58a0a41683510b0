//! [`Reservations`]: stops that are remembered for runs to come, by owner, scope and id.
//!
//! The engine remembers a stop for an id, whoever then starts a run with that id. Callers must not
//! stop the runs of others, so the stops of callers are kept here instead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use quell::{CancelRequest, RunId, limits};
use quell_flow::Component;

use crate::bounded_map::BoundedMap;
use crate::striped_lock::StripedLock;

/// Yields the scope of a component: stops that are remembered in it are for its runs alone.
pub fn scope_of(component: &Component) -> String {
    format!("{}:{}", component.kind(), component.id())
}

/// The stops that are remembered.
#[derive(Debug)]
pub(crate) struct Reservations {
    /// The stops, under the scope and the id.
    held: Mutex<BoundedMap<(Arc<str>, RunId), CancelRequest>>,
    /// See [`Reservations::lock_id`].
    id_locks: StripedLock<Mutex<()>>,
}

/// The run that a remembered stop is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReservationKey {
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) scope: Arc<str>,
    pub(crate) id: RunId,
}

/// A stop that is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) request: CancelRequest,
    until: Instant,
}

impl Reservations {
    pub(crate) fn new(share_percent: u8) -> Self {
        let (most, bytes) = (limits::RESERVATIONS_MAX, limits::RESERVATIONS_BYTES_MAX);
        let held = Mutex::new(BoundedMap::new(most, bytes, share_percent));
        Self { held, id_locks: StripedLock::default() }
    }

    /// Locks an id. Hold the lock to look for a run and then remember a stop for it, or to take the
    /// stop and then start the run: so either the stop finds the run, or the run finds the stop.
    pub(crate) fn lock_id(&self, id: RunId) -> MutexGuard<'_, ()> {
        self.id_locks.of(id).lock()
    }

    /// Remembers a stop. If there is one for the key already, that one stays, until the later of
    /// the two times.
    pub(crate) fn put(&self, key: ReservationKey, request: &CancelRequest, keep: Duration) {
        let until = Instant::now() + keep.min(limits::RESERVATIONS_TTL);
        let (owner, key) = (key.owner.as_ref(), (key.scope, key.id));
        let mut held = self.held.lock();
        if held.get(owner, &key).is_some() {
            return held.extend(owner, &key, until);
        }
        let bytes = request.bytes() + key.0.len();
        held.put(owner, key, request.clone(), bytes, until);
    }

    /// Puts a stop back, because the run was not started.
    pub(crate) fn put_back(&self, key: ReservationKey, stop: Stop) {
        let bytes = stop.request.bytes() + key.scope.len();
        let (owner, key) = (key.owner.as_ref(), (key.scope, key.id));
        self.held.lock().put(owner, key, stop.request, bytes, stop.until);
    }

    /// Takes the stop for a run that has these keys, if there is one.
    pub(crate) fn take(&self, keys: &[ReservationKey]) -> Option<(ReservationKey, Stop)> {
        let mut held = self.held.lock();
        if held.is_empty() {
            return None;
        }
        // Remove all of them, though one is used: after this start the id is in use.
        let found: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                let scoped = (Arc::clone(&key.scope), key.id);
                let (request, until) = held.remove(key.owner.as_ref(), &scoped)?;
                Some((key.clone(), Stop { request, until }))
            })
            .collect();
        found.into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u128) -> ReservationKey {
        ReservationKey {
            owner: None,
            scope: "".into(),
            id: RunId::from_uuid(uuid::Uuid::from_u128(id)),
        }
    }

    fn of(owner: &str, id: u128) -> ReservationKey {
        ReservationKey { owner: Some(owner.into()), ..key(id) }
    }

    #[test]
    fn no_more_stops_are_remembered_than_the_bound_and_an_owner_loses_their_own() {
        let reservations = Reservations::new(25);
        let stop = CancelRequest::because("early");
        let max = limits::RESERVATIONS_MAX as u128;
        reservations.put(of("ben", 1), &stop, limits::RESERVATIONS_TTL);
        for id in 0..max + 100 {
            reservations.put(of("ada", id), &stop, limits::RESERVATIONS_TTL);
        }
        assert_eq!(reservations.held.lock().len(), limits::RESERVATIONS_MAX / 4 + 1);
        assert!(reservations.take(&[of("ben", 1)]).is_some(), "another owner's state stays");
        assert!(reservations.take(&[of("ada", max + 99 - max / 4)]).is_none());
        assert!(reservations.take(&[of("ada", max + 100 - max / 4)]).is_some());
        assert!(reservations.take(&[of("ada", max + 100 - max / 4)]).is_none(), "used once");
    }

    #[test]
    fn the_same_stop_again_costs_no_room_and_a_long_reason_costs_its_bytes() {
        let reservations = Reservations::new(25);
        let stop = CancelRequest::because("early");
        for _ in 0..100 {
            reservations.put(key(1), &stop, limits::RESERVATIONS_TTL);
        }
        assert_eq!(reservations.held.lock().len(), 1);
        let long = CancelRequest::because("x".repeat(limits::REASON_BYTES_MAX));
        for id in 0..limits::RESERVATIONS_MAX as u128 {
            reservations.put(of("ada", id), &long, limits::RESERVATIONS_TTL);
        }
        let held = reservations.held.lock();
        assert!(held.bytes() <= limits::RESERVATIONS_BYTES_MAX / 4 + 1_000, "{}", held.bytes());
    }

    #[test]
    fn the_first_reason_stands() {
        let reservations = Reservations::new(25);
        for reason in ["first", "second"] {
            let stop = CancelRequest::because(reason);
            reservations.put(key(1), &stop, limits::RESERVATIONS_TTL);
        }
        let (_, stop) = reservations.take(&[key(2), key(1)]).unwrap();
        assert_eq!(stop.request, CancelRequest::because("first"));
    }
}
