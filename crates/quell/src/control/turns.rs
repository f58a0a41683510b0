//! [`spawn_thread`] starts the control thread: it fires timers and hears tokens from outside, also
//! while user code blocks every worker thread (I14).
//!
//! The thread sleeps until the first timer. No foreign code runs on it: couriers take wakers,
//! values, tokens and subscribers ([`crate::foreign::couriers`]). It takes what spreads over a tree
//! in slices, so that the timers of other trees do not wait for a large one. A panic of the engine
//! in a turn ends neither the loop nor what else is due.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt as _};
use quell_core::CancelRequest;
use quell_core::lifecycle::Input;

use crate::foreign::{self, Barred};
use crate::node::{Link, Linked, Node, Shared, by_token};
use crate::step::StopOrigin;
use crate::step::cascade::Spread;
use crate::sync::loops::{self, Loop, Turn};
use crate::sync::thread;
use crate::time::timers::TimerKey;

/// Starts the loop on a thread of its own.
pub(crate) fn spawn_thread(shared: &Arc<Shared>) -> std::io::Result<()> {
    let thread = loops::spawn("quell-control", None, Turns::new(shared))?;
    shared.control.queue.lock().thread = Some(thread);
    Ok(())
}

/// The loop as a future, for a runtime whose clock may be paused.
#[cfg(feature = "test-util")]
pub(crate) fn run(shared: &Arc<Shared>) -> impl Future<Output = ()> + use<> {
    loops::run(Turns::new(shared))
}

/// Takes one turn after the other: each fires what is due, and yields when the next one is.
struct Turns {
    shared: Weak<Shared>,
    links: FuturesUnordered<Link>,
    /// Stops and stages that spread over trees too large for one slice.
    unfinished: VecDeque<Spread>,
}

impl Loop for Turns {
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let Some(shared) = self.shared.upgrade() else { return Turn::Last };
        // Before `shared`, which may be the last reference, is dropped.
        let _barred = Barred::new();
        {
            let mut queue = shared.control.queue.lock();
            if queue.closed {
                return Turn::Last;
            }
            queue.waker = Some(cx.waker().clone());
            queue.nudged = None;
            let (links, stops) =
                (std::mem::take(&mut queue.links), std::mem::take(&mut queue.stops));
            drop(queue);
            self.links.extend(links);
            let spreads =
                stops.into_iter().map(|(nodes, why, now)| Spread::cancel(nodes, why, now));
            self.unfinished.extend(spreads);
        }
        let lapses_at = self.watch_lease(&shared);
        loop {
            let hears_more = guarded(&shared, || self.hear_tokens(&shared, cx)).unwrap_or(false);
            self.fire_due(&shared);
            if let Some(mut spread) = self.unfinished.pop_front() {
                let is_over = guarded(&shared, || spread.run(SLICE)).unwrap_or(true);
                if !is_over {
                    self.unfinished.push_back(spread);
                }
                self.fire_due(&shared);
            } else if !hears_more {
                break;
            }
        }
        // Ask last: what was fired above may have freed lanes and slots, or ended trees.
        let asked = guarded(&shared, || {
            let now = shared.clock.now();
            let (free, due) = shared.admission.turn(now);
            free.start();
            let kept_until = shared.expire(now);
            let relief = shared.couriers.relieve(now);
            [due, kept_until, relief].map(|at| at.map(|at| shared.clock.ticks(at)))
        });
        let mut queue = shared.control.queue.lock();
        let asked = asked.unwrap_or_default().into_iter().flatten();
        let lapses_at = lapses_at.map(|at| shared.clock.ticks(at));
        let asked = asked.chain(lapses_at).chain(queue.timers.earliest()).chain(queue.nudged);
        queue.next = asked.min();
        Turn::Next(queue.next.map(|at| shared.clock.at_ticks(at)))
    }
}

impl Turns {
    fn new(shared: &Arc<Shared>) -> Self {
        let (shared, links) = (Arc::downgrade(shared), FuturesUnordered::new());
        Self { shared, links, unfinished: VecDeque::new() }
    }

    /// Takes some of the cancelled tokens, and stops what they are linked to. Yields whether there
    /// may be more.
    fn hear_tokens(&mut self, shared: &Arc<Shared>, cx: &mut Context<'_>) -> bool {
        let (mut nodes, mut heard) = (Vec::new(), 0);
        while heard < SLICE
            && let Poll::Ready(Some(linked)) = self.links.poll_next_unpin(cx)
        {
            heard += 1;
            match linked {
                Some(Linked::Run(node)) => nodes.extend(node.upgrade()),
                Some(Linked::Engine) => self.stop_all(shared, by_token()),
                None => {}
            }
        }
        if !nodes.is_empty() {
            let spread = Spread::cancel(nodes, by_token(), shared.clock.now());
            self.unfinished.push_back(spread);
        }
        heard == SLICE
    }

    /// Stops every root. If there are many, a thread of its own lists and sorts them, so that
    /// timers do not wait for that. It runs no foreign code and waits for nothing.
    fn stop_all(&mut self, shared: &Arc<Shared>, request: CancelRequest) {
        if shared.registry.live() > SLICE && !shared.couriers.are_tasks() {
            let (all, request) = (Arc::clone(shared), request.clone());
            let lister = thread::Builder::new().name("quell-lister".into());
            let list = move || all.control.stop(all.live_roots(), request, all.clock.now());
            if lister.spawn(list).is_ok() {
                return;
            }
        }
        let spread = Spread::cancel(shared.live_roots(), request, shared.clock.now());
        self.unfinished.push_back(spread);
    }

    /// Stops every root if the lease has lapsed; else yields when it does.
    fn watch_lease(&mut self, shared: &Arc<Shared>) -> Option<Instant> {
        let (lapses_at, lapsed) = shared.watch_lease(shared.clock.now());
        if let Some(request) = lapsed {
            self.stop_all(shared, request);
            shared.finish_closing();
        }
        lapses_at
    }

    /// Ticks every run whose timer is due.
    fn fire_due(&mut self, shared: &Arc<Shared>) {
        fire_due(shared, |mut spread| {
            if !spread.run(SLICE) {
                self.unfinished.push_back(spread);
            }
        });
    }
}

/// Ticks every run whose timer is due, and hands over what spreads from there.
pub(crate) fn fire_due(shared: &Shared, mut spread: impl FnMut(Spread)) {
    loop {
        let due = take_due(shared);
        if due.is_empty() {
            return;
        }
        for (key, node) in due {
            guarded(shared, || spread(tick(key, node)));
        }
    }
}

/// Takes a step whose panic, a fault of the engine, must not keep the loop from the other steps.
fn guarded<T>(shared: &Shared, step: impl FnOnce() -> T) -> Option<T> {
    let done = foreign::catch_panic(step);
    done.inspect_err(|failure| {
        let words = failure.to_string();
        foreign::run(&shared.couriers, move || {
            tracing::error!(words, "control loop panicked; it goes on");
        });
    })
    .ok()
}

fn take_due(shared: &Shared) -> Vec<(TimerKey, Arc<Node>)> {
    let now = shared.clock.stamp(shared.clock.now());
    let mut queue = shared.control.queue.lock();
    // The loop does not sleep while it works, and looks at the queue before it sleeps: a timer that
    // is armed meanwhile need not wake it.
    queue.next = Some(now);
    queue.timers.take_due(now)
}

fn tick(key: TimerKey, node: Arc<Node>) -> Spread {
    let now = node.shared.clock.now();
    let deferred = {
        let mut state = node.lock();
        // If the run was re-armed since its timer was popped, the new timer stays.
        state.armed = state.armed.filter(|armed| *armed != key);
        // Read under the lock of the decision: an idle limit that is set just now has a watch of
        // its own, and signs of life before it do not count against it.
        let active_at = node.active_at(&state);
        node.step_locked(
            &mut state,
            Input::Tick { active_at },
            StopOrigin::default(),
            now,
            |_, _| {},
        )
    };
    Spread::of_step(node, deferred, now)
}

/// How many nodes of one tree are taken before the timers are looked at again: some tenths of a
/// millisecond.
const SLICE: usize = 256;

#[cfg(all(test, feature = "test-util", not(any(quell_loom, quell_shuttle))))]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use quell_core::RunStatus;

    use super::*;
    use crate::{Engine, EngineConfig, RunSpec};

    /// An engine whose loop is taken turn by turn, by the test: nothing here awaits, so that the
    /// engine's own is never polled.
    fn engine() -> (Engine, Turns) {
        let engine = Engine::with_config(EngineConfig::new().control_on_runtime());
        let turns = Turns::new(engine.shared());
        (engine, turns)
    }

    fn turn(turns: &mut Turns) -> Option<Instant> {
        match turns.turn(&mut Context::from_waker(Waker::noop())) {
            Turn::Next(next) => next,
            Turn::Last => None,
        }
    }

    fn link(engine: &Engine, link: Link) {
        engine.shared().control.queue.lock().links.push(link);
    }

    #[tokio::test(start_paused = true)]
    async fn i14_an_instant_that_is_asked_for_within_a_turn_is_when_the_next_one_is() {
        let (engine, mut turns) = engine();
        let (shared, due) = (Arc::clone(engine.shared()), Instant::now() + Duration::from_secs(1));
        let due = shared.clock.at_ticks(shared.clock.ticks(due));
        // Within the turn a run comes in that is due in a second: admission has it, but the turn
        // may have asked admission before.
        link(&engine, {
            let shared = Arc::clone(&shared);
            Box::pin(poll_fn(move |_| {
                shared.control.nudge(shared.clock.ticks(due));
                Poll::Pending
            }))
        });
        assert_eq!(turn(&mut turns), Some(due));
        assert_eq!(turn(&mut turns), None, "asked for once");
    }

    #[tokio::test(start_paused = true)]
    async fn i14_a_panic_within_a_turn_ends_no_deadline() {
        let (engine, mut turns) = engine();
        let spec = RunSpec::agent("timed").start_within(Duration::ZERO);
        let run = engine.shared().accept_root(spec).unwrap().0;
        let later = RunSpec::agent("later").start_within(Duration::from_secs(5));
        engine.shared().accept_root(later).unwrap();
        #[expect(clippy::panic, reason = "that is the matter")]
        link(&engine, Box::pin(poll_fn(|_| panic!("a fault of ours"))));
        let next = turn(&mut turns);
        assert_eq!(run.status(), RunStatus::Stopping, "what was due has happened");
        assert!(next.is_some(), "and what is due later will");
    }

    #[tokio::test(start_paused = true)]
    async fn i14_a_large_tree_is_taken_in_slices() {
        let (engine, mut turns) = engine();
        let shared = engine.shared();
        let timed = RunSpec::agent("wide").timeout(Duration::ZERO);
        let root = shared.accept_root(timed).unwrap().0;
        root.apply(Input::Started, StopOrigin::default(), |_, _| {});
        for _ in 0..10 * SLICE {
            let child = shared.accept_child(RunSpec::step("child"), &root).unwrap();
            child.apply(Input::Started, StopOrigin::default(), |_, _| {});
        }
        turns.fire_due(shared);
        let told = |root: &Arc<Node>| {
            let state = root.lock();
            state.children.iter().filter(|child| child.status() == RunStatus::Stopping).count()
        };
        assert!((1..=2 * SLICE).contains(&told(&root)), "{} in one slice", told(&root));
        assert_eq!(turns.unfinished.len(), 1, "the rest comes after the timers of others");
        turn(&mut turns);
        assert_eq!((told(&root), turns.unfinished.len()), (10 * SLICE, 0));
        shared.control.close();
    }

    #[tokio::test(start_paused = true)]
    async fn i14_a_token_of_many_runs_is_heard_in_slices() {
        let (engine, mut turns) = engine();
        let shared = engine.shared();
        let token = tokio_util::sync::CancellationToken::new();
        let linked = || RunSpec::agent("linked").linked_to(token.clone());
        let runs: Vec<_> =
            (0..10 * SLICE).map(|_| shared.accept_root(linked()).unwrap().0).collect();
        let stopped = || runs.iter().filter(|run| run.status() == RunStatus::Stopping).count();
        turn(&mut turns);
        token.cancel();
        turns.hear_tokens(shared, &mut Context::from_waker(Waker::noop()));
        let mut first = turns.unfinished.pop_front().unwrap();
        first.run(usize::MAX);
        assert_eq!(stopped(), SLICE, "the rest comes after the timers of others");
        turn(&mut turns);
        assert_eq!(stopped(), 10 * SLICE);
        shared.control.close();
    }
}
