//! Hooks are cleanup that runs when body and children have ended, in a task of the engine: after a
//! stop all of them, without one those of every end.
//!
//! A runner calls the hooks of a run in reverse order of registration, one after the other, each
//! isolated from the panics of the others (I16). It counts as one piece of work of the run: the run
//! does not end before it, unless the ladder is exhausted. The hard deadline aborts the runner; if
//! it waited for children until then, half of the abort wait does. The hook that was running is
//! reported as aborted, and those that were waiting as skipped.
//!
//! A runner of a run that was not stopped has the hooks of a stop, too: if one comes, it goes on
//! with all of them, and their order is kept. What it has not run in the end waits again.
//!
//! Invariants, under the lock of the node:
//!
//! 1. A hook waits in [`RareState::hooks`](crate::node::RareState), or in a [`Batch`], or it runs,
//!    or it is only dropped any more.
//! 2. A runner takes a hook from its batch only while that is not over, and a batch is over before
//!    the run is terminal.
//! 3. The step that gives a hook up accounts for it: the hook is skipped if there was a stop or it
//!    is one of every end, and unneeded otherwise; a stop that is accepted later skips what was
//!    unneeded. So a final report does not change when a runner that was blocked goes on.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use quell_core::lifecycle::{Effects, HookAction, Input};
use quell_core::{Cause, EventKind, HookOutcome, Work};

use crate::failure::Failure;
use crate::foreign;
use crate::marks::shield;
use crate::node::hook::{Batch, Hook, Label, Unrun};
use crate::node::{Node, Piece, State};
use crate::step::deferred::{Deferred, DeferredRare};
use crate::step::hold::Hold;
use crate::sync::waiters::Wakers;

/// What becomes of the hooks that a step hands out. Decided under the node's lock, carried out when
/// it is released.
#[derive(Debug)]
pub(crate) enum HookFate {
    /// A runner takes them: to run them, or to drop them if their batch is over. What they have
    /// captured is the run's code, too: it is dropped where the bodies run, as work of the run.
    Taken {
        /// The number of their batch.
        batch: u32,
        /// Where the runner is noted as work.
        place: usize,
    },
    /// The one just registered is dropped at once, on the thread of its caller.
    Refused(Vec<Hook>),
}

impl Node {
    /// Hands hooks out as the lifecycle says, under the lock.
    pub(crate) fn record_hooks(&self, state: &mut State, now: Instant, deferred: &mut Deferred) {
        let Effects { hooks: action, accepted, ended, .. } = deferred.fx;
        let Some(extra) = &mut state.extra else { return };
        let mut unrun = Vec::new();
        if accepted.is_some() {
            unrun.append(&mut extra.hooks_unneeded);
        }
        let is_abort = matches!(action, HookAction::Abort | HookAction::AbortRunning);
        if is_abort || action == HookAction::Skip || ended.is_some() {
            for batch in extra.batches.values_mut() {
                unrun.append(&mut batch.give_up());
                if is_abort {
                    deferred.rare().runners.extend(batch.runner.take());
                }
            }
        }
        let hooks: Vec<_> = match action {
            HookAction::Leave | HookAction::AbortRunning => Vec::new(),
            HookAction::RunNew | HookAction::SkipNew => extra.hooks.pop().into_iter().collect(),
            _ => std::mem::take(&mut extra.hooks),
        };
        if action == HookAction::SkipNew {
            unrun.extend(hooks.iter().map(Hook::unrun));
            deferred.rare().hooks = Some(HookFate::Refused(hooks));
        } else if !hooks.is_empty() {
            let mut batch = Batch::new(hooks);
            if !matches!(action, HookAction::Run | HookAction::RunNew) {
                unrun.append(&mut batch.give_up());
            }
            let batch = extra.add_batch(batch);
            deferred.rare().hooks = Some(HookFate::Taken { batch, place: self.note_runner(state) });
        }
        self.account_for(state, unrun, now, &mut deferred.wakers);
    }

    /// Accounts for hooks that are not going to run.
    fn account_for(&self, state: &mut State, unrun: Vec<Unrun>, now: Instant, wakers: &mut Wakers) {
        for hook in unrun {
            if hook.at_end || state.life.is_stopping() {
                self.skip_hook(state, hook.number, now, wakers);
            } else {
                state.extra().hooks_unneeded.push(hook);
            }
        }
    }

    /// Names the work that the lifecycle has counted for a runner, and yields its place.
    fn note_runner(&self, state: &mut State) -> usize {
        let name = self.name_of_hooks();
        state.extra().note_work(Piece { what: Work::Hook, name, site: None })
    }

    /// Yields the name of hooks that have none.
    fn name_of_hooks(&self) -> Arc<str> {
        format!("{} hook", self.name).into()
    }

    /// Carries out what few steps leave, with no lock held: tokens, links and hooks.
    pub(crate) fn finish_rare(self: &Arc<Self>, rare: DeferredRare) {
        let DeferredRare { token, link, runners, hooks, failure } = rare;
        if failure.is_some() {
            foreign::run(&self.shared.couriers, move || drop(failure));
        }
        if let Some(token) = token {
            foreign::run(&self.shared.couriers, move || token.cancel());
        }
        if let Some(link) = link {
            link.abort.abort();
        }
        for runner in runners {
            runner.abort();
        }
        match hooks {
            Some(HookFate::Taken { batch, place }) => run(self, batch, Hold::placed(self, place)),
            // Refused at its registration: this is the thread of the caller.
            Some(HookFate::Refused(hooks)) => foreign::release(hooks),
            None => {}
        }
    }
}

/// Starts a runner for a batch of hooks. The lifecycle has counted it already.
fn run(node: &Arc<Node>, batch: u32, hold: Hold) {
    let task = node.shared.runtime.spawn(run_all(Runner::new(node, batch, hold)));
    let abort = task.abort_handle();
    let mut state = node.lock();
    // None if the runner has ended.
    if let Some(batch) = state.extra().batches.get_mut(&batch) {
        if !batch.is_over {
            batch.runner = Some(abort);
            return;
        }
        // A stage of the ladder came in between, and did not find the runner here.
        drop(state);
        abort.abort();
    }
}

async fn run_all(mut runner: Runner) {
    while let Some((hook, cause)) = runner.account().next() {
        let (node, label) = (Arc::clone(&runner.account().node), hook.label.clone());
        // Noted before the first poll: an abort of the task drops the runner, which reports it.
        runner.account().running = Some(hook.label.clone());
        let ended = run_one(&node, hook, cause).await;
        runner.account().running = None;
        match ended {
            Ok(()) => note(&node, &label, HookOutcome::Finished, None),
            Err(failure) => {
                let words = format!("{label}: {failure}");
                note(&node, &label, HookOutcome::Panicked, Some(&words));
            }
        }
    }
}

async fn run_one(node: &Node, hook: Hook, cause: Option<Arc<Cause>>) -> Result<(), Failure> {
    let Hook { start, .. } = hook;
    let mut future = foreign::catch_panic(|| shield::within(node.id, || (start.0)(cause)))?;
    let polled =
        poll_fn(|cx| match foreign::catch_panic(|| shield::poll(node.id, future.as_mut(), cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await;
    polled.and(foreign::catch_panic(|| drop(future)))
}

/// Settles its account when it is dropped: after the last hook, or half-way.
struct Runner(Option<Account>);

/// What a runner has to account for.
struct Account {
    /// The run whose hooks these are.
    node: Arc<Node>,
    /// The number of the batch that it takes them from.
    batch: u32,
    /// The hook that runs now.
    running: Option<Label>,
    /// The work that the lifecycle has counted for this runner.
    hold: Hold,
    /// The work bears the name or the site of a hook.
    is_described: bool,
}

impl Runner {
    fn new(node: &Arc<Node>, batch: u32, hold: Hold) -> Self {
        let node = Arc::clone(node);
        Self(Some(Account { node, batch, running: None, hold, is_described: false }))
    }

    #[expect(clippy::expect_used, reason = "taken when the runner is dropped, not before")]
    fn account(&mut self) -> &mut Account {
        self.0.as_mut().expect("the account is settled last")
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(account) = self.0.take() {
            let shared = Arc::clone(&account.node.shared);
            // A runtime that is gone drops the task on the thread that spawns it, which may be the
            // control thread.
            foreign::run(&shared.couriers, move || account.settle());
        }
    }
}

impl Account {
    /// Takes the hook that runs next, and why the run stops, if it does.
    fn next(&mut self) -> Option<(Hook, Option<Arc<Cause>>)> {
        let mut state = self.node.lock();
        let cause = state.cause.clone();
        let batch = state.extra().batches.get_mut(&self.batch).filter(|batch| !batch.is_over)?;
        let next = match cause {
            Some(_) => batch.hooks.len().checked_sub(1),
            None => batch.hooks.iter().rposition(|hook| hook.label.at_end),
        };
        let Some(next) = next else {
            // Under the same lock: a stop that comes now finds the others where it looks for them.
            let again = std::mem::take(&mut batch.hooks);
            wait_again(&mut state, again, &self.node);
            return None;
        };
        let hook = batch.hooks.remove(next);
        let Label { name, site, .. } = &hook.label;
        if name.is_some() || site.is_some() || self.is_described {
            let name = name.as_ref().map_or_else(|| self.node.name_of_hooks(), Arc::clone);
            self.hold.describe(&mut state, name, *site);
            self.is_described = true;
        }
        Some((hook, cause))
    }

    fn settle(self) {
        let Self { node, batch, running, hold, is_described: _ } = self;
        if let Some(hook) = running {
            let words = format!("{hook} was aborted: its time was over");
            note(&node, &hook, HookOutcome::Aborted, Some(&words));
        }
        let mut wakers = Wakers::new();
        let hooks = {
            let mut state = node.lock();
            let batch = state.extra().batches.remove(&batch);
            batch.map_or_else(Vec::new, |mut batch| {
                // Their runtime may be gone in the middle of them.
                let now = node.shared.clock.now();
                node.account_for(&mut state, batch.give_up(), now, &mut wakers);
                batch.hooks
            })
        };
        foreign::wake(&node.shared.couriers, wakers);
        for Hook { label, start } in hooks.into_iter().rev() {
            if let Err(panic) = foreign::catch_panic(|| drop(start)) {
                node.lock().note_cleanup_error(&format!("{label}: {panic}"));
            }
        }
        // Last: without this work the run may end.
        drop(hold);
    }
}

/// Has hooks wait again that run only after a stop, as none has come.
fn wait_again(state: &mut State, again: Vec<Hook>, node: &Node) {
    if again.is_empty() {
        return;
    }
    let hooks = &mut state.extra().hooks;
    hooks.extend(again);
    hooks.sort_by_key(|hook| hook.label.number);
    let fx = state.life.on(Input::HookAdded { at_end: false }, node.shared.clock.now());
    debug_assert_eq!(fx, Effects::default(), "its runner is work of the run");
}

/// Records how a hook ended, unless its run has ended before it.
fn note(node: &Arc<Node>, label: &Label, outcome: HookOutcome, words: Option<&str>) {
    let hook = label.number;
    let now = node.shared.clock.now();
    let mut wakers = Wakers::new();
    {
        let mut state = node.lock();
        if !state.life.status().is_terminal() {
            if let Some(words) = words {
                state.note_cleanup_error(words);
            }
            node.write(&mut state, now, EventKind::HookEnded { hook, outcome }, &mut wakers);
        }
    }
    foreign::wake(&node.shared.couriers, wakers);
}
