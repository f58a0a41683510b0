//! Puts foreign code in its place, and brings the tree there to its end.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::{FutureExt as _, Stream as _};
use quell::{
    CancelRequest, Engine, EventStream, Failure, Payload, RunContext, RunHandle, RunRef, RunSpec,
};
use quell_flow::{Parallel, Policy, Retry};
use tokio::sync::oneshot;

use super::actor::Actor;
use super::places::{End, Place};
use super::subscriber;
use super::things::{Acts, Speaks, When, unwritten, waker, written};
use crate::support::{Gate, ms, secs};

/// One cell without its call.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    pub(super) place: Place,
    pub(super) end: End,
    /// Its times are so much longer.
    pub(super) pace: u32,
}

#[derive(Clone)]
pub(super) struct Scene {
    pub(super) cell: Cell,
    pub(super) actor: Arc<Actor>,
}

type Value = Option<Acts>;

impl Scene {
    /// Builds the tree and brings it to its end. The root is a team with one child, in which the
    /// code runs, so that it has a parent.
    pub(super) async fn play(&self, engine: &Engine) -> RunRef {
        let (tell, told) = oneshot::channel();
        let scene = self.clone();
        let spec = RunSpec::team("parent");
        let root = engine.submit(spec, async move |ctx| scene.parent(ctx, tell).await);
        let root = root.expect("it is accepted").into_ref();
        let target = match self.cell.place {
            Place::UnstartedBody => self.unstarted(engine),
            _ => root.clone(),
        };
        if let Ok(child) = told.await {
            self.outside(engine, &child);
            self.actor.let_go.send_replace(true);
            self.wait_for_the_child().await;
        }
        for run in [&target, &root] {
            match self.cell.end {
                End::Naturally | End::Deadline => {}
                End::Abort => drop(run.cancel(CancelRequest::because("stop").abort())),
                End::Cancel => drop(run.cancel(CancelRequest::because("stop"))),
            }
        }
        root
    }

    /// Waits until the body has come to where it waits for its end.
    async fn wait_for_the_child(&self) {
        if self.cell.end == End::Cancel || self.cell.end == End::Abort {
            let since = Instant::now();
            while !self.actor.is_set() && since.elapsed() < secs(5) {
                tokio::time::sleep(ms(1)).await;
            }
        }
    }

    async fn parent(self, ctx: RunContext, tell: oneshot::Sender<RunRef>) -> Result<(), Failure> {
        let (place, actor) = (self.cell.place, Arc::clone(&self.actor));
        if !place.is_at_expiry() {
            actor.take_seat(&ctx).await;
        }
        let mut spec = RunSpec::agent(subscriber::name(place, &actor));
        if self.cell.end == End::Deadline {
            spec = spec.timeout(self.cell.pace * ms(40));
        }
        let child = ctx.spawn(spec, async move |ctx| self.child(ctx).await);
        let run = child.run().clone();
        drop(tell.send(run.clone()));
        match place {
            Place::ValueInHandle => {
                run.ended().await;
                drop(child);
            }
            Place::ValueUnread => {
                drop(child.into_ref());
                run.ended().await;
            }
            Place::WakerOfHandle => {
                let mut handle = Box::pin(child);
                touch(handle.as_mut(), &waker(&actor, When::Woken));
                run.ended().await;
                actor.keep(handle);
            }
            _ => drop(child.outcome().await),
        }
        Ok(())
    }

    /// The run in which the code runs.
    async fn child(self, ctx: RunContext) -> Result<Value, Failure> {
        let actor = Arc::clone(&self.actor);
        if matches!(self.cell.end, End::Naturally) {
            // Those outside look at it first.
            self.actor.stand_by().await;
        }
        match self.cell.place {
            Place::ErrorInWords => return Err(Speaks(actor).into()),
            Place::ErrorExpired => return Err(Acts(actor).into()),
            Place::ValueUnread | Place::ValueInHandle => return Ok(Some(Acts(actor))),
            Place::ValueOfFailed => {
                // A child fails and nobody holds its handle: so does the run, and the value that
                // it returned is nobody's.
                drop(fails(&ctx));
                return Ok(Some(Acts(actor)));
            }
            Place::Predicate | Place::RetryPredicate => return self.decide(&ctx).await,
            Place::Blocking => ctx.spawn_blocking(move |_| actor.act()).await?,
            Place::BlockingValue => self.leave_a_closure(&ctx).await,
            Place::ErrorAbandoned | Place::ValueAbandoned => return self.overstay(&ctx),
            Place::BodyDestructor => {
                let _acts = Acts(actor);
                return self.wait(&ctx).await;
            }
            Place::Body => actor.act(),
            Place::PayloadWritten => drop(ctx.emit(written(&actor))),
            Place::PayloadReplaced => {
                ctx.set_output(unwritten(&actor));
                ctx.set_output(Payload::from("another"));
            }
            Place::PayloadExpired => drop(ctx.set_output(unwritten(&actor))),
            Place::Hook => ctx.on_stop(async move |_| actor.act()),
            Place::HookAborted => {
                let acts = Acts(actor);
                ctx.on_stop(async move |_| {
                    let _acts = acts;
                    pending::<()>().await;
                });
            }
            Place::EndHook => ctx.on_end(async move |_| actor.act()),
            Place::EndHookAborted => {
                let acts = Acts(actor);
                ctx.on_end(async move |_| {
                    let _acts = acts;
                    pending::<()>().await;
                });
            }
            Place::HookSkipped => {
                let acts = Acts(actor);
                ctx.on_stop(async move |_| drop(acts));
                // Uses up the whole grace, so that the hook is never started.
                self.actor.set();
                ctx.stopped().await;
                pending::<()>().await;
            }
            _ => self.leave_wakers(&ctx),
        }
        self.wait(&ctx).await
    }

    /// Wakers that the body leaves where it waits.
    fn leave_wakers(&self, ctx: &RunContext) {
        let actor = &self.actor;
        let woken = waker(actor, When::Woken);
        match self.cell.place {
            Place::WakerOfStop => {
                let run = ctx.clone();
                let mut stopped = Box::pin(async move { run.stopped().await });
                touch(stopped.as_mut(), &woken);
                actor.keep(stopped);
            }
            Place::WakerReplaced => {
                let run = ctx.run().clone();
                let mut ended = Box::pin(async move { run.ended().await });
                touch(ended.as_mut(), &waker(actor, When::Dropped));
                touch(ended.as_mut(), Waker::noop());
            }
            Place::WakerOfToken => {
                let token = ctx.cancellation_token();
                let mut cancelled = Box::pin(token.cancelled_owned());
                touch(cancelled.as_mut(), &woken);
                actor.keep(cancelled);
            }
            _ => {}
        }
    }

    /// Waits for the end.
    async fn wait(&self, ctx: &RunContext) -> Result<Value, Failure> {
        self.actor.set();
        if self.cell.end != End::Naturally {
            ctx.stopped().await;
        }
        Ok(None)
    }

    /// Predicates of parallel steps and retries.
    async fn decide(&self, ctx: &RunContext) -> Result<Value, Failure> {
        let actor = Arc::clone(&self.actor);
        if self.cell.place == Place::Predicate {
            let policy = Policy::until(move |_| {
                actor.act();
                true
            });
            let step = Parallel::new("decided").policy(policy);
            drop(step.branch("branch", async |_| Ok(())).run(ctx).await);
        } else {
            let retry = Retry::new(2).when(move |_| {
                actor.act();
                true
            });
            let fails = |_| async { Err::<(), _>(Failure::new("planned")) };
            drop(retry.run(ctx, RunSpec::step("retried"), fails).await);
        }
        Ok(None)
    }

    /// Nobody waits for the value of a closure any more when it is there.
    async fn leave_a_closure(&self, ctx: &RunContext) {
        let (actor, gate) = (Arc::clone(&self.actor), Gate::new());
        let held = gate.clone();
        let work = ctx.spawn_blocking(move |_| {
            held.spin();
            Acts(actor)
        });
        drop(tokio::time::timeout(ms(5), work).await);
        gate.open();
    }

    /// Blocks its worker until the ladder is exhausted.
    fn overstay(&self, ctx: &RunContext) -> Result<Value, Failure> {
        self.actor.set();
        let since = Instant::now();
        while !ctx.run().status().is_terminal() && since.elapsed() < secs(10) {
            std::thread::sleep(ms(1));
        }
        let acts = Acts(Arc::clone(&self.actor));
        if self.cell.place == Place::ErrorAbandoned { Err(acts.into()) } else { Ok(Some(acts)) }
    }

    /// A run of its own that never starts.
    fn unstarted(&self, engine: &Engine) -> RunRef {
        let acts = Acts(Arc::clone(&self.actor));
        let mut spec = RunSpec::agent("unstarted").not_before(Instant::now() + HOUR);
        if self.cell.end == End::Deadline {
            spec = spec.start_within(self.cell.pace * ms(20));
        }
        let run = engine.submit(spec, async move |_| {
            drop(acts);
            Ok(())
        });
        run.expect("it is accepted").into_ref()
    }

    /// Code outside of the run, of those who wait for it and read it.
    fn outside(&self, engine: &Engine, child: &RunRef) {
        let woken = waker(&self.actor, When::Woken);
        match self.cell.place {
            Place::WakerOfEnd => {
                let child = child.clone();
                let mut ended = Box::pin(async move { child.quiescent().await });
                touch(ended.as_mut(), &woken);
                self.actor.keep(ended);
            }
            Place::WakerOfEvents => self.actor.keep(drained(child.events(), &woken)),
            Place::WakerOfAllEvents => self.actor.keep(drained(engine.events(), &woken)),
            Place::Reader => {
                let (mut events, actor) = (child.events(), Arc::clone(&self.actor));
                drop(tokio::spawn(async move {
                    while events.next().await.is_some() {
                        actor.act();
                    }
                }));
            }
            _ => {}
        }
    }
}

fn fails(ctx: &RunContext) -> RunHandle<()> {
    ctx.spawn(RunSpec::step("fails unseen"), async |_| Err(Failure::new("planned")))
}

/// Polls a future once, so that it registers the waker.
fn touch<F: Future>(mut future: Pin<&mut F>, waker: &Waker) {
    drop(future.poll_unpin(&mut Context::from_waker(waker)));
}

/// Reads what is there, and leaves the waker for what comes.
fn drained(mut events: EventStream, waker: &Waker) -> EventStream {
    let mut cx = Context::from_waker(waker);
    while let Poll::Ready(Some(_)) = Pin::new(&mut events).poll_next(&mut cx) {}
    events
}

const HOUR: Duration = secs(3600);
