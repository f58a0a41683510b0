//! [`until`]: waits for what stands behind a lock of the engine. The waker of who waits is foreign
//! code: it is cloned and dropped outside the lock.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::foreign::release;
use crate::sync::Mutex;
use crate::sync::waiters::{Key, Offer, Waiters};

/// Waits until there is something behind a lock, and yields it. It is looked for, and the waker
/// registered, under one hold of the lock: whoever changes what is behind it takes the waiters out
/// under the lock, and wakes them outside. Cancel safe: dropped, it leaves no trace.
///
/// Who waits for a run has a smaller future of its own ([`Wait`](crate::node::wait::Wait)).
pub(crate) async fn until<T, R>(
    lock: &Mutex<T>,
    waiters: fn(&mut T) -> &mut Waiters,
    found: impl Fn(&T) -> Option<R>,
) -> R {
    let mut waiting = Waiting { lock, waiters, key: None };
    poll_fn(|cx| waiting.poll(cx.waker(), &found)).await
}

struct Waiting<'a, T> {
    lock: &'a Mutex<T>,
    waiters: fn(&mut T) -> &mut Waiters,
    key: Key,
}

impl<T> Waiting<'_, T> {
    fn poll<R>(&mut self, waker: &Waker, found: impl Fn(&T) -> Option<R>) -> Poll<R> {
        let mut offer = Offer::new(waker, &self.key, false);
        loop {
            let mut behind = self.lock.lock();
            if let Some(found) = found(&behind) {
                let removed = (self.waiters)(&mut behind).remove(&mut self.key);
                drop(behind);
                release(removed);
                return Poll::Ready(found);
            }
            if (self.waiters)(&mut behind).register(&mut self.key, &mut offer) {
                return Poll::Pending;
            }
            drop(behind);
            offer.renew();
        }
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let removed = (self.waiters)(&mut self.lock.lock()).remove(&mut self.key);
        release(removed);
    }
}
