//! [`Idle`]: which connections have nothing to do, and for how long.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections, by a number of their own. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: HashMap<u64, State>,
    /// Counts connections, and the times at which they became idle.
    next: u64,
}

#[derive(Debug)]
struct State {
    /// Requests under way.
    busy: usize,
    idle_since: u64,
    close: Arc<Notify>,
}

/// A connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Member {
    idle: Idle,
    number: u64,
    close: Arc<Notify>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy {
    idle: Idle,
    number: u64,
}

impl Idle {
    /// Adds a connection, which is idle.
    pub(super) fn enter(&self) -> Member {
        let mut table = self.0.lock();
        let (number, close) = (table.tick(), Arc::new(Notify::new()));
        let state = State { busy: 0, idle_since: number, close: Arc::clone(&close) };
        table.all.insert(number, state);
        drop(table);
        Member { idle: self.clone(), number, close }
    }

    /// Tells the connection to close that has been idle for longest.
    pub(super) fn close_oldest(&self) {
        let table = self.0.lock();
        let idle = table.all.values().filter(|state| state.busy == 0);
        if let Some(oldest) = idle.min_by_key(|state| state.idle_since) {
            oldest.close.notify_one();
        }
    }
}

impl Table {
    const fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Member {
    /// Says that a request has come, until what it yields is dropped.
    pub(super) fn busy(&self) -> Busy {
        if let Some(state) = self.idle.0.lock().all.get_mut(&self.number) {
            state.busy += 1;
        }
        Busy { idle: self.idle.clone(), number: self.number }
    }

    /// Waits until it is told to close, and still has nothing to do.
    pub(super) async fn told_to_close(&self) {
        loop {
            self.close.notified().await;
            if self.idle.0.lock().all.get(&self.number).is_none_or(|state| state.busy == 0) {
                return;
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.idle.0.lock().all.remove(&self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = self.idle.0.lock();
        let now = table.tick();
        if let Some(state) = table.all.get_mut(&self.number) {
            state.busy -= 1;
            state.idle_since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_one_that_has_been_idle_for_longest_is_told_to_close() {
        let idle = Idle::default();
        let (first, second, third) = (idle.enter(), idle.enter(), idle.enter());
        let is_told = |member: &Member| member.told_to_close().now_or_never().is_some();
        let asked = first.busy();
        idle.close_oldest();
        assert!(!is_told(&first) && is_told(&second) && !is_told(&third));
        drop(asked);
        drop(second);
        idle.close_oldest();
        assert!(is_told(&third) && !is_told(&first), "it was asked something since");
        idle.close_oldest();
        let asked = third.busy();
        assert!(!is_told(&third), "it was asked something just then");
        drop((asked, third, first));
        assert!(idle.0.lock().all.is_empty());
    }
}
