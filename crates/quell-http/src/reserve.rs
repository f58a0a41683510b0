//! Stops remembered for runs that are not there yet, for their owner and within a scope.
//!
//! The engine can remember a stop for an id whoever takes it. Callers must not stop the runs of
//! others, so these are kept here: under the owner, the scope and the id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use quell::{CancelRequest, Disposition, RunId, limits};
use quell_flow::Component;

use crate::view::View;

impl View {
    /// Remembers a stop for a run of the principal that is not there yet: the first one that is
    /// started in the scope with this id ends cancelled and its body is never polled. At most
    /// 65,536 are remembered, and at most for 24 h.
    ///
    /// The empty scope is any run; [`scope_of`] names the scope of a component; any other one is
    /// asked for by [`Start::reserved_in`](crate::Start::reserved_in). If the run is there by now,
    /// it is cancelled; if one of another scope has the id, the answer is `Unknown` and nothing is
    /// remembered.
    pub fn reserve(
        &self,
        scope: &str,
        id: RunId,
        request: CancelRequest,
        keep: Duration,
    ) -> Disposition {
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
            return run.cancel(request);
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
    held: Mutex<Held>,
    gates: [Mutex<()>; GATES],
}

#[derive(Debug, Default)]
struct Held {
    stops: HashMap<Place, Stop>,
    order: VecDeque<(Instant, Place)>,
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
    /// Lets one at a time look for a run and remember a stop for it, or look for a stop and make
    /// the run: so either the stop finds the run, or the run finds the stop.
    pub(crate) fn gate(&self, id: RunId) -> MutexGuard<'_, ()> {
        let bytes = id.as_uuid().into_bytes();
        // The last bytes are random in ids of either version.
        self.gates[usize::from(bytes[14] ^ bytes[15]) % GATES].lock()
    }

    /// Remembers a stop; the first one for a place stands, for as long as the longer one asks.
    pub(crate) fn put(&self, place: Place, request: &CancelRequest, keep: Duration) {
        let now = Instant::now();
        let until = now + keep.min(limits::RESERVATIONS_FOR);
        let mut held = self.held.lock();
        let stop = held.stops.entry(place.clone()).or_insert_with(|| {
            let request = request.clone();
            Stop { request, until }
        });
        stop.until = stop.until.max(until);
        held.order.push_back((until, place));
        held.expire(now);
    }

    /// Puts a stop back that was not used after all.
    pub(crate) fn put_back(&self, place: Place, stop: Stop) {
        let mut held = self.held.lock();
        held.order.push_back((stop.until, place.clone()));
        held.stops.entry(place).or_insert(stop);
    }

    /// Takes the stop for a run, if there is one.
    pub(crate) fn take(&self, places: &[Place]) -> Option<(Place, Stop)> {
        let mut held = self.held.lock();
        if held.stops.is_empty() {
            return None;
        }
        let now = Instant::now();
        // All of them: the id is taken from here on, whichever of them is used.
        let found: Vec<_> =
            places.iter().filter_map(|place| held.stops.remove_entry(place)).collect();
        found.into_iter().find(|(_, stop)| now < stop.until)
    }
}

impl Held {
    /// Forgets what is over, and the oldest when there are too many.
    fn expire(&mut self, now: Instant) {
        while let Some((until, _)) = self.order.front() {
            if self.order.len() <= limits::RESERVATIONS_MAX && *until > now {
                break;
            }
            if let Some((until, place)) = self.order.pop_front()
                && self.stops.get(&place).is_some_and(|stop| stop.until <= until)
            {
                self.stops.remove(&place);
            }
        }
    }
}

impl Default for Reservations {
    fn default() -> Self {
        let gates = std::array::from_fn(|_| Mutex::default());
        Self { held: Mutex::default(), gates }
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

    #[test]
    fn no_more_stops_are_remembered_than_the_bound_and_the_oldest_leave_first() {
        let reservations = Reservations::default();
        let stop = CancelRequest::because("early");
        let max = limits::RESERVATIONS_MAX as u128;
        for id in 0..max + 100 {
            reservations.put(place(id), &stop, limits::RESERVATIONS_FOR);
        }
        {
            let held = reservations.held.lock();
            assert_eq!((held.stops.len(), held.order.len()), (max as usize, max as usize));
        }
        assert!(reservations.take(&[place(99)]).is_none());
        assert!(reservations.take(&[place(100)]).is_some());
        assert!(reservations.take(&[place(100)]).is_none(), "it is used once");
    }

    #[test]
    fn the_same_stop_again_costs_no_room_for_ever() {
        let reservations = Reservations::default();
        let stop = CancelRequest::because("early");
        for _ in 0..limits::RESERVATIONS_MAX * 2 {
            reservations.put(place(1), &stop, limits::RESERVATIONS_FOR);
        }
        let held = reservations.held.lock();
        assert_eq!(held.stops.len(), 1);
        assert!(held.order.len() <= limits::RESERVATIONS_MAX);
    }

    #[test]
    fn the_first_reason_stands() {
        let reservations = Reservations::default();
        for reason in ["first", "second"] {
            let stop = CancelRequest::because(reason);
            reservations.put(place(1), &stop, limits::RESERVATIONS_FOR);
        }
        let (_, stop) = reservations.take(&[place(2), place(1)]).unwrap();
        assert_eq!(stop.request, CancelRequest::because("first"));
    }
}
