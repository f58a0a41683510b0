//! What the types promise at compile time.

use std::fmt::Debug;

use quell::{
    Abandoned, BlockingContext, CancelRequest, Cause, CauseKind, Counts, DetachError, Disposition,
    Elapsed, Engine, EngineConfig, EventKind, EventStream, Failure, Hold, HookOutcome,
    IdempotencyKey, Limits, Outcome, Payload, PayloadError, QueuePosition, RunContext, RunError,
    RunEvent, RunFailure, RunFilter, RunHandle, RunId, RunKind, RunLimits, RunRef, RunReport,
    RunRow, RunSpec, RunStatus, Scope, Shutdown, ShutdownReport, StopDelivery, StopMode, StopScope,
    Stopped, SubmitError, WaitsFor, Work, Written,
};

use crate::support::{Lab, listener, secs};

const fn everywhere<T: Send + Sync + Debug + 'static>() {}
const fn owned<T: Clone>() {}
const fn copied<T: Copy + Eq + std::hash::Hash>() {}
const fn error<T: std::error::Error + Send + Sync + 'static>() {}
const fn unpin<T: Unpin>() {}

macro_rules! assert_all {
    ($check:ident: $($type:ty),* $(,)?) => { $( const _: () = $check::<$type>(); )* };
}

/// A value that may move between threads but must not be shared.
type Moved = std::cell::Cell<u32>;

assert_all!(everywhere:
    Abandoned, BlockingContext, CancelRequest, Cause, CauseKind, Counts, DetachError, Disposition,
    Elapsed, Engine, EngineConfig, EventKind, EventStream, Failure, Hold, HookOutcome,
    IdempotencyKey, Limits, StopDelivery, StopScope, Outcome<u32>, Payload, PayloadError,
    RunContext, RunError, RunEvent, RunFailure, RunFilter, RunHandle<Moved>, RunId, RunKind, RunRef,
    RunReport, RunRow, RunSpec, RunStatus, Shutdown, ShutdownReport, StopMode, Stopped, SubmitError,
    Work, Written, QueuePosition, RunLimits, Scope, WaitsFor,
);
assert_all!(owned:
    BlockingContext, CancelRequest, Cause, Engine, EngineConfig, EventKind, Failure,
    IdempotencyKey, Payload, RunContext, RunError, RunEvent, RunFilter, RunRef, RunReport, RunSpec,
    Stopped, SubmitError,
);
assert_all!(copied:
    CauseKind, RunId, RunKind, RunLimits, RunStatus, StopMode, StopScope, Work, Written,
);
assert_all!(error:
    DetachError, Elapsed, PayloadError, RunError, RunFailure, Stopped, SubmitError,
);
assert_all!(unpin: EventStream, RunHandle<std::marker::PhantomPinned>);

const fn sendable<T: Send>(future: T) -> T {
    future
}

#[tokio::test(start_paused = true)]
async fn i33_every_future_of_the_surface_may_move_between_threads() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("one"), async |ctx| {
            sendable(ctx.shield(async {})).await?;
            sendable(ctx.run_until_stopped(async {})).await?;
            sendable(ctx.spawn_blocking(|_| ())).await?;
            sendable(quell::join::all([ctx.spawn(RunSpec::step("a"), async |_| Ok(()))])).await;
            sendable(ctx.stopped()).await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    run.cancel(CancelRequest::because("over"));
    sendable(run.ended()).await;
    sendable(run.run().quiescent()).await;
    let mut events = run.events();
    assert!(sendable(events.next()).await.is_some());
    sendable(run.outcome()).await;
    sendable(lab.shutdown(secs(1))).await;
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn d12_what_names_a_run_prints_it_briefly_whatever_its_size() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::team("big"), async |ctx| {
            let kids = (0..1_000).map(|_| ctx.spawn(RunSpec::agent("kid"), listener));
            quell::join::all(kids.collect::<Vec<_>>()).await;
            Ok(())
        })
        .unwrap();
    tokio::time::sleep(secs(1)).await;
    let prints = [
        format!("{run:?}"),
        format!("{:?}", run.run()),
        format!("{:?}", run.events()),
        format!("{:?}", *lab),
    ];
    for print in prints {
        assert!(print.len() < 300, "{print}");
    }
    assert!(format!("{run:?}").contains("big"));
    run.cancel(CancelRequest::because("over"));
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i17_events_and_reports_are_json_with_the_names_of_the_wire() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("one").timeout(secs(2)), async |ctx| {
            ctx.emit(Payload::json(&[1, 2]).unwrap());
            ctx.set_output("so far".into());
            listener(ctx).await
        })
        .unwrap();
    run.ended().await;
    let trace = quell::testing::trace(run.run()).await;
    let json: Vec<serde_json::Value> =
        trace.iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let names: Vec<_> = json.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["queued", "started", "emitted", "stopping", "ended"]);
    assert_eq!(json[2]["data"], serde_json::json!([1, 2]));
    assert_eq!(json[3]["data"]["kind"], "deadline");
    assert_eq!(json[4]["data"], "timed-out");
    let report = serde_json::to_value(&*run.run().report()).unwrap();
    assert_eq!(report["status"], "timed-out");
    assert_eq!(report["partial"], "so far");
    assert_eq!(report["rows"][0]["kind"], "agent");
    let text = report["rows"][0]["started_at"].as_str().unwrap();
    assert!(text.ends_with('Z') && text.contains('T'), "{text}");
    lab.finish().await;
}
