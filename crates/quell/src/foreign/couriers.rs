//! [`Couriers`] are threads that run foreign code in place of the control thread.
//!
//! A turn of the control thread may wake waiters, drop values or call a `tracing` subscriber, and
//! each of these may block. The control thread hands them over and goes on. One courier is enough
//! as long as nothing blocks. When all are held up, the control thread starts another, up to
//! [`COURIERS_MAX`]; beyond that, foreign code waits for its turn, and deadlines still do not.
//! Calls of subscribers are bounded by [`WORDS_MAX`], all other errands by the number of waiters
//! and of runs: each of these leaves a few when it ends, its span say.
//!
//! Invariants, under the one lock:
//!
//! 1. While an errand waits, a courier is live, or the errand was run by its sender because the
//!    system refused a thread.
//! 2. A courier is in `parked` exactly while it has nothing to do; the thread that takes it out
//!    unparks it. At most one is there: a courier that finds another one parked ends.
//! 3. Errands are started in the order in which they were sent.
//!
//! The lock is a leaf. Errands run when it is released.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::foreign;
use crate::sync::thread::{self, Thread};
use crate::sync::{self, Mutex, Runtime};

/// Foreign code on its way.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

/// The couriers of an engine, and what they have to do. None is started before the first errand.
#[derive(Clone)]
pub(crate) struct Couriers {
    post: Arc<Mutex<Post>>,
    /// Errands are tasks here, not a thread's, when the control loop is one: see
    /// `EngineConfig::control_on_runtime`.
    tasks: Option<Runtime>,
}

#[derive(Default)]
struct Post {
    /// The errands that wait, the oldest first.
    errands: VecDeque<Errand>,
    /// Since when errands wait and none was started.
    waits_since: Option<Instant>,
    /// How many calls of subscribers were left out since the last one that was not.
    unsaid: usize,
    /// The courier that has nothing to do, if there is one.
    parked: Vec<Thread>,
    /// How many couriers there are.
    live: usize,
    /// The engine is gone: a courier that has nothing to do ends.
    closed: bool,
}

impl Couriers {
    pub(crate) fn new(tasks: Option<Runtime>) -> Self {
        Self { post: Arc::default(), tasks }
    }

    /// Tells whether errands are tasks, not a thread's.
    pub(crate) const fn are_tasks(&self) -> bool {
        self.tasks.is_some()
    }

    /// Hands over a call of a subscriber. If too many errands wait already, the call is left out,
    /// and the next one is preceded by a line that says how many were.
    pub(crate) fn send_words(&self, words: Errand) {
        let unsaid = {
            let mut post = self.post.lock();
            if post.errands.len() >= WORDS_MAX {
                post.unsaid += 1;
                return;
            }
            std::mem::take(&mut post.unsaid)
        };
        if unsaid > 0 {
            let missing = move || tracing::warn!(unsaid, "subscriber is too slow for what ends");
            self.send(Box::new(missing));
        }
        self.send(words);
    }

    /// Hands an errand over.
    pub(crate) fn send(&self, errand: Errand) {
        if let Some(runtime) = &self.tasks {
            drop(runtime.spawn(async move { drop(foreign::catch_panic(errand)) }));
            return;
        }
        let parked = {
            let mut post = self.post.lock();
            post.errands.push_back(errand);
            post.waits_since.get_or_insert_with(sync::now);
            let parked = post.parked.pop();
            if parked.is_none() && post.live > 0 {
                return;
            }
            parked
        };
        match parked {
            Some(courier) => courier.unpark(),
            None => self.start(),
        }
    }

    /// Starts another courier if errands have waited for too long. Yields when to ask again.
    pub(crate) fn relieve(&self, now: Instant) -> Option<Instant> {
        {
            let mut post = self.post.lock();
            let since = post.waits_since.filter(|_| !post.errands.is_empty())?;
            if now.saturating_duration_since(since) < PATIENCE {
                return Some(since + PATIENCE);
            }
            if post.live >= COURIERS_MAX {
                return None;
            }
            post.waits_since = Some(now);
        }
        self.start();
        Some(now + PATIENCE)
    }

    /// Lets the couriers end when they are through.
    pub(crate) fn close(&self) {
        let parked = {
            let mut post = self.post.lock();
            post.closed = true;
            std::mem::take(&mut post.parked)
        };
        parked.iter().for_each(Thread::unpark);
    }

    fn start(&self) {
        self.post.lock().live += 1;
        let couriers = self.clone();
        let started =
            thread::Builder::new().name("quell-courier".into()).spawn(move || couriers.work());
        if started.is_err() {
            // Late and in the wrong place is better than never.
            let errands = {
                let mut post = self.post.lock();
                post.live -= 1;
                if post.live > 0 { VecDeque::new() } else { std::mem::take(&mut post.errands) }
            };
            for errand in errands {
                drop(foreign::catch_panic(errand));
            }
        }
    }

    /// What a courier does.
    fn work(&self) {
        loop {
            let errand = {
                let mut post = self.post.lock();
                let errand = post.errands.pop_front();
                post.waits_since = (!post.errands.is_empty()).then(sync::now);
                if errand.is_none() {
                    if post.closed || !post.parked.is_empty() {
                        post.live -= 1;
                        return;
                    }
                    post.parked.push(thread::current());
                }
                errand
            };
            match errand {
                Some(errand) => drop(foreign::catch_panic(errand)),
                None => self.rest(),
            }
        }
    }

    /// Waits until another thread takes the courier out of the list.
    fn rest(&self) {
        let this = thread::current().id();
        while self.post.lock().parked.iter().any(|courier| courier.id() == this) {
            thread::park();
        }
    }
}

impl fmt::Debug for Couriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Couriers").finish_non_exhaustive()
    }
}

/// How long an errand waits for a courier that is held up before another is started.
const PATIENCE: Duration = Duration::from_millis(5);

/// Errands that may wait before calls of subscribers are left out.
const WORDS_MAX: usize = 65_536;

/// Couriers at most. If foreign code holds up all of them, the rest of it waits.
pub(crate) const COURIERS_MAX: usize = 64;
