//! The one poll that a parent has left when it does not listen and its children have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quell::{
    CancelRequest, Outcome, Payload, RunContext, RunHandle, RunRef, RunReport, RunSpec, RunStatus,
};

use crate::support::{Gate, Lab, body_runtime, config, ignorant, listener, ms, secs, soon, within};

/// How a parent waits for its children.
#[derive(Clone, Copy, Debug)]
enum How {
    JoinAll,
    Unordered,
    Select,
    OneByOne,
    Ours,
}

impl How {
    const ALL: [Self; 5] =
        [Self::JoinAll, Self::Unordered, Self::Select, Self::OneByOne, Self::Ours];

    /// Yields how many ends it has seen.
    async fn wait(self, children: Vec<RunHandle<()>>) -> usize {
        match self {
            Self::JoinAll => join_all(children.into_iter().map(RunHandle::outcome)).await.len(),
            Self::Unordered => {
                let mut all: FuturesUnordered<_> =
                    children.into_iter().map(RunHandle::outcome).collect();
                let mut seen = 0;
                while let Some(Outcome::Stopped { .. }) = all.next().await {
                    seen += 1;
                }
                seen
            }
            Self::Select => {
                let mut all: FuturesUnordered<_> =
                    children.into_iter().map(RunHandle::outcome).collect();
                let mut seen = 0;
                loop {
                    tokio::select! {
                        biased;
                        () = std::future::pending() => {}
                        next = all.next() => match next {
                            Some(_) => seen += 1,
                            None => return seen,
                        },
                    }
                }
            }
            Self::OneByOne => {
                let mut seen = 0;
                for child in children {
                    child.outcome().await;
                    seen += 1;
                }
                seen
            }
            Self::Ours => quell::join::all(children).await.len(),
        }
    }
}

/// What the children do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    /// Gives way.
    Listens,
    /// Is dropped when its grace is over.
    Ignores,
    /// Never starts.
    Waits,
    /// Blocks a thread, and is abandoned.
    Blocks,
}

fn spawn(ctx: &RunContext, child: Child, gate: &Gate) -> RunHandle<()> {
    let spec = RunSpec::step("child");
    let gate = gate.clone();
    match child {
        Child::Listens => ctx.spawn(spec, listener),
        Child::Ignores => ctx.spawn(spec.grace(ms(20)), ignorant),
        Child::Waits => ctx.spawn(spec.not_before(Instant::now() + secs(3600)), listener),
        Child::Blocks => ctx.spawn(spec.grace(ms(5)), async move |ctx: RunContext| {
            Ok(ctx.spawn_blocking(move |_| gate.spin()).await?)
        }),
    }
}

/// Stops a run: on a thread of the test, or on the control thread.
fn stop(run: &RunRef, by_control: bool) {
    let request = CancelRequest::because("enough");
    let request = if by_control { request.after_step(Some(ms(5))) } else { request };
    let run = run.clone();
    std::thread::spawn(move || run.cancel(request));
}

/// Plays one parent, until it has ended.
async fn play(lab: &Lab, child: Child, how: How, count: usize, by_control: bool) {
    let gate = Gate::new();
    let _open = gate.at_end();
    let up = Gate::new();
    let (is_up, hold) = (up.clone(), gate.clone());
    let spec = RunSpec::team("parent").grace(secs(30));
    let run = lab
        .submit(spec, async move |ctx| {
            let children = (0..count).map(|_| spawn(&ctx, child, &hold)).collect();
            is_up.open();
            Ok(Payload::json(&how.wait(children).await)?)
        })
        .unwrap();
    soon("it is up", || up.is_open()).await;
    let below = || run.run().children();
    if child != Child::Waits {
        soon("all run", || below().iter().all(|it| it.status() == RunStatus::Running)).await;
    }
    stop(run.run(), by_control);
    let report = within("it ends", run.ended()).await;
    let seen = report.partial.as_ref().map(Payload::as_json);
    let what = format!("{child:?} {how:?} {count} {by_control}: {:?}", report.own_row());
    assert_eq!(seen, Some(count.to_string().as_str()), "{what}");
    assert!(!report.own_row().aborted, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i17_the_last_poll_of_a_parent_finds_the_end_of_every_child() {
    let bodies = body_runtime(4);
    let lab = Lab::with(config().abort_wait(ms(50)).runtime(bodies.handle().clone()));
    for child in [Child::Listens, Child::Ignores, Child::Waits, Child::Blocks] {
        for how in How::ALL {
            for count in [1, 31, 100] {
                for by_control in [false, true] {
                    play(&lab, child, how, count, by_control).await;
                }
            }
        }
    }
    lab.finish().await;
    bodies.shutdown_background();
}

/// A waker that dawdles until it sees that a run has ended without it, or for a while.
struct Dawdles {
    until_ended: RunRef,
    woken: Arc<AtomicUsize>,
}

impl Wake for Dawdles {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        let since = Instant::now();
        while !self.until_ended.status().is_terminal() && since.elapsed() < DAWDLES_FOR {
            std::thread::sleep(ms(1));
        }
    }
}

/// Begins to wait for the end of a run with a waker.
fn wait_with(
    run: &RunRef,
    waker: impl Wake + Send + Sync + 'static,
) -> BoxFuture<'_, Arc<RunReport>> {
    let (mut wait, waker) = (run.ended().boxed(), Waker::from(Arc::new(waker)));
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    wait
}

/// Begins to wait for the end of a run below with a waker that dawdles until `run` has ended.
/// Yields how often it was woken, and the wait.
fn dawdling<'a>(
    run: &RunRef,
    below: &'a RunRef,
) -> (Arc<AtomicUsize>, BoxFuture<'a, Arc<RunReport>>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let dawdles = Dawdles { until_ended: run.clone(), woken: Arc::clone(&woken) };
    (woken, wait_with(below, dawdles))
}

/// Long enough for a task to be polled, or a courier to be started, in between.
const DAWDLES_FOR: Duration = ms(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i17_the_last_poll_of_a_parent_waits_until_the_ends_of_its_children_were_told() {
    for child in [Child::Listens, Child::Ignores, Child::Waits, Child::Blocks] {
        for by_control in [false, true] {
            let bodies = body_runtime(4);
            let lab = Lab::with(config().abort_wait(ms(50)).runtime(bodies.handle().clone()));
            let gate = Gate::new();
            let _open = gate.at_end();
            let (up, go, hold) = (Gate::new(), Gate::new(), gate.clone());
            let (is_up, start) = (up.clone(), go.clone());
            let spec = RunSpec::team("parent").grace(secs(30));
            let run = lab
                .submit(spec, async move |ctx| {
                    let child = spawn(&ctx, child, &hold);
                    is_up.open();
                    while !start.is_open() {
                        tokio::time::sleep(ms(1)).await;
                    }
                    Ok(Payload::json(&How::Unordered.wait(vec![child]).await)?)
                })
                .unwrap();
            soon("it is up", || up.is_open()).await;
            let below = run.run().children().remove(0);
            if child != Child::Waits {
                soon("the child runs", || below.status() == RunStatus::Running).await;
            }
            // Registered before the parent, so that it is woken before.
            let (woken, other) = dawdling(run.run(), &below);
            go.open();
            tokio::time::sleep(ms(20)).await;
            stop(run.run(), by_control);
            let report = within("it ends", run.ended()).await;
            let seen = report.partial.as_ref().map(Payload::as_json);
            let what = format!("{child:?} {by_control}: {:?}", report.own_row());
            assert!(woken.load(Ordering::SeqCst) > 0, "{what}");
            assert_eq!(seen, Some("1"), "{what}");
            drop(other);
            gate.open();
            lab.finish().await;
            bodies.shutdown_background();
        }
    }
}

/// A stop of one child alone, or of all from above, whose news dawdle on the thread that asked for
/// it. The second stop of the parent finds all told but for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i17_the_last_poll_of_a_parent_waits_for_news_that_others_tell() {
    for (stops_parent_first, count) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let bodies = body_runtime(4);
        let lab = Lab::with(config().abort_wait(ms(20)).runtime(bodies.handle().clone()));
        let (up, gate) = (Gate::new(), Gate::new());
        let _open = gate.at_end();
        let (is_up, hold) = (up.clone(), gate.clone());
        let go = Gate::new();
        let start = go.clone();
        let spec = RunSpec::team("parent").grace(secs(30));
        let run = lab
            .submit(spec, async move |ctx| {
                let children = (0..count).map(|_| spawn(&ctx, Child::Blocks, &hold)).collect();
                is_up.open();
                while !start.is_open() {
                    tokio::time::sleep(ms(1)).await;
                }
                Ok(Payload::json(&How::Unordered.wait(children).await)?)
            })
            .unwrap();
        soon("it is up", || up.is_open()).await;
        let mut below = run.run().children();
        let all_run = || below.iter().all(|it| it.status() == RunStatus::Running);
        soon("the children run", all_run).await;
        let last = below.remove(count - 1);
        let (woken, other) = dawdling(run.run(), &last);
        go.open();
        tokio::time::sleep(ms(20)).await;
        stop(if stops_parent_first { run.run() } else { &last }, false);
        soon("the news are on their way", || woken.load(Ordering::SeqCst) > 0).await;
        stop(run.run(), false);
        let report = within("it ends", run.ended()).await;
        // It has returned if the news came before its own stop.
        let seen = report.partial.as_ref().or(report.output.as_ref()).map(Payload::as_json);
        let what = format!("{stops_parent_first} {count}: {:?}", report.own_row());
        assert_eq!(seen, Some(count.to_string().as_str()), "{what}");
        drop(other);
        gate.open();
        lab.finish().await;
        bodies.shutdown_background();
    }
}

/// The first body that is signalled does not return before the test is over: the parent has its
/// grace.
struct Stays(Gate);

impl Wake for Stays {
    fn wake(self: Arc<Self>) {
        self.0.spin();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i12_news_that_nobody_takes_hold_up_the_end_of_a_parent_until_its_deadline_at_most() {
    for child in [Child::Ignores, Child::Waits, Child::Blocks] {
        let bodies = body_runtime(4);
        let lab = Lab::with(config().abort_wait(ms(50)).runtime(bodies.handle().clone()));
        let (up, gate) = (Gate::new(), Gate::new());
        let _open = gate.at_end();
        let (is_up, hold) = (up.clone(), gate.clone());
        let run = lab
            .submit(RunSpec::team("parent").grace(ms(100)), async move |ctx| {
                let child = spawn(&ctx, child, &hold);
                is_up.open();
                Ok(How::Unordered.wait(vec![child]).await)
            })
            .unwrap();
        soon("it is up", || up.is_open()).await;
        let below = run.run().children().remove(0);
        if child != Child::Waits {
            soon("the child runs", || below.status() == RunStatus::Running).await;
        }
        let other = wait_with(&below, Stays(gate.clone()));
        stop(run.run(), true);
        let report = within("it ends", run.ended()).await;
        assert_eq!(report.status, RunStatus::Cancelled, "{child:?}: {:?}", report.own_row());
        drop(other);
        gate.open();
        lab.finish().await;
        bodies.shutdown_background();
    }
}
