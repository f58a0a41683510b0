//! [`Decided`] is what transactions have decided besides what they were to store, until the engine
//! has heard of it.

use parking_lot::Mutex;
use quell_core::cluster::{AskedStop, Placed};

/// What the transactions of the one that writes have decided of the runs that they have stored.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Stops that were remembered for them.
    pub(crate) stops: Unheard<AskedStop>,
    /// How roots stand in their lanes.
    pub(crate) places: Unheard<Placed>,
}

impl Decided {
    /// Begins with a transaction.
    pub(crate) fn begin(&self) {
        self.stops.back_to(0);
        self.places.back_to(0);
    }

    /// Notes that the transaction is committed.
    pub(crate) fn committed(&self) {
        self.stops.committed();
        self.places.committed();
    }
}

/// Of one kind. Of the two locks that of `under_way` is taken first.
#[derive(Debug)]
pub(crate) struct Unheard<T> {
    /// Of the transaction that is under way.
    under_way: Mutex<Vec<T>>,
    stored: Mutex<Vec<T>>,
}

impl<T> Default for Unheard<T> {
    fn default() -> Self {
        Self { under_way: Mutex::default(), stored: Mutex::default() }
    }
}

impl<T> Unheard<T> {
    /// Takes what the transaction that is under way has decided.
    pub(crate) fn add(&self, decided: T) {
        self.under_way.lock().push(decided);
    }

    /// Yields how many there are of that transaction.
    pub(crate) fn count(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Goes back to so many of that transaction: the others are not stored.
    pub(crate) fn back_to(&self, count: usize) {
        self.under_way.lock().truncate(count);
    }

    fn committed(&self) {
        let mut under_way = self.under_way.lock();
        self.stored.lock().append(&mut under_way);
    }

    /// Yields what was decided, once.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.stored.lock())
    }
}
