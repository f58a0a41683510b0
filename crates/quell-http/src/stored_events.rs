//! [`StoredEvents`]: the events of a run that is only in the store, read in pages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{Stream, unfold};
use quell::cluster::RunMeant;
use quell::store::{ImpliedEvents, RunRecord, StoreError, Stored, Subtree};
use quell::{Engine, EventKind, RunEvent, RunId, limits};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::counted::said_bytes;
use crate::lookup_error::LookupError;
use crate::pace::Pace;

/// The events of a stored run and its subtree: those that are stored, and at the end those that
/// follow from its record. What cannot be read is a gap.
///
/// Of a run that another node has they are those by now, or, if they are
/// [followed](Self::following), all up to its end: the log is read when the node that has the run
/// tells that something is new, and again and again besides, in pauses that grow to a second. Where
/// nobody tells it is read 20 ms behind what was new, and in pauses that grow to 250 ms. Whoever
/// has the run meanwhile, its log goes on with the next number. What follows from the record of a
/// root that has no log so far is told when the record says so: should it have a log later, that
/// begins with the same events.
///
/// The log of a root is read from the last event on that the client has. For a run below a root it
/// is read from the first one on: earlier events tell which runs are below it.
#[derive(Debug)]
pub(crate) struct StoredEvents {
    engine: Engine,
    record: Arc<RunRecord>,
    /// Events before this one and it are not told.
    after: u64,
    /// Events before this one and it are not read, unless the end is not behind them.
    skipped: u64,
    /// How far those were read after all.
    looked: u64,
    subtree: Subtree,
    implied: ImpliedEvents,
    /// The number of the last event that was read.
    read: u64,
    /// How many are read at once.
    at_once: usize,
    ready: VecDeque<RunEvent>,
    /// The number of the last event that was told although it is not stored.
    told: u64,
    is_over: bool,
    /// When the log is read again, if it is followed.
    pace: Option<Pace>,
    /// How often nothing was new since the record was read.
    quiet: u32,
}

impl StoredEvents {
    /// Begins after the event with this number, for a run whose record was read before.
    pub(crate) fn new(engine: Engine, record: Arc<RunRecord>, after: u64) -> Self {
        let run = record.run();
        let is_root = record.accepted.root == run;
        // The last ones that the client has may be the end and what follows it.
        let skipped = if is_root { after.saturating_sub(PAGE as u64) } else { 0 };
        Self {
            engine,
            record,
            after,
            skipped,
            looked: 0,
            subtree: Subtree::new(run),
            implied: ImpliedEvents::new(run),
            read: skipped,
            at_once: PAGE,
            ready: VecDeque::new(),
            told: 0,
            is_over: false,
            pace: None,
            quiet: 0,
        }
    }

    /// Follows the log for as long as another node may write it.
    pub(crate) fn following(mut self) -> Self {
        let watch = self.engine.watch(self.record.accepted.root);
        self.pace = Some(Pace::new(FIRST_PAUSE).watching(watch));
        self
    }

    /// Reads until there is an event to tell, or no more. While it follows the log it waits for a
    /// store that is in trouble.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store; a later call goes on.
    async fn fill(&mut self) -> Result<(), LookupError> {
        while self.ready.is_empty() && !self.is_over {
            match (self.turn().await, &mut self.pace) {
                (Err(LookupError::Unavailable), Some(pace)) => pace.rest_in_trouble().await,
                (Ok(false), Some(pace)) if !self.is_over && self.ready.is_empty() => {
                    pace.rest().await;
                    self.quiet += 1;
                }
                (turned, _) => drop(turned?),
            }
        }
        Ok(())
    }

    /// Reads the next page, and what follows from the record if there is no other. Tells whether
    /// something was new.
    ///
    /// # Errors
    ///
    /// Fails with the trouble of the store; a later call goes on.
    pub(crate) async fn turn(&mut self) -> Result<bool, LookupError> {
        let slow = self.pace.as_ref().and_then(Pace::slow_per_second);
        if slow.is_some_and(|slow| self.quiet >= slow) {
            self.read_record().await?;
            if self.is_over {
                return Ok(false);
            }
        }
        let root = self.record.accepted.root;
        let permit = READS.acquire().await;
        let events = read(self.engine.stored_events(root, self.read, self.at_once)).await?;
        let began = self.record.accepted.at;
        if !events.is_empty() && is_anothers(&self.engine, self.record.run(), began).await? {
            // It was forgotten, with its log.
            self.is_over = true;
            return Ok(false);
        }
        let before = self.read;
        self.take_some(events);
        drop(permit);
        let is_new = self.read != before;
        if is_new {
            self.pace.iter_mut().for_each(Pace::restart);
        } else if !self.is_written() {
            self.look_back().await?;
            // The record is older than the events: of an end that it knows, the event was seen if
            // there is one. Of a log that goes on only who writes it knows the next number.
            let is_last = !self.may_go_on();
            let implied =
                if is_last { self.implied.missing(&self.record) } else { self.beginning() };
            if !implied.is_empty() && is_forgotten(&self.engine, &self.record).await? {
                // What seems to be missing had other numbers, and is gone with its log.
                self.is_over = true;
                return Ok(false);
            }
            self.is_over = true;
            self.tell(implied);
        } else {
            self.tell(self.beginning());
            return self.look_at_record().await;
        }
        Ok(is_new)
    }

    /// Tells events that are not stored, but for those that were told.
    fn tell(&mut self, implied: Vec<RunEvent>) {
        let after = self.after.max(self.told);
        self.told = implied.last().map_or(self.told, |last| self.told.max(last.seq));
        self.ready.extend(implied.into_iter().filter(|event| event.seq > after));
    }

    /// Yields how a live root began of which no event is stored, as its record says. The record is
    /// older than the look at the events, and what happened before a start is stored before that:
    /// so nothing else comes before the start. A stop may overtake events in the store.
    fn beginning(&self) -> Vec<RunEvent> {
        let is_without_log = self.read == 0 && self.record.accepted.root == self.record.run();
        let mut implied =
            if is_without_log { self.implied.missing(&self.record) } else { Vec::new() };
        implied.retain(|it| matches!(it.kind, EventKind::Queued { .. } | EventKind::Started));
        implied
    }

    /// Reads the record if there is something new of the run that is no event: its end may have
    /// none, and of a root without a log nothing has. Tells whether to read the log at once, for
    /// events that have come before that.
    async fn look_at_record(&mut self) -> Result<bool, LookupError> {
        if !self.pace.as_ref().is_some_and(Pace::was_told) {
            return Ok(false);
        }
        self.read_record().await?;
        let has_more = self.beginning().last().is_some_and(|event| event.seq > self.told);
        Ok(!self.is_over && (has_more || !self.is_written()))
    }

    /// Tells whether the log is followed, and may go on.
    fn is_written(&self) -> bool {
        self.pace.is_some() && !self.is_over && self.may_go_on()
    }

    /// Tells whether another node may write more of the log.
    fn may_go_on(&self) -> bool {
        let is_live = !self.record.status.is_terminal() && self.engine.is_elsewhere(&self.record);
        is_live && !self.implied.has_end()
    }

    /// Reads how the run stands: its end may have no event.
    async fn read_record(&mut self) -> Result<(), LookupError> {
        let found = read(self.engine.stored_run(self.record.run())).await?;
        let is_it = |found: &RunRecord| found.accepted.at == self.record.accepted.at;
        match found.filter(is_it) {
            Some(record) => self.record = record.into(),
            // It was forgotten, with its log.
            None => self.is_over = true,
        }
        self.quiet = 0;
        Ok(())
    }

    /// Reads what was skipped, if the end is not behind it: it may be among that, or nowhere.
    async fn look_back(&mut self) -> Result<(), LookupError> {
        while self.looked < self.skipped && !self.implied.has_end() {
            let root = self.record.accepted.root;
            let events = read(self.engine.stored_events(root, self.looked, PAGE)).await?;
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                let event = self.or_gap(event, self.looked + 1);
                self.looked = self.looked.max(event.last_seq());
                if self.looked <= self.skipped {
                    self.implied.saw(&event);
                }
            }
        }
        Ok(())
    }

    /// Reads the next event.
    pub(crate) async fn next(&mut self) -> Result<Option<RunEvent>, LookupError> {
        self.fill().await?;
        Ok(self.ready.pop_front())
    }

    /// Takes events of one read, up to [`HELD_BYTES_MAX`]: those behind are read again when these
    /// are told. Each reader waits for its client with what it has.
    fn take_some(&mut self, events: Vec<Stored<RunEvent>>) {
        let mut bytes = 0;
        for (nth, event) in events.into_iter().enumerate() {
            bytes += event.as_ref().map_or(0, said_bytes);
            if nth > 0 && bytes > HELD_BYTES_MAX {
                self.at_once = nth;
                return;
            }
            self.take(event);
        }
        self.at_once = (2 * self.at_once).min(PAGE);
    }

    fn take(&mut self, event: Stored<RunEvent>) {
        let event = self.or_gap(event, self.read);
        let last = event.last_seq();
        self.read = self.read.max(last);
        self.implied.saw(&event);
        if self.subtree.has(&event) && last > self.after.max(self.told) {
            self.ready.push_back(event);
        }
    }

    /// Yields an event, or a gap in the place of one that cannot be read.
    fn or_gap(&self, event: Stored<RunEvent>, seq: u64) -> RunEvent {
        event.unwrap_or_else(|unreadable| {
            let (root, seq) = (self.record.accepted.root, unreadable.seq.unwrap_or(seq));
            tracing::warn!(%unreadable, "an event could not be read");
            let gap = EventKind::Lagged { from: seq, to: seq };
            RunEvent::new(0, root, root, self.record.accepted.at, gap)
        })
    }

    /// Yields the events. The stream ends early if the store fails: the client has no terminal
    /// event then, and asks again.
    pub(crate) fn into_stream(self: Box<Self>) -> impl Stream<Item = RunEvent> + Send + use<> {
        unfold(self, |mut events| async move {
            let event = events.next().await.ok()??;
            Some((event, events))
        })
    }
}

/// Tells whether what the store has under an id is of another run than of the one that was accepted
/// at this instant: that one was forgotten, and its id has been used again. Logs are read by id
/// alone, so a reader looks behind each read of one: what is its own then was so before.
///
/// # Errors
///
/// Fails with the trouble of the store.
pub(crate) async fn is_anothers(
    engine: &Engine,
    run: RunId,
    began: SystemTime,
) -> Result<bool, LookupError> {
    let found = read(engine.stored_run(run)).await?;
    Ok(found.is_some_and(|found| !RunMeant::from(&found).is(began)))
}

/// Tells whether a run was forgotten, with its log, since its record was read. One below a root may
/// have no record of its own.
async fn is_forgotten(engine: &Engine, record: &RunRecord) -> Result<bool, LookupError> {
    let found = read(engine.stored_run(record.run())).await?;
    let is_root = record.accepted.root == record.run();
    let before = RunMeant::from(record);
    Ok(found.map_or(is_root, |found| before != RunMeant::from(&found)))
}

/// Reads of the store, and gives it up after a time.
pub(crate) async fn read<T>(
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, LookupError> {
    let Ok(read) = timeout(limits::STORE_WAIT, asked).await else {
        tracing::warn!("the store did not answer in time");
        return Err(LookupError::Unavailable);
    };
    Ok(read?)
}

/// The pause behind events that were new.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Events of one read at most: each may have a quarter of a mebibyte.
pub(crate) const PAGE: usize = 32;

/// Reads of all readers at once: what is read is held whole until it was looked at.
static READS: Semaphore = Semaphore::const_new(16);

/// What one reader holds of what events say, unless one event has more.
const HELD_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use quell::store::{Accepted, Epoch, MemoryStore, Record, Store};
    use quell::{Counts, EngineConfig, RunKind, RunReport, RunRow, RunStatus};

    use super::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;
    const EPOCH: Epoch = Epoch::new(1, 1);

    /// Stores a run that has said these, and no more.
    async fn said(texts: impl IntoIterator<Item = String>) -> (RunId, Arc<MemoryStore>, Engine) {
        let (run, store) = (RunId::from_text("run"), Arc::new(MemoryStore::new()));
        let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store) as _));
        let accepted = Accepted::new(run, RunKind::Agent, "run".into(), EPOCH, AT);
        store.append(vec![Record::Accepted(accepted.into())]).await.unwrap();
        for (text, seq) in texts.into_iter().zip(1..) {
            let event = RunEvent::new(seq, run, run, AT, EventKind::Emitted(text.into()));
            store.append(vec![Record::Event { epoch: EPOCH, event }]).await.unwrap();
        }
        (run, store, engine)
    }

    #[tokio::test]
    async fn of_a_run_that_is_forgotten_while_its_log_is_read_no_end_is_made_up() {
        let (run, store, engine) = said(vec![String::new(); 2 * PAGE]).await;
        let row = RunRow::new(run, RunKind::Agent, "run".into(), RunStatus::Failed, AT);
        let report = Arc::new(RunReport::new(vec![row], Counts::default()));
        let end = Record::Ended { run, epoch: EPOCH, report, rollback: false };
        store.append(vec![end]).await.unwrap();
        let record: Arc<_> = store.get(run).await.unwrap().unwrap().into();
        let mut whole = StoredEvents::new(engine.clone(), Arc::clone(&record), 0);
        let mut cut = StoredEvents::new(engine, record, 0);
        let mut last = 0;
        while let Some(event) = whole.next().await.unwrap() {
            last = event.seq;
        }
        assert_eq!(last, 2 * PAGE as u64 + 1, "its end is not stored");
        assert!(cut.turn().await.unwrap());
        store.append(vec![Record::Forgotten { run, epoch: EPOCH, at: AT }]).await.unwrap();
        while let Some(event) = cut.next().await.unwrap() {
            last = event.seq;
        }
        assert_eq!(last, PAGE as u64);
    }

    #[tokio::test]
    async fn a_reader_holds_few_bytes_or_one_event_and_reads_all() {
        let large = [1, 200_000, 100_000, 50_000, 250_000, 1, 250_000, 100_000, 100_000, 100_000];
        let sizes = [&[9; 20][..], &large, &[9; 90]].concat();
        let (run, store, engine) = said(sizes.iter().map(|size| "x".repeat(*size))).await;
        let record = store.get(run).await.unwrap().unwrap();
        let mut events = StoredEvents::new(engine, record.into(), 0);
        let permits = READS.acquire_many(16).await;
        assert!(events.turn().now_or_never().is_none(), "others read");
        drop(permits);
        let mut told = Vec::new();
        while events.turn().await.unwrap() {
            let held: usize = events.ready.iter().map(said_bytes).sum();
            assert!(held <= HELD_BYTES_MAX || events.ready.len() == 1, "{held}");
            told.extend(events.ready.drain(..).map(|event| event.seq));
        }
        assert_eq!(told, (1..=sizes.len() as u64).collect::<Vec<_>>());
    }
}
