//! Run ids that were handed out before there is a run (contract, choice 3).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

/// The ids that were handed out and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Allocated(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// By whom an id may be used, and its place in the order.
    places: HashMap<Ticket, u64>,
    order: BTreeMap<u64, (Instant, Ticket)>,
    next: u64,
}

/// An id, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ticket {
    owner: Option<Arc<str>>,
    id: Uuid,
}

impl Allocated {
    /// Hands an id out. The oldest one is dropped when there are too many.
    pub(crate) fn allocate(&self, owner: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        self.put(Ticket::new(owner, id), Instant::now());
        id
    }

    /// Tells whether an id was handed out to somebody and not used yet.
    pub(crate) fn has(&self, owner: Option<&str>, id: Uuid) -> bool {
        let mut table = self.0.lock();
        table.expire(Instant::now());
        table.places.contains_key(&Ticket::new(owner, id))
    }

    /// Uses an id up. One that was never handed out changes nothing.
    pub(crate) fn consume(&self, owner: Option<&str>, id: Uuid) {
        let mut table = self.0.lock();
        if let Some(place) = table.places.remove(&Ticket::new(owner, id)) {
            table.order.remove(&place);
        }
    }

    fn put(&self, ticket: Ticket, now: Instant) {
        let mut table = self.0.lock();
        let place = table.next;
        table.next += 1;
        table.places.insert(ticket.clone(), place);
        table.order.insert(place, (now, ticket));
        table.expire(now);
    }
}

impl Table {
    /// Drops what is too old, and the oldest when there are too many.
    fn expire(&mut self, now: Instant) {
        while let Some(entry) = self.order.first_entry() {
            let (since, ticket) = entry.get();
            if self.places.len() <= IDS_MAX && now.saturating_duration_since(*since) < IDS_FOR {
                break;
            }
            self.places.remove(ticket);
            entry.remove();
        }
    }
}

impl Ticket {
    fn new(owner: Option<&str>, id: Uuid) -> Self {
        Self { owner: owner.map(Into::into), id }
    }
}

/// Ids that are kept, of all callers together. The oldest leave first.
const IDS_MAX: usize = 65_536;

/// How long an id is kept.
const IDS_FOR: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_owners_and_is_used_once() {
        let ids = Allocated::default();
        let id = ids.allocate(Some("ada"));
        assert!(ids.has(Some("ada"), id));
        assert!(!ids.has(Some("bob"), id) && !ids.has(None, id));
        ids.consume(Some("bob"), id);
        assert!(ids.has(Some("ada"), id));
        ids.consume(Some("ada"), id);
        assert!(!ids.has(Some("ada"), id));
        assert!(ids.0.lock().order.is_empty());
    }

    #[test]
    fn the_oldest_id_is_dropped_when_there_are_too_many() {
        let ids = Allocated::default();
        let first = ids.allocate(None);
        let second = ids.allocate(None);
        for _ in 0..IDS_MAX - 1 {
            ids.allocate(None);
        }
        assert!(!ids.has(None, first));
        assert!(ids.has(None, second));
        assert_eq!(ids.0.lock().order.len(), IDS_MAX);
    }

    #[test]
    fn an_id_is_forgotten_after_a_day() {
        let ids = Allocated::default();
        let Some(yesterday) = Instant::now().checked_sub(IDS_FOR) else { return };
        let id = Uuid::now_v7();
        ids.put(Ticket::new(None, id), yesterday);
        assert!(!ids.has(None, id));
        assert!(ids.0.lock().order.is_empty());
    }
}
