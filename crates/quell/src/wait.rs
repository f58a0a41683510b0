//! Waiting for something to be true of a run.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use quell_core::RunStatus;

use crate::handle::RunRef;
use crate::node::{Node, State};
use crate::waiters::Key;

/// One waiter at a node. The condition is looked at, and the waker registered, under one lock.
pub(crate) struct Wait<'a> {
    node: &'a Arc<Node>,
    key: Key,
}

impl<'a> Wait<'a> {
    pub(crate) const fn new(node: &'a Arc<Node>) -> Self {
        Self { node, key: None }
    }

    /// Waits until the condition yields something. Cancel safe: dropped, it leaves no trace.
    pub(crate) async fn until<T>(mut self, mut condition: impl FnMut(&State) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut state = self.node.lock();
            if let Some(found) = condition(&state) {
                state.waiters.remove(&mut self.key);
                return Poll::Ready(found);
            }
            state.waiters.register(&mut self.key, cx.waker());
            Poll::Pending
        })
        .await
    }
}

impl RunRef {
    /// Waits until the run is terminal and yields its status. As [`ended`](Self::ended), without
    /// the cost of a report.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn terminal(&self) -> RunStatus {
        let terminal = |state: &State| Some(state.life.status()).filter(|is| is.is_terminal());
        Wait::new(self.node()).until(terminal).await
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.key.is_some() {
            self.node.lock().waiters.remove(&mut self.key);
        }
    }
}
