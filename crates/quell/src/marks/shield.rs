//! Marks the sections that belong to cleanup, shields and hooks: what they spawn passes the fence.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use quell_core::RunId;

use crate::sync::thread_local;

thread_local! {
    /// The run whose cleanup this thread polls now.
    static SHIELDED: Cell<Option<RunId>> = const { Cell::new(None) };
}

/// Polls a future as cleanup of a run. The mark is lexical: it holds during the poll, on this
/// thread, and for what the future calls; a task that the future spawns is not shielded.
pub(crate) fn poll<F: Future + ?Sized>(
    run: RunId,
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    within(run, || future.poll(cx))
}

/// Calls a function as cleanup of a run; the mark is that of [`poll`].
pub(crate) fn within<T>(run: RunId, call: impl FnOnce() -> T) -> T {
    let _restore = Restore(SHIELDED.with(|shielded| shielded.replace(Some(run))));
    call()
}

/// Tells whether the caller is cleanup of this run.
pub(crate) fn is_active(run: RunId) -> bool {
    SHIELDED.with(Cell::get) == Some(run)
}

/// Puts the former mark back, also when the poll panics.
struct Restore(Option<RunId>);

impl Drop for Restore {
    fn drop(&mut self) {
        SHIELDED.with(|shielded| shielded.set(self.0));
    }
}
