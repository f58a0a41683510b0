//! I17, I24, T13: what a run has to show when it is paused is there in a later process, and to
//! whoever reads the store, as it is in the process that paused it.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::store::{
    Accepted, Epoch, MemoryStore, Record, RunRecord, Store, StoredPause, StoredSoFar,
};
use quell::{
    Budget, CauseKind, Engine, EngineConfig, EventKind, Failure, Limits, Payload, Recovery,
    RunContext, RunEvent, RunId, RunKind, RunRef, RunRow, RunSpec, RunStatus, Shutdown, Usage,
};

use crate::support::{Reopened, Valve, clerk, durable, secs, soon, stop, within};

const USED: Usage = Usage { input_tokens: 12, output_tokens: 3, cost_micros: 40 };

/// Says and uses something, and asks; what the attempt after the answer does, is said by its
/// input.
async fn asks(ctx: RunContext) -> Result<(), Failure> {
    if ctx.resumed_with().is_none() {
        let _ = ctx.set_output("half of it".into());
        ctx.set_summary("one of two".into());
        ctx.usage(USED);
        return Err(ctx.pause("go on?"));
    }
    pending().await
}

fn goes_on(_: &RunRecord) -> Recovery {
    Recovery::resumable(clerk(), asks)
}

/// Output so far, summary and usage.
type Shown = (Option<Payload>, Option<Payload>, Usage);

fn shown(row: &RunRow) -> Shown {
    (row.partial.clone(), row.summary.clone(), row.usage)
}

fn half() -> Shown {
    (Some("half of it".into()), Some("one of two".into()), USED)
}

async fn read(store: &Arc<dyn Store>, run: RunId) -> RunRecord {
    store.get(run).await.unwrap().unwrap()
}

/// Has a run asked in a process that ends then.
async fn left_paused(store: &Arc<dyn Store>) -> RunId {
    let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(store)));
    let run = engine.submit_resumable(clerk(), asks).unwrap().into_ref();
    within("it asks", run.paused()).await.unwrap();
    assert_eq!(shown(&run.row()), half(), "while its process has it");
    assert_eq!(shown(&read(store, run.id()).await.row()), half(), "from the store");
    let id = run.id();
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    id
}

/// Has a run answered, and running.
async fn answered(run: &RunRef) {
    run.resume_durably("yes").await.unwrap();
    soon("it goes on", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
}

/// Checks what is shown over three restarts, with the store of each process.
async fn check_restarts(mut place: Reopened) {
    let store = place.open();
    let id = left_paused(&store).await;
    place.close(&store).await;
    // It is taken in, and left again.
    let store = place.open();
    let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store)));
    let run = engine.recover(goes_on).await.unwrap().paused.remove(0);
    assert_eq!(shown(&run.row()), half(), "in a later process");
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    assert_eq!(shown(&read(&store, id).await.row()), half());
    place.close(&store).await;
    // It is answered, and its attempt is lost.
    let store = place.open();
    let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store)));
    let run = engine.recover(goes_on).await.unwrap().paused.remove(0);
    answered(&run).await;
    assert_eq!(shown(&run.row()), half(), "once it has its answer");
    let stored = read(&store, id).await;
    assert_eq!((stored.paused.is_none(), shown(&stored.row())), (true, half()));
    let (disposition, is_stored) = run.cancel_durably(stop()).await;
    is_stored.unwrap();
    let report = within("it ends", run.ended()).await;
    assert_eq!(shown(report.own_row()), half(), "{disposition:?}");
    run.stored().await.unwrap();
    assert_eq!(shown(&read(&store, id).await.row()), half(), "at its end");
    drop(run);
    engine.shutdown(Shutdown::default()).await;
    place.close(&store).await;
}

#[tokio::test]
async fn i24_what_a_paused_run_shows_is_shown_over_restarts_in_memory() {
    check_restarts(Reopened::in_memory()).await;
}

#[tokio::test]
async fn i24_what_a_paused_run_shows_is_shown_over_restarts_in_a_file() {
    check_restarts(Reopened::in_a_file("so-far")).await;
}

#[tokio::test]
async fn t13_a_run_that_ends_with_its_process_has_what_it_had_in_its_last_pause() {
    for is_stopped in [false, true] {
        let memory = Arc::new(MemoryStore::new());
        let store: Arc<dyn Store> = Valve::reopened(&memory, 1);
        let id = left_paused(&store).await;
        let engine = durable(&Valve::reopened(&memory, 2));
        let run = engine.recover(goes_on).await.unwrap().paused.remove(0);
        answered(&run).await;
        if is_stopped {
            // It is stored, and its process is gone before the run has ended.
            let stored = read(&store, id).await;
            let cause = quell::Cause::new(CauseKind::UserRequest, SystemTime::now(), id);
            let stop = quell::store::StopAccepted::new(
                id,
                stored.epoch,
                quell::StopMode::Cooperative,
                Arc::new(cause),
            );
            memory.append(vec![Record::StopAccepted(Box::new(stop))]).await.unwrap();
        }
        let _: &'static mut Engine = Box::leak(Box::new(engine));
        let after = durable(&Valve::reopened(&memory, 3));
        after.recover(|_| Recovery::Fail).await.unwrap();
        let report = read(&store, id).await.report.unwrap();
        let ended = if is_stopped { RunStatus::Cancelled } else { RunStatus::Failed };
        assert_eq!((report.status, shown(report.own_row())), (ended, half()));
        assert_eq!(report.partial, half().0);
    }
}

#[tokio::test]
async fn t13_what_an_answered_run_says_anew_takes_the_place_of_what_it_had_shown() {
    let memory = Arc::new(MemoryStore::new());
    let store: Arc<dyn Store> = Valve::reopened(&memory, 1);
    left_paused(&store).await;
    let after = durable(&Valve::reopened(&memory, 2));
    let recovered = after.recover(|_| {
        Recovery::resumable(clerk(), async |ctx: RunContext| {
            let before = ctx.update_summary(|before| {
                assert_eq!(before, Some(&"one of two".into()));
                "two of two".into()
            });
            assert_eq!(before, quell::Written::Recorded);
            ctx.usage(USED);
            let _ = ctx.set_output("all of it".into());
            Ok(())
        })
    });
    let run = recovered.await.unwrap().paused.remove(0);
    run.resume_durably("yes").await.unwrap();
    let report = within("it ends", run.ended()).await;
    let own = report.own_row();
    assert_eq!((&own.output, &own.partial), (&Some("all of it".into()), &None));
    let all = Usage { input_tokens: 24, output_tokens: 6, cost_micros: 80 };
    assert_eq!((&own.summary, own.usage), (&Some("two of two".into()), all));
}

/// Stores a run that is paused, of whose log all is missing.
async fn without_log(store: &MemoryStore, so_far: StoredSoFar) -> RunId {
    let (run, epoch, at) = (RunId::from_text("r"), Epoch::new(1, 1), SystemTime::now());
    let mut pause = StoredPause::new("go on?".into(), 1, at);
    pause.so_far = so_far;
    let accepted = Accepted::new(run, RunKind::Agent, "clerk".into(), epoch, at);
    let paused = Record::Paused { run, epoch, pause: pause.into() };
    let batch = [Record::Accepted(accepted.into()), Record::Started { run, epoch, at }, paused];
    store.append(batch.into()).await.unwrap();
    run
}

#[tokio::test]
async fn t13_what_was_used_before_a_pause_counts_for_the_budget_also_if_the_log_has_lost_it() {
    for (most, expected) in [(23, Some(CauseKind::BudgetExceeded)), (24, None)] {
        let store = Arc::new(MemoryStore::new());
        let so_far = StoredSoFar { used: USED, ..StoredSoFar::default() };
        without_log(&store, so_far).await;
        let after = durable(&Valve::reopened(&store, 2));
        let spec = move || RunSpec::agent("clerk").budget(Budget::new().input_tokens(most));
        let recovered = after.recover(|_| {
            Recovery::resumable(spec(), async |ctx: RunContext| {
                ctx.usage(USED);
                Ok(ctx.checkpoint()?)
            })
        });
        let run = recovered.await.unwrap().paused.remove(0);
        assert_eq!(run.row().usage, USED);
        run.resume_durably("yes").await.unwrap();
        let report = within("it ends", run.ended()).await;
        assert_eq!(report.cause.as_ref().map(|cause| cause.kind), expected, "{report}");
        assert_eq!(report.own_row().usage.input_tokens, 24);
    }
}

#[tokio::test]
async fn t13_what_was_used_since_a_pause_counts_beside_that_before_also_if_the_log_has_lost_that() {
    // The event of its last pause is lost as well: what came before it may be in the log.
    for (has_pause, all) in [(true, 24), (false, 12)] {
        let store = Arc::new(MemoryStore::new());
        let so_far = StoredSoFar { used: USED, ..StoredSoFar::default() };
        let run = without_log(&store, so_far).await;
        let (epoch, at) = (Epoch::new(1, 1), SystemTime::now());
        let (answer, stood) = ("yes".into(), Duration::ZERO);
        let resumed = Record::Resumed { run, epoch, attempt: 2, answer, stood, at };
        store.append(vec![resumed, Record::Started { run, epoch, at }]).await.unwrap();
        let kinds = [
            EventKind::Paused { request: "go on?".into() },
            EventKind::Resumed { attempt: 2 },
            EventKind::Started,
            EventKind::Used(USED),
        ];
        let events = (7..).zip(kinds).skip(usize::from(!has_pause));
        let event = |(seq, kind)| RunEvent::new(seq, run, run, at, kind);
        let events = events.map(|event_of| Record::Event { epoch, event: event(event_of) });
        store.append(events.collect()).await.unwrap();
        durable(&Valve::reopened(&store, 2)).recover(|_| Recovery::Fail).await.unwrap();
        let report = store.get(run).await.unwrap().unwrap().report.unwrap();
        assert_eq!(report.own_row().usage.input_tokens, all, "{has_pause}");
    }
}

#[tokio::test]
async fn what_a_run_had_to_show_counts_for_the_bounds_and_is_left_out_where_there_is_no_room() {
    let large = |bytes: usize| Some(Payload::from("x".repeat(bytes)));
    for (bytes, has_room) in [(1 << 10, true), (1 << 20, false)] {
        let store = Arc::new(MemoryStore::new());
        let so_far = StoredSoFar { partial: large(bytes), summary: large(bytes), used: USED };
        without_log(&store, so_far).await;
        let limits = Limits::default().live_bytes_max(1 << 20);
        let config = EngineConfig::new().store(Valve::reopened(&store, 2)).limits(limits);
        let after = Engine::with_config(config);
        let recovered = after.recover(goes_on).await.unwrap();
        let run = &recovered.paused[0];
        let shown = run.row();
        assert_eq!((shown.partial.is_some(), shown.summary.is_some()), (has_room, has_room));
        assert_eq!((shown.usage, run.status()), (USED, RunStatus::Paused));
        run.cancel(stop());
        within("it ends", run.quiescent()).await;
    }
}

#[tokio::test]
async fn t13_a_stop_that_was_remembered_for_a_run_that_goes_on_finds_all_that_it_has_of_before() {
    let ended = async |is_remembered: bool| {
        let memory = Arc::new(MemoryStore::new());
        let so_far = StoredSoFar { partial: half().0, summary: half().1, used: USED };
        let id = without_log(&memory, so_far).await;
        let (epoch, at) = (Epoch::new(1, 1), SystemTime::now());
        let hold = quell::store::StoredHold::new(0, quell::Work::Process, "make".into());
        let began = Record::HoldBegan { run: id, epoch, hold };
        memory.append(vec![began, Record::Started { run: id, epoch, at }]).await.unwrap();
        let store = Valve::reopened(&memory, 2);
        let after = durable(&store);
        if is_remembered {
            let disposition = after.cancel(id, stop().remember_for(secs(60)));
            assert_eq!(disposition, quell::Disposition::Reserved);
        }
        let (recovered, attempts) = after.recover_held(goes_on).await.unwrap();
        let run = &recovered.resumed[0];
        if !is_remembered {
            run.cancel(stop());
        }
        attempts.start();
        let report = within("it ends", run.ended()).await;
        run.stored().await.unwrap();
        let stored = read(&(store as Arc<dyn Store>), id).await.report.unwrap();
        let left = |row: &RunRow| (row.quiescent, row.abandoned.len());
        let said =
            [report.own_row(), stored.own_row()].map(|row| (row.status, shown(row), left(row)));
        let events = memory.events(id, 0, 99).await.unwrap();
        let kinds = events.into_iter().map(|event| {
            let said = format!("{:?}", event.unwrap().kind);
            said.split([' ', '(']).next().unwrap_or_default().to_owned()
        });
        (said, kinds.collect::<Vec<_>>())
    };
    let after = ended(false).await;
    assert_eq!(after.0[0], (RunStatus::Cancelled, half(), (false, 1)));
    assert_eq!(ended(true).await, after);
}
