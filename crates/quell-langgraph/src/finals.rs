//! Final bodies of runs that were deleted at their end: a client whose connection was cut still
//! gets its answer (section 7), and a resumable stream its events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quell::{RunId, RunRef};
use quell_http::Charge;

use crate::threads::{Thread, Tracked};

/// The final bodies, within a bound of number and of memory. The oldest leave first.
#[derive(Debug, Default)]
pub(crate) struct Finals(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    runs: HashMap<RunId, Arc<Final>>,
    order: VecDeque<(Instant, RunId)>,
    bytes: usize,
}

/// What is kept of a run that was deleted.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) run: RunRef,
    pub(crate) thread: Arc<Thread>,
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) body: String,
}

impl Final {
    /// What it takes in memory, about: what came, as it is held by the request, the run, its log
    /// and its values, and the body.
    fn bytes(&self) -> usize {
        self.body.len() + 4 * self.tracked.weight
    }
}

impl Finals {
    pub(crate) fn keep(&self, kept: Final) {
        let now = Instant::now();
        let (id, bytes) = (kept.run.id(), kept.bytes());
        let mut all = self.0.lock();
        all.bytes += bytes;
        match all.runs.insert(id, Arc::new(kept)) {
            Some(before) => all.bytes -= before.bytes(),
            None => all.order.push_back((now + KEPT_FOR, id)),
        }
        all.expire(now);
    }

    /// Drops what is kept of an owner's runs, oldest first, until so many bytes of requests are
    /// given back; yields how many.
    pub(crate) fn evict(&self, owner: Option<&str>, bytes: usize) -> usize {
        let mut all = self.0.lock();
        all.expire(Instant::now());
        let mut freed = 0;
        let Kept { runs, order, bytes: sum } = &mut *all;
        order.retain(|(_, id)| {
            let Some(left) = runs.get(id).filter(|left| left.thread.owner.as_deref() == owner)
            else {
                return true;
            };
            if freed >= bytes {
                return true;
            }
            freed += left.tracked.charge.as_ref().map_or(0, Charge::bytes);
            *sum -= left.bytes();
            runs.remove(id);
            false
        });
        freed
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
            let fits = self.order.len() == 1
                || (self.order.len() <= KEPT_MAX && self.bytes <= KEPT_BYTES_MAX);
            if until > now && fits {
                break;
            }
            self.order.pop_front();
            self.bytes -= self.runs.remove(&id).map_or(0, |left| left.bytes());
        }
    }
}

/// How long a final body stays available.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Final bodies kept. One more, and the oldest leaves.
const KEPT_MAX: usize = 4_096;

/// Memory of all that is kept. More, and the oldest leaves; the last one stays, however large.
const KEPT_BYTES_MAX: usize = 128 << 20;

#[cfg(test)]
mod tests {
    use quell::{Engine, RunSpec};
    use quell_flow::Reducers;
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;
    use crate::app::stranger;

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_memory_and_the_last_one_stays() {
        const MIB: usize = 1 << 20;
        let (finals, engine) = (Finals::default(), Engine::new());
        let keep = |weight: usize, body: usize| {
            let handle = engine.submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
            let run = handle.run().clone();
            let mut tracked = stranger(&run, Uuid::nil(), Reducers::default());
            tracked.weight = weight;
            let thread = Arc::new(Thread::new(Uuid::nil(), None, Map::new(), true));
            let (id, body) = (run.id(), "x".repeat(body));
            finals.keep(Final { run, thread, tracked: Arc::new(tracked), body });
            id
        };
        let ids: Vec<_> = (0..20).map(|_| keep(2 * MIB, 2 * MIB)).collect();
        let left: Vec<_> = ids.iter().filter(|id| finals.get(**id).is_some()).collect();
        assert_eq!(left, ids[8..].iter().collect::<Vec<_>>(), "10 MiB each: the last 12");
        let large = keep(KEPT_BYTES_MAX, 0);
        assert!(finals.get(large).is_some());
        let all = finals.0.lock();
        assert_eq!((all.runs.len(), all.order.len(), all.bytes), (1, 1, 4 * KEPT_BYTES_MAX));
    }
}
