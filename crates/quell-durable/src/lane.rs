//! [`Lane`]: appends in the order in which they came, of which only so many are ready.

use std::collections::VecDeque;

use quell_core::store::{Record, StoreError};
use tokio::sync::oneshot;

use crate::encode::Write;

/// One append. It has a record at least, unless it only finds out whether one would be stored.
#[derive(Debug)]
pub struct Job {
    /// Its records, in their order.
    pub writes: Vec<Write>,
    /// How many bytes they have, about.
    pub bytes: usize,
    /// Takes the answer of the caller.
    pub answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Bounds of what is ready in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// Appends in their order.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    ready: VecDeque<Job>,
    /// With their numbers, which rise.
    waiting: VecDeque<(u64, Job)>,
    /// Records and bytes of `ready`.
    records: usize,
    bytes: usize,
}

impl Lane {
    /// Adds an append. Yields whether there is room for it.
    pub(crate) fn push(&mut self, job: Job, number: u64, room: Room) -> bool {
        let has_room = self.waiting.is_empty() && self.has_room(&job, room);
        if has_room {
            self.put(job);
        } else {
            self.waiting.push_back((number, job));
        }
        has_room
    }

    /// Takes the first one, which makes room for others.
    pub(crate) fn pop(&mut self, room: Room) -> Option<Job> {
        let job = self.ready.pop_front()?;
        self.records -= job.writes.len();
        self.bytes -= job.bytes;
        while self.waiting.front().is_some_and(|(_, next)| self.has_room(next, room)) {
            let Some((_, next)) = self.waiting.pop_front() else { break };
            self.put(next);
        }
        Some(job)
    }

    /// Tells whether none is ready; then none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    fn put(&mut self, job: Job) {
        self.records += job.writes.len();
        self.bytes += job.bytes;
        self.ready.push_back(job);
    }

    fn has_room(&self, job: &Job, room: Room) -> bool {
        let records = self.records + job.writes.len();
        let bytes = self.bytes.saturating_add(job.bytes);
        self.ready.is_empty() || (records <= room.records_max && bytes <= room.bytes_max)
    }

    /// Takes one back that waits; none if it does not wait.
    pub(crate) fn take_back(&mut self, number: u64) -> Option<Job> {
        let place = self.waiting.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.waiting.remove(place).map(|(_, job)| job)
    }
}

impl Job {
    /// Tells whether it holds nothing but stops.
    pub fn is_stop(&self) -> bool {
        self.writes.iter().all(|write| matches!(write.record, Record::StopAccepted(_)))
    }
}
