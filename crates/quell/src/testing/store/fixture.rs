//! What the cases have in common: runs, records, and how a broken promise is said.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{
    Accepted, Cursor, Epoch, Page, Record, RunRecord, StopAccepted, Store, StoreError, Stored,
    StoredPause,
};
use quell_core::{
    Abandoned, Cause, CauseKind, Counts, EventKind, Payload, RunEvent, RunFilter, RunId, RunKind,
    RunReport, RunRow, RunStatus, StopMode, Usage, Work,
};

/// What is broken, if something is.
pub(super) type Verdict = Result<(), String>;

/// Checks that something is as it should be.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} is {found:.2000?} instead of {expected:.2000?}"))
}

/// Appends what should be admitted.
pub(super) async fn stored(store: &dyn Store, batch: Vec<Record>) -> Verdict {
    let what = format!("{batch:.400?}");
    store.append(batch).await.map_err(|error| format!("{error}, of {what}"))
}

/// Appends what should be refused.
pub(super) async fn refused(store: &dyn Store, batch: Vec<Record>, as_: &StoreError) -> Verdict {
    let what = format!("the answer to {batch:.400?}");
    same(&what, &store.append(batch).await, &Err(as_.clone()))
}

/// Reads a run that should be there.
pub(super) async fn there(store: &dyn Store, run: RunId) -> Result<RunRecord, String> {
    let read = store.get(run).await.map_err(|error| error.to_string())?;
    read.ok_or_else(|| format!("run {run} is not there"))
}

/// Reads every run that a filter means, page by page.
pub(super) async fn list(store: &dyn Store, filter: RunFilter) -> Result<Vec<RunId>, String> {
    let (mut page, mut all) = (Page::first(7), Vec::new());
    loop {
        let read = store.list(filter.clone(), page).await.map_err(|error| error.to_string())?;
        all.extend(readable(read.items)?.iter().map(RunRecord::run));
        let Some(next) = read.next else { return Ok(all) };
        page = further(page, next)?;
    }
}

/// Reads every run that recovery finds, page by page.
pub(super) async fn recovered(store: &dyn Store) -> Result<Vec<RunRecord>, String> {
    let (mut page, mut all) = (Page::first(2), Vec::new());
    loop {
        let read = store.recover(page).await.map_err(|error| error.to_string())?;
        all.extend(readable(read.items)?);
        let Some(next) = read.next else { return Ok(all) };
        page = further(page, next)?;
    }
}

/// Reads the states of a lane, the newest first, page by page.
pub(super) async fn states(store: &dyn Store, lane: &str) -> Result<Vec<Payload>, String> {
    let (mut page, mut all) = (Page::first(3), Vec::new());
    loop {
        let read = store.checkpoints(lane.to_owned(), page).await;
        let read = read.map_err(|error| error.to_string())?;
        all.extend(readable(read.items)?.into_iter().map(|checkpoint| checkpoint.state));
        let Some(next) = read.next else { return Ok(all) };
        page = further(page, next)?;
    }
}

/// Takes what was read; fails if some of it cannot be.
pub(super) fn readable<T>(items: Vec<Stored<T>>) -> Result<Vec<T>, String> {
    let items: Stored<Vec<T>> = items.into_iter().collect();
    items.map_err(|unreadable| unreadable.to_string())
}

/// Asks for what stands behind a page. A store that never comes to an end fails.
fn further(page: Page, next: Cursor) -> Result<Page, String> {
    if page.begin() == Some(next) {
        return Err("a page ends where it began".into());
    }
    Ok(page.after(next))
}

/// The first attempt of this process.
pub(super) fn first_epoch(store: &dyn Store) -> Epoch {
    Epoch::new(store.boot(), 1)
}

pub(super) fn id(nth: usize) -> RunId {
    RunId::from_text(&format!("run {nth}"))
}

/// An instant, so many milliseconds after the first.
pub(super) fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + ms)
}

pub(super) fn accepted(store: &dyn Store, nth: usize) -> Accepted {
    Accepted::new(id(nth), RunKind::Agent, "a run".into(), first_epoch(store), at(nth as u64))
}

pub(super) fn accept(store: &dyn Store, nth: usize) -> Record {
    Record::Accepted(Box::new(accepted(store, nth)))
}

pub(super) fn child(store: &dyn Store, nth: usize, root: usize) -> Record {
    let mut accepted = accepted(store, nth);
    (accepted.root, accepted.parent) = (id(root), Some(id(root)));
    Record::Accepted(Box::new(accepted))
}

pub(super) fn start(nth: usize, epoch: Epoch) -> Record {
    Record::Started { run: id(nth), epoch, at: at(500) }
}

pub(super) fn stop(nth: usize, epoch: Epoch, mode: StopMode, words: &str) -> Record {
    let mut cause = Cause::new(CauseKind::UserRequest, at(600), id(nth));
    (cause.message, cause.by) = (Some(words.into()), Some("ada".into()));
    Record::StopAccepted(Box::new(StopAccepted::new(id(nth), epoch, mode, Arc::new(cause))))
}

pub(super) fn pause(nth: usize, epoch: Epoch, request: &str) -> Record {
    let pause = StoredPause::new(request.into(), 1, at(650));
    Record::Paused { run: id(nth), epoch, pause: Box::new(pause) }
}

pub(super) fn resume(nth: usize, epoch: Epoch, attempt: u32, answer: &str) -> Record {
    let (run, answer, stood) = (id(nth), answer.into(), Duration::from_millis(7));
    Record::Resumed { run, epoch, attempt, answer, stood, at: at(680) }
}

pub(super) fn event(nth: usize, epoch: Epoch, seq: u64) -> Record {
    emitted(nth, epoch, seq, Payload::from(seq))
}

pub(super) fn emitted(nth: usize, epoch: Epoch, seq: u64, payload: Payload) -> Record {
    let kind = EventKind::Emitted(payload);
    Record::Event { epoch, event: RunEvent::new(seq, id(nth), id(nth), at(seq), kind) }
}

pub(super) fn state(nth: usize, epoch: Epoch, lane: &str, state: u64) -> Record {
    let (lane, state) = (lane.into(), Payload::from(state));
    Record::Checkpoint { lane, run: id(nth), epoch, state, at: at(700) }
}

/// A report with two rows, in which every field says something.
pub(super) fn report(nth: usize, status: RunStatus, quiescent: bool) -> Arc<RunReport> {
    let mut row = RunRow::new(id(nth), RunKind::Agent, "a run".into(), status, at(nth as u64));
    row.quiescent = quiescent;
    (row.started_at, row.ended_at) = (Some(at(500)), Some(at(800)));
    row.quiesced_at = quiescent.then(|| at(800));
    row.partial = Some(Payload::from("half of it"));
    row.cleanup_errors = vec!["a hook panicked".into()];
    row.usage = Usage { input_tokens: 3, output_tokens: 4, cost_micros: 5 };
    if !quiescent {
        row.abandoned = vec![Abandoned::new(id(nth), "crunch".into(), Work::Blocking)];
    }
    let mut below = row.clone();
    (below.run, below.parent, below.depth) = (id(nth + 100_000), Some(id(nth)), 1);
    let mut omitted = Counts::default();
    omitted.add(RunStatus::Completed);
    Arc::new(RunReport::new(vec![row, below], omitted))
}

pub(super) fn end(nth: usize, epoch: Epoch) -> Record {
    ended(nth, epoch, RunStatus::Completed)
}

pub(super) fn ended(nth: usize, epoch: Epoch, status: RunStatus) -> Record {
    let report = report(nth, status, true);
    Record::Ended { run: id(nth), epoch, report, rollback: false }
}

pub(super) fn forget(nth: usize, epoch: Epoch) -> Record {
    Record::Forgotten { run: id(nth), epoch, at: at(900) }
}
