//! [`OneByOne`]: of what has one key, one is done at a time in this process.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// The turns that somebody has or waits for, by their keys; those that nobody has any more leave
/// with the next one. No other lock is taken under its own.
pub(crate) struct OneByOne<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K> Default for OneByOne<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> OneByOne<K> {
    /// Waits until it is the turn of the caller, which lasts as long as the guard is kept.
    pub(crate) async fn turn(&self, key: K) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(&key).and_then(Weak::upgrade);
            let turn: Arc<_> = known.unwrap_or_default();
            turns.insert(key, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

impl<K> fmt::Debug for OneByOne<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneByOne").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn those_of_a_key_come_one_by_one_and_nothing_is_left_of_them() {
        let all = OneByOne::default();
        let first = all.turn("k").await;
        let mut second = Box::pin(all.turn("k"));
        let third = Box::pin(all.turn("k"));
        assert!(second.as_mut().now_or_never().is_none());
        drop(all.turn("l").now_or_never().expect("it has nothing to do with it"));
        drop((first, third));
        drop(second.now_or_never().expect("it is its turn"));
        let last = all.turn("m").await;
        assert_eq!(all.0.lock().len(), 1, "the others have left");
        drop(last);
    }
}
