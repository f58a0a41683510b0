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

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use quell_core::lifecycle::{Effects, HookAction, Input};
use quell_core::{Cause, EventKind, HookOutcome, Work};

use crate::failure::Failure;
use crate::foreign;
use crate::marks::shield;
use crate::node::hook::{Hook, Label};
use crate::node::{Node, Piece, State};
use crate::step::deferred::{Deferred, DeferredRare};
use crate::step::hold::Hold;
use crate::sync::waiters::Wakers;

/// What becomes of the hooks that a step hands out. Decided under the node's lock, carried out when
/// it is released.
#[derive(Debug)]
pub(crate) enum HookFate {
    /// They run one after the other, in a runner of their own.
    Run {
        /// In order of registration.
        hooks: Vec<Hook>,
        /// How often runners had been aborted at the decision. If they have been aborted again when
        /// the runner starts, a stage of the ladder came in between: the runner is aborted, too.
        round: u32,
        /// Where the runner is noted as work.
        place: usize,
    },
    /// They are dropped unrun: there was no time left for them, or the run ends without a stop.
    Dropped {
        /// In order of registration.
        hooks: Vec<Hook>,
        /// Whether a stop may still come: hooks that run only after one are then not dropped.
        may_stop: bool,
        /// Where dropping them is noted as work: what they have captured is the run's code.
        place: usize,
    },
    /// The one just registered is dropped at once, on the thread of its caller.
    Refused(Vec<Hook>),
}

impl Node {
    /// Hands hooks out as the lifecycle says, under the lock.
    pub(crate) fn record_hooks(&self, state: &mut State, now: Instant, deferred: &mut Deferred) {
        let action = deferred.fx.hooks;
        if action == HookAction::Leave {
            return;
        }
        let Some(extra) = &mut state.extra else { return };
        if matches!(action, HookAction::Abort | HookAction::AbortRunning) {
            extra.runners_aborted += 1;
            deferred.rare().runners = std::mem::take(&mut extra.runners);
        }
        let hooks: Vec<_> = match action {
            HookAction::Leave | HookAction::AbortRunning => return,
            HookAction::RunNew | HookAction::SkipNew => extra.hooks.pop().into_iter().collect(),
            _ => std::mem::take(&mut extra.hooks),
        };
        // Read under the lock that decides: `run` compares it when it can abort the runner.
        let round = extra.runners_aborted;
        let fate = match action {
            HookAction::Run | HookAction::RunNew => {
                HookFate::Run { hooks, round, place: self.note_runner(state) }
            }
            HookAction::SkipNew => {
                for hook in &hooks {
                    self.skip_hook(state, hook.label.number, now, &mut deferred.wakers);
                }
                HookFate::Refused(hooks)
            }
            _ if hooks.is_empty() => return,
            _ => {
                let may_stop = action != HookAction::Drop;
                HookFate::Dropped { hooks, may_stop, place: self.note_runner(state) }
            }
        };
        deferred.rare().hooks = Some(fate);
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
            Some(HookFate::Run { hooks, round, place }) => {
                run(self, hooks, Hold::placed(self, place), round);
            }
            Some(HookFate::Dropped { hooks, may_stop, place }) => {
                discard(self, hooks, may_stop, Hold::placed(self, place));
            }
            // Refused at its registration: this is the thread of the caller.
            Some(HookFate::Refused(hooks)) => foreign::release(hooks),
            None => {}
        }
    }
}

/// Starts a runner for hooks in order of registration. The lifecycle has counted it already.
fn run(node: &Arc<Node>, hooks: Vec<Hook>, hold: Hold, round: u32) {
    let runner = Runner::new(node, hooks, true, hold);
    let task = node.shared.runtime.spawn(run_all(runner));
    let abort = task.abort_handle();
    let mut state = node.lock();
    // A stage of the ladder may have aborted the runners since the decision, when this one was not
    // in the list yet.
    if state.extra().runners_aborted == round {
        state.extra().runners.push(abort);
    } else {
        drop(state);
        abort.abort();
    }
}

/// Drops hooks that are not to run. What they have captured is the run's code, too: it is dropped
/// on the runtime of the bodies, as work that the lifecycle has counted.
fn discard(node: &Arc<Node>, hooks: Vec<Hook>, may_stop: bool, hold: Hold) {
    let runner = Runner::new(node, hooks, may_stop, hold);
    drop(node.shared.runtime.spawn(async move { drop(runner) }));
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
    /// The hooks that have not started, in order of registration.
    waiting: Vec<Hook>,
    /// The hook that runs now.
    running: Option<Label>,
    /// Whether a stop may still come: hooks that run only after one then wait again.
    may_stop: bool,
    /// The work that the lifecycle has counted for this runner.
    hold: Hold,
    /// The work bears the name or the site of a hook.
    is_described: bool,
}

impl Runner {
    fn new(node: &Arc<Node>, waiting: Vec<Hook>, may_stop: bool, hold: Hold) -> Self {
        Self(Some(Account {
            node: Arc::clone(node),
            waiting,
            running: None,
            may_stop,
            hold,
            is_described: false,
        }))
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
        let next = match cause {
            Some(_) => self.waiting.len().checked_sub(1),
            None => self.waiting.iter().rposition(|hook| hook.label.at_end),
        };
        if next.is_none() {
            // Under the same lock: a stop that comes now finds the others where it looks for them.
            wait_again(&mut state, &mut self.waiting, &self.node);
        }
        let hook = self.waiting.remove(next?);
        let Label { name, site, .. } = &hook.label;
        if name.is_some() || site.is_some() || self.is_described {
            let name = name.as_ref().map_or_else(|| self.node.name_of_hooks(), Arc::clone);
            self.hold.describe(&mut state, name, *site);
            self.is_described = true;
        }
        Some((hook, cause))
    }

    fn settle(self) {
        let Self { node, mut waiting, running, may_stop, hold, is_described: _ } = self;
        if let Some(hook) = running {
            let words = format!("{hook} was aborted: its time was over");
            note(&node, &hook, HookOutcome::Aborted, Some(&words));
        }
        let is_stopped = {
            let mut state = node.lock();
            if may_stop {
                wait_again(&mut state, &mut waiting, &node);
            }
            state.life.is_stopping()
        };
        for hook in waiting.iter().rev().filter(|hook| is_stopped || hook.label.at_end) {
            node.lock().extra().hooks_skipped += 1;
            note(&node, &hook.label, HookOutcome::Skipped, None);
        }
        for hook in waiting.into_iter().rev() {
            let Hook { label, start } = hook;
            if let Err(panic) = foreign::catch_panic(|| drop(start)) {
                node.lock().note_cleanup_error(&format!("{label}: {panic}"));
            }
        }
        // Last: without this work the run may end.
        drop(hold);
    }
}

/// Has the hooks wait again that run only after a stop, unless one has come, or the run has ended.
fn wait_again(state: &mut State, waiting: &mut Vec<Hook>, node: &Node) {
    if state.life.is_stopping() || state.life.status().is_terminal() {
        return;
    }
    let again = waiting.extract_if(.., |hook| !hook.label.at_end).collect::<Vec<_>>();
    if !again.is_empty() {
        let hooks = &mut state.extra().hooks;
        hooks.extend(again);
        hooks.sort_by_key(|hook| hook.label.number);
        let fx = state.life.on(Input::HookAdded { at_end: false }, node.shared.clock.now());
        debug_assert_eq!(fx, Effects::default(), "its runner is work of the run");
    }
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
