//! The store counts as in trouble while an append of the [`Writer`] takes too long.

use std::sync::Arc;
use std::time::Instant;

use quell_core::limits;
use quell_core::store::StoreError;

use crate::foreign;
use crate::journal::{Entry, Recorded, Writer};
use crate::sync::waiters::Wakers;

impl<R: Recorded> Writer<R> {
    /// Says that the store is in trouble if an append has been under way for too long. Yields when
    /// to look again.
    pub(super) fn look_for_slow(&mut self, now: Instant) -> Option<Instant> {
        let slow_at = self.stops.iter().chain(&self.batch).map(|append| append.slow_at).min()?;
        if self.is_slow || self.rest.is_some() {
            return None;
        }
        if slow_at > now {
            return Some(slow_at);
        }
        self.is_slow = true;
        let wait = limits::STORE_ANSWER_WAIT;
        let error = StoreError::Io { what: format!("it has not answered for {wait:?}") };
        let words = error.to_string();
        self.couriers.send_words(Box::new(move || {
            tracing::error!(error = words, "store is in trouble, and is waited for");
        }));
        let under_way = self.stops.iter().chain(&self.batch);
        let mut runs: Vec<_> = under_way.flat_map(|append| &append.entries).collect();
        runs.extend(self.again.iter().chain(&self.again_stops).flatten());
        let mut runs: Vec<_> = runs.into_iter().filter_map(Entry::run).map(Arc::clone).collect();
        let mut wakers = Wakers::new();
        {
            let mut queue = self.journal.lock();
            queue.trouble = Some(error);
            queue.waiting.drain_into(&mut wakers);
            let waiting = queue.entries.iter().chain(&queue.stops);
            runs.extend(waiting.filter_map(Entry::run).map(Arc::clone));
        }
        foreign::wake(&self.couriers, wakers);
        for run in runs {
            run.tell_waiters();
        }
        None
    }
}
