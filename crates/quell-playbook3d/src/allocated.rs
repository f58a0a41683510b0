//! [`Allocated`]: run ids that were handed out before there is a run (contract, choice 3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quell_http::BoundedMap;
use uuid::Uuid;

/// The ids that were handed out and not used yet, by whom they may be used.
#[derive(Debug)]
pub(crate) struct Allocated(Mutex<BoundedMap<Uuid, ()>>);

impl Allocated {
    /// Bounds what one caller may have of it, in percent.
    pub(crate) fn new(share_percent: u8) -> Self {
        Self(Mutex::new(BoundedMap::new(IDS_MAX, usize::MAX, share_percent)))
    }

    /// Hands an id out. The oldest one is dropped when there are too many; when its caller is
    /// beyond their share, the oldest of that caller.
    pub(crate) fn allocate(&self, owner: Option<&Arc<str>>) -> Uuid {
        let id = Uuid::now_v7();
        self.put(owner, id, Instant::now() + IDS_TTL);
        id
    }

    /// Tells whether an id was handed out to an owner and not used yet.
    pub(crate) fn has(&self, owner: Option<&Arc<str>>, id: Uuid) -> bool {
        self.0.lock().get(owner, &id).is_some()
    }

    /// Uses an id up. One that was never handed out changes nothing.
    pub(crate) fn consume(&self, owner: Option<&Arc<str>>, id: Uuid) {
        self.0.lock().remove(owner, &id);
    }

    fn put(&self, owner: Option<&Arc<str>>, id: Uuid, until: Instant) {
        self.0.lock().put(owner, id, (), 0, until);
    }
}

/// Ids that are kept, of all callers together.
const IDS_MAX: usize = 65_536;

/// How long an id is kept.
const IDS_TTL: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_owners_and_is_used_once() {
        let (ids, ada, bob) = (Allocated::new(25), Arc::from("ada"), Arc::from("bob"));
        let id = ids.allocate(Some(&ada));
        assert!(ids.has(Some(&ada), id));
        assert!(!ids.has(Some(&bob), id) && !ids.has(None, id));
        ids.consume(Some(&bob), id);
        assert!(ids.has(Some(&ada), id));
        ids.consume(Some(&ada), id);
        assert!(!ids.has(Some(&ada), id));
        assert!(ids.0.lock().is_empty());
    }

    #[test]
    fn a_caller_beyond_their_share_loses_their_own_oldest_id() {
        let (ids, ada, bob) = (Allocated::new(25), Arc::from("ada"), Arc::from("bob"));
        let kept = ids.allocate(Some(&bob));
        let first = ids.allocate(Some(&ada));
        let second = ids.allocate(Some(&ada));
        for _ in 0..IDS_MAX / 4 - 1 {
            ids.allocate(Some(&ada));
        }
        assert!(!ids.has(Some(&ada), first) && ids.has(Some(&ada), second));
        for _ in 0..IDS_MAX {
            ids.allocate(Some(&ada));
        }
        assert!(ids.has(Some(&bob), kept), "another caller's id stays");
        assert_eq!(ids.0.lock().len(), IDS_MAX / 4 + 1);
    }

    #[test]
    fn an_id_is_forgotten_after_a_day() {
        let (ids, id) = (Allocated::new(25), Uuid::now_v7());
        ids.put(None, id, Instant::now());
        assert!(!ids.has(None, id));
    }
}
