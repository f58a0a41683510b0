//! Locks that are counted, in the instrumented copy only: foreign code asks whether its thread
//! holds one ([`held`]), and must never run under one.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

std::thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Yields how many locks of the engine this thread holds.
pub fn held() -> usize {
    HELD.get()
}

/// `parking_lot`'s mutex, counted while it is held.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

/// Holds a [`Mutex`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T>(parking_lot::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock();
        HELD.set(HELD.get() + 1);
        MutexGuard(guard)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}
