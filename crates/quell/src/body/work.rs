//! [`spawn_blocking`] runs a closure where it may block, as work of the run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use quell_core::{Cause, Stopped, Work};

use crate::body::context::RunContext;
use crate::foreign::in_span;
use crate::node::{Node, Site};
use crate::step::hold::Hold;

/// What a blocking closure sees of its run.
///
/// # Examples
///
/// ```
/// use quell::BlockingContext;
///
/// fn crunch(ctx: &BlockingContext) -> u64 {
///     (0..1_000_000).take_while(|_| !ctx.is_stopping()).sum()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct BlockingContext {
    node: Arc<Node>,
}

impl BlockingContext {
    /// Tells whether the closure should give way: the run is to stop, or its body has failed. One
    /// atomic load: ask often.
    pub fn is_stopping(&self) -> bool {
        self.node.listen()
    }

    /// Yields why, if the closure should give way.
    pub fn cause(&self) -> Option<Arc<Cause>> {
        self.node.lock().cause_to_give_way()
    }
}

/// Runs a closure on a thread of the runtime's blocking pool, as work of the run.
pub(crate) async fn spawn_blocking<T: Send + 'static>(
    ctx: &RunContext,
    name: Option<Arc<str>>,
    site: Site,
    work: impl FnOnce(BlockingContext) -> T + Send + 'static,
) -> Result<T, Stopped> {
    let node = ctx.node();
    node.listen();
    let name = name.unwrap_or_else(|| Arc::clone(&node.name));
    let hold = Hold::new(node, Work::Blocking, name, site)?;
    let context = BlockingContext { node: Arc::clone(node) };
    let span = node.lock().span.clone();
    let task = node.shared.runtime.spawn_blocking(move || {
        let done = catch_unwind(AssertUnwindSafe(|| in_span(span.as_ref(), || work(context))));
        // Before the hold: without this work the run may end, and its span is to close then.
        drop(span);
        // In this order: if the caller is gone, the value is dropped before the hold, since its
        // destructor is work of the run, too.
        (done.unwrap_or_else(|panic| resume_unwind(panic)), hold)
    });
    // The abort of a closure that has started does nothing: the run waits for it.
    let mut unstarted = AbortOnDrop(Some(task.abort_handle()));
    let joined = task.await;
    unstarted.0 = None;
    match joined {
        Ok((value, hold)) => {
            drop(hold);
            Ok(value)
        }
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(node.refusal(&node.lock())),
    }
}

/// Takes a closure back that has not started when its caller stops waiting for it.
struct AbortOnDrop(Option<tokio::task::AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
