//! The queue of timers: cheap to arm and to disarm, since most stops end long before their grace.
//!
//! Timers that are due within the same 17 ms share a bucket, where each keeps its place; only the
//! buckets are sorted. So arming and disarming touch one place and the head of its bucket, however
//! many timers there are. What is due of a bucket is found by looking at all of it, once for each
//! instant at which the queue is asked.

use std::collections::BTreeMap;

use slab::Slab;

use crate::clock::Ticks;

/// The place of a timer in the queue; no two timers have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    pub(crate) at: Ticks,
    place: u32,
    /// Tells a timer from those that had its place before.
    number: u32,
}

/// Values, each due at an instant.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    buckets: BTreeMap<u64, Bucket<T>>,
    /// The number of the timer that was armed last.
    number: u32,
}

#[derive(Debug)]
struct Bucket<T> {
    timers: Slab<Timer<T>>,
    /// None of them is due earlier; one that was may have been disarmed.
    earliest: Ticks,
}

#[derive(Debug)]
struct Timer<T> {
    at: Ticks,
    number: u32,
    value: T,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { buckets: BTreeMap::new(), number: 0 }
    }
}

impl<T> Timers<T> {
    /// Arms a timer.
    pub(crate) fn arm(&mut self, at: Ticks, value: T) -> TimerKey {
        let fresh = || Bucket { timers: Slab::new(), earliest: at };
        let bucket = self.buckets.entry(bucket_of(at)).or_insert_with(fresh);
        bucket.earliest = bucket.earliest.min(at);
        self.number = self.number.wrapping_add(1);
        let number = self.number;
        let place = bucket.timers.insert(Timer { at, number, value });
        // Beyond four thousand million places a timer could not be disarmed, and would fire.
        TimerKey { at, place: u32::try_from(place).unwrap_or(u32::MAX), number }
    }

    /// Disarms a timer unless it was taken.
    pub(crate) fn disarm(&mut self, key: TimerKey) -> Option<T> {
        let bucket = self.buckets.get_mut(&bucket_of(key.at))?;
        let place = key.place as usize;
        bucket.timers.get(place).filter(|timer| timer.number == key.number)?;
        let timer = bucket.timers.try_remove(place)?;
        if bucket.timers.is_empty() {
            self.buckets.remove(&bucket_of(key.at));
        }
        Some(timer.value)
    }

    /// No timer is due earlier.
    pub(crate) fn earliest(&self) -> Option<Ticks> {
        self.buckets.first_key_value().map(|(_, bucket)| bucket.earliest)
    }

    /// Takes what is due of the first bucket in which something is: the earliest first, and those
    /// of one instant in the order in which they were armed.
    pub(crate) fn take_due(&mut self, now: Ticks) -> Vec<(TimerKey, T)> {
        let mut due = Vec::new();
        let Some(mut first) = self.buckets.first_entry() else { return due };
        let Bucket { timers, earliest } = first.get_mut();
        if *earliest > now {
            return due;
        }
        let is_due = |(_, timer): &(usize, &Timer<T>)| timer.at <= now;
        let places: Vec<_> = timers.iter().filter(is_due).map(|(place, _)| place).collect();
        due.extend(places.into_iter().map(|place| {
            let Timer { at, number, value } = timers.remove(place);
            (TimerKey { at, place: u32::try_from(place).unwrap_or(u32::MAX), number }, value)
        }));
        match timers.iter().map(|(_, timer)| timer.at).min() {
            Some(left) => *earliest = left,
            None => drop(first.remove()),
        }
        due.sort_unstable_by_key(|(key, _)| (key.at, key.number));
        due
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.timers.len()).sum()
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
            3 => instant().prop_map(Act::Arm),
            1 => any::<prop::sample::Index>().prop_map(Act::Disarm),
            1 => instant().prop_map(Act::Take),
        ]
    }

    proptest! {
        /// The model is a sorted map by instant and turn.
        #[test]
        fn i10_timers_fire_at_their_instant_in_order_and_never_once_disarmed(
            acts in prop::collection::vec(act(), 0..200),
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
            }
        }
    }
}
