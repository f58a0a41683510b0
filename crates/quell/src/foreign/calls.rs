//! Code that is not ours: wakers, values and their destructors, hooks, subscribers of `tracing`.
//!
//! Two rules hold for all of it. A panic of it goes no further (I26). And it never runs while a
//! lock of the engine is held, nor on the control thread, where it could hold up the deadlines of
//! other runs (I14): there it is handed to a courier ([`crate::foreign::couriers`]).

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::failure::Failure;
use crate::foreign::couriers::Couriers;
use crate::sync::thread_local;
use crate::sync::waiters::Wakers;

thread_local! {
    /// Whether this thread takes a turn of the control loop at the moment.
    static IN_TURN: Cell<bool> = const { Cell::new(false) };
}

/// Calls foreign code, and yields its panic as the failure that it is.
pub(crate) fn catch_panic<T>(code: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(code)).map_err(failure_of)
}

/// Drops a foreign value. A panic of its destructor is the value's alone.
pub(crate) fn release<T>(value: T) {
    let _ = catch_panic(|| drop(value));
}

/// Runs foreign code whose panics concern nobody: here, or with a courier if this is the control
/// thread. The caller holds no lock.
pub(crate) fn run(couriers: &Couriers, code: impl FnOnce() + Send + 'static) {
    if is_barred() {
        couriers.send(Box::new(code));
    } else {
        let _ = catch_panic(code);
    }
}

/// Wakes everybody; a waker may belong to anybody's executor. The caller holds no lock.
#[inline]
pub(crate) fn wake(couriers: &Couriers, wakers: Wakers) {
    if !wakers.is_empty() {
        run(couriers, || wake_all(wakers));
    }
}

/// Wakes everybody here and now. The caller is foreign code already.
pub(crate) fn wake_all(wakers: Wakers) {
    for waker in wakers {
        // Its owner's fault, and nobody else's: the others are still woken.
        let _ = catch_panic(|| waker.wake());
    }
}

/// Tells whether foreign code must not run on this thread now.
pub(crate) fn is_barred() -> bool {
    IN_TURN.with(Cell::get)
}

/// Keeps foreign code off this thread until it is dropped: the thread takes a turn of the control
/// loop.
#[derive(Debug)]
pub(crate) struct Barred(());

impl Barred {
    pub(crate) fn new() -> Self {
        IN_TURN.with(|turn| turn.set(true));
        Self(())
    }
}

impl Drop for Barred {
    fn drop(&mut self) {
        IN_TURN.with(|turn| turn.set(false));
    }
}

/// Puts a panic into words. What it was raised with is foreign too, down to its destructor, whose
/// panic follows in the words.
fn failure_of(panic: Box<dyn Any + Send>) -> Failure {
    let failure = Failure::from_panic(&*panic);
    let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) else { return failure };
    let failure = failure.then_panicked(&*again);
    #[expect(clippy::mem_forget, reason = "a destructor that panics is not asked twice")]
    std::mem::forget(again);
    failure
}
