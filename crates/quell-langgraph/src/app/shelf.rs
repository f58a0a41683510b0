//! [`Shelf`]: things that are kept in memory, where there is no store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::http::StatusCode;
use parking_lot::Mutex;
use quell_http::Charge;
use tokio::sync::MutexGuard;
use uuid::Uuid;

use crate::app::kept::{Kept, Kind};
use crate::wire::refusal::Refusal;

/// Things that are kept in memory, and who may change one in the store.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    all: Mutex<BTreeMap<(Kind, Uuid), (Kept, Charge)>>,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl Shelf {
    /// Waits for the turn to change a thing: of those that come at once in one process each finds
    /// what the one before it has stored.
    pub(super) async fn turn(&self, id: Uuid) -> MutexGuard<'_, ()> {
        self.turns[usize::from(id.as_bytes()[15]) % TURNS].lock().await
    }

    pub(super) fn get(&self, kind: Kind, id: Uuid) -> Option<Kept> {
        self.all.lock().get(&(kind, id)).map(|(kept, _)| kept.clone())
    }

    pub(super) fn list(&self, kind: Kind, is_meant: impl Fn(Option<&str>) -> bool) -> Vec<Kept> {
        let all = self.all.lock();
        let all = all.range((kind, Uuid::nil())..=(kind, Uuid::max()));
        let meant = all.filter(|(_, (kept, _))| is_meant(kept.owner.as_deref()));
        meant.map(|(_, (kept, _))| kept.clone()).collect()
    }

    /// Keeps a thing, of which its owner has so many at most. Tells whether nothing else has
    /// changed it before.
    ///
    /// # Errors
    ///
    /// Fails if there are too many.
    pub(super) fn put(&self, kept: &Kept, charge: Charge, most: usize) -> Result<bool, Refusal> {
        let place = (kept.kind, kept.id);
        let mut all = self.all.lock();
        let of_owner = |kept: &Kept| {
            all.range((kept.kind, Uuid::nil())..=(kept.kind, Uuid::max()))
                .filter(|(_, (other, _))| other.owner == kept.owner)
                .count()
        };
        if kept.nr == 0 && !all.contains_key(&place) {
            if all.len() >= ALL_MAX {
                let text = format!("Too many: {ALL_MAX} assistants, items and crons are kept");
                return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, text));
            }
            if of_owner(kept) >= most {
                return Err(kept.kind.too_many(most));
            }
            all.insert(place, (kept.clone(), charge));
            return Ok(true);
        }
        let Entry::Occupied(mut entry) = all.entry(place) else { return Ok(false) };
        let known = &entry.get().0;
        if known.since != kept.since || known.nr.saturating_add(1) != kept.nr {
            return Ok(false);
        }
        let before = entry.insert((kept.clone(), charge));
        drop(all);
        drop(before);
        Ok(true)
    }

    /// Deletes a thing. Tells whether nothing else has changed it before.
    pub(super) fn take(&self, kept: &Kept) -> bool {
        let mut all = self.all.lock();
        let Entry::Occupied(entry) = all.entry((kept.kind, kept.id)) else { return false };
        let known = &entry.get().0;
        if (known.since, known.nr) != (kept.since, kept.nr) {
            return false;
        }
        let before = entry.remove();
        drop(all);
        drop(before);
        true
    }
}

/// Things of one kind that one owner has in memory, but for items; those of a store that one list
/// looks at.
pub(super) const SHELF_MAX: usize = 10_000;

/// Things in memory.
const ALL_MAX: usize = 100_000;

const TURNS: usize = 32;
