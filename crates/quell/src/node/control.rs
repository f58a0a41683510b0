//! [`Control`] holds what the control thread waits for: timers, at most one per run, and tokens
//! from outside.
//!
//! Invariants:
//!
//! 1. A run's timer is in the queue exactly when its node says so (`armed`), which changes under
//!    the node's lock only; a timer that is popped while its node is being re-armed ticks a
//!    lifecycle that finds nothing due, which is harmless.
//! 2. The queue's lock is a leaf; it is released before a node is ticked.
//! 3. `next` is the instant until which the loop sleeps; a thread that arms an earlier one wakes
//!    the loop.
//! 4. An instant that is asked for during a turn of the loop stays in `nudged` until the next turn
//!    begins: the turn may have read admission and retention before, and must not sleep beyond it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Instant;

use futures::future::{AbortHandle, Abortable};
use quell_core::{CancelRequest, CauseKind};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::node::Node;
use crate::sync::Mutex;
use crate::sync::thread;
use crate::time::ticks::Ticks;
use crate::time::timers::{TimerKey, Timers};

/// The queue of timers and the tokens from outside.
#[derive(Default)]
pub(crate) struct Control {
    /// What the loop and everybody else share.
    pub(crate) queue: Mutex<Queue>,
}

#[derive(Default)]
pub(crate) struct Queue {
    /// The next timer of each run that has one.
    pub(crate) timers: Timers<Arc<Node>>,
    /// Tokens that the loop has yet to take in.
    pub(crate) links: Vec<Link>,
    /// Runs that a token or a lost lease stops, why, and when: for the loop to spread.
    pub(crate) stops: Vec<(Vec<Arc<Node>>, CancelRequest, Instant)>,
    /// Until when the loop sleeps; `None` while it waits for a wake-up alone.
    pub(crate) next: Option<Ticks>,
    /// The earliest instant that was asked for since the last turn began.
    pub(crate) nudged: Option<Ticks>,
    /// Wakes the loop. None before its first turn, which reads everything here.
    pub(crate) waker: Option<Waker>,
    /// The loop is to end: the engine was shut down.
    pub(crate) closed: bool,
    /// The thread of the loop, unless it runs on a runtime.
    pub(crate) thread: Option<thread::JoinHandle<()>>,
}

/// Ends when a token is cancelled, with what that stops, or when the link is taken down.
pub(crate) type Link = Pin<Box<dyn Future<Output = Option<Linked>> + Send>>;

/// What a token from outside stops.
#[derive(Clone)]
pub(crate) enum Linked {
    /// One run.
    Run(Weak<Node>),
    /// Every root.
    Engine,
}

impl Control {
    /// Moves a run's timer. Called under the node's lock.
    pub(crate) fn rearm(
        &self,
        node: &Arc<Node>,
        armed: Option<TimerKey>,
        wanted: Option<Ticks>,
    ) -> Option<TimerKey> {
        // The loop is woken after the lock is released, so that it does not wake up to wait for it.
        let mut wake = None;
        let key = {
            let mut queue = self.queue.lock();
            if let Some(armed) = armed {
                queue.timers.disarm(armed);
            }
            wanted.map(|at| {
                let key = queue.timers.arm(at, Arc::clone(node));
                if queue.next.is_none_or(|next| at < next) {
                    wake.clone_from(&queue.waker);
                }
                key
            })
        };
        if let Some(waker) = wake {
            waker.wake();
        }
        key
    }

    /// Stops a run when a token is cancelled. Yields the handle that ends the link.
    pub(crate) fn link_run(&self, node: &Arc<Node>, token: CancellationToken) -> AbortHandle {
        self.link(token.cancelled_owned(), Linked::Run(Arc::downgrade(node)))
    }

    /// Stops every root when a token is cancelled.
    pub(crate) fn link_engine(&self, token: CancellationToken) {
        drop(self.link(token.cancelled_owned(), Linked::Engine));
    }

    fn link(&self, cancelled: WaitForCancellationFutureOwned, linked: Linked) -> AbortHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let cancelled = Abortable::new(cancelled, registration);
        let link = Box::pin(async move { cancelled.await.ok().map(|()| linked) });
        let waker = {
            let mut queue = self.queue.lock();
            queue.links.push(link);
            queue.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        abort
    }

    /// Has the loop stop runs, as of this instant.
    pub(crate) fn stop(&self, nodes: Vec<Arc<Node>>, why: CancelRequest, now: Instant) {
        let waker = {
            let mut queue = self.queue.lock();
            if queue.closed {
                // Nothing is live. In the queue the stop would hold nodes, and with them the queue.
                drop(queue);
                return drop(nodes);
            }
            queue.stops.push((nodes, why, now));
            queue.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes sure that the loop takes a turn at this instant.
    pub(crate) fn nudge(&self, at: Ticks) {
        let waker = {
            let mut queue = self.queue.lock();
            queue.nudged = queue.nudged.into_iter().chain([at]).min();
            queue.waker.clone().filter(|_| queue.next.is_none_or(|next| at < next))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the loop, and waits for its thread unless this is the thread.
    pub(crate) fn close(&self) {
        let (waker, thread, stops) = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            (queue.waker.clone(), queue.thread.take(), std::mem::take(&mut queue.stops))
        };
        drop(stops);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            drop(thread.join());
        }
    }

    /// How many timers are armed.
    #[cfg(feature = "test-util")]
    pub(crate) fn timers(&self) -> usize {
        self.queue.lock().timers.len()
    }
}

/// Makes the request that a cancelled token stands for.
pub(crate) fn by_token() -> CancelRequest {
    CancelRequest::because("a linked token was cancelled").kind(CauseKind::ExternalToken)
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
