//! I3, I30, I34, I38: what is told of a paused run that a shutdown leaves to the next process, and
//! when that process says that the run began.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt;
use quell::store::{MemoryStore, Record, RunRecord, Store};
use quell::{
    Disposition, Engine, EventKind, Failure, Recovery, ResumeError, RunContext, RunEvent, RunId,
    RunRow, RunSpec, RunStatus, Shutdown,
};

use crate::support::{Valve, clerk, durable, paused, secs, stop, within};

/// An engine of a later process on the same store. What a former one does is stored no more.
fn engine(store: &Arc<MemoryStore>, boot: u32) -> Engine {
    durable(&Valve::reopened(store, boot))
}

async fn record(store: &MemoryStore, run: RunId) -> RunRecord {
    store.get(run).await.unwrap().unwrap()
}

fn recovers(_: &RunRecord) -> Recovery {
    Recovery::resumable(clerk(), async |ctx: RunContext| match ctx.resumed_with() {
        Some(answer) => {
            let _ = ctx.set_output(answer);
            Ok::<_, Failure>(())
        }
        None => Ok(()),
    })
}

fn of(run: RunId, events: impl IntoIterator<Item = RunEvent>) -> Vec<(u64, EventKind)> {
    let of_run = events.into_iter().filter(|event| event.run == run);
    of_run.map(|event| (event.seq, event.kind)).collect()
}

async fn stored(store: &MemoryStore, run: RunId) -> Vec<(u64, EventKind)> {
    let events = store.events(run, 0, 99).await.unwrap();
    of(run, events.into_iter().map(Result::unwrap))
}

#[tokio::test]
async fn i30_no_reader_of_a_run_that_is_left_paused_reads_an_event_that_is_not_stored() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let all = before.events();
    let run = paused(&before, clerk()).await;
    let readers = [run.events(), run.events_since(3)];
    let report = within("it ends", before.shutdown(Shutdown::default())).await;
    assert_eq!((report.roots.live, report.roots.total(), report.unstored), (1, 1, 0));
    let kept = stored(&store, run.id()).await;
    assert!(matches!(kept.last(), Some((3, EventKind::Paused { .. }))), "{kept:?}");
    let [whole, rest] = readers.map(|reader| within("it ends", reader.collect::<Vec<_>>()));
    assert_eq!(of(run.id(), whole.await), kept);
    assert_eq!(of(run.id(), rest.await), []);
    assert_eq!(of(run.id(), within("it ends", all.collect::<Vec<_>>()).await), kept);
    assert_eq!(of(run.id(), within("it ends", run.events().collect::<Vec<_>>()).await), kept);
    let after = engine(&store, 2);
    let again = after.recover(recovers).await.unwrap().paused.remove(0);
    let rest = again.events_since(3);
    again.resume_durably("yes").await.unwrap();
    let rest = within("it ends", rest.collect::<Vec<_>>()).await;
    assert!(matches!(rest[0].kind, EventKind::Resumed { attempt: 2 }), "{rest:?}");
    assert_eq!(rest[0].seq, 4, "a reader goes on where it was");
}

#[tokio::test]
async fn i3_nobody_is_told_that_a_run_that_is_left_paused_has_ended() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let run = paused(&before, clerk()).await;
    let (ended, quiescent) = (run.ended(), run.quiescent());
    before.shutdown(Shutdown::default()).await;
    for report in [within("it is let go", ended).await, within("it is let go", quiescent).await] {
        let row = report.own_row();
        assert_eq!((report.status, row.status), (RunStatus::Paused, RunStatus::Paused));
        assert_eq!((&row.cause, row.stopped_at, row.ended_at), (&None, None, None));
    }
    assert_eq!(run.status(), RunStatus::Paused);
    assert_eq!(run.ended_status().await, RunStatus::Paused);
    assert_eq!(run.resume("late"), Err(ResumeError::NotPaused(RunStatus::Stopping)));
}

#[tokio::test]
async fn i34_a_cancel_of_a_run_that_was_left_paused_is_never_said_to_be_stored() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let run = paused(&before, clerk()).await;
    before.shutdown(Shutdown::default()).await;
    run.stored().await.unwrap();
    let (disposition, stored) = run.cancel_durably(stop()).await;
    assert_eq!(disposition, Disposition::Unknown);
    assert!(stored.is_err());
    let kept = record(&store, run.id()).await;
    assert_eq!((kept.status, kept.stop), (RunStatus::Paused, None));
}

/// A store with a run that was accepted and started long ago, and was paused, if it was.
async fn long_ago(is_paused: bool) -> (Arc<MemoryStore>, RunId, (SystemTime, SystemTime)) {
    let store = Arc::new(MemoryStore::new());
    let run = paused(&engine(&store, 1), clerk()).await;
    let kept = record(&store, run.id()).await;
    let (run, epoch) = (kept.run(), kept.epoch);
    let queued = SystemTime::UNIX_EPOCH + Duration::from_hours(480_000);
    let (started, old) = (queued + secs(5), Arc::new(MemoryStore::new()));
    let mut accepted = kept.accepted;
    accepted.at = queued;
    let mut records =
        vec![Record::Accepted(Box::new(accepted)), Record::Started { run, epoch, at: started }];
    if is_paused {
        let mut pause = kept.paused.unwrap();
        pause.at = started + secs(5);
        records.push(Record::Paused { run, epoch, pause: Box::new(pause) });
    }
    old.append(records).await.unwrap();
    (old, run, (queued, started))
}

fn began(row: &RunRow) -> (SystemTime, SystemTime) {
    (row.queued_at, row.started_at.unwrap())
}

#[tokio::test]
async fn i35_a_run_that_stays_paused_or_goes_on_began_when_it_is_stored_to_have_begun() {
    for is_paused in [true, false] {
        let (store, id, times) = long_ago(is_paused).await;
        let after = engine(&store, 2);
        let recovered = after.recover(recovers).await.unwrap();
        let run = &recovered.paused.iter().chain(&recovered.resumed).next().unwrap().clone();
        assert_eq!((run.queued_at(), began(&run.row())), (times.0, times));
        if is_paused {
            run.cancel_durably(stop()).await.1.unwrap();
        }
        let report = within("it ends", run.ended()).await;
        assert_eq!(began(report.own_row()), times);
        run.stored().await.unwrap();
        let kept = record(&store, id).await.report.unwrap();
        assert_eq!(began(kept.own_row()), times, "and so says the store");
    }
}

#[tokio::test]
async fn i38_a_run_that_is_not_due_when_its_process_ends_waits_for_that_in_a_later_one() {
    let store = Arc::new(MemoryStore::new());
    let before = engine(&store, 1);
    let due = Instant::now() + secs(3_600);
    let spec = |name| RunSpec::agent(name).not_before(due);
    let run = before.submit_durably(spec("later"), async |_| Ok(())).await.unwrap().into_ref();
    let stopped = before.submit_durably(spec("stopped"), async |_| Ok(())).await.unwrap();
    stopped.run().cancel_durably(stop()).await.1.unwrap();
    let report = within("it ends", before.shutdown(Shutdown::default())).await;
    assert_eq!((report.unstored, report.abandoned.len()), (0, 0));
    assert_eq!(run.status(), RunStatus::Queued, "it has not ended");
    assert_eq!(record(&store, stopped.id()).await.status, RunStatus::Cancelled);
    for boot in 2..4 {
        let left = record(&store, run.id()).await;
        assert_eq!((left.status, left.stop, left.started_at), (RunStatus::Queued, None, None));
        let after = engine(&store, boot);
        let recovered = after.recover(|left: &RunRecord| {
            assert!(left.is_unstarted);
            Recovery::resume(RunSpec::agent("later"), async |_| Ok(()))
        });
        let run = recovered.await.unwrap().resumed.remove(0);
        assert_eq!(run.status(), RunStatus::Queued, "in process {boot}");
        within("it ends", after.shutdown(Shutdown::default())).await;
    }
    // It is one that can be stopped still.
    let last = engine(&store, 4);
    let recovered = last.recover(|_| Recovery::resume(clerk(), async |_| Ok(())));
    let run = recovered.await.unwrap().resumed.remove(0);
    run.cancel_durably(stop()).await.1.unwrap();
    assert_eq!(within("it ends", run.ended()).await.status, RunStatus::Cancelled);
}
