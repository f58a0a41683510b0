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

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quell_core::lifecycle::{Effects, HookAction, Input};
use quell_core::{Cause, EventKind, HookOutcome, Work};

use crate::failure::Failure;
use crate::foreign::{self, RunSpan, in_span};
use crate::marks::shield;
use crate::node::hook::{Batch, Cleanup, Hook, Label, Start, Unrun};
use crate::node::{Node, Piece, State};
use crate::step::deferred::{Deferred, DeferredRare};
use crate::step::hold::Hold;
use crate::sync::thread_local;
use crate::sync::waiters::Wakers;
use crate::tables::admission::Free;

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
        /// The name of that work, while it is about a hook that has none.
        unnamed: Arc<str>,
        /// The span of the run.
        span: Option<RunSpan>,
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
            // Names the work that the lifecycle has counted for the runner.
            let unnamed: Arc<str> = format!("{} hook", self.name).into();
            let name = Arc::clone(&unnamed);
            let place = extra.note_work(Piece { what: Work::Hook, name, site: None });
            let span = state.span.clone();
            deferred.rare().hooks = Some(HookFate::Taken { batch, place, unnamed, span });
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

    /// Carries out what few steps leave, with no lock held: tokens, links and hooks. Yields the
    /// runs that may start, which the caller starts later.
    pub(crate) fn finish_rare(self: &Arc<Self>, rare: DeferredRare) -> Free<Self> {
        let DeferredRare { token, link, runners, hooks, maker, failure, span, free } = rare;
        if failure.is_some() {
            foreign::run(&self.shared.couriers, move || drop(failure));
        }
        if let Some(span) = span {
            span.close(&self.shared.couriers);
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
        if let Some(maker) = maker {
            self.drop_maker(maker);
        }
        match hooks {
            Some(HookFate::Taken { batch, place, unnamed, span }) => {
                let (node, hold) = (Arc::clone(self), Hold::placed(self, place));
                run(Account { node, batch, running: None, hold, unnamed, span });
            }
            // Refused at its registration: this is the thread of the caller.
            Some(HookFate::Refused(hooks)) => foreign::release(hooks),
            None => {}
        }
        free
    }
}

/// Starts a runner for a batch of hooks. The lifecycle has counted it already.
fn run(account: Account) {
    let (node, batch) = (Arc::clone(&account.node), account.batch);
    let task = node.shared.runtime.spawn(run_all(Runner(Some(account))));
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
    while let Some((Hook { label, start }, cause)) = runner.account().next() {
        // An abort of the task drops the runner, which reports the hook that it has begun.
        let ended = match runner.account().begin(&label, start, cause) {
            Ok(()) => poll_fn(|cx| runner.account().poll(cx)).await,
            Err(panic) => Err(panic),
        };
        let node = &runner.account().node;
        match ended {
            Ok(()) => note(node, &label, HookOutcome::Finished, None),
            Err(failure) => {
                let words = format!("{label}: {failure}");
                note(node, &label, HookOutcome::Panicked, Some(&words));
            }
        }
    }
}

/// Settles its account when it is dropped: after the last hook, or half-way.
struct Runner(Option<Account>);

/// What a runner has to account for.
struct Account {
    /// The run whose hooks these are.
    node: Arc<Node>,
    /// The number of the batch that it takes them from.
    batch: u32,
    /// The hook that runs now. Its future is kept here, and not by the task: a destructor that
    /// panics when the task is aborted is the hook's.
    running: Option<(Label, Cleanup)>,
    /// The work that the lifecycle has counted for this runner.
    hold: Hold,
    /// The name of that work, while it is about a hook that has none.
    unnamed: Arc<str>,
    /// The span of the run.
    span: Option<RunSpan>,
}

impl Runner {
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
            foreign::run(&shared.couriers, move || settle(account));
        }
    }
}

/// Settles an account, and those that this leads to. When the work of a runner is counted out, its
/// run may end, and then the run above starts a runner, which a runtime that is gone drops at once,
/// and so on: those wait here, so that nothing recurses over the tree.
fn settle(account: Account) {
    let mut unsettled = match UNSETTLED.try_with(RefCell::take) {
        Ok(Some(mut waiting)) => {
            waiting.push(account);
            UNSETTLED.with(|it| it.replace(Some(waiting)));
            return;
        }
        Ok(None) => vec![account],
        // A thread that ends drops its runtime after its own variables.
        Err(_) => return drop(account.settle()),
    };
    while let Some(account) = unsettled.pop() {
        let hold = account.settle();
        UNSETTLED.with(|it| it.replace(Some(unsettled)));
        // Last: without this work the run may end.
        drop(hold);
        unsettled = UNSETTLED.with(RefCell::take).unwrap_or_default();
    }
}

thread_local! {
    /// The accounts that wait while this thread counts the work of a runner out. None while it
    /// does not.
    static UNSETTLED: RefCell<Option<Vec<Account>>> = const { RefCell::new(None) };
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
        self.describe(&mut state, &hook.label);
        Some((hook, cause))
    }

    /// Says that the work is about this hook from now on: it runs, or is dropped.
    fn describe(&self, state: &mut State, Label { name, site, .. }: &Label) {
        let name = name.as_ref().unwrap_or(&self.unnamed);
        self.hold.describe(state, Arc::clone(name), *site);
    }

    /// Makes the future of a hook, and keeps it.
    fn begin(
        &mut self,
        label: &Label,
        start: Start,
        cause: Option<Arc<Cause>>,
    ) -> Result<(), Failure> {
        let run = self.node.id;
        let make = || foreign::catch_panic(|| shield::within(run, || (start.0)(cause)));
        let future = in_span(self.span.as_ref(), make)?;
        self.running = Some((label.clone(), future));
        Ok(())
    }

    /// Polls the hook that runs. When it has ended its future is dropped.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let run = self.node.id;
        let Some((_, future)) = &mut self.running else { return Poll::Ready(Ok(())) };
        let poll = || foreign::catch_panic(|| shield::poll(run, future.as_mut(), cx));
        let polled = match in_span(self.span.as_ref(), poll) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => Ok(()),
            Err(panic) => Err(panic),
        };
        let ended = self.running.take();
        let dropped = in_span(self.span.as_ref(), || foreign::catch_panic(|| drop(ended)));
        Poll::Ready(polled.and(dropped))
    }

    /// Accounts for all that the runner has not done. Yields its work, to be counted out.
    fn settle(mut self) -> Hold {
        let node = Arc::clone(&self.node);
        let mut wakers = Wakers::new();
        let (is_over, hooks) = {
            let mut state = node.lock();
            let batch = state.extra().batches.remove(&self.batch);
            batch.map_or_else(Default::default, |mut batch| {
                let is_over = batch.is_over;
                let now = node.shared.clock.now();
                node.account_for(&mut state, batch.give_up(), now, &mut wakers);
                (is_over, batch.hooks)
            })
        };
        foreign::wake(&node.shared.couriers, wakers);
        if let Some((label, future)) = self.running.take() {
            in_span(self.span.as_ref(), || release(&node, &label, future));
            // Nobody but its runtime drops a runner whose batch is not over.
            let why = if is_over { "its time was over" } else { "its runtime has shut down" };
            let words = format!("{label} was aborted: {why}");
            note(&node, &label, HookOutcome::Aborted, Some(&words));
        }
        for Hook { label, start } in hooks.into_iter().rev() {
            self.describe(&mut node.lock(), &label);
            in_span(self.span.as_ref(), || release(&node, &label, start));
        }
        // Before the hold is dropped: without this work the run may end, and its span closes then.
        drop(self.span.take());
        self.hold
    }
}

/// Drops what a hook has captured. A panic of that is an error of the run's cleanup.
fn release<T>(node: &Arc<Node>, label: &Label, held: T) {
    if let Err(panic) = foreign::catch_panic(|| drop(held)) {
        let words = format!("{label}: {panic}");
        let is_late = !node.lock().note_cleanup_error(&words);
        if is_late {
            node.trace_late_error(&words);
        }
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

/// Records how a hook ended. If its run has ended before it, only subscribers of `tracing` are told
/// what went wrong.
fn note(node: &Arc<Node>, label: &Label, outcome: HookOutcome, words: Option<&str>) {
    let hook = label.number;
    let now = node.shared.clock.now();
    let mut wakers = Wakers::new();
    let mut late = words;
    {
        let mut state = node.lock();
        if !state.life.status().is_terminal() {
            if let Some(words) = late.take() {
                state.note_cleanup_error(words);
            }
            node.write(&mut state, now, EventKind::HookEnded { hook, outcome }, &mut wakers);
        }
    }
    foreign::wake(&node.shared.couriers, wakers);
    if let Some(words) = late {
        node.trace_late_error(words);
    }
}
