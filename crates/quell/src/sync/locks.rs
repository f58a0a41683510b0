//! The only importer of locks and atomics, so that a model checker can stand in for them.
//!
//! Under `--cfg quell_loom` they are loom's: every access is a point at which the model may switch
//! threads. A plain `--cfg loom` would change tokio as well. The engine needs no `Notify`: who
//! waits leaves a waker under the lock of what it waits for ([`crate::sync::waiters`]), and a model
//! polls futures with loom's own executor, which yields a deadlock for a wake-up that is lost.
//!
//! Under `--cfg quell_shuttle` they are shuttle's, and so are the map of runs, the tasks and the
//! control thread, which brings a time of its own ([`scheduled`]).

#[cfg(not(any(quell_loom, quell_shuttle)))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(any(quell_loom, quell_shuttle)))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

/// What is set once, by whoever makes a run, before others know it, or under the lock of the run:
/// no order is left to a model.
pub(crate) use std::sync::OnceLock;

/// For what is counted and decides nothing: no order is left to a model.
pub(crate) use std::sync::atomic::AtomicU64 as Tally;

/// For what tests stand in for alone.
#[cfg(feature = "test-util")]
pub(crate) use tokio::sync::Notify;

/// For what embedders wait for, and no run does.
pub(crate) use tokio::sync::watch;

#[cfg(quell_loom)]
pub(crate) use super::modelled::{Mutex, start};
#[cfg(quell_loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(quell_loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

#[cfg(quell_shuttle)]
pub(crate) use super::scheduled::{
    AbortHandle, DashMap, MapEntry, Mutex, MutexGuard, RandomState, Runtime, now, park_until,
    thread, thread_local, wall,
};
#[cfg(quell_shuttle)]
pub(crate) use shuttle::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

#[cfg(not(quell_shuttle))]
pub(crate) use {
    dashmap::DashMap,
    dashmap::mapref::entry::Entry as MapEntry,
    real::{now, park_until, wall},
    std::collections::hash_map::RandomState,
    std::{thread, thread_local},
    tokio::runtime::Handle as Runtime,
    tokio::task::AbortHandle,
};

/// Threads and times of the machine.
#[cfg(not(quell_shuttle))]
mod real {
    use std::time::{Instant, SystemTime};

    /// tokio's clock: a test that pauses it pauses the engine.
    pub(crate) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    pub(crate) fn wall() -> SystemTime {
        SystemTime::now()
    }

    /// Parks the thread until it is woken, at most until an instant.
    pub(crate) fn park_until(at: Instant) {
        // The clock may be ahead of the sleep, never behind: no rounding down to a spin.
        std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
    }
}
