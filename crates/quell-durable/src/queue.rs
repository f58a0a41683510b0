//! [`Queue`]: appends on their way to the thread that writes.
//!
//! One mutex guards it; no code of others runs under it, and it is never held while SQLite works.
//! Its invariants:
//!
//! 1. There are two lanes: stops that overtake, and the rest. What is `ready` of a lane has at most
//!    as many records and bytes as there is room for, or is one append alone. `waiting` has those
//!    behind it, in the order in which they came; it is empty unless `ready` is full. An append in
//!    `waiting` leaves it when its caller gives up: what waits is held by callers that wait.
//! 2. `known` says of each run what the rest has of it. A stop overtakes only if that is neither
//!    the acceptance of the run, nor a stop of it (the first cause stays, so their order counts),
//!    nor of another epoch (a higher one would fence what it overtakes). Else it is one of the
//!    rest.
//! 3. After `is_closed` nothing is added. What was added before is handed out.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use quell_core::RunId;
use quell_core::store::{Epoch, Record, StoreError};

use crate::encode::Write;
use crate::lane::{Job, Lane, Room};

/// Appends on their way.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// Something was added, or the queue was closed.
    changed: Condvar,
    room: Room,
}

#[derive(Debug, Default)]
struct State {
    stops: Lane,
    rest: Lane,
    known: HashMap<RunId, Known>,
    /// The number of the next append that waits.
    next: u64,
    is_closed: bool,
}

/// What the rest has of a run.
#[derive(Debug)]
struct Known {
    records: usize,
    /// Those of them behind which a stop stays: the acceptance, and stops.
    bars: usize,
    /// The lowest and the highest epoch, of which some records may have left already.
    epochs: (Epoch, Epoch),
}

/// What came of a wait.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "this is all that can come of it")]
pub enum Waited {
    /// An append.
    Job(Job),
    /// Nothing, for as long as was to be waited.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

/// An append that waits for room. When it is dropped, the append is taken back.
#[derive(Debug)]
pub struct Waits<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Queue {
    /// Makes one that has so many records and bytes ready at once. Zero records count as 1; zero
    /// bytes take one append at a time.
    pub fn new(records_max: usize, bytes_max: usize) -> Self {
        let room = Room { records_max: records_max.max(1), bytes_max };
        Self { state: Mutex::default(), changed: Condvar::new(), room }
    }

    /// Adds an append. Yields a guard if it has to wait for room.
    ///
    /// # Errors
    ///
    /// Fails if the queue was closed.
    pub fn push(&self, job: Job) -> Result<Option<Waits<'_>>, StoreError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        let number = state.next;
        state.next += 1;
        let has_room = if state.may_overtake(&job) {
            state.stops.push(job, number, self.room)
        } else {
            state.remember(&job);
            state.rest.push(job, number, self.room)
        };
        drop(state);
        self.changed.notify_one();
        Ok((!has_room).then_some(Waits { queue: self, number }))
    }

    /// Waits for an append; none if the queue is closed and empty.
    pub fn wait(&self) -> Option<Job> {
        loop {
            match self.wait_at_most(LONG) {
                Waited::Job(job) => return Some(job),
                Waited::Closed => return None,
                Waited::Idle => {}
            }
        }
    }

    /// Waits for an append, and no longer than that.
    pub fn wait_at_most(&self, limit: Duration) -> Waited {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.pop(self.room) {
                return Waited::Job(job);
            }
            if state.is_closed {
                return Waited::Closed;
            }
            if self.changed.wait_for(&mut state, limit).timed_out() && !state.has_any() {
                return Waited::Idle;
            }
        }
    }

    /// Takes the next append without waiting, unless a batch of so many records and bytes is large
    /// enough, or large enough for a stop to be kept waiting.
    pub fn next(&self, records: usize, bytes: usize, has_stop: bool) -> Option<Job> {
        let mut state = self.state.lock();
        let is_cut = records >= CUT_RECORDS && (has_stop || !state.stops.is_empty());
        if records >= BATCH_RECORDS_MAX || bytes >= BATCH_BYTES_MAX || is_cut {
            return None;
        }
        state.pop(self.room)
    }

    /// Adds nothing any more.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Tells whether nothing is added any more.
    pub fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }
}

impl State {
    fn has_any(&self) -> bool {
        self.is_closed || !self.stops.is_empty() || !self.rest.is_empty()
    }

    fn pop(&mut self, room: Room) -> Option<Job> {
        if let Some(stop) = self.stops.pop(room) {
            return Some(stop);
        }
        let job = self.rest.pop(room)?;
        self.forget(&job);
        Some(job)
    }

    fn may_overtake(&self, job: &Job) -> bool {
        let may = |write: &Write| {
            let epoch = write.record.epoch();
            self.known
                .get(&write.record.run())
                .is_none_or(|known| known.bars == 0 && known.epochs == (epoch, epoch))
        };
        job.is_stop() && job.writes.iter().all(may)
    }

    fn remember(&mut self, job: &Job) {
        for Write { record, .. } in &job.writes {
            let epoch = record.epoch();
            let new = Known { records: 0, bars: 0, epochs: (epoch, epoch) };
            let known = self.known.entry(record.run()).or_insert(new);
            known.records += 1;
            known.bars += usize::from(is_bar(record));
            known.epochs = (known.epochs.0.min(epoch), known.epochs.1.max(epoch));
        }
    }

    fn forget(&mut self, job: &Job) {
        for Write { record, .. } in &job.writes {
            let Some(known) = self.known.get_mut(&record.run()) else { continue };
            known.records -= 1;
            known.bars -= usize::from(is_bar(record));
            if known.records == 0 {
                self.known.remove(&record.run());
            }
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let stop = state.stops.take_back(self.number);
        let job = state.rest.take_back(self.number);
        if let Some(job) = &job {
            state.forget(job);
        }
        // Records, and the waker of the caller, are dropped when nothing is locked.
        drop(state);
        drop((stop, job));
    }
}

/// Tells whether a stop stays behind a record of the same run.
const fn is_bar(record: &Record) -> bool {
    matches!(record, Record::Accepted(_) | Record::StopAccepted(_))
}

/// As good as for ever.
const LONG: Duration = Duration::from_hours(1);

/// Records of one transaction.
const BATCH_RECORDS_MAX: usize = 1_024;

/// Bytes of one transaction.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Records of one transaction when a stop is in it, or waits.
const CUT_RECORDS: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use quell_core::store::{Accepted, StopAccepted};
    use quell_core::{Cause, CauseKind, RunKind, StopMode};
    use tokio::sync::oneshot;

    use super::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn run(nth: usize) -> RunId {
        RunId::from_text(&format!("run {nth}"))
    }

    fn job(records: Vec<Record>) -> Job {
        let (text, annotations) = (String::new(), String::new());
        let write = |record| Write {
            record,
            text: text.clone(),
            events: 0,
            annotations: annotations.clone(),
            started: None,
        };
        let writes = records.into_iter().map(write).collect();
        Job { writes, bytes: 100, answer: oneshot::channel().0 }
    }

    fn accept(nth: usize) -> Job {
        let epoch = Epoch::new(1, 1);
        let accepted = Accepted::new(run(nth), RunKind::Agent, "a".into(), epoch, AT);
        job(vec![Record::Accepted(Box::new(accepted))])
    }

    fn start(nth: usize, attempt: u32) -> Job {
        job(vec![Record::Started { run: run(nth), epoch: Epoch::new(1, attempt), at: AT }])
    }

    fn stop_of(nth: usize, attempt: u32) -> Record {
        let cause = Arc::new(Cause::new(CauseKind::Shutdown, AT, run(nth)));
        let epoch = Epoch::new(1, attempt);
        Record::StopAccepted(Box::new(StopAccepted::new(run(nth), epoch, StopMode::Abort, cause)))
    }

    fn stop(nth: usize) -> Job {
        job(vec![stop_of(nth, 1)])
    }

    /// Takes all there is: the runs, those of stops with a mark.
    fn taken(queue: &Queue) -> Vec<String> {
        let all = std::iter::from_fn(|| queue.next(0, 0, false));
        all.map(|job| {
            let of = (0..999).find(|nth| run(*nth) == job.writes[0].record.run()).unwrap();
            if job.is_stop() { format!("stop {of}") } else { of.to_string() }
        })
        .collect()
    }

    #[test]
    fn a_stop_overtakes_others_but_not_the_run_that_it_is_of() {
        let queue = Queue::new(2, usize::MAX);
        assert!(queue.push(accept(1)).unwrap().is_none());
        assert!(queue.push(accept(2)).unwrap().is_none());
        let third = queue.push(accept(3)).unwrap();
        assert!(third.is_some(), "there is room for two");
        assert!(queue.push(stop(9)).unwrap().is_none());
        let of_the_third = queue.push(stop(3)).unwrap();
        assert!(of_the_third.is_some(), "it waits behind its run");
        assert!(queue.push(stop(8)).unwrap().is_none());
        assert_eq!(taken(&queue), ["stop 9", "stop 8", "1", "2", "3", "stop 3"]);
        assert!(queue.push(stop(3)).unwrap().is_none(), "its run is under way");
        drop((third, of_the_third));
        assert_eq!(taken(&queue), ["stop 3"]);
    }

    #[test]
    fn a_later_stop_of_a_run_overtakes_no_earlier_one() {
        let queue = Queue::new(9, usize::MAX);
        queue.push(accept(1)).unwrap();
        queue.push(stop(1)).unwrap();
        assert_eq!(queue.next(0, 0, false).unwrap().writes[0].record.run(), run(1));
        queue.push(accept(2)).unwrap();
        queue.push(stop(1)).unwrap();
        queue.push(stop(3)).unwrap();
        let mut mixed = accept(4);
        mixed.writes.extend(job(vec![stop_of(5, 1)]).writes);
        queue.push(mixed).unwrap();
        queue.push(stop(5)).unwrap();
        assert_eq!(taken(&queue), ["stop 3", "stop 1", "2", "stop 1", "4", "stop 5"]);
        assert!(queue.state.lock().known.is_empty());
    }

    #[test]
    fn a_stop_overtakes_nothing_of_another_epoch() {
        for (written, stopped, overtakes) in [(1, 1, true), (1, 2, false), (2, 1, false)] {
            let queue = Queue::new(9, usize::MAX);
            queue.push(start(1, written)).unwrap();
            queue.push(job(vec![stop_of(1, stopped)])).unwrap();
            let first = queue.next(0, 0, false).unwrap();
            assert_eq!(first.is_stop(), overtakes, "{written} {stopped}");
        }
    }

    #[test]
    fn stops_have_a_bound_as_well_and_one_that_is_given_up_is_taken_back() {
        let queue = Queue::new(2, usize::MAX);
        queue.push(accept(1)).unwrap();
        queue.push(accept(2)).unwrap();
        let mut waits: Vec<_> = (3..=7).map(|nth| queue.push(stop(nth)).unwrap()).collect();
        let has_to_wait: Vec<_> = waits.iter().map(Option::is_some).collect();
        assert_eq!(has_to_wait, [false, false, true, true, true]);
        waits.remove(3);
        assert_eq!(taken(&queue), ["stop 3", "stop 4", "stop 5", "stop 7", "1", "2"]);
    }

    #[test]
    fn what_is_given_up_while_it_waits_is_taken_back_and_the_order_stays() {
        let queue = Queue::new(1, usize::MAX);
        let mut waits: Vec<_> = (1..=5).map(|nth| queue.push(accept(nth)).unwrap()).collect();
        assert!(waits[0].is_none());
        waits.remove(2);
        waits.remove(0);
        assert_eq!(taken(&queue), ["1", "2", "4", "5"]);
        assert!(queue.push(stop(3)).unwrap().is_none(), "nobody accepts it any more");
    }

    #[test]
    fn a_batch_has_its_bounds_and_is_cut_earlier_for_a_stop() {
        let queue = Queue::new(9, usize::MAX);
        queue.push(accept(1)).unwrap();
        assert!(queue.next(CUT_RECORDS, 0, true).is_none(), "a stop is in it");
        assert!(queue.next(BATCH_RECORDS_MAX, 0, false).is_none());
        assert!(queue.next(1, BATCH_BYTES_MAX, false).is_none());
        queue.push(stop(2)).unwrap();
        assert!(queue.next(CUT_RECORDS, 0, false).is_none(), "a stop waits");
        assert!(queue.next(CUT_RECORDS - 1, 0, false).is_some_and(|job| job.is_stop()));
        assert!(queue.next(CUT_RECORDS, 0, false).is_some(), "no stop waits any more");
    }

    #[test]
    fn one_append_that_is_larger_than_all_the_room_is_taken_alone() {
        let queue = Queue::new(1, 0);
        let mut large = accept(1);
        large.writes.extend(accept(2).writes);
        assert!(queue.push(large).unwrap().is_none());
        let waits = queue.push(accept(3)).unwrap();
        assert!(waits.is_some());
        assert_eq!(taken(&queue), ["1", "3"]);
    }

    #[test]
    fn what_was_added_before_the_close_is_handed_out() {
        let queue = Queue::new(1, 0);
        queue.push(accept(1)).unwrap();
        let waits = queue.push(accept(2)).unwrap();
        queue.close();
        assert_eq!(queue.push(accept(3)).unwrap_err(), StoreError::Closed);
        assert!(queue.wait().is_some() && queue.wait().is_some() && queue.wait().is_none());
        drop(waits);
    }
}
