//! [`Shared`] is what every run of an engine shares.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::{CancelRequest, Cause, CauseKind, RunId};

use crate::cluster::{Member, Watch};
use crate::config::EngineConfig;
use crate::failure::ForgetError;
use crate::foreign;
use crate::foreign::couriers::Couriers;
use crate::journal::{Entry, Heard, Journal};
use crate::log::firehose::AllEvents;
use crate::log::{KeepsEvents, Log, Sinks};
use crate::metrics::Counters;
use crate::node::{Control, Node, flags, report};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, Runtime, watch};
use crate::tables::admission::Admission;
use crate::tables::claims::Claims;
use crate::tables::coming::Coming;
use crate::tables::ledger::Ledger;
use crate::tables::registry::Registry;
use crate::tables::retention::{Leaving, Retention};
use crate::time::clock::Clock;

/// What every run of an engine shares. Aligned, so that the count of its references, which every
/// start and end of a run writes, is in another cache line.
#[repr(align(128))]
pub(crate) struct Shared {
    /// What the embedder has set.
    pub(crate) config: EngineConfig,
    /// Where bodies and hooks run.
    pub(crate) runtime: Runtime,
    /// The one clock.
    pub(crate) clock: Clock,
    /// Timers, and tokens from outside, for the control thread.
    pub(crate) control: Control,
    /// The runs by id, and the stops remembered for ids to come.
    pub(crate) registry: Registry<Node>,
    /// The idempotency keys, and the runs that they have started.
    pub(crate) claims: Claims,
    /// The roots of earlier processes and other nodes that are taken in.
    pub(crate) coming: Coming,
    /// The runs that wait for their start.
    pub(crate) admission: Admission<Node>,
    /// The ended trees that are kept.
    pub(crate) retention: Retention<Node>,
    /// What live runs hold, by owner.
    pub(crate) ledger: Ledger,
    /// What is counted, for whoever watches the engine.
    pub(crate) counters: Arc<Counters>,
    /// Threads that run what the control thread must not.
    pub(crate) couriers: Couriers,
    /// The stream of the events of every tree.
    pub(crate) events: Arc<AllEvents>,
    /// Set when a shutdown begins: no root is accepted any more.
    pub(crate) closed: AtomicBool,
    /// Set when the last [`Engine`](crate::Engine) is gone.
    pub(crate) abandoned: AtomicBool,
    /// How the newest shutdown stops roots. Set before `closed`.
    pub(crate) closing: Mutex<Option<Closing>>,
    /// The place in a cluster, if there is one.
    pub(crate) member: Option<Arc<Member>>,
    /// What is on its way into the store, if there is one.
    pub(crate) journal: Option<Arc<Journal<Node>>>,
    /// How many roots were taken in that other processes had before.
    pub(crate) taken_in: AtomicU64,
    /// How often what others have left was taken in.
    pub(crate) take_overs: watch::Sender<u64>,
}

/// What stops a root that appears while the engine shuts down.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    /// What it is asked.
    pub(crate) request: CancelRequest,
    /// The time between abort and abandon.
    pub(crate) wait: Duration,
    /// The lease was lost: nobody has asked for it.
    pub(crate) is_loss: bool,
}

impl Shared {
    /// Yields what the logs write with.
    #[inline]
    pub(crate) fn sinks(&self) -> Sinks<'_> {
        let journal = self.journal.as_deref().map(|journal| journal as &dyn KeepsEvents);
        Sinks { clock: &self.clock, events: &self.events, ledger: &self.ledger, journal }
    }

    pub(crate) fn new_log(
        &self,
        root: RunId,
        account: Option<Arc<str>>,
        attempt: Option<u32>,
    ) -> Log {
        Log::new(root, account, attempt, &self.config.limits, &self.clock)
    }

    /// Lists the live roots in the order in which all of them are to be stopped.
    pub(crate) fn live_roots(&self) -> Vec<Arc<Node>> {
        self.list_for_stop(|node| node.is_root() && !node.status().is_terminal())
    }

    /// Lists the runs that are meant, in the order in which all of them are to be stopped.
    pub(crate) fn list_for_stop(&self, is_meant: impl Fn(&Node) -> bool) -> Vec<Arc<Node>> {
        let mut nodes = self.registry.list(is_meant);
        nodes.sort_by_cached_key(|node| self.stop_rank(node));
        nodes
    }

    /// Ranks a run among those that are all to be stopped: first those that wait for their lane,
    /// then the others that await admission, the newest first. So none of them starts because
    /// another one has ended: not even the holder of a lane, which may wait for a slot, hands it
    /// over to one of them.
    pub(crate) fn stop_rank(&self, node: &Arc<Node>) -> (bool, bool, Reverse<RunId>) {
        let waits = node.flags() & flags::AWAITS_ADMISSION != 0;
        let is_behind = waits && self.admission.is_behind(node);
        (!is_behind, !waits, Reverse(node.id))
    }

    /// Keeps an ended tree, or forgets it, if its stop takes back all that it has done.
    pub(crate) fn retire_or_forget(&self, root: &Arc<Node>, rolled_back: bool, now: Instant) {
        if rolled_back {
            // Before it is retired: it is never kept, and nothing that is kept leaves for it. It
            // has ended, is a root, and is quiescent: nothing refuses that.
            let _ = self.forget_root(root);
        }
        self.retire(root, now);
    }

    /// Keeps an ended tree, and forgets those whose time is over.
    pub(crate) fn retire(&self, root: &Arc<Node>, now: Instant) {
        if self.journal.is_some() {
            root.release_bytes(&root.lock());
            // One that the store has refused may come here twice.
            if !root.mark(flags::RETIRED) {
                return;
            }
        }
        let is_forgotten = || root.flags() & flags::FORGOTTEN != 0;
        let measure = || report::size_of(root);
        let (leaving, until) = self.retention.keep(root, measure, is_forgotten, now);
        if let Some(at) = until {
            self.control.nudge(self.clock.ticks(at));
        }
        self.forget(leaving);
    }

    /// Forgets the trees whose time is over. Yields when the time of the next one is.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let (leaving, next) = self.retention.expire(now);
        self.forget(leaving);
        next
    }

    /// Forgets the tree of a root before its time.
    pub(crate) fn forget_root(&self, root: &Arc<Node>) -> Result<(), ForgetError> {
        if !root.is_root() {
            return Err(ForgetError::NotRoot);
        }
        if !root.is_over() {
            return Err(ForgetError::NotQuiescent);
        }
        let mut is_first = false;
        self.retention.forget(root, || is_first = root.mark(flags::FORGOTTEN));
        if is_first {
            let state = root.lock();
            let (accepted, at) = (root.began(&state).0, self.clock.stamp(self.clock.now()));
            root.journal(|node| Entry::Forgotten(node, at, accepted));
        }
        self.forget_ids(root, true);
        Ok(())
    }

    /// Forgets a root that has ended and that the store has no longer.
    pub(crate) fn forget_taken_back(&self, root: &Arc<Node>) {
        self.retention.forget(root, || _ = root.mark(flags::FORGOTTEN));
        self.forget_ids(root, true);
        self.retire(root, self.clock.now());
    }

    /// Forgets a root that the store has refused: it was never accepted.
    pub(crate) fn undo(&self, root: &Arc<Node>) {
        self.retention.forget(root, || _ = root.mark(flags::FORGOTTEN));
        self.forget_ids(root, false);
    }

    /// Takes the runs of a tree that has ended out of the registry. Its key stays for a while if
    /// `keeps_key`; otherwise whoever knows more, a store, answers for it.
    fn forget_ids(&self, root: &Arc<Node>, keeps_key: bool) {
        if let Some(key) = root.key() {
            // Under the lock of the keys: a submit with this one finds the run, or that it is
            // forgotten. Another thread may have forgotten it before.
            let mut keys = self.claims.lock();
            if self.registry.remove(root.id, root) {
                let keeps_key = keeps_key && !root.lock().frees_key();
                let now = keeps_key.then(|| self.clock.now());
                keys.let_go(root.owner(), key, now);
            }
        } else {
            self.registry.remove(root.id, root);
        }
        let mut stack: Vec<_> = root.lock().children.iter().map(Arc::clone).collect();
        while let Some(node) = stack.pop() {
            self.registry.remove(node.id, &node);
            stack.extend(node.lock().children.iter().map(Arc::clone));
        }
    }

    /// Forgets trees, and drops the foreign values and errors that they hold.
    fn forget(&self, leaving: Leaving<Node>) {
        for root in leaving {
            foreign::run(&self.couriers, move || {
                root.shared.forget_ids(&root, root.shared.journal.is_none());
                drop(root);
            });
        }
    }

    /// Tells whether the engine is gone, with all that it ran and had to store.
    pub(crate) fn is_abandoned(&self) -> bool {
        let is_pending = || self.journal.as_ref().is_some_and(|journal| journal.is_pending());
        self.abandoned.load(Ordering::SeqCst) && self.registry.is_idle() && !is_pending()
    }

    /// Makes what the writer calls.
    pub(crate) fn hearing(self: &Arc<Self>) -> Heard {
        Heard { loss: self.loss_hearer(), stored: self.stop_hearer() }
    }

    fn loss_hearer(self: &Arc<Self>) -> Box<dyn Fn() + Send> {
        let engine = Arc::downgrade(self);
        Box::new(move || {
            if let Some(shared) = engine.upgrade() {
                shared.hear_of_loss();
            }
        })
    }

    /// Stops the runs of an append for which a node has remembered a stop, while none of them has
    /// started.
    fn stop_hearer(self: &Arc<Self>) -> Option<Box<dyn Fn() + Send>> {
        self.member.as_ref()?;
        let engine = Arc::downgrade(self);
        Some(Box::new(move || {
            let Some(shared) = engine.upgrade() else { return };
            let Some(member) = &shared.member else { return };
            let stops = foreign::catch_panic(|| member.cluster.take_remembered());
            // What is not heard of here is read from the inbox, and answered then in any case.
            for stop in stops.unwrap_or_default() {
                if let Some(node) = shared.registry.get(stop.run) {
                    _ = node.cancel(&stop.request);
                }
            }
            shared.hear_of_lanes(member);
        }))
    }

    /// Has the control thread find that the lease is over: the store says so.
    pub(crate) fn hear_of_loss(&self) {
        if let Some(member) = &self.member {
            member.revoke();
            self.control.nudge(self.clock.stamp(self.clock.now()));
        }
    }

    /// Looks whether the lease has lapsed. If it just has, admission closes, nothing is stored any
    /// more, and what is to be asked of every root is yielded; else, when it lapses. Called by the
    /// control thread.
    pub(crate) fn watch_lease(&self, now: Instant) -> (Option<Instant>, Option<CancelRequest>) {
        let Some(member) = &self.member else { return (None, None) };
        match member.watch(now) {
            Watch::Until(at) => return (Some(at), None),
            Watch::Over => return (None, None),
            Watch::Lapsed => {}
        }
        let words = format!("node `{}` has lost its lease", member.name);
        let request = CancelRequest::because(words).kind(CauseKind::LeaseLost);
        let request = request.grace(self.config.grace);
        // Before anything ends: nothing of that is for the store.
        if let Some(journal) = &self.journal {
            journal.revoke(member.error());
        }
        let wait = self.config.abort_wait;
        // The plan first, as in a shutdown: a run that becomes a root and sees `closed` finds it.
        *self.closing.lock() = Some(Closing { request: request.clone(), wait, is_loss: true });
        self.closed.store(true, Ordering::SeqCst);
        let lost = member.lost.clone();
        foreign::run(&self.couriers, move || lost.cancel());
        (None, Some(request))
    }

    /// Says why nothing can start in a run that is over.
    pub(crate) fn cause_of_late(&self, run: RunId, why: &str) -> Cause {
        let mut cause =
            Cause::new(CauseKind::ParentStopped, self.clock.wall(self.clock.now()), run);
        cause.message = Some(why.into());
        cause
    }

    /// Ends the loop, the couriers and the stream of events, if the engine was closed and no root
    /// is live. `close` calls it, and after that every end of a root: one of these calls is the
    /// last, also if the caller of `shutdown` has stopped waiting.
    pub(crate) fn finish_closing(&self) {
        if self.closed.load(Ordering::SeqCst) && self.registry.is_idle() {
            self.control.close();
            self.couriers.close();
            self.events.close(&self.couriers);
        }
    }
}

impl Drop for Shared {
    /// Nothing can be due any more: no run is left.
    fn drop(&mut self) {
        self.control.close();
        self.couriers.close();
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
