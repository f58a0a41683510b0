//! The suite for stores: the store in memory passes it, and stores that break a promise do not.

use std::sync::Arc;
use std::time::SystemTime;

use quell::store::{
    BoxFuture, Checkpoint, Claim, EndedTree, Epoch, MemoryStore, Page, Pages, Record, RunRecord,
    Store, StoreError, Stored,
};
use quell::{RunEvent, RunFilter, RunId, testing};

/// Runs a future to its end.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn the_store_in_memory_keeps_every_promise_of_a_store() {
    let cases = block_on(testing::store::check(async || MemoryStore::new()));
    assert!(cases.as_ref().is_ok_and(|cases| *cases > 25), "{cases:?}");
}

#[test]
fn a_store_that_breaks_a_promise_fails_the_suite_with_words() {
    for (fault, promise) in FAULTS {
        let make = async || Faulty { store: MemoryStore::new(), fault: *fault };
        let verdict = block_on(testing::store::check(make));
        let words = verdict.expect_err(&format!("{fault:?} was not noticed"));
        assert!(words.starts_with(promise), "{fault:?}: {words}");
    }
}

#[test]
fn a_store_in_memory_that_is_full_refuses_what_is_new_and_takes_every_end() {
    let store = MemoryStore::with_bytes_max(20_000);
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    let accept = |nth: usize| {
        let run = RunId::from_text(&format!("run {nth}"));
        let kind = quell::RunKind::Agent;
        let accepted = quell::store::Accepted::new(run, kind, "run".into(), epoch, at);
        (run, Record::Accepted(Box::new(accepted)))
    };
    let taken = (0..1_000).take_while(|nth| block_on(store.append(vec![accept(*nth).1])).is_ok());
    let taken = taken.count();
    assert!((20..200).contains(&taken), "{taken}");
    let full = block_on(store.append(vec![accept(taken).1]));
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    for nth in 0..taken {
        let (run, _) = accept(nth);
        let status = quell::RunStatus::Completed;
        let row = quell::RunRow::new(run, quell::RunKind::Agent, "run".into(), status, at);
        let report = quell::RunReport::new(vec![row], quell::Counts::default()).into();
        block_on(store.append(vec![Record::Ended { run, epoch, report, rollback: false }]))
            .unwrap();
        block_on(store.append(vec![Record::Forgotten { run, epoch, at }])).unwrap();
    }
    assert_eq!(
        (0..1_000).take_while(|nth| block_on(store.append(vec![accept(*nth).1])).is_ok()).count(),
        taken
    );
}

#[test]
fn a_store_in_memory_counts_what_it_keeps_and_not_what_was_replaced() {
    let store = MemoryStore::with_bytes_max(100_000);
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    let run = |nth: usize| RunId::from_text(&format!("run {nth}"));
    let accept = |nth| {
        let kind = quell::RunKind::Agent;
        let accepted = quell::store::Accepted::new(run(nth), kind, "run".into(), epoch, at);
        vec![Record::Accepted(Box::new(accepted))]
    };
    let append = |batch| block_on(store.append(batch)).unwrap();
    append(accept(0));
    for _ in 0..1_000 {
        let cause = quell::Cause::new(quell::CauseKind::Shutdown, at, run(0)).into();
        let mode = quell::StopMode::Cooperative;
        let stop = quell::store::StopAccepted::new(run(0), epoch, mode, cause);
        append(vec![Record::StopAccepted(Box::new(stop))]);
        append(vec![pause(run(0), "x".repeat(5_000)), answer(run(0), "x".repeat(5_000))]);
        append(vec![Record::Started { run: run(0), epoch, at }]);
    }
    append(accept(1));
    let refused = block_on(store.append(vec![answer(run(1), "x".repeat(100_000))]));
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    let asks = pause(run(1), "x".repeat(100_000));
    assert!(matches!(block_on(store.append(vec![asks])), Err(StoreError::Full { .. })));

    // Nor does the log of a run count for a page of runs.
    let store = MemoryStore::new();
    let append = |batch| block_on(store.append(batch)).unwrap();
    for nth in 0..3 {
        append(accept(nth));
        let kind = quell::EventKind::Emitted(quell::Payload::from("x".repeat(9 << 20)));
        append(vec![Record::Event {
            epoch,
            event: RunEvent::new(1, run(nth), run(nth), at, kind),
        }]);
    }
    assert_eq!(block_on(store.recover(Page::first(9))).unwrap().items.len(), 3);
}

fn pause(run: RunId, request: String) -> Record {
    let at = SystemTime::UNIX_EPOCH;
    let pause = Box::new(quell::store::StoredPause::new(request.into(), 1, at));
    Record::Paused { run, epoch: Epoch::new(1, 1), pause }
}

fn answer(run: RunId, answer: String) -> Record {
    let (epoch, at) = (Epoch::new(1, 1), SystemTime::UNIX_EPOCH);
    let (answer, stood) = (answer.into(), std::time::Duration::ZERO);
    Record::Resumed { run, epoch, attempt: 2, answer, stood, at }
}

/// A way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    OneByOne,
    AnyEpoch,
    LosesAnnotations,
    AnyEpochBelow,
    LaterStopsOvertake,
    StopsOvertakeAll,
    LosesStops,
    LosesAnswers,
    LosesExpiries,
    RecoversNoPauses,
    GoesOnAfterStops,
    KeepsForgotten,
    LosesOrderOfPages,
    RepeatsEvents,
    SkipsEvents,
    RecoversEverything,
    RecoversNothing,
    OldestStateFirst,
    KeepsRolledBack,
    IgnoresFilter,
    NeverCloses,
    OffersNothing,
    OffersTheLastFirst,
    NeverShrinks,
    FirstPageOnly,
    OnePlaceForAPage,
    LosesWork,
    KeepsWork,
}

/// Each with the promise that it breaks first.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::OneByOne, "a batch is stored completely or not at all"),
    (Fault::AnyEpoch, "what was accepted is read back"),
    (Fault::LosesAnnotations, "what was accepted is read back"),
    (Fault::AnyEpochBelow, "a write of a superseded epoch is refused"),
    (Fault::LaterStopsOvertake, "stops of one run are stored in their order"),
    (Fault::StopsOvertakeAll, "appends that are under way at once"),
    (Fault::LosesStops, "appends that are under way at once"),
    (Fault::LosesAnswers, "an answer is read back until the next pause"),
    (Fault::LosesExpiries, "a pause is read back with all that counts in it"),
    (Fault::RecoversNoPauses, "a run that is paused is live"),
    (Fault::GoesOnAfterStops, "a run with a stop neither is paused nor goes on (I34)"),
    (Fault::KeepsForgotten, "a run that is forgotten leaves"),
    (Fault::LosesOrderOfPages, "a run that is paused is live"),
    (Fault::RepeatsEvents, "each event is read once"),
    (Fault::SkipsEvents, "each event is read once"),
    (Fault::RecoversEverything, "recovery reads what is not terminal"),
    (Fault::RecoversNothing, "recovery reads what is not terminal"),
    (Fault::OldestStateFirst, "the states of a lane"),
    (Fault::KeepsRolledBack, "a rollback takes the states"),
    (Fault::IgnoresFilter, "a batch is stored completely or not at all"),
    (Fault::OffersNothing, "trees that may leave are read"),
    (Fault::OffersTheLastFirst, "trees that may leave are read"),
    (Fault::NeverShrinks, "what has left has no bytes"),
    (Fault::NeverCloses, "a store that is closed says so"),
    (Fault::LosesWork, "work that does not end with the process is read back"),
    (Fault::KeepsWork, "work that does not end with the process is read back"),
    (Fault::OnePlaceForAPage, "pages stay as they are while others write"),
    (Fault::FirstPageOnly, "appends that are under way at once"),
];

#[derive(Debug)]
struct Faulty {
    store: MemoryStore,
    fault: Fault,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Changes what is to be stored.
    fn spoiled(&self, record: Record) -> Option<Record> {
        match record {
            Record::Accepted(mut accepted) if self.has(Fault::AnyEpoch) => {
                accepted.epoch = Epoch::new(0, 0);
                Some(Record::Accepted(accepted))
            }
            Record::Accepted(mut accepted) if self.has(Fault::LosesAnnotations) => {
                accepted.annotations.clear();
                Some(Record::Accepted(accepted))
            }
            Record::StopAccepted(_) if self.has(Fault::LosesStops) => None,
            Record::Resumed { .. } if self.has(Fault::LosesAnswers) => None,
            Record::HoldBegan { .. } if self.has(Fault::LosesWork) => None,
            Record::HoldEnded { .. } if self.has(Fault::KeepsWork) => None,
            Record::Paused { run, epoch, mut pause } if self.has(Fault::LosesExpiries) => {
                pause.expires_at = None;
                Some(Record::Paused { run, epoch, pause })
            }
            Record::Forgotten { .. } if self.has(Fault::KeepsForgotten) => None,
            Record::Ended { run, epoch, report, .. } if self.has(Fault::KeepsRolledBack) => {
                Some(Record::Ended { run, epoch, report, rollback: false })
            }
            record => Some(record),
        }
    }
}

impl Store for Faulty {
    fn boot(&self) -> u32 {
        self.store.boot()
    }

    fn append(&self, batch: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let batch: Vec<_> =
                batch.into_iter().filter_map(|record| self.spoiled(record)).collect();
            let is_below = |record: &Record| match record {
                Record::Accepted(accepted) => accepted.root != accepted.run,
                _ => false,
            };
            if self.has(Fault::AnyEpochBelow) && batch.iter().any(is_below) {
                return match self.store.append(batch).await {
                    Err(StoreError::Fenced { .. }) => Ok(()),
                    answer => answer,
                };
            }
            let has_stop = batch.iter().any(|record| matches!(record, Record::StopAccepted(_)));
            let is_late = match self.fault {
                Fault::LaterStopsOvertake => has_stop && batch.len() > 1,
                Fault::StopsOvertakeAll => !has_stop,
                _ => false,
            };
            if is_late {
                tokio::task::yield_now().await;
            }
            if !self.has(Fault::OneByOne) {
                return self.store.append(batch).await;
            }
            for record in batch {
                self.store.append(vec![record]).await?;
            }
            Ok(())
        })
    }

    fn get(&self, run: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        Box::pin(async move {
            let mut read = self.store.get(run).await?;
            if let (true, Some(run)) = (self.has(Fault::GoesOnAfterStops), &mut read)
                && run.answer.is_some()
                && run.stop.is_some()
            {
                run.status = quell::RunStatus::Queued;
            }
            Ok(read)
        })
    }

    fn claim(
        &self,
        owner: Option<Arc<str>>,
        key: Arc<str>,
        at: SystemTime,
    ) -> BoxFuture<'_, Result<Option<Claim>, StoreError>> {
        self.store.claim(owner, key, at)
    }

    fn list(
        &self,
        filter: RunFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move {
            let filter = if self.has(Fault::IgnoresFilter) { RunFilter::new() } else { filter };
            let mut read = self.store.list(filter, page).await?;
            if self.has(Fault::LosesOrderOfPages) {
                read.items.reverse();
            }
            if self.has(Fault::FirstPageOnly) {
                read.next = None;
            }
            if let (true, Some(last)) = (self.has(Fault::OnePlaceForAPage), read.ends.last()) {
                read.ends = vec![*last; read.ends.len()];
            }
            Ok(read)
        })
    }

    fn events(
        &self,
        root: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored<RunEvent>>, StoreError>> {
        let after = match self.fault {
            Fault::RepeatsEvents if after > 0 && after < 20 => after - 1,
            Fault::SkipsEvents if after > 0 => after.saturating_add(1),
            _ => after,
        };
        self.store.events(root, after, limit)
    }

    fn checkpoints(
        &self,
        lane: String,
        page: Page,
    ) -> BoxFuture<'_, Result<Pages<Stored<Checkpoint>>, StoreError>> {
        Box::pin(async move {
            let mut read = self.store.checkpoints(lane, page).await?;
            if self.has(Fault::OldestStateFirst) {
                read.items.reverse();
            }
            Ok(read)
        })
    }

    fn recover(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<RunRecord>>, StoreError>> {
        Box::pin(async move {
            match self.fault {
                Fault::RecoversEverything => self.store.list(RunFilter::new(), page).await,
                Fault::RecoversNothing => Ok(Pages::none()),
                Fault::RecoversNoPauses => {
                    let mut read = self.store.recover(page).await?;
                    let is_paused = |run: &RunRecord| run.paused.is_some();
                    read.items.retain(|run| !run.as_ref().is_ok_and(is_paused));
                    Ok(read)
                }
                _ => self.store.recover(page).await,
            }
        })
    }

    fn ended(&self, page: Page) -> BoxFuture<'_, Result<Pages<Stored<EndedTree>>, StoreError>> {
        Box::pin(async move {
            let mut read = self.store.ended(page).await?;
            match self.fault {
                Fault::OffersNothing => read.items.clear(),
                Fault::OffersTheLastFirst => read.items.reverse(),
                _ => {}
            }
            Ok(read)
        })
    }

    fn bytes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let bytes = self.store.bytes().await?;
            Ok(if self.has(Fault::NeverShrinks) { 1 << 40 } else { bytes })
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.has(Fault::NeverCloses) {
            return Box::pin(async { Ok(()) });
        }
        self.store.close()
    }
}
