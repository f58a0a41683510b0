//! Stop hooks: cleanup that runs when the body has ended, in a task of the engine.
//!
//! A runner takes the hooks of a run in reverse order of registration, one after the other, each
//! isolated from the panics of the others (I16). It is one piece of work of the run: the run does
//! not end before it, unless the ladder is exhausted. At the hard deadline it is aborted; the hook
//! that was running is reported as aborted, those that were waiting as skipped.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use quell_core::{Cause, EventKind, HookOutcome, Work};

use crate::failure::Failure;
use crate::node::Node;
use crate::shield;
use crate::work::Hold;

/// A stop hook that waits for its turn.
pub(crate) struct Hook {
    pub(crate) number: u32,
    pub(crate) start: Start,
}

pub(crate) type Start =
    Box<dyn FnOnce(Arc<Cause>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({})", self.number)
    }
}

/// Starts a runner for hooks in order of registration; none for no hooks. The lifecycle has
/// counted it already.
pub(crate) fn run(node: &Arc<Node>, hooks: Vec<Hook>, cause: Option<&Arc<Cause>>) {
    let (Some(cause), false) = (cause, hooks.is_empty()) else { return };
    let name = format!("{} hook", node.name);
    let hold = Hold::counted(node, Work::Hook, name.into());
    let runner = Runner { node: Arc::clone(node), waiting: hooks, running: None, hold: Some(hold) };
    let task = node.shared.runtime.spawn(run_all(runner, Arc::clone(cause)));
    let abort = task.abort_handle();
    let mut state = node.lock();
    if state.life.is_aborting() {
        drop(state);
        abort.abort();
    } else {
        state.extra().runners.push(abort);
    }
}

async fn run_all(mut runner: Runner, cause: Arc<Cause>) {
    while let Some(hook) = runner.waiting.pop() {
        let number = hook.number;
        runner.running = Some(number);
        let ended = run_one(&runner.node, hook, Arc::clone(&cause)).await;
        runner.running = None;
        match ended {
            Ok(()) => runner.note(number, HookOutcome::Finished, None),
            Err(failure) => runner.note(number, HookOutcome::Panicked, Some(&failure)),
        }
    }
}

async fn run_one(node: &Node, hook: Hook, cause: Arc<Cause>) -> Result<(), Failure> {
    let panicked = |panic: Box<dyn Any + Send>| Failure::from_panic(&*panic);
    let started = catch_unwind(AssertUnwindSafe(|| (hook.start)(cause)));
    let mut future = started.map_err(panicked)?;
    let polled = poll_fn(|cx| {
        let poll = || shield::poll(node.id, future.as_mut(), cx);
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panicked(panic))),
        }
    })
    .await;
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future))).map_err(panicked);
    polled.and(dropped)
}

/// What a runner has to account for, also when it is dropped half-way.
struct Runner {
    node: Arc<Node>,
    waiting: Vec<Hook>,
    running: Option<u32>,
    hold: Option<Hold>,
}

impl Runner {
    fn note(&self, hook: u32, outcome: HookOutcome, failure: Option<&Failure>) {
        let now = self.node.shared.clock.now();
        let mut wakers = Vec::new();
        {
            let mut state = self.node.lock();
            if let Some(failure) = failure {
                state.note_cleanup_error(&failure.to_string());
            }
            if !state.life.status().is_terminal() {
                let kind = EventKind::HookEnded { hook, outcome };
                self.node.write(&state, now, kind, &mut wakers);
            }
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(hook) = self.running.take() {
            self.note(hook, HookOutcome::Aborted, None);
        }
        for hook in std::mem::take(&mut self.waiting).into_iter().rev() {
            self.node.lock().extra().hooks_skipped += 1;
            self.note(hook.number, HookOutcome::Skipped, None);
            drop(catch_unwind(AssertUnwindSafe(|| drop(hook))));
        }
        // The last thing that a runner does: the run may end with it.
        drop(self.hold.take());
    }
}
