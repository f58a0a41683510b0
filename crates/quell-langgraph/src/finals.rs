//! Final bodies of runs that were deleted at their end: a client whose connection was cut still
//! gets its answer (section 7), and a resumable stream its events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use quell::{EventKind, Payload, RunId, RunRef, limits};
use quell_http::Charge;

use crate::threads::{Thread, Tracked};

/// The final bodies, within a bound of number and of memory, of which every owner has a share. The
/// oldest leave first; of an owner beyond their share, that owner's.
#[derive(Debug)]
pub(crate) struct Finals(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    share: Amount,
    runs: HashMap<RunId, Arc<Final>>,
    order: VecDeque<(Instant, RunId)>,
    bytes: usize,
    /// What owners with a name have of it.
    owners: HashMap<String, Amount>,
}

/// Final bodies and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    runs: usize,
    bytes: usize,
}

/// What is kept of a run that was deleted.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) run: RunRef,
    pub(crate) thread: Arc<Thread>,
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) body: String,
    /// What the run takes, with its log.
    pub(crate) run_bytes: usize,
}

impl Final {
    /// What it takes in memory, about: what came, as it is held by the request, the run, its log
    /// and its values, and the body.
    fn bytes(&self) -> usize {
        self.body.len() + 4 * self.tracked.weight + self.run_bytes
    }
}

impl Finals {
    /// Bounds what one owner may have of it, in percent.
    pub(crate) fn new(share_percent: u8) -> Self {
        let of = |max| limits::share_of(max, share_percent);
        let share = Amount { runs: of(KEPT_MAX), bytes: of(KEPT_BYTES_MAX) };
        let (runs, order, owners) = (HashMap::new(), VecDeque::new(), HashMap::new());
        Self(Mutex::new(Kept { share, runs, order, bytes: 0, owners }))
    }

    pub(crate) fn keep(&self, kept: Final) {
        let (now, id) = (Instant::now(), kept.run.id());
        let owner = kept.thread.owner.clone();
        let mut all = self.0.lock();
        if all.forget(id).is_none() {
            all.order.push_back((now + KEPT_FOR, id));
        }
        all.bytes += kept.bytes();
        if let Some(owner) = &owner {
            let theirs = all.owners.entry(owner.clone()).or_default();
            theirs.runs += 1;
            theirs.bytes += kept.bytes();
        }
        all.runs.insert(id, Arc::new(kept));
        if let Some(owner) = &owner {
            all.keep_share(owner);
        }
        all.expire(now);
    }

    /// Drops what is kept of an owner's runs, oldest first, until so many bytes of requests are
    /// given back; yields how many.
    pub(crate) fn evict(&self, owner: Option<&str>, bytes: usize) -> usize {
        let mut all = self.0.lock();
        all.expire(Instant::now());
        let mut freed = 0;
        let of_owner: Vec<_> = all.of(owner).map(|(_, id)| *id).collect();
        for id in of_owner {
            if freed >= bytes {
                break;
            }
            if let Some(left) = all.forget(id) {
                freed += left.tracked.charge.as_ref().map_or(0, Charge::bytes);
            }
        }
        let Kept { runs, order, .. } = &mut *all;
        order.retain(|(_, id)| runs.contains_key(id));
        freed
    }

    pub(crate) fn get(&self, id: RunId) -> Option<Arc<Final>> {
        let mut all = self.0.lock();
        all.expire(Instant::now());
        all.runs.get(&id).map(Arc::clone)
    }
}

impl Kept {
    /// Yields the final bodies of an owner, oldest first.
    fn of(&self, owner: Option<&str>) -> impl Iterator<Item = &(Instant, RunId)> {
        let is_theirs = move |left: &Arc<Final>| left.thread.owner.as_deref() == owner;
        self.order.iter().filter(move |(_, id)| self.runs.get(id).is_some_and(is_theirs))
    }

    /// Forgets the oldest of an owner until they are within their share; their last one stays.
    fn keep_share(&mut self, owner: &str) {
        while let Some(theirs) = self.owners.get(owner)
            && theirs.runs > 1
            && (theirs.runs > self.share.runs || theirs.bytes > self.share.bytes)
        {
            let Some((_, oldest)) = self.of(Some(owner)).next().copied() else { break };
            self.forget(oldest);
            self.order.retain(|(_, id)| *id != oldest);
        }
    }

    /// Forgets one; its place in the order is the caller's.
    fn forget(&mut self, id: RunId) -> Option<Arc<Final>> {
        let left = self.runs.remove(&id)?;
        self.bytes -= left.bytes();
        if let Some(owner) = left.thread.owner.as_deref()
            && let Some(theirs) = self.owners.get_mut(owner)
        {
            theirs.runs -= 1;
            theirs.bytes -= left.bytes();
            if theirs.runs == 0 {
                self.owners.remove(owner);
            }
        }
        Some(left)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((until, id)) = self.order.front().copied() {
            let fits = self.order.len() == 1
                || (self.order.len() <= KEPT_MAX && self.bytes <= KEPT_BYTES_MAX);
            if until > now && fits {
                break;
            }
            self.order.pop_front();
            self.forget(id);
        }
    }
}

/// Yields what a run that has ended takes in memory, about: its rows and its log.
pub(crate) fn run_bytes(run: &RunRef) -> usize {
    let report = run.report();
    let rows = report.rows.iter().map(|row| {
        ROW_BYTES
            + [&row.output, &row.partial]
                .into_iter()
                .flatten()
                .map(Payload::bytes_max)
                .sum::<usize>()
    });
    let mut sum = rows.sum::<usize>() + run.input().map_or(0, Payload::bytes_max);
    let mut events = run.events();
    for _ in 0..=limits::EVENTS_PER_ROOT_MAX {
        let Some(Some(event)) = events.next().now_or_never() else { break };
        sum += EVENT_BYTES
            + match &event.kind {
                EventKind::Emitted(payload) => payload.len(),
                EventKind::ToolStarted { input, .. } => input.len(),
                EventKind::ToolEnded { outcome: quell::ToolOutcome::Result(Some(it)), .. } => {
                    it.len()
                }
                _ => 0,
            };
    }
    sum
}

/// How long a final body stays available.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Final bodies kept. One more, and the oldest leaves.
const KEPT_MAX: usize = 4_096;

/// Memory of all that is kept. More, and the oldest leaves; the last one stays, however large.
const KEPT_BYTES_MAX: usize = 128 << 20;

/// What a row takes besides what it has put out.
const ROW_BYTES: usize = 512;

/// What an event takes besides what it says.
const EVENT_BYTES: usize = 96;

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
        let (finals, engine) = (Finals::new(25), Engine::new());
        let keep = |owner: Option<&str>, weight: usize, body: usize| {
            let handle = engine.submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
            let run = handle.run().clone();
            let mut tracked = stranger(&run, Uuid::nil(), Reducers::default());
            tracked.weight = weight;
            let thread = Arc::new(Thread::new(Uuid::nil(), owner, Map::new(), true));
            let (id, body) = (run.id(), "x".repeat(body));
            finals.keep(Final { run, thread, tracked: Arc::new(tracked), body, run_bytes: 0 });
            id
        };
        let ids: Vec<_> = (0..20).map(|_| keep(None, 2 * MIB, 2 * MIB)).collect();
        let left: Vec<_> = ids.iter().filter(|id| finals.get(**id).is_some()).collect();
        assert_eq!(left, ids[8..].iter().collect::<Vec<_>>(), "10 MiB each: the last 12");
        let large = keep(None, KEPT_BYTES_MAX, 0);
        assert!(finals.get(large).is_some());
        let precious = keep(Some("ben"), MIB, MIB);
        let of_ada: Vec<_> = (0..20).map(|_| keep(Some("ada"), 2 * MIB, 2 * MIB)).collect();
        assert!(finals.get(precious).is_some(), "another owner's state stays");
        let left: Vec<_> = of_ada.iter().filter(|id| finals.get(**id).is_some()).collect();
        assert_eq!(left, of_ada[17..].iter().collect::<Vec<_>>(), "a share is 32 MiB");
        assert!(finals.evict(Some("ada"), 1) == 0 && finals.get(precious).is_some());
        let large = keep(None, KEPT_BYTES_MAX, 0);
        let all = finals.0.lock();
        assert_eq!((all.runs.len(), all.order.len(), all.bytes), (1, 1, 4 * KEPT_BYTES_MAX));
        assert!(all.owners.is_empty() && all.runs.contains_key(&large));
    }

    #[tokio::test]
    async fn a_run_takes_what_its_log_holds() {
        let engine = Engine::new();
        let handle = engine.submit(RunSpec::agent("a"), async |ctx| {
            for _ in 0..10 {
                ctx.emit("x".repeat(10_000));
            }
            Ok(())
        });
        let run = handle.unwrap().into_ref();
        run.quiescent().await;
        let bytes = run_bytes(&run);
        assert!((100_000..110_000).contains(&bytes), "{bytes}");
    }
}
