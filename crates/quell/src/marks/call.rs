//! [`Inside`] marks what was started inside a tool call and still executes.
//!
//! The mark of a call is lexical, as that of a shield is: it holds while this thread polls the
//! call. Holds, closures and children that start meanwhile share [`Inside`] with the call for as
//! long as they execute: if the call is the only owner, nothing is left of it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::sync::thread_local;

thread_local! {
    /// The call that this thread polls at the moment.
    static CALL: RefCell<Option<Arc<Inside>>> = const { RefCell::new(None) };
}

/// Shared by a tool call and all that was started inside it and still executes.
#[derive(Debug)]
pub(crate) struct Inside {
    /// What is inside a call is also inside the call around it.
    _around: Option<Arc<Self>>,
}

/// Makes the mark of a call, which is inside of what its caller is inside of.
pub(crate) fn begin() -> Arc<Inside> {
    Arc::new(Inside { _around: inside() })
}

/// Calls a function inside a tool call. The mark holds meanwhile, on this thread.
pub(crate) fn within<T>(inside: &Arc<Inside>, call: impl FnOnce() -> T) -> T {
    let _restore = Restore(CALL.with(|mark| mark.replace(Some(Arc::clone(inside)))));
    call()
}

/// Yields what the caller is inside of, if a tool call is being polled.
#[inline]
pub(crate) fn inside() -> Option<Arc<Inside>> {
    // The destructors of a thread that ends can no longer read the mark, and are inside no call.
    CALL.try_with(|call| call.borrow().clone()).ok().flatten()
}

/// Puts the former mark back, also when the poll panics.
struct Restore(Option<Arc<Inside>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        let marked = CALL.try_with(|call| call.replace(before));
        drop(marked);
    }
}
