use std::future::Future as _;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};

use quell::testing::held;
use quell::{CancelRequest, Engine, OnBusy, Payload, RunRef, RunSpec, RunStatus, SubmitError};

use crate::support::{Lab, bounded, config, listener, ms, naive, now, secs, soon, within};

/// Submits a run from within a wake-up, once what it waits for is over.
struct Follows<F> {
    first: RunRef,
    submit: F,
    second: OnceLock<Result<RunRef, SubmitError>>,
}

impl<F: Fn() -> Result<RunRef, SubmitError> + Send + Sync + 'static> Wake for Follows<F> {
    fn wake(self: Arc<Self>) {
        if self.first.status().is_terminal() {
            let _ = self.second.set((self.submit)());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i33_who_hears_that_a_run_is_over_finds_its_lane_its_slot_and_its_bytes_free() {
    let lane = || RunSpec::agent("lane").lane("lane", OnBusy::Reject);
    let large = || RunSpec::agent("bytes").owner("ada").input(Payload::from("x".repeat(60_000)));
    let makes: [fn() -> RunSpec; 4] = [|| RunSpec::agent("slot"), lane, lane, large];
    for (case, spec) in makes.into_iter().enumerate() {
        let config = match case {
            0 | 2 => config().running_max(1).queued_max(0),
            1 => config(),
            _ => config().limits(bounded(|limits| {
                // The share of an owner has room for one of them.
                (limits.live_bytes_max, limits.runs_max) = (400_000, 4);
            })),
        };
        let lab = Lab::with(config);
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let first = lab.submit(spec(), async move |_| {
            let _ = gone.await;
            Ok(())
        });
        let first = first.unwrap().into_ref();
        let engine = Engine::clone(&lab);
        let submit = move || engine.submit(spec(), listener).map(quell::RunHandle::into_ref);
        let follows = Follows { first: first.clone(), submit, second: OnceLock::new() };
        let follows = Arc::new(follows);
        let waker = Waker::from(Arc::clone(&follows));
        let mut over = Box::pin(async { (first.ended().await, first.quiescent().await) });
        assert!(over.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        go.send(()).unwrap();
        soon("it is woken", || follows.second.get().is_some()).await;
        let second = follows.second.get().unwrap().clone();
        let second = second.unwrap_or_else(|refused| panic!("case {case}: {refused}"));
        drop(over);
        second.cancel(CancelRequest::because("over"));
        within("the second ends", second.quiescent()).await;
        assert_eq!(held(&lab).admission, 0);
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i36_who_is_stopped_before_the_start_hands_its_lane_on_with_the_stop() {
    let lab = Lab::paused();
    let lane = |name: &'static str| RunSpec::agent(name).lane("lane", OnBusy::Enqueue);
    let holder = lab.submit(lane("holder"), naive).unwrap().into_ref();
    let behind = lab.submit(lane("behind"), listener).unwrap().into_ref();
    // It has its lane and was let start; its task has not been polled.
    assert!(holder.queue_position().is_none() && behind.queue_position().is_some());
    holder.cancel(CancelRequest::because("never mind"));
    assert_eq!(holder.status(), RunStatus::Stopping, "its body is still to be dropped");
    assert!(behind.queue_position().is_none(), "the lane is free");
    tokio::time::sleep(ms(1)).await;
    assert_eq!(behind.status(), RunStatus::Running);
    behind.cancel(CancelRequest::because("over"));
    for run in [holder, behind] {
        within("it ends", run.quiescent()).await;
    }
    assert_eq!(held(&lab).admission, 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i21_who_was_due_comes_before_who_comes_later_also_if_nobody_has_looked() {
    let lab = Lab::with(config().control_on_runtime().running_max(1).queued_max(1));
    tokio::time::sleep(ms(1)).await;
    let due = RunSpec::agent("due").not_before(now() + secs(1));
    let due = lab.submit(due, listener).unwrap().into_ref();
    // Time passes, and the control loop takes no turn: nobody else is polled here.
    let mut passes = pin!(tokio::time::advance(secs(2)));
    assert!(passes.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let late = RunSpec::agent("late").not_before(now() + secs(1));
    let late = lab.submit(late, listener).unwrap().into_ref();
    let refused = lab.submit(RunSpec::agent("later"), listener).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { max: 1, .. }), "{refused}");
    assert!(due.queue_position().is_none(), "it has the slot");
    tokio::task::yield_now().await;
    assert_eq!(due.status(), RunStatus::Running);
    for run in [due, late] {
        run.cancel(CancelRequest::because("over"));
        within("it ends", run.quiescent()).await;
    }
    assert_eq!(held(&lab).admission, 0);
    lab.finish().await;
}
