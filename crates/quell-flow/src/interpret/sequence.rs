//! [`run`] runs steps one after another, [`run_step`] one of them.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};
use quell::{CauseKind, Failure, Payload, RunContext, RunError, RunSpec, Stopped};
use serde::{Serialize, Serializer};
use tokio::time::{Instant, timeout};

use super::memory::Ended;
use super::runner::Runner;
use super::scope::Frame;
use super::step::{OnDecided, StepRef, World, body_of};
use super::wait;
use crate::excerpt::excerpt;
use crate::failures::{is_pause, message_of};
use crate::output::set_output;
use crate::skipped;
use crate::{Action, PlanStep, SkipReason, StartNext};

/// Runs the steps as children of `ctx`'s run. Their outputs go into the frame. Those that are not
/// started are in the summary.
///
/// # Cancel safety
///
/// Dropping the future starts no further step and leaves the one that runs to `ctx`'s run.
pub(super) async fn run<R: Runner>(
    steps: Arc<[PlanStep]>,
    world: World<R>,
    frame: Arc<Frame>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let mut progress = Progress {
        ctx: ctx.clone(),
        frame: Arc::clone(&frame),
        steps: Arc::clone(&steps),
        started: 0,
        is_finished: false,
        is_paused: false,
        asks: None,
    };
    if ctx.attempt() > 1 {
        skipped::go_on(&ctx);
    }
    for at in 0..steps.len() {
        if world.recall.is_kept() {
            meet_deadline(&ctx).await;
        }
        // An answer that was acknowledged comes before a pause that a client asks for: the step has
        // it, and its end is kept, where the next pause would have the answer forgotten.
        let has_answer = world.recall.has_answer_inside() && !ctx.is_stopping();
        if !has_answer && let Err(stopped) = ctx.checkpoint() {
            progress.is_paused = stopped.cause.kind == CauseKind::PauseRequested;
            return Err(stopped.into());
        }
        progress.started = at + 1;
        let step = StepRef::of(&steps, at);
        let ended = run_step(step, world.within(frame.now()), &ctx).await;
        progress.is_paused = ended.as_ref().is_err_and(is_pause);
        if let (true, Action::Wait(wait)) = (progress.is_paused, &steps[at].action) {
            progress.asks = Some(wait::question(wait, &world.within(frame.now())));
        }
        frame.add(Arc::clone(&steps[at].name), ended?);
    }
    progress.finish()
}

/// Has a stop come first that is due, although its timer may be late: that of a run which goes on
/// after its time was over. Cleanup, of which nothing is remembered, has a time of its own.
async fn meet_deadline(ctx: &RunContext) {
    let is_over = || ctx.deadline().is_some_and(|at| at <= Instant::now().into_std());
    // Meanwhile somebody may give it more time.
    while is_over() && timeout(DEADLINE_LOOK, ctx.stopped()).await.is_err() {}
}

/// How often is looked whether a deadline that is over was moved.
const DEADLINE_LOOK: Duration = Duration::from_millis(50);

/// Runs a step as a child, unless it has ended in an attempt before: then it has the value, or the
/// failure, that it had. A failure names the step.
///
/// # Cancel safety
///
/// Dropping the future leaves the step to `ctx`'s run; its output is lost.
pub(super) async fn run_step<R: Runner>(
    step: StepRef,
    world: World<R>,
    ctx: &RunContext,
) -> Result<Payload, Failure> {
    let world = world.below(&step.name);
    match world.recall.ended() {
        Some(Ended::Completed(output)) => return Ok(output),
        Some(Ended::Failed(words)) => return Err(Failure::new(words.to_string())),
        None => {}
    }
    if let Action::Wait(wait) = &step.action
        && !wait::is_answered(wait, &world.recall)
    {
        return Err(wait::ask(wait, &step.name, &world, ctx));
    }
    let recall = world.recall.clone();
    let ended = run_to_end(step, world, ctx).await;
    match &ended {
        Ok(output) => recall.note(Ended::Completed(output.clone())),
        // It goes on in the next attempt, or there is none.
        Err(failure) if is_pause(failure) || failure.stopped().is_some() => {}
        Err(failure) => recall.note(Ended::Failed(failure.to_string().into())),
    }
    ended
}

async fn run_to_end<R: Runner>(
    step: StepRef,
    world: World<R>,
    ctx: &RunContext,
) -> Result<Payload, Failure> {
    let name = excerpt(&step.name);
    let failed = |words: String| Failure::new(format!("step `{name}` failed: {words}"));
    match start_step(step, world, ctx).await {
        Ok(output) => output.map_err(|failure| failed(failure.to_string())),
        Err(RunError::Stopped(Stopped { cause })) => {
            // If this run is stopping as well, it returns `Stopped`. If somebody stopped the step
            // alone, that is a failure of this run.
            ctx.checkpoint()?;
            Err(Failure::new(format!("step `{name}` was stopped ({cause})")))
        }
        // The run above asks for the same.
        Err(error @ RunError::Paused(_)) => Err(error.into()),
        Err(error) => Err(failed(message_of(&error))),
    }
}

/// Runs a step to its end. If the next step may start at the decision, runs it until then, and the
/// step remains a child.
async fn start_step<R: Runner>(
    step: StepRef,
    world: World<R>,
    ctx: &RunContext,
) -> Result<Result<Payload, Failure>, RunError> {
    let is_early = matches!(&step.action, Action::Parallel(parallel)
        if parallel.options.start_next == StartNext::Decided);
    let spec = step.spec(RunSpec::step(Arc::clone(&step.name)));
    let is_around = matches!(&step.action, Action::Sequence(_) | Action::Loop(_) | Action::If(_));
    let spec = world.recall.mark(spec, is_around);
    if !is_early {
        return ctx.spawn(spec, body_of(step, world, None)).await.map(Ok);
    }
    let (sender, decided) = oneshot::channel();
    let on_decided: OnDecided = Box::new(move |outcome| drop(sender.send(outcome)));
    let handle = ctx.spawn(spec, body_of(step, world, Some(on_decided)));
    // The decision is polled before the end: if both have come, the outcome is in the decision, and
    // the run ends without an output of its own.
    match select(decided, handle).await {
        Either::Left((Ok(outcome), handle)) => {
            handle.into_ref();
            Ok(outcome)
        }
        Either::Left((Err(_), handle)) => handle.await.map(Ok),
        Either::Right((ended, _)) => ended.map(Ok),
    }
}

/// How far a sequence is. If this is dropped unfinished, by a failure, a panic, a pause or a stop,
/// the outputs so far become the partial output of the run, and its summary lists the steps that
/// were not started; those of a root also if they wait for the next attempt.
struct Progress {
    ctx: RunContext,
    frame: Arc<Frame>,
    steps: Arc<[PlanStep]>,
    /// How many of the steps were started.
    started: usize,
    is_finished: bool,
    /// Whether the rest waits for the next attempt.
    is_paused: bool,
    /// What the step asks that was started last, if the rest waits for its answer.
    asks: Option<String>,
}

impl Progress {
    fn finish(mut self) -> Result<Payload, Failure> {
        self.is_finished = true;
        set_output(&self.ctx, object(&self.frame)?)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let is_root = self.ctx.run().parent().is_none();
        let mut rest = self.steps[self.started..].iter().map(|step| Arc::clone(&step.name));
        let reason = if self.is_paused && is_root {
            // As it is for as long as nobody answers: a run that is cancelled then has no body.
            // What asks has no run of its own.
            match &self.asks {
                Some(ask) => {
                    let asks = Arc::clone(&self.steps[self.started - 1].name);
                    skipped::add_asking(&self.ctx, (asks, ask), rest.by_ref());
                    None
                }
                None => Some(SkipReason::Paused),
            }
        } else if self.is_paused {
            // It ends with the pause, and another one goes on in its place.
            None
        } else if self.ctx.is_stopping() {
            Some(SkipReason::Stopped)
        } else {
            Some(SkipReason::StepFailed)
        };
        if let Some(reason) = reason {
            skipped::add(&self.ctx, rest, reason);
        }
        if self.frame.with(<[_]>::is_empty) {
            return;
        }
        // An output that is too large or too late is refused; the steps have theirs in the report.
        if let Ok(partial) = object(&self.frame) {
            self.ctx.set_output(partial);
        }
    }
}

/// The outputs of a frame as a JSON object.
fn object(frame: &Frame) -> Result<Payload, Failure> {
    Ok(frame.with(|done| Payload::json(&Object(done)))?)
}

/// Outputs by name, serialized as a JSON object in this order.
pub(super) struct Object<'a>(pub(super) &'a [(Arc<str>, Payload)]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, output)| (name, output)))
    }
}
