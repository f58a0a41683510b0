//! Runs the branches of a parallel step: starts, listens, asks the policy, stops the losers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quell::{
    CancelRequest, CauseKind, Failure, Outcome, RunContext, RunError, RunHandle, RunRef, RunReport,
    RunSpec, RunStatus, Stopped,
};

use super::board::Board;
use super::{Parallel, PartialFrom, timed, words};
use crate::settled::BranchRow;
use crate::{
    CountedAs, Decision, End, Ended, OnCancelled, OnTimeout, Policy, Settled, SoFar, Verdict,
};

/// How a parallel step came out.
pub(crate) enum Driven<T> {
    /// The policy decided for values.
    Settled(Settled<T>),
    /// The policy decided against them.
    Failed(Failure),
    /// A stop from outside came first; these are the values by then.
    Stopped { stopped: Stopped, values: Vec<Option<T>> },
}

/// Runs the step.
pub(super) async fn drive<T: Send + 'static>(step: Parallel<T>, ctx: &RunContext) -> Driven<T> {
    let mut driver = Driver::new(step, ctx);
    driver.decide(None);
    driver.start();
    while !driver.is_settled() {
        let Some(event) = poll_fn(|cx| driver.poll_event(cx)).await else { break };
        driver.on(event);
        driver.start();
    }
    driver.finish()
}

struct Driver<'a, T> {
    ctx: &'a RunContext,
    policy: Policy<T>,
    limit: usize,
    partial_from: Box<PartialFrom<T>>,
    on_cancelled: OnCancelled,
    on_timeout: Vec<OnTimeout<T>>,
    /// Branches that were not started, in the order of declaration.
    waiting: VecDeque<Waiting<T>>,
    /// Branches that were started and are not quiescent.
    held: usize,
    /// Branches that were started and have not ended.
    running: usize,
    /// The handles of the branches that were started and have not ended, by place.
    handles: Vec<Option<RunHandle<T>>>,
    watchers: FuturesUnordered<BoxFuture<'static, Event>>,
    /// What ended before the decision, in that order.
    ended: Vec<Ended<T>>,
    decision: Option<Decision>,
    board: Board,
}

struct Waiting<T> {
    branch: usize,
    spec: RunSpec,
    body: super::Body<T>,
}

enum Event {
    /// A branch ended.
    Ended(usize, Arc<RunReport>),
    /// A branch that had ended before became quiescent.
    Quiesced,
    /// The step is stopping, and branches have ended whose watchers do not know yet.
    Sweep,
}

impl<'a, T: Send + 'static> Driver<'a, T> {
    fn new(step: Parallel<T>, ctx: &'a RunContext) -> Self {
        let branches = step.branches.len();
        let mut rows = Vec::with_capacity(branches);
        let mut on_timeout = Vec::with_capacity(branches);
        let mut waiting = VecDeque::with_capacity(branches);
        for (branch, mut declared) in step.branches.into_iter().enumerate() {
            rows.push(BranchRow::waiting(Arc::clone(&declared.name)));
            on_timeout.push(declared.on_timeout.take().unwrap_or_else(&step.on_timeout));
            let (timeout, grace) =
                (declared.timeout.or(step.timeout), declared.grace.or(step.grace));
            let spec = RunSpec::branch(declared.name);
            let spec = timed(spec, timeout, grace, declared.idle);
            waiting.push_back(Waiting { branch, spec, body: declared.body });
        }
        Self {
            ctx,
            board: Board::new(ctx.clone(), step.policy.shared_name(), rows),
            policy: step.policy,
            limit: step.limit.unwrap_or(usize::MAX),
            partial_from: step.partial_from,
            on_cancelled: step.on_cancelled,
            on_timeout,
            waiting,
            held: 0,
            running: 0,
            handles: (0..branches).map(|_| None).collect(),
            watchers: FuturesUnordered::new(),
            ended: Vec::with_capacity(branches),
            decision: None,
        }
    }

    /// Starts as many branches as there is room for, unless nothing may start any more.
    fn start(&mut self) {
        while self.held < self.limit && self.is_open() {
            let Some(Waiting { branch, spec, body }) = self.waiting.pop_front() else { return };
            let handle = self.ctx.spawn(spec, body);
            let run = handle.run().clone();
            self.board.rows[branch].run = Some(run.id());
            self.board.live[branch] = Some(run.clone());
            self.handles[branch] = Some(handle);
            self.held += 1;
            self.running += 1;
            self.watchers.push(async move { Event::Ended(branch, run.ended().await) }.boxed());
        }
    }

    /// Yields what happened next.
    ///
    /// A stopped step gets one poll after its last branch ended, possibly before the watchers of
    /// that branch are woken: then the branches themselves are looked at.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = self.watchers.poll_next_unpin(cx);
        if event.is_pending() && self.is_stopping() && self.ended_unheard().next().is_some() {
            return Poll::Ready(Some(Event::Sweep));
        }
        event
    }

    /// Yields the branches that have ended and were not judged yet.
    fn ended_unheard(&self) -> impl Iterator<Item = (usize, &RunRef)> {
        let live = self.board.live.iter().enumerate();
        let live = live.filter_map(|(branch, run)| Some((branch, run.as_ref()?)));
        live.filter(|(_, run)| run.status().is_terminal())
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Ended(branch, report) => self.on_end(branch, &report),
            Event::Quiesced => self.held -= 1,
            Event::Sweep => {
                let ended: Vec<_> =
                    self.ended_unheard().map(|(branch, run)| (branch, run.report())).collect();
                for (branch, report) in ended {
                    self.on_end(branch, &report);
                }
            }
        }
    }

    fn on_end(&mut self, branch: usize, report: &RunReport) {
        let Some(run) = self.board.live[branch].take() else { return };
        self.running -= 1;
        if report.quiescent || self.waiting.is_empty() {
            self.held -= 1;
        } else {
            let run = run.clone();
            let watcher = async move {
                run.quiescent().await;
                Event::Quiesced
            };
            self.watchers.push(watcher.boxed());
        }
        let row = &mut self.board.rows[branch];
        row.copy_from(report.own_row());
        row.abandoned.clone_from(&report.abandoned);
        let outcome = self.take_outcome(branch);
        if self.was_refused(&run, &outcome) {
            self.board.rows[branch].run = None;
        }
        self.judge(branch, outcome);
        self.decide(Some(branch));
    }

    #[expect(clippy::expect_used, reason = "an invariant of the engine")]
    fn take_outcome(&mut self, branch: usize) -> Outcome<T> {
        let handle = self.handles[branch].take();
        let outcome = handle.and_then(|handle| handle.outcome().now_or_never());
        outcome.expect("the outcome of a run that has ended is at hand")
    }

    /// Tells whether the engine never accepted the run; then no log knows its id.
    fn was_refused(&self, run: &RunRef, outcome: &Outcome<T>) -> bool {
        match outcome {
            Outcome::Failed(RunError::Refused(_)) => true,
            Outcome::Stopped { .. } if run.report().own_row().started_at.is_none() => {
                !self.ctx.run().children().contains(run)
            }
            _ => false,
        }
    }

    /// Says what a branch that ended counts as, and keeps its value if it counts as Ok.
    fn judge(&mut self, branch: usize, outcome: Outcome<T>) {
        let has_value =
            matches!(outcome, Outcome::Completed(_) | Outcome::Stopped { partial: Some(_), .. });
        let (counted_as, end) = if self.decision.is_some() {
            (CountedAs::Noise, None)
        } else {
            self.weigh(branch, outcome)
        };
        let is_used = matches!(end, Some(End::Ok(_))) && counted_as != CountedAs::Default;
        let row = &mut self.board.rows[branch];
        row.counted_as = counted_as;
        row.late_success = has_value && !is_used;
        if counted_as == CountedAs::Noise {
            row.suppressed_errors.extend(row.error.clone());
        }
        let name = Arc::clone(&row.name);
        self.ended.extend(end.map(|end| Ended { branch, name, end }));
    }

    fn weigh(&mut self, branch: usize, outcome: Outcome<T>) -> (CountedAs, Option<End<T>>) {
        let (cause, value) = match outcome {
            Outcome::Completed(value) => return (CountedAs::Ok, Some(End::Ok(value))),
            Outcome::Failed(error) => return failed(words(&error)),
            Outcome::Stopped { cause, partial } => (cause, partial),
        };
        if self.board.rows[branch].status == RunStatus::TimedOut {
            return match mem::take(&mut self.on_timeout[branch]) {
                OnTimeout::Fail => failed(format!("timed out ({cause})")),
                OnTimeout::Skip => (CountedAs::Skipped, Some(End::Skipped)),
                OnTimeout::Partial => self.partial(branch, value),
                OnTimeout::Default(value) => (CountedAs::Default, Some(End::Ok(value))),
            };
        }
        if self.is_stopping() {
            return (CountedAs::Noise, None);
        }
        match self.on_cancelled {
            OnCancelled::Fail => failed(format!("cancelled ({cause})")),
            OnCancelled::Skip => (CountedAs::Skipped, Some(End::Skipped)),
            OnCancelled::Partial => self.partial(branch, value),
        }
    }

    /// Takes what a stopped branch handed over: the value of its body, or what it had set.
    fn partial(&self, branch: usize, value: Option<T>) -> (CountedAs, Option<End<T>>) {
        let set = || self.board.rows[branch].partial.clone().and_then(&self.partial_from);
        match value.or_else(set) {
            Some(value) => (CountedAs::Partial, Some(End::Ok(value))),
            None => (CountedAs::Skipped, Some(End::Skipped)),
        }
    }

    /// Asks the policy, and acts on its decision.
    fn decide(&mut self, ended: Option<usize>) {
        if !self.is_open() {
            return;
        }
        let so_far = SoFar::new(self.board.rows.len(), &self.ended);
        let decision = match self.policy.decide(&so_far) {
            Some(decision) => decision,
            None if so_far.all_ended() => undecided(&self.policy),
            None => return,
        };
        let decided_at = match ended {
            Some(branch) => self.board.rows[branch].ended_at,
            None => self.ctx.run().report().own_row().started_at,
        };
        self.board.decided_at = decided_at;
        self.board.decided_by = decision.by.filter(|by| *by < self.board.rows.len());
        self.stop_losers(&decision, decided_at);
        self.decision = Some(decision);
    }

    /// Stops what runs and gives up what waits, both with the same cause.
    fn stop_losers(&mut self, decision: &Decision, at: Option<SystemTime>) {
        let policy = self.policy.name();
        let reason = match self.board.decided_by {
            Some(by) => {
                format!("policy `{policy}` was decided by branch `{}`", self.board.rows[by].name)
            }
            None => format!("policy `{policy}` was decided"),
        };
        let request = CancelRequest::because(&reason).kind(decision.losers);
        for run in self.board.live.iter().flatten() {
            run.cancel(request.clone());
        }
        let at = at.unwrap_or(SystemTime::UNIX_EPOCH);
        let cause = Arc::new(request.to_cause(at, self.ctx.id()));
        for Waiting { branch, .. } in mem::take(&mut self.waiting) {
            self.board.give_up(branch, Some(Arc::clone(&cause)));
        }
    }

    fn is_open(&self) -> bool {
        self.decision.is_none() && !self.is_stopping()
    }

    /// Whether a stop of the step, from wherever, was accepted. Reads the status, since
    /// `is_stopping` of the context would make the body one that listens.
    fn is_stopping(&self) -> bool {
        self.ctx.run().status() != RunStatus::Running
    }

    fn is_settled(&self) -> bool {
        self.running == 0 && (self.waiting.is_empty() || !self.is_open())
    }

    fn finish(mut self) -> Driven<T> {
        let mut values: Vec<Option<T>> = self.board.rows.iter().map(|_| None).collect();
        for Ended { branch, end, .. } in mem::take(&mut self.ended) {
            if let End::Ok(value) = end {
                values[branch] = Some(value);
            }
        }
        if self.is_stopping()
            && let Err(stopped) = self.ctx.checkpoint()
        {
            return Driven::Stopped { stopped, values };
        }
        match self.decision.take().map(|decision| decision.verdict) {
            Some(Verdict::Values) => Driven::Settled(self.board.to_settled(values)),
            Some(Verdict::Failed(message)) => Driven::Failed(Failure::new(String::from(&*message))),
            None => Driven::Failed(Failure::new("parallel step ended undecided")),
        }
    }
}

fn failed<T>(words: impl Into<Arc<str>>) -> (CountedAs, Option<End<T>>) {
    (CountedAs::Failed, Some(End::Failed(words.into())))
}

fn undecided<T: 'static>(policy: &Policy<T>) -> Decision {
    let message = format!("policy `{}` decided nothing although all branches ended", policy.name());
    Decision::failed(message, CauseKind::RaceLost)
}
