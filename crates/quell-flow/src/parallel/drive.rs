//! Runs the branches of a parallel step: starts, listens, asks the policy, dismisses the losers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quell::{
    CancelRequest, Failure, Outcome, RunContext, RunHandle, RunRef, RunSpec, RunStatus, Stopped,
};

use super::counting::{self, Counting};
use super::options::{OnLoser, StartNext};
use super::pace::Pace;
use super::settled::{BranchRow, CountedAs, Settled};
use super::step::{OnDecided, Parallel};
use super::summary::Summary;
use crate::join::{Decision, End, Ended, Policy, SoFar};
use crate::times::timed;

/// How a parallel step came out.
pub(crate) enum Driven<T> {
    /// The policy decided for values.
    Settled(Settled<T>),
    /// The same, and the values were told at the decision.
    Told,
    /// The policy decided against them.
    Failed(Failure),
    /// A stop from outside came first; these are the values by then.
    Stopped { stopped: Stopped, values: Vec<Option<T>> },
}

/// Runs the step.
///
/// # Cancel safety
///
/// Dropping the future starts no further branch; the summary is written as far as known.
pub(super) async fn drive<T: Send + 'static>(
    step: Parallel<T>,
    ctx: &RunContext,
    on_decided: OnDecided<T>,
) -> Driven<T> {
    let mut driver = Driver::new(step, ctx, on_decided);
    driver.decide(At::Start);
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
    pace: Pace,
    counting: Counting<T>,
    limit: usize,
    on_loser: OnLoser,
    /// Who hears of the decision at once, if somebody does.
    on_decided: Option<OnDecided<T>>,
    was_told: bool,
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
    /// How many of these are Ok, and how many failed.
    tally: (usize, usize),
    decision: Option<Decision>,
    summary: Summary,
}

struct Waiting<T> {
    branch: usize,
    spec: RunSpec,
    body: super::branch::Body<T>,
}

#[derive(Clone, Copy)]
enum Event {
    /// A branch ended.
    Ended(usize),
    /// A branch that had ended before became quiescent.
    Quiesced,
    /// The step is stopping, and branches have ended whose watchers do not know yet.
    Sweep,
    /// An instant came for which the step was waiting.
    Tick,
}

/// Of what the policy hears.
#[derive(Clone, Copy)]
enum At {
    Start,
    End(usize),
    Deadline,
}

impl<'a, T: Send + 'static> Driver<'a, T> {
    fn new(step: Parallel<T>, ctx: &'a RunContext, on_decided: OnDecided<T>) -> Self {
        let branches = step.branches.len();
        let mut rows = Vec::with_capacity(branches);
        let mut waiting = VecDeque::with_capacity(branches);
        let (mut on_timeout, mut on_cancelled) = (Vec::new(), Vec::new());
        for (branch, declared) in step.branches.into_iter().enumerate() {
            rows.push(BranchRow::waiting(Arc::clone(&declared.name)));
            on_timeout.push(declared.on_timeout.unwrap_or_else(&step.on_timeout));
            on_cancelled.push(declared.on_cancelled.unwrap_or(step.on_cancelled));
            let spec = timed(
                RunSpec::branch(declared.name),
                declared.timeout.or(step.timeout),
                declared.grace.or(step.grace),
                declared.idle.or(step.idle),
            );
            waiting.push_back(Waiting { branch, spec, body: declared.body });
        }
        let started_at = ctx.run().row().started_at;
        let (deadline, stagger) = (step.policy.deadline_after(), step.policy.staggered_by());
        Self {
            ctx,
            summary: Summary::new(ctx.clone(), step.policy.shared_name(), rows),
            pace: Pace::new(started_at.unwrap_or(SystemTime::UNIX_EPOCH), deadline, stagger),
            policy: step.policy,
            counting: Counting { on_timeout, on_cancelled, partial_from: step.partial_from },
            limit: step.limit.unwrap_or(usize::MAX),
            on_loser: step.on_loser,
            on_decided: (step.start_next == StartNext::Decided).then_some(on_decided),
            was_told: false,
            waiting,
            held: 0,
            running: 0,
            handles: (0..branches).map(|_| None).collect(),
            watchers: FuturesUnordered::new(),
            ended: Vec::with_capacity(branches),
            tally: (0, 0),
            decision: None,
        }
    }

    /// Starts as many branches as there is room for and as it is time for, unless nothing may
    /// start any more.
    fn start(&mut self) {
        while self.held < self.limit
            && self.is_open()
            && (self.running == 0 || self.pace.may_start())
        {
            let Some(Waiting { branch, spec, body }) = self.waiting.pop_front() else { return };
            let handle = self.ctx.spawn(spec, body);
            let run = handle.run().clone();
            self.summary.rows[branch].run = Some(run.id());
            self.summary.live[branch] = Some(run.clone());
            self.handles[branch] = Some(handle);
            self.held += 1;
            self.running += 1;
            self.pace.note_start();
            let watcher = async move {
                run.terminal().await;
                Event::Ended(branch)
            };
            self.watchers.push(watcher.boxed());
        }
    }

    /// Yields what happened next: ends before instants.
    ///
    /// A stopped step gets one poll after its last branch ended, possibly before the watchers of
    /// that branch are woken: then the branches themselves are looked at.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = self.watchers.poll_next_unpin(cx);
        if let Poll::Ready(Some(_)) = event {
            return event;
        }
        if !self.is_open() {
            let unheard = self.is_stopping() && self.ended_unheard().next().is_some();
            return if unheard { Poll::Ready(Some(Event::Sweep)) } else { event };
        }
        let is_waiting = !self.waiting.is_empty() && self.held < self.limit;
        match self.pace.poll_tick(is_waiting, cx) {
            Poll::Ready(()) => Poll::Ready(Some(Event::Tick)),
            Poll::Pending => event,
        }
    }

    /// Yields the branches that have ended and were not counted yet.
    fn ended_unheard(&self) -> impl Iterator<Item = (usize, &RunRef)> {
        let live = self.summary.live.iter().enumerate();
        let live = live.filter_map(|(branch, run)| Some((branch, run.as_ref()?)));
        live.filter(|(_, run)| run.status().is_terminal())
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Ended(branch) => self.on_end(branch),
            Event::Quiesced => self.held -= 1,
            Event::Sweep => self.sweep(),
            Event::Tick => {
                // What ended by the instant counts.
                self.sweep();
                if self.pace.take_deadline() {
                    self.decide(At::Deadline);
                }
            }
        }
    }

    /// Hears of every branch that has ended, in the order of their ends.
    fn sweep(&mut self) {
        let mut ended: Vec<_> =
            self.ended_unheard().map(|(branch, run)| (run.row().ended_at, branch)).collect();
        ended.sort_by_key(|(at, _)| *at);
        for (_, branch) in ended {
            self.on_end(branch);
        }
    }

    fn on_end(&mut self, branch: usize) {
        let Some(run) = self.summary.live[branch].take() else { return };
        self.running -= 1;
        if self.summary.rows[branch].copy_from(&run) || self.waiting.is_empty() {
            self.held -= 1;
        } else {
            let run = run.clone();
            let watcher = async move {
                run.quiescent().await;
                Event::Quiesced
            };
            self.watchers.push(watcher.boxed());
        }
        let outcome = self.take_outcome(branch);
        let ended_at = self.summary.rows[branch].ended_at;
        if counting::was_refused(self.ctx.run(), &run, ended_at, &outcome) {
            self.summary.rows[branch].run = None;
        }
        self.count(branch, &run, outcome);
        self.decide(At::End(branch));
    }

    #[expect(clippy::expect_used, reason = "an invariant of the engine")]
    fn take_outcome(&mut self, branch: usize) -> Outcome<T> {
        let outcome = self.handles[branch].take().and_then(|run| run.outcome().now_or_never());
        outcome.expect("the outcome of a run that has ended is at hand")
    }

    /// Says what a branch that ended counts as, and keeps its value if it counts as Ok.
    fn count(&mut self, branch: usize, run: &RunRef, outcome: Outcome<T>) {
        let has_value =
            matches!(outcome, Outcome::Completed(_) | Outcome::Stopped { partial: Some(_), .. });
        let is_stopping = self.is_stopping();
        let row = &mut self.summary.rows[branch];
        let (counted_as, end) = if self.decision.is_some() {
            (CountedAs::Ignored, None)
        } else {
            self.counting.weigh(branch, run, outcome, is_stopping)
        };
        let is_used = matches!(end, Some(End::Ok(_))) && counted_as != CountedAs::Default;
        row.counted_as = counted_as;
        row.late_success = has_value && !is_used;
        if counted_as == CountedAs::Ignored {
            row.suppressed_errors.extend(row.error.clone());
        }
        match end {
            Some(End::Ok(_)) => self.tally.0 += 1,
            Some(End::Failed(_)) => self.tally.1 += 1,
            Some(End::Skipped) | None => {}
        }
        let name = Arc::clone(&row.name);
        self.ended.extend(end.map(|end| Ended { branch, name, end }));
    }

    /// Asks the policy, and acts on its decision.
    fn decide(&mut self, at: At) {
        if !self.is_open() {
            return;
        }
        let is_over = match at {
            At::Start => self.pace.take_deadline(),
            At::End(_) => false,
            At::Deadline => true,
        };
        let (ok, failed) = self.tally;
        let (branches, ended) = (self.summary.rows.len(), &*self.ended);
        let so_far = SoFar { branches, ended, ok, failed, is_over };
        let decision = match self.policy.decide(&so_far) {
            Some(decision) => decision,
            None if so_far.all_ended() => Decision::undecided(self.policy.name()),
            None => return,
        };
        self.summary.decided_at = match at {
            At::End(branch) => self.summary.rows[branch].ended_at,
            At::Start | At::Deadline => Some(self.pace.now()),
        };
        self.summary.decided_by = decision.by.filter(|by| *by < branches);
        self.dismiss_losers(&decision);
        let failure = decision.verdict.to_failure();
        self.decision = Some(decision);
        if let Some(tell) = self.on_decided.take() {
            let values = self.take_values();
            self.summary.refresh();
            self.was_told = true;
            tell(failure.map_or_else(|| Ok(self.summary.to_settled(values)), Err));
        }
    }

    /// Does with what runs as the word for losers says, and gives up what waits.
    fn dismiss_losers(&mut self, decision: &Decision) {
        let policy = self.policy.name();
        let reason = match self.summary.decided_by {
            Some(by) => {
                format!("policy `{policy}` was decided by branch `{}`", self.summary.rows[by].name)
            }
            None => format!("policy `{policy}` was decided"),
        };
        let request = CancelRequest::because(&reason).kind(decision.losers);
        match self.on_loser {
            OnLoser::Cancel => {
                for run in self.summary.live.iter().flatten() {
                    run.cancel(request.clone());
                }
            }
            OnLoser::LetFinish => {}
            OnLoser::Detach => self.detach_losers(),
        }
        let at = self.summary.decided_at.unwrap_or_else(|| self.pace.now());
        let cause = Arc::new(request.to_cause(at, self.ctx.id()));
        for Waiting { branch, .. } in mem::take(&mut self.waiting) {
            self.summary.give_up(branch, CountedAs::Skipped, Some(Arc::clone(&cause)));
        }
    }

    /// Lets go of what runs. What is stopping, or has ended unheard, stays.
    fn detach_losers(&mut self) {
        for branch in 0..self.summary.live.len() {
            let left = self.summary.live[branch].take_if(|run| run.detach().is_ok());
            let Some(run) = left else { continue };
            let row = &mut self.summary.rows[branch];
            row.copy_from(&run);
            (row.counted_as, row.detached) = (CountedAs::Ignored, true);
            self.handles[branch].take().map(RunHandle::into_ref);
            self.running -= 1;
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

    /// Yields the values so far in the order of declaration.
    fn take_values(&mut self) -> Vec<Option<T>> {
        let mut values: Vec<Option<T>> = self.summary.rows.iter().map(|_| None).collect();
        for Ended { branch, end, .. } in mem::take(&mut self.ended) {
            if let End::Ok(value) = end {
                values[branch] = Some(value);
            }
        }
        values
    }

    fn finish(mut self) -> Driven<T> {
        let values = self.take_values();
        if self.is_stopping()
            && let Err(stopped) = self.ctx.checkpoint()
        {
            return Driven::Stopped { stopped, values };
        }
        match self.decision.take().map(|decision| decision.verdict.to_failure()) {
            Some(None) if self.was_told => Driven::Told,
            Some(None) => Driven::Settled(self.summary.close(values)),
            Some(Some(failure)) => Driven::Failed(failure),
            None => Driven::Failed(Failure::new("parallel step ended undecided")),
        }
    }
}
