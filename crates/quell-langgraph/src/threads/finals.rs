//! [`Finals`]: the final bodies of runs that were deleted at their end. A client whose connection
//! was cut still gets its answer (contract, section 7), and a resumable stream its events.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quell::cluster::RunMeant;
use quell::{RunId, RunRef};
use quell_http::{BoundedMap, Charge, Overdrawn, Principal, ServiceLimits, View};
use tokio::sync::Notify;

use crate::threads::thread::Thread;
use crate::threads::tracked::Tracked;
use crate::values::Values;

/// The final bodies, within a bound of number and of memory, of which every owner has a share.
#[derive(Debug)]
pub(crate) struct Finals {
    all: Mutex<BoundedMap<RunId, Arc<Final>>>,
    /// There is a first one, whose time will be over.
    pub(crate) woken: Arc<Notify>,
}

/// What is kept of a run that was deleted.
#[derive(Debug)]
pub(crate) struct Final {
    pub(crate) run: RunRef,
    pub(crate) thread: Arc<Thread>,
    pub(crate) tracked: Arc<Tracked>,
    pub(crate) body: Bytes,
    /// The values that the body shows.
    pub(crate) shown: Weak<Values>,
    /// What the run takes, with its log.
    pub(crate) run_bytes: usize,
}

impl Final {
    /// Yields the body for a client, in room that it found before, if any. All clients that take
    /// the body at the same time share it, and the first one is charged for it until the last one
    /// is done: the body may have left this table by then.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it among what is under way.
    pub(crate) fn body(&self, view: &View, room: Option<Charge>) -> Result<Bytes, Overdrawn> {
        let counted = || match room {
            Some(room) => view.counted_in(room, self.body.clone()),
            None => view.counted(self.body.clone()),
        };
        Ok(self.tracked.body.get_or(&self.shown, counted)?.into())
    }

    /// What it takes in memory, about: the body, and the run with what came for it and its log.
    fn bytes(&self) -> usize {
        self.body.len() + self.run_bytes
    }
}

impl Finals {
    pub(crate) fn new(limits: &ServiceLimits) -> Self {
        let bytes = limits.kept_bytes_max / PARTS_OF_KEPT;
        // The last body stays, however large: its client has not had its answer yet.
        let all = BoundedMap::new(KEPT_MAX, bytes, limits.owner_share_percent);
        Self { all: Mutex::new(all.keeping_last()), woken: Arc::default() }
    }

    /// Keeps one. Yields those that have left.
    pub(crate) fn keep(&self, kept: Final) -> Vec<Arc<Final>> {
        self.keep_until(kept, Instant::now() + FINAL_TTL)
    }

    pub(crate) fn keep_until(&self, kept: Final, until: Instant) -> Vec<Arc<Final>> {
        let owner = kept.thread.owner.as_deref().map(Arc::from);
        let (id, bytes) = (kept.run.id(), kept.bytes());
        let mut all = self.all.lock();
        let left = all.put(owner.as_ref(), id, Arc::new(kept), bytes, until);
        if all.len() == 1 {
            self.woken.notify_one();
        }
        left
    }

    /// Takes out those whose time is over.
    pub(crate) fn expire(&self) -> Vec<Arc<Final>> {
        self.all.lock().expire()
    }

    /// Yields when the next one is to leave.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.all.lock().expires_at()
    }

    /// Forgets what is kept of runs of an owner, and not of later ones that have their ids.
    pub(crate) fn remove(&self, owner: Option<&str>, runs: &[RunMeant]) {
        let owner = owner.map(Arc::from);
        let mut all = self.all.lock();
        let mut take = |run: &RunMeant| {
            let kept = all.get(owner.as_ref(), &run.id())?;
            let is_it = RunMeant::from(&kept.run) == *run;
            if is_it { all.remove(owner.as_ref(), &run.id()) } else { None }
        };
        let removed: Vec<_> = runs.iter().map(&mut take).collect();
        drop(all);
        drop(removed);
    }

    /// Tells whether a run of an owner is kept.
    pub(crate) fn has_of(&self, owner: Option<&str>, id: RunId) -> bool {
        self.all.lock().get(owner.map(Arc::from).as_ref(), &id).is_some()
    }

    /// As [`Finals::has_of`], of any owner.
    pub(crate) fn has(&self, id: RunId) -> bool {
        self.all.lock().find(&id).is_some()
    }

    /// Finds what is kept of a run that a principal may see.
    pub(crate) fn get(&self, whom: &Principal, id: RunId) -> Option<Arc<Final>> {
        let all = self.all.lock();
        let found = if whom.sees_all() { all.find(&id) } else { all.get(whom.owner(), &id) };
        found.map(Arc::clone)
    }
}

/// How long a final body stays available.
pub(crate) const FINAL_TTL: Duration = Duration::from_mins(1);

/// Final bodies kept. One more, and the oldest leaves.
const KEPT_MAX: usize = 4_096;

/// Memory of all that is kept: this part of [`ServiceLimits::kept_bytes_max`], besides it. More,
/// and the oldest leaves; the last one stays, however large.
const PARTS_OF_KEPT: usize = 2;

#[cfg(test)]
mod tests {
    use quell::{Engine, RunSpec};
    use quell_http::run_bytes;
    use uuid::Uuid;

    use super::*;
    use crate::threads::within;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_memory_and_the_last_one_stays() {
        const KIB: usize = 1 << 10;
        let mut limits = ServiceLimits::default();
        limits.kept_bytes_max = 256 * KIB;
        let (finals, engine) = (Finals::new(&limits), Engine::new());
        let get = |id: &RunId| finals.get(&Principal::anonymous().admin(), *id);
        let keep = |owner: Option<&str>, run_bytes: usize, body: usize| {
            let handle = engine.submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap();
            let run = handle.run().clone();
            let tracked = Tracked::of(&(&run).into(), within(Uuid::nil()));
            let thread = Arc::new(Thread::new(Uuid::nil(), owner, &Keys::new(), true));
            let (id, body) = (run.id(), "x".repeat(body).into());
            let (tracked, shown) = (Arc::new(tracked), Weak::new());
            finals.keep(Final { run, thread, tracked, body, shown, run_bytes });
            id
        };
        let ids: Vec<_> = (0..20).map(|_| keep(None, 8 * KIB, 2 * KIB)).collect();
        let left: Vec<_> = ids.iter().filter(|id| get(id).is_some()).collect();
        assert_eq!(left, ids[8..].iter().collect::<Vec<_>>(), "10 KiB each: the last 12");
        let large = keep(None, 512 * KIB, 0);
        assert!(get(&large).is_some());
        let precious = keep(Some("ben"), KIB, KIB);
        let of_ada: Vec<_> = (0..20).map(|_| keep(Some("ada"), 8 * KIB, 2 * KIB)).collect();
        assert!(get(&precious).is_some(), "another owner's state stays");
        let left: Vec<_> = of_ada.iter().filter(|id| get(id).is_some()).collect();
        assert_eq!(left, of_ada[17..].iter().collect::<Vec<_>>(), "a share is 32 KiB");
        let (ada, ben) = (Principal::named("ada"), Principal::named("ben"));
        assert!(finals.get(&ada, precious).is_none() && finals.get(&ben, precious).is_some());
        let large = keep(None, 512 * KIB, 0);
        let all = finals.all.lock();
        assert_eq!((all.len(), all.bytes()), (1, 512 * KIB));
        assert!(all.find(&large).is_some());
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
