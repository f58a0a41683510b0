//! [`Foreign`] and [`ForeignVec`] hold values of callers, whose destructors may panic.
//!
//! A panic that leaves a destructor while another one unwinds ends the process. What a step, a
//! retry or a team holds of several callers is therefore held in these: the first panic goes on,
//! and fails the run as a panic of its body does (I26); while it unwinds, a panic of another value
//! is that value's alone.

use std::any::Any;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// One value of a caller: a closure, a body, a default.
#[derive(Clone, Debug)]
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Takes the value out, for code that drops it in a place of its own.
    #[expect(clippy::expect_used, reason = "only this function and `drop` empty it")]
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("a foreign value is taken out once")
    }
}

impl<T: Default> Default for Foreign<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for Foreign<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "only `into_inner` and `drop` empty it")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("a foreign value is there until it is taken out")
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        // Otherwise the field is dropped next, and its panic is the first one.
        if thread::panicking() {
            let value = self.0.take();
            contain(|| drop(value));
        }
    }
}

/// Values of callers that are dropped together.
#[derive(Debug)]
pub(crate) struct ForeignVec<T>(Vec<T>);

impl<T> ForeignVec<T> {
    pub(crate) const fn new(values: Vec<T>) -> Self {
        Self(values)
    }

    /// Takes the values out, for code that drops each in a place of its own.
    pub(crate) fn into_inner(mut self) -> Vec<T> {
        mem::take(&mut self.0)
    }
}

impl<T> Deref for ForeignVec<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for ForeignVec<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> Drop for ForeignVec<T> {
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            // A vector whose item panics goes on to drop the other items.
            let values = mem::take(&mut self.0);
            drop(values.into_iter().map(Foreign::new).collect::<Vec<_>>());
        }
    }
}

/// Calls code of a caller. Its panic goes no further.
fn contain(code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(code)) {
        release(panic);
    }
}

/// Drops what a panic was raised with, which is foreign too.
fn release(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "a destructor that panics is not asked twice")]
        mem::forget(again);
    }
}
