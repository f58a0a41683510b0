//! [`Tallies`]: how many items the owners of the key-value store have, and of how many bytes
//! (contract, section 4).
//!
//! An owner's are counted where they are kept, before the first put, and then with each change that
//! this process makes. Of several nodes others change them too: so they are counted again when a
//! part of the room that was there is used up, the nearer the bound the sooner, and before a put is
//! refused.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use parking_lot::Mutex;
use quell::{Payload, RunFilter};
use quell_http::BoundedMap;
use tokio::sync::RwLock;

use crate::app::App;
use crate::app::kept::{Kept, Kind, OF_OWNER, owned};
use crate::wire::item::KeyedValue;
use crate::wire::refusal::Refusal;

/// What is known of the owners who put items last.
#[derive(Debug)]
pub(crate) struct Tallies(Mutex<BoundedMap<(), Arc<Tally>>>);

/// What is known of one owner.
#[derive(Debug, Default)]
struct Tally {
    /// Held by each put from its look at the numbers to its end, by each deletion until that is
    /// noted, and alone while they are counted.
    gate: RwLock<()>,
    seen: Mutex<Seen>,
}

/// The items of an owner, and what may still come until they are counted again.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    now: Amount,
    left: Amount,
    /// One put behind each count may take more than what is left.
    is_fresh: bool,
    /// How often they were counted, and when last.
    counts: u64,
    at: Option<Instant>,
    /// Those were left out whose time was over by then.
    by: Option<SystemTime>,
}

/// Items, and the bytes of their text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    items: usize,
    bytes: usize,
}

impl Amount {
    fn plus(self, more: Self) -> Self {
        let (items, bytes) = (self.items + more.items, self.bytes + more.bytes);
        Self { items, bytes }
    }

    const fn less(self, less: Self) -> Self {
        let items = self.items.saturating_sub(less.items);
        Self { items, bytes: self.bytes.saturating_sub(less.bytes) }
    }

    fn at_least(self, other: Self) -> Self {
        Self { items: self.items.max(other.items), bytes: self.bytes.max(other.bytes) }
    }

    const fn is_within(self, most: Self) -> bool {
        self.items <= most.items && self.bytes <= most.bytes
    }
}

/// What an item counts, and until when, if its time is over some day.
struct Counts {
    amount: Amount,
    until: Option<SystemTime>,
}

impl Counts {
    fn of(body: &Payload) -> Self {
        let amount = Amount { items: 1, bytes: body.len() };
        Self { amount, until: KeyedValue::of(body).and_then(|item| item.until()) }
    }
}

/// What becomes of a put.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Room,
    None,
    /// They are to be counted first.
    Unknown,
}

impl Seen {
    /// Yields what an item counts in the numbers that is there.
    fn of(&self, item: &Counts) -> Amount {
        let is_out = self.by.zip(item.until).is_some_and(|(by, until)| by >= until);
        if is_out { Amount::default() } else { item.amount }
    }

    /// Takes room for what is put, if it is known that there is some. What was counted since the
    /// put came is known.
    fn take(&mut self, more: Amount, most: Amount, since: u64) -> Taken {
        let age = self.at.map(|at| at.elapsed());
        let is_new = self.counts > since;
        let fits = self.now.plus(more).is_within(most);
        if !fits && (is_new || age.is_some_and(|age| age < REFUSES_FOR)) {
            return Taken::None;
        }
        let is_known = age.is_some_and(|age| age < KNOWN_FOR);
        if !fits || !is_known || !more.is_within(self.left) && !take(&mut self.is_fresh) {
            return Taken::Unknown;
        }
        (self.now, self.left) = (self.now.plus(more), self.left.less(more));
        Taken::Room
    }

    /// Notes room that this process has made: it may use that before it counts again.
    fn give_back(&mut self, less: Amount) {
        self.now = self.now.less(less);
        self.left = self.left.at_least(less);
    }

    fn counted(&mut self, (now, by): (Amount, SystemTime), most: Amount, is_shared: bool) {
        let room = most.less(now);
        let part = |room: usize| if is_shared { room / PARTS } else { usize::MAX };
        let left = Amount { items: part(room.items), bytes: part(room.bytes) };
        let (counts, at) = (self.counts + 1, Some(Instant::now()));
        *self = Self { now, left, is_fresh: true, counts, at, by: Some(by) };
    }
}

impl Default for Tallies {
    fn default() -> Self {
        Self(Mutex::new(BoundedMap::new(OWNERS_MAX, usize::MAX, 100)))
    }
}

impl Tallies {
    fn of(&self, owner: Option<&Arc<str>>) -> Arc<Tally> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(owner, &()) {
            return Arc::clone(known);
        }
        let made = Arc::<Tally>::default();
        let left = all.put(owner, (), Arc::clone(&made), 0, Instant::now() + KNOWN_FOR);
        drop(all);
        drop(left);
        made
    }

    fn known(&self, owner: Option<&Arc<str>>) -> Option<Arc<Tally>> {
        self.0.lock().get(owner, &()).map(Arc::clone)
    }
}

impl App {
    /// Keeps an item in the place of the one before it, as [`App::keep`].
    ///
    /// # Errors
    ///
    /// As that, and if its owner has as many as there may be, or as large ones.
    pub(super) async fn keep_item(
        &self,
        kept: &Kept,
        before: Option<&Payload>,
    ) -> Result<bool, Refusal> {
        let (tally, most) = (self.tallies().of(kept.owner.as_ref()), self.items_max());
        let (new, before) = (Amount { items: 1, bytes: kept.body.len() }, before.map(Counts::of));
        let since = tally.seen.lock().counts;
        loop {
            let gate = tally.gate.read().await;
            let (taken, counts, more, less) = {
                let mut seen = tally.seen.lock();
                let old = before.as_ref().map_or(Amount::default(), |before| seen.of(before));
                let (more, less) = (new.less(old), old.less(new));
                let is_room = more == Amount::default();
                let taken = if is_room { Taken::Room } else { seen.take(more, most, since) };
                (taken, seen.counts, more, less)
            };
            match taken {
                Taken::Room => {
                    let is_kept = self.keep(kept).await;
                    let less = if matches!(is_kept, Ok(true)) { less } else { more };
                    tally.seen.lock().give_back(less);
                    return is_kept;
                }
                Taken::None => return Err(too_many(most)),
                Taken::Unknown => {}
            }
            drop(gate);
            let _alone = tally.gate.write().await;
            if tally.seen.lock().counts == counts {
                let by = SystemTime::now();
                let now = self.count_items(kept.owner.as_deref(), by).await?;
                tally.seen.lock().counted((now, by), most, self.is_node());
            }
        }
    }

    /// Deletes an item, as [`App::keep_no_more`].
    ///
    /// # Errors
    ///
    /// As that.
    pub(super) async fn keep_item_no_more(&self, kept: &Kept) -> Result<bool, Refusal> {
        let Some(tally) = self.tallies().known(kept.owner.as_ref()) else {
            return self.keep_no_more(kept).await;
        };
        let item = Counts::of(&kept.body);
        // Whoever counts does so before, or behind it.
        let _gate = tally.gate.read().await;
        let is_gone = self.keep_no_more(kept).await?;
        if is_gone {
            let mut seen = tally.seen.lock();
            let less = seen.of(&item);
            seen.give_back(less);
        }
        Ok(is_gone)
    }

    fn items_max(&self) -> Amount {
        let options = self.options();
        Amount { items: options.items_owner_max, bytes: options.items_owner_bytes_max }
    }

    /// Counts the items of an owner. Those whose time is over leave.
    async fn count_items(&self, owner: Option<&str>, now: SystemTime) -> Result<Amount, Refusal> {
        let is_over = |body: &Payload| KeyedValue::of(body).is_some_and(|item| item.is_over(now));
        let all: Vec<_> = if self.has_records() {
            let filter = RunFilter::new().label(OF_OWNER, owned(Kind::Item, owner));
            let of = |body: Payload, _| Some((body.len(), is_over(&body)));
            self.last_kept(Kind::Item, filter, of).await?.into_iter().collect()
        } else {
            let kept = self.shelf().list(Kind::Item, |of| of == owner).into_iter();
            kept.map(|kept| (kept.id, (kept.body.len(), is_over(&kept.body)))).collect()
        };
        let (mut there, mut over) = (Amount::default(), Vec::new());
        for (id, (bytes, is_over)) in all {
            if is_over {
                over.push(id);
            } else {
                there = there.plus(Amount { items: 1, bytes });
            }
        }
        if !over.is_empty() {
            let app = self.clone();
            drop(tokio::spawn(async move {
                for id in over {
                    // Whoever has written it anew since, or read it, has it.
                    if let Ok(Some(kept)) = app.kept(Kind::Item, id).await
                        && KeyedValue::of(&kept.body).is_some_and(|item| item.is_over(now))
                    {
                        let _ = app.keep_item_no_more(&kept).await;
                    }
                }
            }));
        }
        Ok(there)
    }
}

fn too_many(most: Amount) -> Refusal {
    let Amount { items, bytes } = most;
    let text = format!("Too many items: one owner has {items} at most, of {bytes} bytes together");
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, text)
}

/// Owners of which the numbers are known at once: those of others are counted when they come.
const OWNERS_MAX: usize = 10_000;

/// How long the numbers are known, and how long a put may be refused by them.
const KNOWN_FOR: Duration = Duration::from_mins(10);
const REFUSES_FOR: Duration = Duration::from_secs(1);

/// Of several nodes each counts again when it has used up this part of the room: so as many of them
/// do not pass the bound together, but for the last few.
const PARTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Amount = Amount { items: 100, bytes: 1_000 };

    fn amount(items: usize, bytes: usize) -> Amount {
        Amount { items, bytes }
    }

    #[test]
    fn nothing_is_taken_before_it_was_counted_and_nothing_refused_on_old_numbers() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(amount(1, 10), MOST, 0), Taken::Unknown);
        seen.counted((amount(99, 10), SystemTime::now()), MOST, false);
        let since = seen.counts;
        assert_eq!(seen.take(amount(1, 10), MOST, since), Taken::Room);
        assert_eq!(seen.take(amount(1, 10), MOST, since), Taken::None);
        assert_eq!(seen.take(amount(0, 980), MOST, since), Taken::Room);
        assert_eq!(seen.take(amount(0, 1), MOST, since), Taken::None);
        seen.at = Instant::now().checked_sub(REFUSES_FOR);
        assert_eq!(seen.take(amount(0, 1), MOST, since), Taken::Unknown);
        assert_eq!(seen.take(amount(0, 1), MOST, since - 1), Taken::None, "it was counted since");
    }

    #[test]
    fn what_others_change_too_is_counted_again_the_sooner_the_less_room_there_is() {
        let mut seen = Seen::default();
        seen.counted((amount(20, 0), SystemTime::now()), MOST, true);
        let since = seen.counts;
        // And one that what is left would not let through.
        for _ in 0..=80 / PARTS {
            assert_eq!(seen.take(amount(1, 1), MOST, since), Taken::Room);
        }
        assert_eq!(seen.take(amount(1, 1), MOST, since), Taken::Unknown);
        seen.counted((amount(99, 0), SystemTime::now()), MOST, true);
        let later = seen.counts;
        let at_once = [0; 2].map(|_| seen.take(amount(1, 1), amount(102, 1_000), since));
        assert_eq!(at_once, [Taken::Room, Taken::Unknown], "one of those that waited for that");
        assert_eq!(seen.take(amount(0, 900), MOST, later), Taken::Unknown);
        seen.give_back(amount(1, 500));
        assert_eq!(seen.take(amount(1, 500), MOST, later), Taken::Room, "it has made that itself");
        assert_eq!(seen.take(amount(0, 400), MOST, later), Taken::Unknown);
    }
}
