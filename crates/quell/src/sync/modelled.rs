//! What loom gives in another shape.

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
