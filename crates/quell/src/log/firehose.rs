//! [`AllEvents`] holds the events of every tree of an engine. The lock of its ring is taken under
//! that of a tree's log.

use quell_core::RunEvent;

use crate::foreign;
use crate::foreign::couriers::Couriers;
use crate::log::ring::{Bounds, Ring};
use crate::sync::waiters::{Key, Wakers};
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// The events of every tree of an engine, for as long as they have a reader.
#[derive(Debug)]
pub(crate) struct AllEvents {
    readers: AtomicUsize,
    ring: Mutex<Firehose>,
}

#[derive(Debug)]
pub(crate) struct Firehose {
    pub(crate) ring: Ring<RunEvent>,
    pub(crate) closed: bool,
}

impl AllEvents {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let ring = Mutex::new(Firehose { ring: Ring::new(bounds), closed: false });
        Self { readers: AtomicUsize::new(0), ring }
    }

    pub(crate) fn join(&self) -> u64 {
        self.readers.fetch_add(1, Ordering::SeqCst);
        self.ring.lock().ring.next()
    }

    pub(crate) fn leave(&self, key: &mut Key) {
        self.readers.fetch_sub(1, Ordering::SeqCst);
        let removed = self.ring.lock().ring.forget(key);
        foreign::release(removed);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Firehose> {
        self.ring.lock()
    }

    /// Ends the stream of every reader, after the events that it has not read yet.
    pub(crate) fn close(&self, couriers: &Couriers) {
        let mut wakers = Wakers::new();
        {
            let mut firehose = self.ring.lock();
            firehose.closed = true;
            firehose.ring.drain_waiters(&mut wakers);
        }
        foreign::wake(couriers, wakers);
    }

    pub(crate) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::SeqCst) > 0
    }

    /// Appends an event whose texts have `bytes` bytes.
    pub(crate) fn append(&self, bytes: usize, event: RunEvent, wakers: &mut Wakers) {
        let ring = &mut self.ring.lock().ring;
        if ring.push(bytes, || event, wakers) {
            ring.make_room();
        }
    }
}
