//! T13, I34, I35: what an engine decides of the runs that an earlier process has left behind.

use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt as _;
use quell::store::{Accepted, Epoch, MemoryStore, Record, RunRecord, StopAccepted, Store};
use quell::{
    CancelRequest, Cause, CauseKind, Counts, Engine, EventKind, OnBusy, Recovery, RunContext,
    RunEvent, RunId, RunKind, RunRef, RunReport, RunRow, RunSpec, RunStatus, StopMode, SubmitError,
    ToolCall, ToolOutcome, testing,
};

use crate::support::{Valve, durable, listener, soon, within};

fn engine(store: &Arc<MemoryStore>, boot: u32) -> Engine {
    durable(&Valve::reopened(store, boot))
}

async fn record(store: &MemoryStore, run: RunId) -> RunRecord {
    store.get(run).await.unwrap().unwrap()
}

fn never(_: &RunRecord) -> Recovery {
    panic!("a run that was stopped is not asked about")
}

#[tokio::test]
async fn i34_a_run_that_was_stopped_ends_with_that_stop_and_never_goes_on() {
    for mode in [StopMode::AfterStep, StopMode::Cooperative, StopMode::Abort] {
        let store = Arc::new(MemoryStore::new());
        let (run, epoch, at) = (RunId::from_text("r"), Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
        let accepted = Accepted::new(run, RunKind::Agent, "r".into(), epoch, at);
        let mut cause = Cause::new(CauseKind::UserRequest, at, run);
        cause.message = Some("enough".into());
        let cause = Arc::new(cause);
        let stop = StopAccepted::new(run, epoch, mode, Arc::clone(&cause));
        let batch = vec![
            Record::Accepted(accepted.into()),
            Record::Started { run, epoch, at },
            Record::StopAccepted(stop.into()),
        ];
        store.append(batch).await.unwrap();
        let recovered = engine(&store, 2).recover(never).await.unwrap();
        assert_eq!(recovered.ended.cancelled, 1, "{mode:?}");
        let report = record(&store, run).await.report.unwrap();
        assert_eq!((report.status, report.quiescent), (RunStatus::Cancelled, true));
        assert_eq!(report.cause, Some(cause));
    }
}

#[tokio::test]
async fn i11_only_the_run_whose_time_was_over_has_timed_out() {
    let store = Arc::new(MemoryStore::new());
    let (root, epoch, at) = (RunId::from_text("r"), Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    let below = RunId::from_text("b");
    let accepted = Accepted::new(root, RunKind::Team, "r".into(), epoch, at);
    let mut child = Accepted::new(below, RunKind::Agent, "b".into(), epoch, at);
    (child.root, child.parent) = (root, Some(root));
    let cause = Arc::new(Cause::new(CauseKind::Deadline, at, root));
    let stop = StopAccepted::new(root, epoch, StopMode::Cooperative, cause);
    let batch = vec![
        Record::Accepted(accepted.into()),
        Record::Accepted(child.into()),
        Record::StopAccepted(stop.into()),
    ];
    store.append(batch).await.unwrap();
    let recovered = engine(&store, 2).recover(never).await.unwrap();
    assert_eq!((recovered.ended.timed_out, recovered.ended.cancelled), (1, 1));
    let report = record(&store, root).await.report.unwrap();
    assert_eq!(report.rows.len(), 2, "its tree is in its report");
    let child = record(&store, below).await.report.unwrap();
    let cause = child.cause.clone().unwrap();
    assert_eq!((child.status, cause.kind), (RunStatus::Cancelled, CauseKind::ParentStopped));
    assert_eq!(cause.origin, root);
}

#[tokio::test]
async fn t13_a_run_whose_process_is_gone_fails_unless_it_is_resumed_as_its_next_attempt() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let body = async |ctx: RunContext| {
        let _child = ctx.spawn(RunSpec::step("below"), listener);
        let _ = ctx.emit("before");
        ctx.stopped().await;
        Ok(())
    };
    let fails = before.submit_durably(RunSpec::agent("fails"), body).await.unwrap().into_ref();
    let goes_on = RunSpec::agent("goes on").owner("ada").input("what".into());
    let goes_on = before.submit_durably(goes_on, body).await.unwrap().into_ref();
    for run in [&fails, &goes_on] {
        let has_events = async || store.events(run.id(), 4, 9).await.unwrap().len();
        while has_events().await == 0 {
            tokio::task::yield_now().await;
        }
        run.stored().await.unwrap();
    }
    // The process is gone: nothing of it is written any more.
    let after = engine(&store, 2);
    let recovered = after
        .recover(|run| match &*run.accepted.name {
            "goes on" => {
                let spec = RunSpec::agent("goes on").owner("ada");
                let spec = spec.input(run.accepted.input.clone().unwrap());
                Recovery::resume(spec, async |ctx| {
                    let _ = ctx.emit("after");
                    let _ = ctx.set_output("done".into());
                    Ok(())
                })
            }
            _ => Recovery::Fail,
        })
        .await
        .unwrap();
    assert_eq!((recovered.ended.failed, recovered.resumed.len()), (3, 1), "two were below");
    let failed = record(&store, fails.id()).await.report.unwrap();
    assert_eq!(failed.status, RunStatus::Failed);
    assert!(failed.error.as_ref().unwrap().starts_with("worker lost"), "{:?}", failed.error);
    let resumed = &recovered.resumed[0];
    assert_eq!(resumed.id(), goes_on.id());
    assert_eq!(within("it ends", resumed.ended()).await.status, RunStatus::Completed);
    resumed.stored().await.unwrap();
    let kept = record(&store, goes_on.id()).await;
    assert_eq!((kept.epoch, kept.status), (Epoch::new(2, 2), RunStatus::Completed));
    assert_eq!(kept.report.unwrap().output, Some("done".into()));
    // One log with dense numbers, over both attempts.
    let events = store.events(goes_on.id(), 0, 100).await.unwrap();
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let said = events.iter().filter_map(|event| match &event.kind {
        EventKind::Emitted(payload) => Some(payload.clone()),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), ["before".into(), "after".into()]);
    let read: Vec<_> = resumed.events().collect().await;
    assert!(matches!(read[0].kind, EventKind::Lagged { from: 1, .. }), "{:?}", read[0]);
    // I35: what the process before still writes is refused, and told.
    fails.cancel(CancelRequest::because("too late"));
    within("it ends there", fails.ended()).await;
    soon("it is told", || futures::FutureExt::now_or_never(fails.stored()).is_some()).await;
    assert!(fails.stored().await.is_err());
    assert_eq!(record(&store, fails.id()).await.status, RunStatus::Failed, "as it was decided");
}

/// Waits until so many events of a run are stored, and all that was decided about it.
async fn stored_with(store: &MemoryStore, run: &RunRef, events: usize) {
    let has_events = async || store.events(run.id(), 0, 100).await.unwrap().len();
    while has_events().await < events {
        tokio::task::yield_now().await;
    }
    run.stored().await.unwrap();
}

async fn events(store: &MemoryStore, run: RunId) -> Vec<RunEvent> {
    let events = store.events(run, 0, 1_000).await.unwrap();
    events.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn t13_what_is_recovered_tells_of_all_that_its_tree_had_and_of_every_end() {
    let store = Arc::new(MemoryStore::new());
    let body = async |ctx: RunContext| {
        let early = ctx.spawn(RunSpec::step("early"), async |ctx: RunContext| {
            let _ = ctx.set_output("done".into());
            Ok(())
        });
        early.await?;
        let _late = ctx.spawn(RunSpec::step("late"), async |ctx: RunContext| {
            let _leaf = ctx.spawn(RunSpec::step("leaf"), listener);
            listener(ctx).await
        });
        let call = ToolCall::new("call", "search", "what".into());
        ctx.tool(call, std::future::pending()).await.map(drop)
    };
    for is_stopped in [false, true] {
        let before = engine(&store, 1 + u32::from(is_stopped));
        let run = before.submit_durably(RunSpec::team("root"), body).await.unwrap().into_ref();
        stored_with(&store, &run, 10).await;
        if is_stopped {
            // Only the intent is stored: the process ends before anything follows.
            let cause = Arc::new(Cause::new(CauseKind::UserRequest, SystemTime::now(), run.id()));
            let epoch = record(&store, run.id()).await.epoch;
            let stop = StopAccepted::new(run.id(), epoch, StopMode::Cooperative, cause);
            store.append(vec![Record::StopAccepted(stop.into())]).await.unwrap();
        }
        let recovered = engine(&store, 3).recover(|_| Recovery::Fail).await.unwrap();
        assert_eq!(recovered.ended.total(), 3, "two were below");
        let report = record(&store, run.id()).await.report.unwrap();
        let rows: Vec<_> = report.rows.iter().map(|row| (&*row.name, row.depth)).collect();
        assert_eq!(rows, [("root", 0), ("early", 1), ("late", 1), ("leaf", 2)]);
        assert_eq!(report.rows[1].status, RunStatus::Completed, "it had ended before");
        assert_eq!(report.rows[1].output, Some("done".into()));
        let log = events(&store, run.id()).await;
        let checked = testing::check_trace(&log).unwrap_or_else(|what| panic!("{what}: {log:#?}"));
        assert_eq!((checked.runs, checked.stopped), (4, if is_stopped { 3 } else { 0 }));
        let unknown = |event: &&RunEvent| match &event.kind {
            EventKind::ToolEnded { outcome, .. } => *outcome == ToolOutcome::Unknown,
            _ => false,
        };
        assert_eq!(log.iter().filter(unknown).count(), 1, "I18: nobody knows: {log:#?}");
    }
}

#[tokio::test]
async fn t13_the_log_of_a_root_that_goes_on_tells_of_the_ends_below_it() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let body = async |ctx: RunContext| {
        let _below = ctx.spawn(RunSpec::step("below"), listener);
        listener(ctx).await
    };
    let run = before.submit_durably(RunSpec::agent("root"), body).await.unwrap().into_ref();
    stored_with(&store, &run, 4).await;
    let again = |_: &RunRecord| Recovery::resume(RunSpec::agent("root"), async |_| Ok(()));
    let after = engine(&store, 2);
    let recovered = after.recover(again).await.unwrap();
    let resumed = &recovered.resumed[0];
    within("it ends", resumed.ended()).await;
    resumed.stored().await.unwrap();
    let log = events(&store, run.id()).await;
    let ends = log.iter().filter_map(|event| match event.kind {
        EventKind::Ended(status) => Some((event.run == run.id(), status)),
        _ => None,
    });
    let ends: Vec<_> = ends.collect();
    assert_eq!(ends, [(false, RunStatus::Failed), (true, RunStatus::Completed)], "{log:#?}");
    assert!(log.iter().map(|event| event.seq).eq(1..=log.len() as u64), "{log:#?}");
}

#[tokio::test]
async fn i9_a_run_of_which_the_log_says_that_it_stops_ends_cancelled() {
    let store = Arc::new(MemoryStore::new());
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    let [root, below, ended] = ["r", "b", "e"].map(RunId::from_text);
    let accepted = |run, parent| {
        let mut accepted = Accepted::new(run, RunKind::Agent, "it".into(), epoch, at);
        (accepted.root, accepted.parent) = (root, parent);
        Record::Accepted(accepted.into())
    };
    let queued = |parent| EventKind::Queued {
        parent,
        kind: RunKind::Agent,
        name: "it".into(),
        shielded: false,
    };
    // The root has failed, and its process ended before its end: that is stored nowhere else.
    let failed = Arc::new(Cause::new(CauseKind::ParentFailed, at, root));
    let mut row = RunRow::new(ended, RunKind::Agent, "it".into(), RunStatus::Completed, at);
    (row.parent, row.quiescent, row.ended_at) = (Some(root), true, Some(at));
    let report = RunReport::new(vec![row], Counts::default());
    let kinds = [
        (root, queued(None)),
        (root, EventKind::Started),
        (below, queued(Some(root))),
        (ended, queued(Some(root))),
        (ended, EventKind::Started),
        (below, EventKind::Stopping(failed)),
    ];
    let mut batch =
        vec![accepted(root, None), accepted(below, Some(root)), accepted(ended, Some(root))];
    batch.extend(kinds.into_iter().zip(1..).map(|((run, kind), seq)| Record::Event {
        epoch,
        event: RunEvent::new(seq, root, run, at, kind),
    }));
    // Its end is stored, and the event of that is not.
    batch.push(Record::Ended { run: ended, epoch, report: report.into(), rollback: false });
    store.append(batch).await.unwrap();
    engine(&store, 2).recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!(record(&store, below).await.status, RunStatus::Cancelled);
    let log = events(&store, root).await;
    let checked = testing::check_trace(&log).unwrap_or_else(|what| panic!("{what}: {log:#?}"));
    assert_eq!((checked.runs, checked.stopped), (3, 1));
    assert_eq!(record(&store, root).await.report.unwrap().rows.len(), 3);
}

#[tokio::test]
async fn i5_what_is_below_a_stopped_run_is_cancelled_with_it() {
    let store = Arc::new(MemoryStore::new());
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    let [root, middle, leaf] = ["r", "m", "l"].map(RunId::from_text);
    let below = |run, parent| {
        let mut accepted = Accepted::new(run, RunKind::Agent, "below".into(), epoch, at);
        (accepted.root, accepted.parent) = (root, Some(parent));
        Record::Accepted(accepted.into())
    };
    let cause = Arc::new(Cause::new(CauseKind::UserRequest, at, middle));
    let stop = StopAccepted::new(middle, epoch, StopMode::Cooperative, cause);
    let batch = vec![
        Record::Accepted(Accepted::new(root, RunKind::Team, "r".into(), epoch, at).into()),
        below(middle, root),
        below(leaf, middle),
        Record::StopAccepted(stop.into()),
    ];
    store.append(batch).await.unwrap();
    let recovered = engine(&store, 2).recover(|_| Recovery::Fail).await.unwrap();
    assert_eq!((recovered.ended.failed, recovered.ended.cancelled), (1, 2));
    let leaf = record(&store, leaf).await.report.unwrap();
    assert_eq!(leaf.cause.as_ref().unwrap().origin, middle);
    let depths = record(&store, root).await.report.unwrap();
    assert_eq!(depths.rows.iter().map(|row| row.depth).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn i36_runs_of_a_lane_that_go_on_do_not_overlap_although_their_specs_name_none() {
    let store = Arc::new(MemoryStore::new());
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    for name in ["a", "b"] {
        let run = RunId::from_text(name);
        let mut accepted = Accepted::new(run, RunKind::Agent, name.into(), epoch, at);
        accepted.lane = Some("thread".into());
        store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
    }
    let engine = engine(&store, 2);
    let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("again"), listener);
    let resumed = engine.recover(resume).await.unwrap().resumed;
    assert_eq!(engine.lane("thread"), [resumed[1].clone(), resumed[0].clone()]);
    soon("the first one runs", || resumed[0].status() == RunStatus::Running).await;
    assert_eq!(resumed[1].status(), RunStatus::Queued);
}

#[tokio::test]
async fn i36_who_had_the_lane_goes_on_before_those_that_were_queued_for_it() {
    let store = Arc::new(MemoryStore::new());
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    for name in ["due later", "ran"] {
        let run = RunId::from_text(name);
        let mut accepted = Accepted::new(run, RunKind::Agent, name.into(), epoch, at);
        accepted.lane = Some("thread".into());
        store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
    }
    let ran = RunId::from_text("ran");
    store.append(vec![Record::Started { run: ran, epoch, at }]).await.unwrap();
    let engine = engine(&store, 2);
    let resume = |_: &RunRecord| Recovery::resume(RunSpec::agent("again"), listener);
    let resumed = engine.recover(resume).await.unwrap().resumed;
    assert_eq!(resumed[0].id(), ran);
    soon("it goes on", || resumed[0].status() == RunStatus::Running).await;
    assert_eq!(resumed[1].status(), RunStatus::Queued);
}

#[tokio::test]
async fn t13_what_may_not_go_on_fails_and_a_second_recovery_leaves_alone_what_does() {
    let store = Arc::new(MemoryStore::new());
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    for name in ["a", "b"] {
        let run = RunId::from_text(name);
        let mut accepted = Accepted::new(run, RunKind::Agent, name.into(), epoch, at);
        accepted.owner = Some("ada".into());
        store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
    }
    let engine = engine(&store, 2);
    let resume = |_: &RunRecord| {
        let spec = RunSpec::agent("again").lane("thread", OnBusy::Reject);
        Recovery::resume(spec, async |ctx| {
            let _below = ctx.spawn(RunSpec::step("below"), listener);
            listener(ctx).await
        })
    };
    let recovered = engine.recover(resume).await.unwrap();
    let busy = SubmitError::LaneBusy { lane: "thread".into(), run: RunId::from_text("a") };
    assert_eq!(recovered.refused, [(RunId::from_text("b"), busy)]);
    assert_eq!((recovered.resumed.len(), recovered.ended.failed), (1, 1));
    assert_eq!(recovered.resumed[0].owner(), Some("ada"), "as it is stored");
    let refused = record(&store, RunId::from_text("b")).await.report.unwrap();
    assert!(refused.error.as_ref().unwrap().contains("lane `thread` is busy"), "{refused:?}");
    let goes_on = &recovered.resumed[0];
    soon("it has a child", || goes_on.report().rows.len() == 2).await;
    let again = engine.recover(never).await.unwrap();
    assert_eq!(again.ended.total(), 0, "{again:?}");
    assert_eq!(goes_on.status(), RunStatus::Running);
}
