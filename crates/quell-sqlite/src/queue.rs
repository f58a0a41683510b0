//! [`Queue`]: appends on their way to the thread that writes.
//!
//! One mutex guards it; no code of others runs under it, and it is never held while SQLite works.
//! Its invariants:
//!
//! 1. `rest` has at most as many records and bytes as there is room for, or one append alone.
//!    `waiting` has those behind it, in the order in which they came; it is empty unless `rest` is
//!    full. An append in `waiting` leaves it when its caller gives up, so that what waits is held
//!    by callers that wait.
//! 2. `accepting` counts, of each run, the appends in `rest` and `waiting` that accept it. A stop
//!    of such a run goes behind them; any other stop goes to `stops`, and overtakes.
//! 3. After `is_closed` nothing is added. What was added before is handed out.

use std::collections::{HashMap, VecDeque};

use parking_lot::{Condvar, Mutex};
use quell_core::RunId;
use quell_core::store::{Record, StoreError};
use tokio::sync::oneshot;

use crate::encode::Write;

/// One append.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) writes: Vec<Write>,
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Appends on their way.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Something was added, or the queue was closed.
    changed: Condvar,
    records_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    stops: VecDeque<Job>,
    rest: VecDeque<Job>,
    waiting: VecDeque<(u64, Job)>,
    accepting: HashMap<RunId, usize>,
    /// Records and bytes of `rest`.
    records: usize,
    bytes: usize,
    /// The number of the next append that waits.
    next: u64,
    is_closed: bool,
}

/// An append that waits for room. When it is dropped, the append is taken back.
#[derive(Debug)]
pub(crate) struct Waits<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { state, changed, records_max: records_max.max(1), bytes_max }
    }

    /// Adds an append. Yields a guard if it has to wait for room.
    ///
    /// # Errors
    ///
    /// Fails if the queue was closed.
    pub(crate) fn push(&self, job: Job) -> Result<Option<Waits<'_>>, StoreError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        let waits = if state.may_overtake(&job) {
            state.stops.push_back(job);
            None
        } else {
            for run in accepted_by(&job) {
                *state.accepting.entry(run).or_default() += 1;
            }
            if state.waiting.is_empty() && self.has_room(&state, &job) {
                state.put(job);
                None
            } else {
                let number = state.next;
                state.next += 1;
                state.waiting.push_back((number, job));
                Some(Waits { queue: self, number })
            }
        };
        drop(state);
        self.changed.notify_one();
        Ok(waits)
    }

    /// Waits for an append; none if the queue is closed and empty.
    pub(crate) fn wait(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = self.take(&mut state) {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Takes the next append without waiting, unless a batch of so many records and bytes is large
    /// enough, or large enough for a stop to be kept waiting.
    pub(crate) fn next(&self, records: usize, bytes: usize, has_stop: bool) -> Option<Job> {
        let mut state = self.state.lock();
        let is_cut = records >= CUT_RECORDS && (has_stop || !state.stops.is_empty());
        if records >= BATCH_RECORDS_MAX || bytes >= BATCH_BYTES_MAX || is_cut {
            return None;
        }
        self.take(&mut state)
    }

    /// Adds nothing any more.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn take(&self, state: &mut State) -> Option<Job> {
        if let Some(stop) = state.stops.pop_front() {
            return Some(stop);
        }
        let job = state.rest.pop_front()?;
        state.records -= job.writes.len();
        state.bytes -= job.bytes;
        state.forget_accepted(&job);
        while let Some((number, next)) = state.waiting.pop_front() {
            if !self.has_room(state, &next) {
                state.waiting.push_front((number, next));
                break;
            }
            state.put(next);
        }
        Some(job)
    }

    fn has_room(&self, state: &State, job: &Job) -> bool {
        let records = state.records + job.writes.len();
        let bytes = state.bytes.saturating_add(job.bytes);
        state.rest.is_empty() || (records <= self.records_max && bytes <= self.bytes_max)
    }
}

impl State {
    fn put(&mut self, job: Job) {
        self.records += job.writes.len();
        self.bytes += job.bytes;
        self.rest.push_back(job);
    }

    fn may_overtake(&self, job: &Job) -> bool {
        job.is_stop()
            && job.writes.iter().all(|write| !self.accepting.contains_key(&write.record.run()))
    }

    fn forget_accepted(&mut self, job: &Job) {
        for run in accepted_by(job) {
            if let Some(count) = self.accepting.get_mut(&run) {
                *count -= 1;
                if *count == 0 {
                    self.accepting.remove(&run);
                }
            }
        }
    }
}

impl Job {
    /// Tells whether it holds nothing but stops.
    pub(crate) fn is_stop(&self) -> bool {
        self.writes.iter().all(|write| matches!(write.record, Record::StopAccepted(_)))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let place = state.waiting.binary_search_by_key(&self.number, |(number, _)| *number);
        let job = place.ok().and_then(|place| state.waiting.remove(place));
        if let Some((_, job)) = &job {
            state.forget_accepted(job);
        }
        // Records are dropped when nothing is locked.
        drop(state);
        drop(job);
    }
}

fn accepted_by(job: &Job) -> impl Iterator<Item = RunId> {
    job.writes.iter().filter_map(|write| match &write.record {
        Record::Accepted(accepted) => Some(accepted.run),
        _ => None,
    })
}

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

    use quell_core::store::{Accepted, Epoch, StopAccepted};
    use quell_core::{Cause, CauseKind, RunKind, StopMode};

    use super::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn run(nth: usize) -> RunId {
        RunId::from_text(&format!("run {nth}"))
    }

    fn job(records: Vec<Record>) -> Job {
        let write = |record| Write { record, text: String::new(), annotations: String::new() };
        let writes = records.into_iter().map(write).collect();
        Job { writes, bytes: 100, answer: oneshot::channel().0 }
    }

    fn accept(nth: usize) -> Job {
        let epoch = Epoch::new(1, 1);
        let accepted = Accepted::new(run(nth), RunKind::Agent, "a".into(), epoch, AT);
        job(vec![Record::Accepted(Box::new(accepted))])
    }

    fn stop(nth: usize) -> Job {
        let cause = Arc::new(Cause::new(CauseKind::Shutdown, AT, run(nth)));
        let stop = StopAccepted::new(run(nth), Epoch::new(1, 1), StopMode::Abort, cause);
        job(vec![Record::StopAccepted(Box::new(stop))])
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
        let large = job(vec![accept(1), accept(2)]
            .into_iter()
            .flat_map(|job| job.writes.into_iter().map(|write| write.record))
            .collect());
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
