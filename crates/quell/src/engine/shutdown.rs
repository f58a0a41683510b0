//! [`Engine::shutdown`] ends an engine in stages, each with its own instant, and reports what it
//! did (I38).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::select;
use futures::poll;

use quell_core::limits;
use quell_core::{Abandoned, CancelRequest, CauseKind, Counts};

use crate::cluster::{Leave, Member};
use crate::engine::Engine;
use crate::foreign;
use crate::node::{Closing, Node, Shared};
use crate::sync::Ordering;
use crate::sync::waiters::{Key, Wakers};

/// How an engine shuts down: first no new roots, then three stages.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::Shutdown;
///
/// let plan = Shutdown { after_step: Duration::from_secs(10), ..Shutdown::default() };
/// assert_eq!(plan.grace, Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three stages are all there are")]
pub struct Shutdown {
    /// How long runs may go on to their next checkpoint. Defaults to zero: no such stage.
    pub after_step: Duration,
    /// Time between the signal and abort. Defaults to 5 s. Zero drops bodies at once.
    pub grace: Duration,
    /// Time between abort and abandon. Defaults to 1 s. Zero abandons at once.
    pub abort_wait: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { after_step: Duration::ZERO, grace: limits::GRACE, abort_wait: limits::ABORT_WAIT }
    }
}

impl From<Duration> for Shutdown {
    /// Takes a grace; the rest is the default.
    fn from(grace: Duration) -> Self {
        Self { grace, ..Self::default() }
    }
}

/// What a shutdown did.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let report = quell::Engine::new().shutdown(quell::Shutdown::default()).await;
/// assert_eq!(report.roots.total(), 0);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The roots that were live when it began, by how they ended.
    pub roots: Counts,
    /// What still executes: it could not be dropped. Also of roots that had ended before.
    pub abandoned: Vec<Abandoned>,
    /// What is not known to be stored, in number; zero without a store. A run that the store has
    /// refused was never accepted, and does not count. Nor does what became of runs here after the
    /// lease of a node was lost: in the store they are what they were, and others have them.
    pub unstored: usize,
    /// How long it took.
    pub took: Duration,
}

impl Engine {
    /// Shuts the engine down: admission closes, then every run is asked to stop after its step,
    /// cooperatively, and by abort, each at its own instant. Returns when every run is terminal,
    /// at the latest after the three times of the plan together, and stored, at the latest
    /// [`limits::STORE_WAIT`] after that. Called again, meanwhile or after
    /// it was dropped, it aborts.
    ///
    /// With a store a root that is paused is left to the process that recovers it: it stays paused
    /// in the store, and its status and its row say so here, too. So is one that has a due time
    /// ([`RunSpec::not_before`](crate::RunSpec::not_before)) and has never started: it stays
    /// queued, and starts when it is due, or at once. A node leaves in the same way what
    /// is queued and has never started; other nodes take all of that over at once, see
    /// [`Cluster::release`](crate::cluster::Cluster::release). What would have made its next
    /// body is dropped. Its streams end without a further event, so that no event has a number that
    /// its successor gives to another one. Who waits for its end is let go, and is told `Paused`
    /// or `Queued`; its handle yields that this shutdown has stopped it. It counts as live in the
    /// report of the shutdown, is no longer found by its id, and a cancel of it is answered with
    /// [`Disposition::Unknown`](crate::Disposition::Unknown) and is not stored.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped, the stages go on by themselves, and the streams of
    /// [`events`](Self::events) end after the last run has.
    pub async fn shutdown(&self, plan: impl Into<Shutdown> + Send) -> ShutdownReport {
        let plan = plan.into();
        let shared = self.shared();
        let began = shared.clock.now();
        let mut roots = shared.registry.list(Node::is_root);
        roots.retain(|root| !root.is_over());
        let roots = roots.into_iter().map(|root| (!root.status().is_terminal(), root));
        let roots: Vec<_> = roots.collect();
        // What a lost lease has begun, nobody has asked for.
        let again = shared.closing.lock().as_ref().is_some_and(|closing| !closing.is_loss);
        shared.close(&Closing::new(&plan, again));
        Idle { shared, key: None }.wait().await;
        let unstored = match &shared.journal {
            Some(journal) => {
                let until = journal.give_up_after(limits::STORE_WAIT);
                let mut flushed = pin!(journal.flushed());
                match poll!(flushed.as_mut()) {
                    Poll::Ready(unstored) => unstored,
                    Poll::Pending => {
                        shared.release_at(until);
                        flushed.await
                    }
                }
            }
            None => 0,
        };
        if let Some(member) = &shared.member {
            let until = shared.clock.now() + limits::STORE_WAIT;
            // What is live in the store by now was left, or never taken in.
            member.begin_to_leave(Leave { until, is_drained: unstored == 0 });
            shared.let_leave_by(member, until);
            let _ = select(pin!(member.left.cancelled()), pin!(member.lost.cancelled())).await;
        }
        shared.finish_closing();
        let mut counts = Counts::default();
        let mut abandoned = Vec::new();
        for (was_live, root) in roots {
            let report = crate::node::report::of(&root);
            if was_live {
                counts.add(report.status);
            }
            let non_quiescent = report.rows.into_iter().filter(|row| !row.quiescent);
            abandoned.extend(non_quiescent.flat_map(|row| row.abandoned));
        }
        let took = shared.clock.now().saturating_duration_since(began);
        ShutdownReport { roots: counts, abandoned, unstored, took }
    }
}

impl Closing {
    fn new(plan: &Shutdown, again: bool) -> Self {
        let request = CancelRequest::because("engine is shutting down")
            .kind(CauseKind::Shutdown)
            .grace(plan.grace);
        let request = if again {
            request.abort()
        } else if plan.after_step.is_zero() {
            request
        } else {
            request.after_step(Some(plan.after_step))
        };
        Self { request, wait: plan.abort_wait, is_loss: false }
    }
}

impl Shared {
    /// Lets nobody wait for the store after an instant. The control loop has ended by then, and an
    /// append may hold up the writer, so that a courier sees to it. Where couriers are tasks, on a
    /// paused clock, nobody does.
    fn release_at(&self, until: Instant) {
        let Some(journal) = self.journal.clone().filter(|_| !self.couriers.are_tasks()) else {
            return;
        };
        let couriers = self.couriers.clone();
        self.couriers.send(Box::new(move || {
            while let left = until.saturating_duration_since(crate::sync::now())
                && !left.is_zero()
                && journal.is_pending()
            {
                crate::sync::park_until(crate::sync::now() + left.min(STEP));
            }
            let mut wakers = Wakers::new();
            journal.release_waiting(&mut wakers);
            foreign::wake(&couriers, wakers);
        }));
    }

    /// Lets nobody wait for the end of the membership after an instant: a call of the cluster may
    /// hold up its thread. As [`release_at`](Self::release_at).
    fn let_leave_by(&self, member: &Arc<Member>, until: Instant) {
        let left = member.left.clone();
        if self.couriers.are_tasks() {
            return;
        }
        self.couriers.send(Box::new(move || {
            while let wait = until.saturating_duration_since(crate::sync::now())
                && !wait.is_zero()
                && !left.is_cancelled()
            {
                crate::sync::park_until(crate::sync::now() + wait.min(STEP));
            }
            left.cancel();
        }));
    }

    /// Closes admission and asks every root to stop.
    fn close(&self, closing: &Closing) {
        // The plan first: a run that becomes a root and sees `closed` must find it.
        *self.closing.lock() = Some(closing.clone());
        self.closed.store(true, Ordering::SeqCst);
        let is_left = |node: &Arc<Node>| node.end_with_engine(&closing.request, closing.wait);
        self.give_up(self.live_roots().into_iter().filter(is_left).collect());
        self.finish_closing();
    }
}

/// Stops what is live and keeps nothing, because the last [`Engine`] is gone.
pub(crate) fn abandon_engine(shared: &Shared) {
    shared.abandoned.store(true, Ordering::SeqCst);
    shared.retention.keep_nothing();
    if let Some(journal) = &shared.journal {
        let plan = shared.config.grace.saturating_add(shared.config.abort_wait);
        journal.give_up_after(plan.saturating_add(limits::STORE_WAIT));
    }
    if !shared.closed.load(Ordering::SeqCst) {
        let grace = shared.config.grace;
        let plan = Shutdown { grace, abort_wait: shared.config.abort_wait, ..Shutdown::default() };
        shared.close(&Closing::new(&plan, false));
    }
    shared.events.close(&shared.couriers);
    shared.expire(shared.clock.now());
}

/// How often it is asked whether anybody still waits for the store.
const STEP: Duration = Duration::from_millis(50);

/// Waits until no root is live.
struct Idle<'a> {
    shared: &'a Shared,
    key: Key,
}

impl Idle<'_> {
    async fn wait(mut self) {
        poll_fn(|cx| self.shared.registry.poll_idle(&mut self.key, cx.waker())).await;
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.shared.registry.forget_waiter(&mut self.key);
    }
}
