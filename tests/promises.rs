use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use quell::{
    CancelRequest, Engine, EventKind, Failure, Payload, RunContext, RunEvent, RunRef, RunSpec,
    RunStatus, Shutdown, ToolCall, ToolOutcome, Work, limits, testing,
};

use crate::support::{Lab, config, listener, ms, now, secs, soon, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i30_times_in_a_log_never_run_backwards() {
    let lab = Lab::real();
    for _ in 0..20 {
        let run = lab
            .submit(RunSpec::team("chatty"), async |ctx| {
                let hold = Arc::new(ctx.hold(Work::Blocking, "threads")?);
                for _ in 0..4 {
                    let (ctx, hold) = (ctx.clone(), Arc::clone(&hold));
                    std::thread::spawn(move || {
                        for at in 0..2_000 {
                            ctx.emit(Payload::from(at.to_string()));
                        }
                        drop(hold);
                    });
                }
                drop(hold);
                listener(ctx).await
            })
            .unwrap();
        tokio::time::sleep(ms(2)).await;
        run.cancel(CancelRequest::because("enough"));
        let report = within("the run ends", run.run().quiescent()).await;
        let row = report.own_row();
        let times = [Some(row.queued_at), row.started_at, row.stopped_at, row.ended_at];
        let times: Vec<_> = times.into_iter().flatten().chain(row.quiesced_at).collect();
        assert!(times.is_sorted(), "{times:?}");
        let trace = testing::trace(run.run()).await;
        assert!(trace.is_sorted_by_key(|event| event.at), "times run backwards");
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i30_the_mark_of_a_gap_is_no_later_than_what_follows_it() {
    let mut limits = quell::Limits::default();
    limits.events_per_root_max = 4;
    let lab = Lab::with(config().control_on_runtime().limits(limits));
    let run = lab
        .submit(RunSpec::agent("chatty"), async |ctx| {
            for at in 0..100 {
                ctx.emit(Payload::from(at.to_string()));
                tokio::time::sleep(secs(1)).await;
            }
            Ok(())
        })
        .unwrap();
    run.ended().await;
    let mut events = run.events();
    let mut last = std::time::SystemTime::UNIX_EPOCH;
    while let Some(event) = events.next().await {
        assert!(event.at >= last, "{event:?}");
        last = event.at;
    }
    lab.finish_unchecked("a ring of four events").await;
}

#[tokio::test(start_paused = true)]
async fn i21_a_child_that_is_not_to_start_before_an_instant_does_not() {
    let lab = Lab::paused();
    let began = now();
    let run = lab
        .submit(RunSpec::team("parent"), async move |ctx| {
            let late = RunSpec::step("late").not_before(now() + secs(5));
            let late = ctx.spawn(late, async move |_| Ok(now() - began));
            let over = RunSpec::step("over").not_before(began);
            let over = ctx.spawn(over, async move |_| Ok(now() - began));
            let never = ctx.spawn(RunSpec::step("never").not_before(now() + secs(60)), listener);
            let short = RunSpec::step("short").not_before(now() + secs(60)).start_within(secs(2));
            let short = ctx.spawn(short, listener).into_ref();
            tokio::time::sleep(secs(1)).await;
            assert_eq!(late.run().status(), RunStatus::Queued);
            never.cancel(CancelRequest::because("no longer"));
            assert_eq!(never.ended().await.own_row().started_at, None);
            assert_eq!(over.await?, secs(0));
            assert_eq!(late.await?, secs(5));
            assert_eq!(short.ended().await.status, RunStatus::TimedOut);
            ctx.spawn(RunSpec::step("last").not_before(now() + secs(60)), listener).into_ref();
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(10)).await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    assert_eq!((report.status, now() - began), (RunStatus::Cancelled, secs(10)));
    assert_eq!(testing::held(&lab).admission, 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i25_a_child_that_waits_for_its_instant_and_leaves_starts_all_the_same() {
    let lab = Lab::with(config().control_on_runtime().running_max(1));
    let kept = Arc::new(Mutex::new(None::<RunRef>));
    let keep = Arc::clone(&kept);
    let began = now();
    let run = lab
        .submit(RunSpec::team("parent"), async move |ctx| {
            let late = RunSpec::step("late").not_before(now() + secs(5));
            let late = ctx.spawn(late, async |_| Ok(()));
            late.run().detach()?;
            *keep.lock().unwrap() = Some(late.into_ref());
            Ok(())
        })
        .unwrap();
    run.ended().await;
    let late = kept.lock().unwrap().take().unwrap();
    let holds = lab.submit(RunSpec::agent("holds the slot"), listener).unwrap();
    assert_eq!((late.ended().await.status, now() - began), (RunStatus::Completed, secs(5)));
    holds.cancel(CancelRequest::because("over"));
    holds.ended().await;
    assert_eq!(testing::held(&lab).admission, 0);
    lab.finish().await;
}

/// An error that holds the run that failed with it, as an embedder's may.
struct Holds {
    _run: RunRef,
    _alive: Arc<()>,
}

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holds")
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("holds its run")
    }
}

impl std::error::Error for Holds {}

fn fails(ctx: &RunContext, alive: Arc<()>) -> Result<(), Failure> {
    Err(Holds { _run: ctx.run().clone(), _alive: alive }.into())
}

#[tokio::test(start_paused = true)]
async fn i39_an_error_that_holds_its_own_run_goes_with_the_last_who_may_ask_for_it() {
    for how in ["read", "outcome", "dropped", "given up", "unseen child", "stopped", "shut down"] {
        let engine = Engine::with_config(config().control_on_runtime());
        let alive = Arc::new(());
        let seen: Weak<()> = Arc::downgrade(&alive);
        let body = async move |ctx: RunContext| match how {
            "unseen child" => {
                drop(ctx.spawn(RunSpec::step("child"), async |ctx| fails(&ctx, alive)));
                Ok(())
            }
            "stopped" => {
                ctx.stopped().await;
                fails(&ctx, alive)
            }
            _ => fails(&ctx, alive),
        };
        let run = engine.submit(RunSpec::agent("fails"), body).unwrap();
        let kept = run.run().clone();
        if how == "stopped" {
            tokio::task::yield_now().await;
            run.cancel(CancelRequest::because("enough"));
        }
        match how {
            "read" => {
                let quell::RunError::Failed(failed) = run.await.unwrap_err() else { panic!() };
                assert!(
                    failed.failure.downcast_ref::<Holds>().is_some(),
                    "the handle has it whole"
                );
            }
            "outcome" => drop(run.outcome().await),
            "dropped" => drop(run),
            "given up" | "unseen child" => drop(run.into_ref()),
            _ => {
                run.ended().await;
                engine.shutdown(secs(1)).await;
                drop(run);
            }
        }
        kept.quiescent().await;
        soon("the error is gone", || seen.strong_count() == 0).await;
        let report = kept.report();
        if how == "stopped" {
            assert_eq!(report.own_row().cleanup_errors[0].as_ref(), "holds its run");
        } else {
            assert!(report.error.as_ref().unwrap().contains("holds its run"), "{how}: {report:?}");
        }
        engine.shutdown(secs(1)).await;
    }
}

/// All events of a stream, up to an event.
async fn until(run: &RunRef, is_last: impl Fn(&RunEvent) -> bool) -> Vec<RunEvent> {
    let (mut events, mut seen) = (run.events(), Vec::new());
    while let Some(event) = events.next().await {
        seen.push(event);
        if seen.last().is_some_and(&is_last) {
            break;
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn i30_a_reader_goes_on_after_any_event_although_the_run_was_detached_since() {
    let lab = Lab::paused();
    let kept = Arc::new(Mutex::new(None::<RunRef>));
    let keep = Arc::clone(&kept);
    let run = lab
        .submit(RunSpec::workflow("root"), async move |ctx| {
            ctx.emit("before the child");
            let child = ctx.spawn(RunSpec::agent("child"), async |ctx| {
                let below = ctx.spawn(RunSpec::step("below"), async |ctx| {
                    ctx.emit("attached, below");
                    tokio::time::sleep(secs(3)).await;
                    ctx.emit("detached, below");
                    Ok(())
                });
                ctx.emit("attached");
                tokio::time::sleep(secs(2)).await;
                ctx.emit("detached");
                ctx.emit("detached twice");
                Ok(below.await?)
            });
            *keep.lock().unwrap() = Some(child.run().clone());
            tokio::time::sleep(secs(1)).await;
            child.run().detach()?;
            ctx.emit("without the child");
            drop(child.into_ref());
            ctx.stopped().await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(ms(10)).await;
    let child = kept.lock().unwrap().clone().unwrap();
    // From before the detach until the end: what each later reader has to go on to.
    let live = tokio::spawn({
        let child = child.clone();
        async move { until(&child, |_| false).await }
    });
    tokio::time::sleep(secs(5)).await;
    child.quiescent().await;
    let whole = live.await.unwrap();
    let moved = whole.iter().filter(|event| event.root == child.id()).count();
    assert!(moved >= 5 && whole.len() - moved >= 5, "{whole:#?}");
    for (at, event) in whole.iter().enumerate() {
        let mut events = child.events_after(event);
        for expected in &whole[at + 1..] {
            assert_eq!(events.next().await.as_ref(), Some(expected), "after {event:?}");
        }
        assert_eq!(events.next().await, None, "after {event:?}");
    }
    // Of a log that was never on the way there is nothing to go on from.
    let other = lab.submit(RunSpec::agent("other"), async |_| Ok(())).unwrap();
    other.ended().await;
    let foreign = testing::trace(other.run()).await.pop().unwrap();
    let first = child.events_after(&foreign).next().await.unwrap();
    assert_eq!((first.root, first.seq), (child.id(), 1));
    run.cancel(CancelRequest::because("over"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i38_a_shutdown_that_is_dropped_still_ends_the_streams_of_the_engine() {
    let lab = Lab::paused();
    let mut events = Engine::events(&lab);
    let run = lab
        .submit(RunSpec::agent("cleans up"), async |ctx| {
            ctx.stopped().await;
            tokio::time::sleep(secs(1)).await;
            Ok(())
        })
        .unwrap();
    tokio::task::yield_now().await;
    let shutdown = tokio::time::timeout(ms(10), lab.shutdown(Shutdown::default()));
    shutdown.await.unwrap_err();
    let mut last = None;
    while let Some(event) = within("the stream ends", events.next()).await {
        last = Some(event.kind);
    }
    assert_eq!(last, Some(EventKind::Ended(RunStatus::Cancelled)), "after the last run");
    assert_eq!(run.ended().await.status, RunStatus::Cancelled);
    lab.finish().await;
    // With nothing live the stream ends at once, however soon the future is dropped.
    let idle = Lab::paused();
    let mut events = Engine::events(&idle);
    drop(tokio::time::timeout(ms(0), idle.shutdown(Shutdown::default())).await);
    assert_eq!(within("the stream ends", events.next()).await, None);
    idle.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_the_words_of_a_failure_are_bounded() {
    #[derive(Debug)]
    struct Long(usize);
    impl fmt::Display for Long {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // One that goes on when it is told that there is no more room.
            for _ in 0..self.0 {
                let _ = f.write_str("ä word ");
            }
            Ok(())
        }
    }
    impl std::error::Error for Long {}

    let lab = Lab::paused();
    for how in ["words", "error", "panic", "child"] {
        let run = lab
            .submit(RunSpec::agent(how), async move |ctx| {
                let long = "ö".repeat(1 << 20);
                match how {
                    "words" => Err(Failure::new(long)),
                    "error" => Err(Long(1 << 20).into()),
                    "panic" => std::panic::panic_any(long),
                    _ => {
                        let child =
                            ctx.spawn(RunSpec::step("child"), async |_| Err(Long(1 << 20).into()));
                        let slow = ctx.spawn(RunSpec::step("slow"), listener).into_ref();
                        let failed: Result<(), _> = child.await;
                        drop(slow);
                        Ok(failed?)
                    }
                }
            })
            .unwrap();
        let report = run.ended().await;
        assert_eq!(report.status, RunStatus::Failed);
        for row in &report.rows {
            let message = row.cause.as_ref().and_then(|cause| cause.message.clone());
            assert!(message.is_none_or(|words| words.len() <= limits::REASON_BYTES_MAX));
            let Some(error) = &row.error else { continue };
            // A parent that passes a failure on puts the name of the child before it.
            assert!(error.len() <= limits::FAILURE_BYTES_MAX + 100, "{} bytes", error.len());
            assert!(error.ends_with('…'), "{how}: cut and marked");
        }
    }
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i29_the_id_and_the_name_of_a_tool_call_are_bounded() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("tools"), async |ctx| {
            let long = "x".repeat(limits::TOOL_NAME_BYTES_MAX + 1);
            let fits = "x".repeat(limits::TOOL_NAME_BYTES_MAX);
            let done = || async { Ok(Payload::from("done")) };
            for call in [
                ToolCall::new(long.as_str(), "name", Payload::from("")),
                ToolCall::new("id", long.as_str(), Payload::from("")),
            ] {
                let refused = ctx.tool(call, done()).await.unwrap_err();
                assert!(refused.to_string().contains("limit is 1024"), "{refused}");
            }
            let fitting = ToolCall::new(fits.as_str(), fits.as_str(), Payload::from(""));
            ctx.tool(fitting, done()).await?;
            Ok(())
        })
        .unwrap();
    assert_eq!(run.ended().await.status, RunStatus::Completed);
    let trace = testing::trace(run.run()).await;
    let started = |event: &RunEvent| matches!(event.kind, EventKind::ToolStarted { .. });
    assert_eq!(trace.iter().filter(|event| started(event)).count(), 1, "only what was recorded");
    let ended = trace.iter().any(|event| {
        matches!(&event.kind, EventKind::ToolEnded { outcome: ToolOutcome::Result(_), .. })
    });
    assert!(ended);
    lab.finish().await;
}
