//! Final bodies of runs that were deleted at their end: a client whose connection was cut still
//! gets its answer (section 7), and a resumable stream its events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quell::{RunId, RunRef};

use crate::threads::{Thread, Tracked};

/// The final bodies. The oldest leave first.
#[derive(Debug, Default)]
pub(crate) struct Finals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    runs: HashMap<RunId, Arc<Final>>,
    order: VecDeque<(Instant, RunId)>,
}

/// What is kept of a run that was deleted.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) run: RunRef,
    pub(crate) thread: Arc<Thread>,
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) body: String,
}

impl Finals {
    pub(crate) fn keep(&self, kept: Final) {
        let now = Instant::now();
        let id = kept.run.id();
        let mut all = self.0.lock();
        all.expire(now);
        if all.runs.insert(id, Arc::new(kept)).is_none() {
            all.order.push_back((now + KEPT_FOR, id));
        }
    }

    pub(crate) fn get(&self, id: RunId) -> Option<Arc<Final>> {
        let mut all = self.0.lock();
        all.expire(Instant::now());
        all.runs.get(&id).map(Arc::clone)
    }
}

impl Kept {
    fn expire(&mut self, now: Instant) {
        while let Some((until, id)) = self.order.front().copied() {
            if until > now && self.order.len() < KEPT_MAX {
                break;
            }
            self.order.pop_front();
            self.runs.remove(&id);
        }
    }
}

/// How long a final body stays available.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Final bodies kept. One more, and the oldest leaves.
const KEPT_MAX: usize = 4_096;
