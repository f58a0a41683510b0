//! Bodies that do what they are told, and notes of what really runs, kept outside of the engine.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quell::{Failure, Hold, Pause, RunContext, RunSpec, Work};
use tokio::sync::Notify;

use super::script::Order;

/// The bodies of one process.
#[derive(Default)]
pub(super) struct Actors(Mutex<Vec<Actor>>);

/// What is known of one run from outside.
#[derive(Default)]
struct Actor {
    orders: VecDeque<Order>,
    is_told: Arc<Notify>,
    ends_child: Arc<Notify>,
    seen: Seen,
    /// States that the attempt has saved.
    saves: usize,
    work: Vec<Hold>,
}

/// What really ran, and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Each attempt that has begun: its number, and the answer that it had.
    pub(super) attempts: Vec<(u32, Option<String>)>,
    /// Bodies that are there now.
    pub(super) bodies: usize,
    pub(super) children: usize,
    /// Bodies that wait for an order.
    pub(super) waits: usize,
    /// One has not done yet what it was told.
    pub(super) is_busy: bool,
}

/// Somebody is inside as long as this lives.
struct Inside<'a> {
    actors: &'a Actors,
    run: usize,
    what: fn(&mut Seen) -> &mut usize,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *(self.what)(&mut self.actors.lock()[self.run].seen) -= 1;
    }
}

impl Actors {
    fn lock(&self) -> MutexGuard<'_, Vec<Actor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for so many runs.
    pub(super) fn grow(&self, runs: usize) {
        let mut actors = self.lock();
        let missing = runs.saturating_sub(actors.len());
        actors.extend((0..missing).map(|_| Actor::default()));
    }

    pub(super) fn seen(&self, run: usize) -> Seen {
        let actor = &self.lock()[run];
        let Seen { attempts, bodies, children, waits, .. } = actor.seen.clone();
        let is_busy = bodies > 0 && (waits == 0 || !actor.orders.is_empty());
        Seen { attempts, bodies, children, waits: 0, is_busy }
    }

    /// Tells a body what to do.
    pub(super) fn order(&self, run: usize, order: Order) {
        let mut actors = self.lock();
        actors[run].orders.push_back(order);
        actors[run].is_told.notify_one();
    }

    pub(super) fn end_child(&self, run: usize) {
        self.lock()[run].ends_child.notify_one();
    }

    pub(super) fn end_work(&self, run: usize) {
        let work = self.lock()[run].work.pop();
        drop(work);
    }

    fn enter(&self, run: usize, what: fn(&mut Seen) -> &mut usize) -> Inside<'_> {
        *what(&mut self.lock()[run].seen) += 1;
        Inside { actors: self, run, what }
    }

    async fn next(&self, run: usize) -> Order {
        loop {
            let (order, is_told) = {
                let actor = &mut self.lock()[run];
                (actor.orders.pop_front(), Arc::clone(&actor.is_told))
            };
            if let Some(order) = order {
                return order;
            }
            let _inside = self.enter(run, |seen| &mut seen.waits);
            is_told.notified().await;
        }
    }

    fn next_save(&self, run: usize, attempt: u32) -> String {
        let mut actors = self.lock();
        let saves = &mut actors[run].saves;
        *saves += 1;
        save_text(run, attempt, *saves)
    }

    /// The body of a run. A stubborn one goes on after a stop.
    pub(super) async fn body(
        self: Arc<Self>,
        run: usize,
        stubborn: bool,
        ctx: RunContext,
    ) -> Result<(), Failure> {
        let answer = ctx.resumed_with().and_then(|answer| Some(answer.as_text()?.into_owned()));
        {
            let actor = &mut self.lock()[run];
            actor.orders.clear();
            actor.is_told = Arc::default();
            actor.ends_child = Arc::default();
            actor.seen.attempts.push((ctx.attempt(), answer));
            actor.saves = 0;
        }
        let _inside = self.enter(run, |seen| &mut seen.bodies);
        // It listens, and so has the grace.
        let _ = ctx.is_stopping();
        loop {
            let order = if stubborn {
                self.next(run).await
            } else {
                ctx.run_until_stopped(self.next(run)).await?
            };
            if let Some(end) = self.obey(run, order, &ctx).await {
                return end;
            }
        }
    }

    /// Does what it is told; some if the body ends with it.
    async fn obey(
        self: &Arc<Self>,
        run: usize,
        order: Order,
        ctx: &RunContext,
    ) -> Option<Result<(), Failure>> {
        match order {
            Order::Save => {
                let saved = ctx.save(self.next_save(run, ctx.attempt()).into()).await;
                return saved.err().map(|error| Err(error.into()));
            }
            Order::SaveBelow => {
                let text = self.next_save(run, ctx.attempt());
                let below = ctx.spawn(RunSpec::step("saves"), async move |ctx: RunContext| {
                    ctx.save(text.into()).await?;
                    Ok(())
                });
                // A stop has refused it, or its attempt was stopped: the body goes on.
                let _ = below.await;
            }
            Order::Spawn => {
                let actors = Arc::clone(self);
                let below = ctx.spawn(RunSpec::step("waits"), async move |ctx: RunContext| {
                    let _inside = actors.enter(run, |seen| &mut seen.children);
                    let ends = Arc::clone(&actors.lock()[run].ends_child);
                    let _ = ctx.run_until_stopped(ends.notified()).await;
                    Ok(())
                });
                drop(below.into_ref());
            }
            Order::Work => {
                if let Ok(hold) = ctx.hold(Work::Blocking, "work") {
                    self.lock()[run].work.push(hold);
                }
            }
            Order::Checkpoint => return ctx.checkpoint().err().map(|stopped| Err(stopped.into())),
            Order::Ask { expires } => {
                let mut pause = Pause::new(question(run, ctx.attempt()));
                if expires {
                    pause = pause.expires_in(Duration::from_millis(EXPIRES));
                }
                return Some(Err(ctx.pause(pause)));
            }
            Order::AskBelow => {
                let text = question(run, ctx.attempt());
                let below = RunSpec::step("asks");
                let below =
                    ctx.spawn(below, async move |ctx: RunContext| Err::<(), _>(ctx.pause(text)));
                return Some(below.await.map_err(Failure::from));
            }
            Order::Return => return Some(Ok(())),
            Order::Fail => return Some(Err(Failure::new("planned"))),
            Order::Panic => resume_unwind(Box::new("planned")),
        }
        None
    }
}

/// What a run asks in an attempt.
pub(super) fn question(run: usize, attempt: u32) -> String {
    format!("question {run}.{attempt}")
}

/// The nth state that a run saves in an attempt.
pub(super) fn save_text(run: usize, attempt: u32, nth: usize) -> String {
    format!("state {run}.{attempt}.{nth}")
}

/// How long a pause with an expiry is, in milliseconds.
pub(super) const EXPIRES: u64 = 7_000;
