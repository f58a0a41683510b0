//! The only importer of locks and atomics, so that a model checker can stand in for them.
//!
//! Under `--cfg quell_loom` they are loom's: every access is a point at which the model may switch
//! threads. A plain `--cfg loom` would change tokio as well. The engine needs no `Notify`: who
//! waits leaves a waker under the lock of what it waits for ([`crate::waiters`]), and a model polls
//! futures with loom's own executor, which yields a deadlock for a wake-up that is lost.

#[cfg(not(quell_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(quell_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[cfg(quell_loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(quell_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(quell_loom)]
pub(crate) use modelled::{Mutex, start};

/// What loom gives in another shape.
#[cfg(quell_loom)]
mod modelled {
    use std::future::Future;

    use loom::sync::MutexGuard;

    /// loom's mutex without poison, as `parking_lot` has it.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        #[track_caller]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    /// Starts the task of a body on a thread of the model.
    pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) {
        drop(loom::thread::spawn(move || loom::future::block_on(task)));
    }
}
