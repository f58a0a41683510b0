//! [`RunSpan`]: the span of a run for subscribers of `tracing`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tracing::Span;

use crate::foreign::{catch_panic, release};

/// The span of a run, shared by all that executes of the run. It closes when the last of its
/// holders is gone.
///
/// To clone it calls no foreign code. To drop it may, so whoever holds a lock, or is the control
/// thread, hands it on instead.
#[derive(Clone, Debug)]
pub(crate) struct RunSpan(Arc<Held>);

/// None only while it is dropped.
#[derive(Debug)]
struct Held(Option<Span>);

impl RunSpan {
    /// Makes a span, if a subscriber wants one. If the subscriber panics, there is none.
    pub(crate) fn new(make: impl FnOnce() -> Span) -> Option<Self> {
        let span = catch_panic(make).ok().filter(|span| !span.is_disabled())?;
        Some(Self(Arc::new(Held(Some(span)))))
    }

    /// Sets a field that was declared when the span was made.
    pub(crate) fn record(&self, field: &str, value: &str) {
        if let Some(span) = &self.0.0 {
            let _ = catch_panic(|| _ = span.record(field, value));
        }
    }
}

/// Calls the code of a run in its span, if there is one. A panic of the subscriber is the
/// subscriber's; one of the code goes on to the caller.
pub(crate) fn in_span<R>(span: Option<&RunSpan>, code: impl FnOnce() -> R) -> R {
    let Some(span) = span.and_then(|span| span.0.0.as_ref()) else { return code() };
    let (mut code, mut done) = (Some(code), None);
    // The subscriber may panic before and after the code: neither keeps the code from its end.
    let _ = catch_panic(|| {
        span.in_scope(|| {
            done = code.take().map(|code| catch_unwind(AssertUnwindSafe(code)));
        });
    });
    match (done, code) {
        (Some(done), _) => done.unwrap_or_else(|panic| resume_unwind(panic)),
        // If the subscriber panicked before the code was called, call it without the span.
        (None, Some(code)) => code(),
        (None, None) => unreachable!("the code is taken only to be called"),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing a span is foreign code, too.
        release(self.0.take());
    }
}
