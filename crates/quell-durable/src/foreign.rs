//! Code that is not ours: wakers, destructors of what callers gave, subscribers of `tracing`. It
//! runs on the threads of a store while nothing is locked, and a panic of it goes no further: a
//! thread that ended would leave everybody waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls code that may panic; none if it did.
pub fn catch_panic<T>(code: impl FnOnce() -> T) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => return Some(value),
        Err(panic) => panic,
    };
    // What it was raised with is foreign too, down to its destructor.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "a destructor that panics is not asked twice")]
        std::mem::forget(again);
    }
    None
}
