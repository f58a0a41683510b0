//! Calls of a cluster that a loop has under way.

use std::task::{Context, Poll};

use quell_core::store::{BoxFuture, StoreError};

use crate::foreign;

/// A call that is under way. A cluster is foreign code, and so is its destructor: whoever drops one
/// does so by [`foreign::release`].
pub(super) type Call<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Polls a call. One that panics has failed.
pub(super) fn poll<T>(call: &mut Call<T>, cx: &mut Context<'_>) -> Poll<Result<T, StoreError>> {
    match foreign::catch_panic(|| call.as_mut().poll(cx)) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(StoreError::Io { what: panic.to_string() })),
    }
}
