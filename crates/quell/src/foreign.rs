//! Calls into code that is not ours: a panic of it goes no further (I26).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::failure::Failure;
use crate::faults;
use crate::waiters::Wakers;

/// Calls foreign code, and yields its panic as the failure that it is.
pub(crate) fn call<T>(code: impl FnOnce() -> T) -> Result<T, Failure> {
    if faults::on("let-panics-through") {
        return Ok(code());
    }
    catch_unwind(AssertUnwindSafe(code)).map_err(failure_of)
}

/// Wakes everybody; a waker may belong to anybody's executor.
#[inline]
pub(crate) fn wake(wakers: Wakers) {
    if !wakers.is_empty() {
        wake_all(wakers);
    }
}

fn wake_all(wakers: Wakers) {
    wakers.for_each(|waker| {
        // Its owner's fault, and nobody else's: the others are still woken.
        let _ = call(|| waker.wake());
    });
}

/// Puts a panic into words. What it was raised with is foreign too, down to its destructor.
fn failure_of(panic: Box<dyn Any + Send>) -> Failure {
    let failure = Failure::from_panic(&*panic);
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "a destructor that panics is not asked twice")]
        std::mem::forget(again);
    }
    failure
}
