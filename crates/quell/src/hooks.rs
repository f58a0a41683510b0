//! Stop hooks: cleanup that runs when the body has ended, in a task of the engine.
//!
//! A runner takes the hooks of a run in reverse order of registration, one after the other, each
//! isolated from the panics of the others (I16). It is one piece of work of the run: the run does
//! not end before it, unless the ladder is exhausted. At the hard deadline it is aborted; the hook
//! that was running is reported as aborted, those that were waiting as skipped.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use quell_core::lifecycle::{Effects, HookAction};
use quell_core::{Cause, EventKind, HookOutcome};

use crate::failure::Failure;
use crate::foreign;
use crate::node::{Node, Rare};
use crate::shield;
use crate::waiters::Wakers;
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

impl Node {
    /// Carries out what few steps leave, with no lock held: tokens, links and hooks.
    pub(crate) fn finish_rare(
        self: &Arc<Self>,
        rare: Rare,
        fx: Effects,
        cause: Option<&Arc<Cause>>,
    ) {
        let Rare { token, link, runners, hooks, dropped, place } = rare;
        if let Some(token) = token {
            drop(foreign::call(|| token.cancel()));
        }
        if let Some(link) = link {
            link.abort();
        }
        for runner in runners {
            runner.abort();
        }
        let hold = place.map(|place| Hold::placed(self, place));
        if !hooks.is_empty() {
            run(self, hooks, cause, hold);
        } else if fx.refused {
            // It was refused when it was registered: by whoever is here.
            drop(foreign::call(|| drop(dropped)));
        } else {
            discard(self, dropped, fx.hooks != HookAction::Drop, hold);
        }
    }
}

/// Starts a runner for hooks in order of registration. The lifecycle has counted it already.
pub(crate) fn run(
    node: &Arc<Node>,
    hooks: Vec<Hook>,
    cause: Option<&Arc<Cause>>,
    hold: Option<Hold>,
) {
    let Some(cause) = cause else { return };
    let runner =
        Runner { node: Arc::clone(node), waiting: hooks, running: None, skips: true, hold };
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

/// Drops hooks that are not to run, because the stop left them no time or because there was none.
/// What they have captured is the run's code, too: it goes on the runtime of the bodies, as work
/// that the lifecycle has counted.
pub(crate) fn discard(node: &Arc<Node>, hooks: Vec<Hook>, skips: bool, hold: Option<Hold>) {
    if hooks.is_empty() {
        return;
    }
    let runner = Runner { node: Arc::clone(node), waiting: hooks, running: None, skips, hold };
    drop(node.shared.runtime.spawn(async move { drop(runner) }));
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
    let mut future = foreign::call(|| (hook.start)(cause))?;
    let polled = poll_fn(|cx| match foreign::call(|| shield::poll(node.id, future.as_mut(), cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await;
    polled.and(foreign::call(|| drop(future)))
}

/// What a runner has to account for, also when it is dropped half-way.
struct Runner {
    node: Arc<Node>,
    waiting: Vec<Hook>,
    running: Option<u32>,
    /// Whether those that wait are missing when they do not run: not if the run was not stopped.
    skips: bool,
    hold: Option<Hold>,
}

impl Runner {
    fn note(&self, hook: u32, outcome: HookOutcome, failure: Option<&Failure>) {
        let now = self.node.shared.clock.now();
        let mut wakers = Wakers::new();
        {
            let mut state = self.node.lock();
            if let Some(failure) = failure {
                state.note_cleanup_error(&failure.to_string());
            }
            if !state.life.status().is_terminal() {
                let kind = EventKind::HookEnded { hook, outcome };
                self.node.write(&mut state, now, kind, &mut wakers);
            }
        }
        foreign::wake(wakers);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(hook) = self.running.take() {
            self.note(hook, HookOutcome::Aborted, None);
        }
        let waiting = std::mem::take(&mut self.waiting);
        if self.skips || self.node.lock().life.is_stopping() {
            for hook in waiting.iter().rev() {
                self.node.lock().extra().hooks_skipped += 1;
                self.note(hook.number, HookOutcome::Skipped, None);
            }
        }
        for hook in waiting.into_iter().rev() {
            if let Err(panic) = foreign::call(|| drop(hook)) {
                self.node.lock().note_cleanup_error(&panic.to_string());
            }
        }
        // The last thing that a runner does: the run may end with it.
        drop(self.hold.take());
    }
}
