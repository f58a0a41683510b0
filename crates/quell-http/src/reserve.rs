//! Stops remembered for runs that are not there yet, for their owner and within a scope.
//!
//! The engine can remember a stop for an id whoever takes it. Callers must not stop the runs of
//! others, so these are kept here: under the owner, the scope and the id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use quell::{CancelRequest, Disposition, RunId, limits};
use quell_flow::Component;

use crate::shares::Shares;
use crate::view::View;

impl View {
    /// Remembers a stop for a run of the principal that is not there yet: the first one that is
    /// started in the scope with this id ends cancelled and its body is never polled. At most
    /// 65,536 are remembered, a quarter of them of one owner, and at most for 24 h.
    ///
    /// The empty scope is any run; [`scope_of`] names the scope of a component; any other one is
    /// asked for by [`Start::reserved_in`](crate::Start::reserved_in). If the run is there by now,
    /// it is cancelled; if one of another scope has the id, the answer is `Unknown` and nothing is
    /// remembered. `Forbidden` is who may change nothing, or not stop the run that is there.
    pub fn reserve(
        &self,
        scope: &str,
        id: RunId,
        request: CancelRequest,
        keep: Duration,
    ) -> Disposition {
        if self.principal().is_read_only() {
            return Disposition::Forbidden;
        }
        let shared = self.service().shared();
        let request = self.signed(request);
        let run = {
            let _alone = shared.reservations.gate(id);
            match self.run_by_id(id) {
                None => {
                    shared.reservations.put(self.place(scope, id), &request, keep);
                    return Disposition::Reserved;
                }
                Some(run) => run,
            }
        };
        if scope.is_empty() || shared.records.has_scope(&run, scope) {
            return if self.may_stop(&run) { run.cancel(request) } else { Disposition::Forbidden };
        }
        Disposition::Unknown
    }

    pub(crate) fn place(&self, scope: &str, id: RunId) -> Place {
        Place { owner: self.principal().owner().cloned(), scope: scope.into(), id }
    }
}

/// Yields the scope in which stops for runs of a component to come are remembered.
pub fn scope_of(component: &Component) -> String {
    format!("{}:{}", component.kind(), component.id())
}

/// The stops that are remembered.
#[derive(Debug)]
pub(crate) struct Reservations {
    held: Mutex<Shares<(Arc<str>, RunId), CancelRequest>>,
    gates: [Mutex<()>; GATES],
}

/// For which run a stop is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
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
        let gates = std::array::from_fn(|_| Mutex::default());
        Self { held: Mutex::new(Shares::new(most, bytes, share_percent)), gates }
    }

    /// Lets one at a time look for a run and remember a stop for it, or look for a stop and make
    /// the run: so either the stop finds the run, or the run finds the stop.
    pub(crate) fn gate(&self, id: RunId) -> MutexGuard<'_, ()> {
        let bytes = id.as_uuid().into_bytes();
        // The last bytes are random in ids of either version.
        self.gates[usize::from(bytes[14] ^ bytes[15]) % GATES].lock()
    }

    /// Remembers a stop; the first one for a place stands, for as long as the longer one asks.
    pub(crate) fn put(&self, place: Place, request: &CancelRequest, keep: Duration) {
        let until = Instant::now() + keep.min(limits::RESERVATIONS_TTL);
        let (key, owner) = ((place.scope, place.id), place.owner.as_ref());
        let mut held = self.held.lock();
        if held.get(owner, &key).is_some() {
            return held.extend(owner, &key, until);
        }
        let bytes = request.bytes() + key.0.len();
        held.put(owner, key, request.clone(), bytes, until);
    }

    /// Puts a stop back that was not used after all.
    pub(crate) fn put_back(&self, place: Place, stop: Stop) {
        let bytes = stop.request.bytes() + place.scope.len();
        let (key, owner) = ((place.scope, place.id), place.owner.as_ref());
        self.held.lock().put(owner, key, stop.request, bytes, stop.until);
    }

    /// Takes the stop for a run, if there is one.
    pub(crate) fn take(&self, places: &[Place]) -> Option<(Place, Stop)> {
        let mut held = self.held.lock();
        if held.is_empty() {
            return None;
        }
        // All of them: the id is taken from here on, whichever of them is used.
        let found: Vec<_> = places
            .iter()
            .filter_map(|place| {
                let key = (Arc::clone(&place.scope), place.id);
                let (request, until) = held.remove(place.owner.as_ref(), &key)?;
                Some((place.clone(), Stop { request, until }))
            })
            .collect();
        found.into_iter().next()
    }
}

/// How many ids may be looked at at once.
const GATES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: u128) -> Place {
        Place { owner: None, scope: "".into(), id: RunId::from_uuid(uuid::Uuid::from_u128(id)) }
    }

    fn of(owner: &str, id: u128) -> Place {
        Place { owner: Some(owner.into()), ..place(id) }
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
            reservations.put(place(1), &stop, limits::RESERVATIONS_TTL);
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
            reservations.put(place(1), &stop, limits::RESERVATIONS_TTL);
        }
        let (_, stop) = reservations.take(&[place(2), place(1)]).unwrap();
        assert_eq!(stop.request, CancelRequest::because("first"));
    }
}
