//! [`Batches`]: of the batches with one `Idempotency-Key` one is made at a time.
//!
//! A repeat that comes meanwhile would find runs that are about to be taken back: it waits until it
//! is known what has become of the first one.
//!
//! Invariant: a key is in the table exactly as long as a request has its turn, or waits for it.
//! Lock order: the turn of a key, then the table, within which nothing else is locked.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// The batches that are being made, by owner and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batches(Arc<Mutex<HashMap<Key, Arc<OneByOne>>>>);

type Key = (Option<Arc<str>>, String);

type OneByOne = tokio::sync::Mutex<()>;

/// The turn of a batch, or a place among those that wait for it, until it is dropped.
#[derive(Debug)]
pub(crate) struct BatchTurn {
    all: Batches,
    key: Key,
    own: Option<Arc<OneByOne>>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Batches {
    /// Waits until no other batch of an owner with this key is being made.
    pub(crate) async fn turn(&self, owner: Option<&Arc<str>>, key: &str) -> BatchTurn {
        let key = (owner.map(Arc::clone), key.to_owned());
        let own = Arc::clone(self.0.lock().entry(key.clone()).or_default());
        let place = Some(Arc::clone(&own));
        let mut batch = BatchTurn { all: self.clone(), key, own: place, turn: None };
        batch.turn = Some(own.lock_owned().await);
        batch
    }
}

impl Drop for BatchTurn {
    fn drop(&mut self) {
        drop(self.turn.take());
        let mut all = self.all.0.lock();
        drop(self.own.take());
        if all.get(&self.key).is_some_and(|one| Arc::strong_count(one) == 1) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn batches_of_a_key_are_made_one_by_one_and_nothing_is_left_of_them() {
        let (all, ann) = (Batches::default(), Arc::from("ann"));
        let first = all.turn(Some(&ann), "k").await;
        let mut second = Box::pin(all.turn(Some(&ann), "k"));
        let third = Box::pin(all.turn(Some(&ann), "k"));
        assert!(second.as_mut().now_or_never().is_none());
        let others = [(None, "k"), (Some(&ann), "l")].map(|(owner, key)| all.turn(owner, key));
        for other in others {
            drop(other.now_or_never().expect("it has nothing to do with it"));
        }
        drop((first, third));
        drop(second.now_or_never().expect("it is its turn"));
        assert!(all.0.lock().is_empty());
    }
}
