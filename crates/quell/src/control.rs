//! The control thread: whatever has to happen at an instant, or because a token from outside says
//! so, happens here, also while every worker thread is blocked by user code (I14).
//!
//! One queue of timers, at most one per run: the run's lifecycle knows what is due. The thread
//! sleeps until the first of them. It runs no foreign code besides waking those who wait.
//!
//! Invariants:
//!
//! 1. A run's timer is in the queue exactly when its node says so (`armed`), which changes under
//!    the node's lock only; a timer that is popped while its node is being re-armed ticks a
//!    lifecycle that finds nothing due, which is harmless.
//! 2. The queue's lock is a leaf; it is released before a node is ticked.
//! 3. `next` is what the loop sleeps for; who arms an earlier instant wakes the loop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use futures::future::{AbortHandle, Abortable};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quell_core::lifecycle::Input;
use quell_core::{CancelRequest, CauseKind};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::Ticks;
use crate::engine::Shared;
use crate::faults;
use crate::node::Node;
use crate::step::Note;
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, park_until};
use crate::timers::{TimerKey, Timers};

/// The queue of timers and the tokens from outside.
#[derive(Default)]
pub(crate) struct Control {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    timers: Timers<Arc<Node>>,
    links: Vec<Link>,
    /// What the loop sleeps for; `None` while it sleeps for nothing.
    next: Option<Ticks>,
    waker: Option<Waker>,
    closed: bool,
    thread: Option<thread::JoinHandle<()>>,
}

type Link = Pin<Box<dyn Future<Output = Option<Linked>> + Send>>;

/// What a token from outside stops.
#[derive(Clone)]
enum Linked {
    Run(Weak<Node>),
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

    /// Makes sure that the loop takes a turn at this instant.
    pub(crate) fn nudge(&self, at: Ticks) {
        let waker = {
            let queue = self.queue.lock();
            queue.waker.clone().filter(|_| queue.next.is_none_or(|next| at < next))
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the loop, and waits for its thread unless this is the thread.
    pub(crate) fn close(&self) {
        let (waker, thread) = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            (queue.waker.clone(), queue.thread.take())
        };
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

/// Starts the loop on a thread of its own.
pub(crate) fn spawn_thread(shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut turns = Turns::new(shared);
    let thread = thread::Builder::new().name("quell-control".into()).spawn(move || {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        while let Turn::Next(next) = turns.turn(&mut cx) {
            match next {
                Some(at) => park_until(at),
                None => thread::park(),
            }
        }
    })?;
    shared.control.queue.lock().thread = Some(thread);
    Ok(())
}

/// The loop as a future, for a runtime whose clock may be paused.
#[cfg(feature = "test-util")]
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut turns = Turns::new(&shared);
    drop(shared);
    let mut sleep = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
    std::future::poll_fn(|cx| {
        loop {
            let Turn::Next(next) = turns.turn(cx) else { return Poll::Ready(()) };
            let Some(at) = next else { return Poll::Pending };
            sleep.as_mut().reset(at.into());
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What a turn says about the next one.
enum Turn {
    /// It is due at this instant, or when somebody wakes the loop.
    Next(Option<Instant>),
    /// There is none.
    Last,
}

/// One turn after the other: fires what is due, says when it wants to be called again.
struct Turns {
    shared: Weak<Shared>,
    links: FuturesUnordered<Link>,
}

impl Turns {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), links: FuturesUnordered::new() }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(shared) = self.shared.upgrade() else { return Turn::Last };
        {
            let mut queue = shared.control.queue.lock();
            if queue.closed {
                return Turn::Last;
            }
            queue.waker = Some(cx.waker().clone());
            self.links.extend(queue.links.drain(..));
        }
        while let Poll::Ready(Some(linked)) = self.links.poll_next_unpin(cx) {
            match linked {
                Some(Linked::Run(node)) => {
                    if let Some(node) = node.upgrade() {
                        node.cancel(&by_token());
                    }
                }
                Some(Linked::Engine) => shared.cancel_roots(&by_token()),
                None => {}
            }
        }
        fire_due(&shared);
        let (free, due) = shared.admission.turn(shared.clock.now());
        free.start();
        let kept_until = shared.registry.expire(shared.clock.now());
        let mut queue = shared.control.queue.lock();
        let others = kept_until.into_iter().chain(due).map(|at| shared.clock.ticks(at));
        queue.next = queue.timers.earliest().into_iter().chain(others).min();
        Turn::Next(queue.next.map(|at| shared.clock.at_ticks(at)))
    }
}

/// Ticks every run whose timer is due.
pub(crate) fn fire_due(shared: &Shared) {
    loop {
        let due = take_due(shared);
        if due.is_empty() {
            return;
        }
        for (key, node) in due {
            tick(key, &node);
        }
    }
}

fn take_due(shared: &Shared) -> Vec<(TimerKey, Arc<Node>)> {
    let now = shared.clock.ticks(shared.clock.now());
    let late = if faults::on("fire-late") { 10_000_000_000 } else { 0 };
    let mut queue = shared.control.queue.lock();
    // While it works the loop sleeps for nothing; it looks at the queue before it sleeps.
    queue.next = Some(now);
    queue.timers.take_due(Ticks::from_raw(now.get().saturating_sub(late)))
}

fn tick(key: TimerKey, node: &Arc<Node>) {
    let shared = &node.shared;
    let active = {
        let mut state = node.lock();
        // Re-armed since it was popped: the new timer stays.
        state.armed = state.armed.filter(|armed| *armed != key);
        let active = state.idle.as_ref().map_or(state.times.queued, |idle| idle.ticks());
        shared.clock.at_ticks(active)
    };
    let input = Input::Tick { active_at: active, listens: node.is_listening() };
    node.apply(input, Note::default(), |_, _| {});
}

/// The request that a cancelled token stands for.
pub(crate) fn by_token() -> CancelRequest {
    CancelRequest::because("a linked token was cancelled").kind(CauseKind::ExternalToken)
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
