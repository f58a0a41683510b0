//! [`Timers`] is a queue of timers that is cheap to arm and to disarm, since most stops end long
//! before their grace.
//!
//! Timers that are due within the same 17 ms share a bucket, in the order in which they were armed;
//! only the buckets are sorted. Arming appends to a bucket, and disarming empties a place that
//! follows from the timer's number, however many timers there are. Taking what is due scans the
//! first bucket, once for each instant at which the queue is asked.
//!
//! Invariants:
//!
//! 1. Numbers rise within a bucket, and no two timers have the same.
//! 2. A bucket has at least one armed timer, and fewer places than four for each armed one plus
//!    eight: places that many timers have left are given back before the last timer is gone.
//! 3. Nothing in a bucket is due before its `earliest`.

use std::collections::BTreeMap;

use crate::time::ticks::Ticks;

/// Tells a timer from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    /// When it is due.
    pub(crate) at: Ticks,
    /// The how-manieth timer it is: of two that are due at once, the first was armed first.
    number: u64,
}

/// Values, each due at an instant.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    /// The timers by the span of time in which they are due.
    buckets: BTreeMap<u64, Bucket<T>>,
    /// The number of the timer that was armed last.
    number: u64,
}

#[derive(Debug)]
struct Bucket<T> {
    /// The timers in the order in which they were armed, those included that are no longer armed.
    places: Vec<Place<T>>,
    /// How many of them are armed.
    armed: usize,
    /// No armed timer is due before this; one that was disarmed may have set it.
    earliest: Ticks,
}

#[derive(Debug)]
struct Place<T> {
    /// Which timer it is.
    key: TimerKey,
    /// Gone once the timer is disarmed or taken.
    value: Option<T>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { buckets: BTreeMap::new(), number: 0 }
    }
}

impl<T> Timers<T> {
    /// Arms a timer.
    pub(crate) fn arm(&mut self, at: Ticks, value: T) -> TimerKey {
        self.number += 1;
        let key = TimerKey { at, number: self.number };
        let fresh = || Bucket { places: Vec::with_capacity(1), armed: 0, earliest: at };
        let bucket = self.buckets.entry(bucket_of(at)).or_insert_with(fresh);
        bucket.places.push(Place { key, value: Some(value) });
        bucket.armed += 1;
        bucket.earliest = bucket.earliest.min(at);
        key
    }

    /// Disarms a timer unless it was taken.
    pub(crate) fn disarm(&mut self, key: TimerKey) -> Option<T> {
        let bucket = self.buckets.get_mut(&bucket_of(key.at))?;
        let value = bucket.find(key)?.value.take()?;
        bucket.armed -= 1;
        if bucket.armed == 0 {
            self.buckets.remove(&bucket_of(key.at));
        } else {
            bucket.compact();
        }
        Some(value)
    }

    /// Yields an instant before which no timer is due. The first timer may be due later.
    pub(crate) fn earliest(&self) -> Option<Ticks> {
        self.buckets.first_key_value().map(|(_, bucket)| bucket.earliest)
    }

    /// Takes what is due from the first bucket: the earliest first, and timers of one instant in
    /// the order in which they were armed. The caller asks again until nothing is due.
    pub(crate) fn take_due(&mut self, now: Ticks) -> Vec<(TimerKey, T)> {
        let mut due = Vec::new();
        let Some(mut first) = self.buckets.first_entry() else { return due };
        let bucket = first.get_mut();
        if bucket.earliest > now {
            return due;
        }
        let is_due = |place: &&mut Place<T>| place.key.at <= now;
        let places = bucket.places.iter_mut().filter(is_due);
        due.extend(places.filter_map(|place| Some((place.key, place.value.take()?))));
        bucket.armed -= due.len();
        let left = bucket.places.iter().filter(|place| place.value.is_some());
        match left.map(|place| place.key.at).min() {
            Some(at) => {
                bucket.earliest = at;
                bucket.compact();
            }
            None => drop(first.remove()),
        }
        due.sort_by_key(|(key, _)| key.at);
        due
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.armed).sum()
    }
}

impl<T> Bucket<T> {
    /// Finds the place of a timer, armed or not. Numbers rise by at least one from place to place,
    /// so the place is no farther from the first than the numbers are apart, and most often exactly
    /// that far.
    fn find(&mut self, key: TimerKey) -> Option<&mut Place<T>> {
        let first = self.places.first()?.key.number;
        let farthest = usize::try_from(key.number.checked_sub(first)?).unwrap_or(usize::MAX);
        let end = self.places.len().min(farthest.saturating_add(1));
        let place = match self.places.get(farthest) {
            Some(place) if place.key == key => farthest,
            _ => self.places[..end].binary_search_by_key(&key.number, |p| p.key.number).ok()?,
        };
        self.places.get_mut(place)
    }

    fn compact(&mut self) {
        if self.places.len() >= 4 * self.armed + 8 {
            self.places.retain(|place| place.value.is_some());
            self.places.shrink_to_fit();
        }
    }
}

/// The first 40 bits of the nanoseconds.
const fn bucket_of(at: Ticks) -> u64 {
    at.get() >> 24
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Arm(u64),
        /// Disarms one that was armed before, if it has not been taken.
        Disarm(prop::sample::Index),
        Take(u64),
    }

    /// Instants within five buckets, some of them equal.
    fn instant() -> impl Strategy<Value = u64> {
        (1_u64..40).prop_map(|tick| tick << 21)
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            8 => instant().prop_map(Act::Arm),
            7 => any::<prop::sample::Index>().prop_map(Act::Disarm),
            1 => instant().prop_map(Act::Take),
        ]
    }

    proptest! {
        /// The model is a sorted map by instant and turn.
        #[test]
        fn i10_timers_fire_at_their_instant_in_order_and_never_once_disarmed(
            acts in prop::collection::vec(act(), 0..400),
        ) {
            let mut timers = Timers::default();
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            for (act, turn) in acts.into_iter().zip(0_u32..) {
                match act {
                    Act::Arm(at) => {
                        keys.push((timers.arm(Ticks::from_raw(at), turn), turn));
                        model.insert((at, turn), turn);
                    }
                    Act::Disarm(which) if !keys.is_empty() => {
                        let (key, turn) = which.get(&keys);
                        prop_assert_eq!(timers.disarm(*key), model.remove(&(key.at.get(), *turn)));
                    }
                    Act::Disarm(_) => {}
                    Act::Take(now) => {
                        let mut taken = Vec::new();
                        loop {
                            let due = timers.take_due(Ticks::from_raw(now));
                            if due.is_empty() {
                                break;
                            }
                            prop_assert!(due.iter().all(|due| keys.contains(due)));
                            taken.extend(due.into_iter().map(|(_, turn)| turn));
                        }
                        let left = model.split_off(&(now + 1, 0));
                        let due = std::mem::replace(&mut model, left);
                        prop_assert_eq!(taken, due.into_values().collect::<Vec<_>>());
                        let next = timers.earliest().map(Ticks::get);
                        prop_assert!(next.is_none_or(|next| next > now), "nobody spins");
                    }
                }
                let first = model.keys().next().map(|(at, _)| *at);
                prop_assert_eq!(timers.earliest().is_some(), first.is_some());
                prop_assert!(timers.earliest().map(Ticks::get) <= first, "nobody sleeps too long");
                prop_assert_eq!(timers.len(), model.len());
                for bucket in timers.buckets.values() {
                    let (armed, places) = (bucket.armed, bucket.places.len());
                    prop_assert!(armed > 0 && places < 4 * armed + 8, "{armed} of {places}");
                }
            }
        }
    }
}
