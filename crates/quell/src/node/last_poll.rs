//! [`Node::is_last_poll`] decides when the last poll of a body that does not listen may come: after
//! the waiters of its children were woken.

use std::sync::Arc;

use crate::foreign;
use crate::node::{Node, flags};
use crate::sync::Ordering;
use crate::sync::waiters::Wakers;

impl Node {
    /// Counts an end or a stop of a child whose waiters are still to be woken. False if there are
    /// too many to be counted: the last poll does not wait for this one.
    pub(crate) fn add_untold(&self) -> bool {
        let more = |untold: u16| untold.checked_add(1);
        self.untold.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// Counts down: the waiters of a child were woken.
    pub(crate) fn remove_untold(&self) {
        if self.untold.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake_for_last_poll(self.flags());
        }
    }

    /// Wakes the waiters of this run: the last poll of the run above waits until all are woken. The
    /// caller holds no lock.
    #[inline]
    pub(crate) fn wake_with_news(&self, wakers: Wakers, above: Option<Arc<Self>>) {
        let couriers = &self.shared.couriers;
        let Some(above) = above else { return foreign::wake(couriers, wakers) };
        foreign::run(couriers, move || {
            foreign::wake_all(wakers);
            above.remove_untold();
        });
    }

    /// Records that every run below was signalled.
    pub(crate) fn clear_cascading(&self) {
        self.clear(flags::CASCADING);
        self.wake_for_last_poll(self.flags());
    }

    /// Tells whether the next poll is the last one of the body: it is to be dropped after one more,
    /// and the waiters of its children were woken. The body may wait for a child through a set of
    /// futures, which polls only those that were woken.
    pub(crate) fn is_last_poll(&self, bits: u32) -> bool {
        // A write, not a load: the thread that counts down after it sees `POLL_DROP`, and wakes the
        // body.
        let is_told = || self.untold.fetch_add(0, Ordering::AcqRel) == 0;
        bits & flags::POLL_DROP != 0 && bits & flags::CASCADING == 0 && is_told()
    }

    fn wake_for_last_poll(&self, bits: u32) {
        if bits & flags::POLL_DROP != 0
            && let Some(task) = { self.lock().body.clone() }
        {
            task.wake();
        }
    }
}
