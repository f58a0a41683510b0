//! [`Wait`] is a future that waits until a condition is true of a run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::node::{Node, State};
use crate::sync::waiters::{Key, Offer};

impl State {
    /// Tells whether a waiter for the end may go on.
    pub(crate) fn is_ended(&self) -> bool {
        self.life.status().is_terminal()
    }
}

/// One waiter at a node: it yields what the condition yields. The condition is looked at, and the
/// waker registered, under one lock. Cancel safe: dropped, it leaves no trace.
///
/// A future by hand rather than an `async fn`: every parked body holds one, and this one is small.
pub(crate) struct Wait<'a, C> {
    /// The run that is waited for.
    node: &'a Arc<Node>,
    /// Where the waker is registered.
    key: Key,
    /// Yields what is waited for, once it is there.
    condition: C,
}

impl<'a, T, C: FnMut(&State) -> Option<T>> Wait<'a, C> {
    pub(crate) const fn until(node: &'a Arc<Node>, condition: C) -> Self {
        Self { node, key: None, condition }
    }
}

impl<T, C: FnMut(&State) -> Option<T> + Unpin> Future for Wait<'_, C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let mut offer = Offer::new(cx.waker(), &this.key, this.node.status().is_terminal());
        loop {
            let mut state = this.node.lock();
            if let Some(found) = (this.condition)(&state) {
                let removed = state.waiters.remove(&mut this.key);
                drop(state);
                drop(removed);
                return Poll::Ready(found);
            }
            if state.waiters.register(&mut this.key, &mut offer) {
                return Poll::Pending;
            }
            drop(state);
            offer.renew();
        }
    }
}

impl<C> Drop for Wait<'_, C> {
    fn drop(&mut self) {
        if self.key.is_some() {
            let removed = self.node.lock().waiters.remove(&mut self.key);
            drop(removed);
        }
    }
}
