//! [`drive`]: runs the branches of a parallel step.
//!
//! The driver is the one place with effects: it starts branches, hears of their ends, asks the
//! policy, stops the losers. What it knows is elsewhere and pure: [`Stages`](super::stages) where
//! each branch stands, [`Needs`] which may start, [`Counting`] what an end counts as, [`Policy`]
//! when that is enough, [`Pace`] when it is time for what.

use std::future::{Future, poll_fn};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::future::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use quell::{Failure, Outcome, RunContext, RunHandle, RunRef, RunStatus, Stopped};

use super::counting::{self, Counting, Ends, Phase};
use super::delivery::{Delivery, OnDecided};
use super::event::{self, At, Event, Until};
use super::limiter::Turn;
use super::needs::Needs;
use super::options::{OnLoser, StartNext};
use super::pace::Pace;
use super::settled::{BranchRow, CountedAs, Settled};
use super::stages::{Stages, Start};
use super::step::Parallel;
use super::summary::Summary;
use super::terms::Terms;
use crate::foreign::ForeignVec;
use crate::join::{Decision, End, Policy};

/// How a parallel step came out.
pub(crate) enum Driven<T> {
    /// The policy decided for values.
    Settled(Settled<T>),
    /// The same, and the values were delivered at the decision.
    Delivered,
    /// The policy decided against them.
    Failed(Failure),
    /// A stop from outside came first; these are the values by then.
    Stopped { stopped: Stopped, values: ForeignVec<Option<T>> },
}

/// Runs the step.
///
/// # Cancel safety
///
/// Dropping the future starts no further branch. The summary is written as far as known.
pub(super) async fn drive<T: Send + 'static>(
    step: Parallel<T>,
    ctx: &RunContext,
    on_decided: OnDecided<T>,
) -> Driven<T> {
    let needs = match Needs::of(&step.branches) {
        Ok(needs) => needs,
        Err(words) => return Driven::Failed(Failure::new(words)),
    };
    let mut driver = Driver::new(step, needs, ctx, on_decided, event::watch);
    // A policy may decide before anything starts, for instance a quorum of zero.
    driver.decide(At::Start);
    driver.start();
    while !driver.is_settled() {
        let Some(event) = poll_fn(|cx| driver.poll_event(cx)).await else { break };
        driver.on(event);
        driver.start();
    }
    driver.finish()
}

/// `W` is the future of [`event::watch`], which has no name: in boxes, they would cost an
/// allocation per branch (bench `parallel`).
struct Driver<'a, T, W> {
    /// The run of the step.
    ctx: &'a RunContext,
    /// Decides, until `decision` is there.
    policy: Policy<T>,
    /// When the next branch may start, and when the policy is asked although nothing ended.
    pace: Pace,
    /// What the step has of the limiter that it shares with other steps.
    turn: Turn,
    /// What an end counts as.
    counting: Counting<T>,
    /// What becomes of the branches that run at the decision.
    on_loser: OnLoser,
    /// How the outcome reaches the caller.
    delivery: Delivery<T>,
    /// One future per branch that is running or lingering: it yields what the driver waits for.
    watchers: FuturesUnordered<W>,
    /// Makes such a future.
    watch: fn(usize, RunRef, Until) -> W,
    /// What ended before the decision, for the policy. The values are taken from it at the end.
    ends: Ends<T>,
    /// Set once, by [`Driver::decide`]. Nothing starts or counts from then on.
    decision: Option<Decision>,
    /// The rows and the stages of the branches. It is the last field: when a driver is dropped, all
    /// else is gone before the summary is written.
    summary: Summary<T>,
}

impl<'a, T: Send + 'static, W: Future<Output = Event>> Driver<'a, T, W> {
    fn new(
        step: Parallel<T>,
        needs: Needs,
        ctx: &'a RunContext,
        on_decided: OnDecided<T>,
        watch: fn(usize, RunRef, Until) -> W,
    ) -> Self {
        let branches = step.branches.len();
        let (mut rows, mut starts) = (Vec::with_capacity(branches), Vec::with_capacity(branches));
        let mut own = Vec::with_capacity(branches);
        for declared in step.branches {
            rows.push(BranchRow::waiting(Arc::clone(&declared.name)));
            starts.push(Start { name: declared.name, body: declared.body });
            own.push(declared.own);
        }
        let terms = Terms { own, shared: step.shared };
        let stages = Stages::new(starts, needs, step.limit.unwrap_or(usize::MAX));
        let started_at = ctx.run().row().started_at;
        let (deadline, stagger) = (step.policy.deadline_after(), step.policy.staggered_by());
        Self {
            ctx,
            summary: Summary::new(ctx.clone(), step.policy.shared_name(), rows, stages),
            pace: Pace::new(started_at.unwrap_or(SystemTime::UNIX_EPOCH), deadline, stagger),
            turn: Turn::new(step.limiter),
            policy: step.policy,
            counting: Counting { terms, partial_from: step.partial_from },
            on_loser: step.on_loser,
            delivery: match step.start_next {
                StartNext::Settled => Delivery::AtEnd,
                StartNext::Decided => Delivery::AtDecision(on_decided),
            },
            watchers: FuturesUnordered::new(),
            watch,
            ends: Ends::with_capacity(branches),
            decision: None,
        }
    }

    /// Starts as many branches as there is room for and as it is time for, unless nothing may
    /// start any more.
    fn start(&mut self) {
        let ctx = self.ctx;
        while self.may_start() && self.turn.may_start() {
            let terms = &self.counting.terms;
            let started = self.summary.stages.start_next(|branch, Start { name, body }| {
                ctx.spawn(terms.spec(branch, name), body.into_inner())
            });
            let Some((branch, run)) = started else { return };
            self.summary.rows[branch].run = Some(run.id());
            self.pace.note_start();
            self.turn.give_to(&run);
            self.watchers.push((self.watch)(branch, run, Until::Ended));
        }
    }

    /// Tells whether it is time to start a branch, and there is a place for it.
    fn may_start(&self) -> bool {
        self.summary.stages.has_startable()
            && self.is_open()
            // A staggered start does not wait for its time when nothing runs.
            && (!self.summary.stages.any_running() || self.pace.may_start())
    }

    /// Yields what happened next: ends before permits, and those before instants.
    ///
    /// A stopped step gets one poll after its last branch ended, possibly before the watchers of
    /// that branch are woken: then the branches themselves are looked at.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = self.watchers.poll_next_unpin(cx);
        if let Poll::Ready(Some(_)) = event {
            return event;
        }
        if !self.is_open() {
            // It starts nothing any more: its place in the queue is for other steps.
            self.turn.leave();
            let unheard = self.is_stopping() && self.summary.stages.any_unheard();
            return if unheard { Poll::Ready(Some(Event::Sweep)) } else { event };
        }
        if self.may_start() && self.turn.poll(cx).is_ready() {
            return Poll::Ready(Some(Event::Permit));
        }
        // Without watchers the stream has ended, but an instant or a permit may still come.
        let is_in_queue = self.turn.is_waiting();
        let waits_for_time = self.summary.stages.has_startable() && !is_in_queue;
        match self.pace.poll_tick(waits_for_time, cx) {
            Poll::Ready(()) => Poll::Ready(Some(Event::Tick)),
            Poll::Pending if is_in_queue => Poll::Pending,
            Poll::Pending => event,
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Ended(branch) => self.on_end(branch),
            Event::Quiesced(branch) => self.summary.stages.quiesce(branch),
            Event::Sweep => self.sweep(),
            Event::Permit => {}
            Event::Tick => {
                // What ended by the instant counts, whether its watcher was woken or not.
                self.sweep();
                if self.pace.take_deadline() {
                    self.decide(At::Deadline);
                }
            }
        }
    }

    /// Hears of every branch that has ended, in the order of their ends.
    fn sweep(&mut self) {
        for branch in self.summary.stages.unheard() {
            self.on_end(branch);
        }
    }

    fn on_end(&mut self, branch: usize) {
        // A sweep may have been faster than the watcher; and a detached branch has one, too.
        let Some(handle) = self.summary.stages.end(branch) else { return };
        let run = handle.run().clone();
        let is_quiescent = self.summary.rows[branch].copy_from(&run);
        // Its place is of interest only while others wait for one.
        if !is_quiescent && self.summary.stages.any_waiting() {
            self.summary.stages.linger(branch);
            self.watchers.push((self.watch)(branch, run.clone(), Until::Quiescent));
        }
        let outcome = outcome_of(handle);
        let row = &mut self.summary.rows[branch];
        if counting::was_refused(self.ctx.run(), &run, row.ended_at, &outcome) {
            // No log knows the id of a run that was never accepted.
            row.run = None;
        }
        self.count(branch, &run, outcome);
        let given_up = self.note_for_dependants(branch);
        self.decide(At::End(branch));
        for (dependant, _) in &given_up {
            if self.is_open() {
                self.ends.note(*dependant, &self.summary.rows[*dependant].name, End::Skipped);
                // It never runs because of this end, which is therefore when it was known.
                self.decide(At::End(branch));
            }
        }
    }

    /// Lets those start that need nothing else, or gives up those that need this branch. Nothing
    /// starts any more if the step is stopping or decided.
    fn note_for_dependants(&mut self, branch: usize) -> Vec<(usize, Option<Start<T>>)> {
        let row = &self.summary.rows[branch];
        if !self.is_open() {
            return Vec::new();
        }
        if row.counted_as == CountedAs::Ok {
            self.summary.stages.meet_needs_of(branch);
            return Vec::new();
        }
        let at = row.ended_at.unwrap_or_else(|| self.pace.now());
        self.summary.give_up_dependants(branch, at)
    }

    /// Writes what a branch that ended counts as into its row, and keeps its end for the policy.
    fn count(&mut self, branch: usize, run: &RunRef, outcome: Outcome<T>) {
        let counted = self.counting.count(branch, run, outcome, self.phase());
        let row = &mut self.summary.rows[branch];
        row.counted_as = counted.in_report;
        row.late_success = counted.late_success;
        if counted.in_report == CountedAs::Ignored {
            row.suppressed_errors.extend(row.error.clone());
        }
        if let Some(end) = counted.end {
            self.ends.note(branch, &row.name, end);
        }
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
        let branches = self.summary.rows.len();
        let Some(decision) = self.ends.ask(&self.policy, branches, is_over) else { return };
        // A step is decided when its branch ended, not when the driver came to hear of it.
        let ended_at =
            if let At::End(branch) = at { self.summary.rows[branch].ended_at } else { None };
        let decided_at = ended_at.unwrap_or_else(|| self.pace.now());
        if !self.summary.decide(decided_at, decision.by.filter(|by| *by < branches)) {
            return;
        }
        // Losers are stopped before anybody hears of the outcome: the next step may start then.
        self.dismiss_losers(&decision);
        let failure = decision.verdict.to_failure();
        self.decision = Some(decision);
        self.deliver(failure);
    }

    /// Delivers the outcome, if that is wanted at the decision.
    fn deliver(&mut self, failure: Option<Failure>) {
        match mem::replace(&mut self.delivery, Delivery::Done) {
            Delivery::AtDecision(tell) => {
                let values = self.ends.take_values(self.summary.rows.len());
                self.summary.refresh();
                tell(failure.map_or_else(|| Ok(self.summary.to_settled(values)), Err));
            }
            other => self.delivery = other,
        }
    }

    /// Stops, leaves alone or detaches what runs, and gives up what waits.
    fn dismiss_losers(&mut self, decision: &Decision) {
        let by = self.summary.decided_by.map(|by| &*self.summary.rows[by].name);
        let request = decision.dismissal(self.policy.name(), by);
        match self.on_loser {
            OnLoser::Cancel => {
                RunRef::cancel_each(self.summary.stages.runs().map(|(_, run)| run), &request);
            }
            OnLoser::LetFinish => {}
            OnLoser::Detach => self.detach_losers(),
        }
        let at = self.summary.decided_at.unwrap_or_else(|| self.pace.now());
        let cause = Arc::new(request.to_cause(at, self.ctx.id()));
        for branch in self.summary.stages.waiting() {
            self.summary.give_up(branch, CountedAs::Skipped, Some(Arc::clone(&cause)));
        }
        // After the rows of all: the destructors of the bodies may panic.
        drop(self.summary.stages.give_up_waiting());
    }

    /// Lets go of what runs. What is stopping, or has ended unheard, stays.
    fn detach_losers(&mut self) {
        for branch in 0..self.summary.rows.len() {
            let run = self.summary.stages.run(branch).cloned();
            let Some(run) = run.filter(|run| run.detach().is_ok()) else { continue };
            self.summary.stages.detach(branch);
            let row = &mut self.summary.rows[branch];
            row.copy_from(&run);
            (row.counted_as, row.detached) = (CountedAs::Ignored, true);
        }
    }

    fn phase(&self) -> Phase {
        if self.decision.is_some() {
            Phase::Decided
        } else if self.is_stopping() {
            Phase::Stopping
        } else {
            Phase::Open
        }
    }

    fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    /// Tells whether a stop of the step, from wherever, was accepted. Reads the status:
    /// `is_stopping` of the context would make the body one that listens.
    fn is_stopping(&self) -> bool {
        self.ctx.run().status() != RunStatus::Running
    }

    fn is_settled(&self) -> bool {
        let stages = &self.summary.stages;
        let may_start = stages.any_waiting() && self.is_open();
        !stages.any_running() && !may_start
    }

    fn finish(mut self) -> Driven<T> {
        let values = self.ends.take_values(self.summary.rows.len());
        // A stop that was accepted beats a decision, even one that came before it.
        if self.is_stopping()
            && let Err(stopped) = self.ctx.checkpoint()
        {
            return Driven::Stopped { stopped, values };
        }
        match self.decision.take().map(|decision| decision.verdict.to_failure()) {
            Some(None) if matches!(self.delivery, Delivery::Done) => Driven::Delivered,
            Some(None) => Driven::Settled(self.summary.close(values)),
            Some(Some(failure)) => Driven::Failed(failure),
            None => Driven::Failed(Failure::new("parallel step ended undecided")),
        }
    }
}

#[expect(clippy::expect_used, reason = "an invariant of the engine")]
fn outcome_of<T: Send + 'static>(handle: RunHandle<T>) -> Outcome<T> {
    handle.outcome().now_or_never().expect("the outcome of a run that has ended is at hand")
}
