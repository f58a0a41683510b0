//! [`Member`] is what an engine knows of its place in a cluster.
//!
//! Invariants, under the one lock, which is a leaf:
//!
//! 1. The phase only moves forward: `In`, then `Lost`, or `Leaving` and `Left`.
//! 2. `Lost` is entered once, by the control thread: everything that executes is stopped then, and
//!    nothing is stored any more. So what a successor decides of a run is never overwritten, and
//!    nothing of it executes unseen.
//! 3. `waker` is there while the loop of the member sleeps; a new phase wakes it.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use quell_core::cluster::Cluster;
use quell_core::store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::cluster::lease::Lease;
use crate::sync::Mutex;

/// The place of an engine in a cluster.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) cluster: Arc<dyn Cluster>,
    /// Its name, asked for once: the cluster is foreign code.
    pub(crate) name: Arc<str>,
    /// Cancelled when the lease is lost. Its wakers are foreign.
    pub(crate) lost: CancellationToken,
    /// Cancelled when the lease was given back, or that was given up.
    pub(crate) left: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    phase: Phase,
    /// Whether runs may have been taken over that are not decided yet, and a call decides them.
    undecided: bool,
    is_deciding: bool,
    waker: Option<Waker>,
}

/// How an engine stands to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It renews its lease.
    In,
    /// Its lease was not renewed in time, or another node has taken over.
    Lost,
    /// It gives its lease back, at the latest at this instant.
    Leaving(Instant),
    /// It has given it back, or stopped trying.
    Left,
}

/// What a look at the lease says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// It is good until this instant.
    Until(Instant),
    /// It has lapsed just now.
    Lapsed,
    /// There is none any more.
    Over,
}

impl Member {
    /// Takes the place of an engine that needs so long to stop everything.
    ///
    /// # Panics
    ///
    /// If the lease leaves no time for a renewal before that.
    pub(crate) fn new(cluster: Arc<dyn Cluster>, to_stop: Duration) -> Arc<Self> {
        let (lasts, reserve) = (cluster.lease(), reserve(to_stop));
        let lease = Lease::new(cluster.joined_at(), lasts, reserve);
        assert!(
            lease.leaves_time(),
            "quell: a lease of {lasts:?} is too short for a grace and an abort wait of \
             {to_stop:?} together, and {MARGIN:?}: lengthen it, or shorten them"
        );
        let state =
            State { lease, phase: Phase::In, undecided: false, is_deciding: false, waker: None };
        let (lost, left) = (CancellationToken::new(), CancellationToken::new());
        let name = cluster.name().into();
        Arc::new(Self { cluster, name, lost, left, state: Mutex::new(state) })
    }

    /// Yields the phase and the lease, and has a new phase wake the loop.
    pub(crate) fn look(&self, waker: &Waker) -> (Phase, Lease) {
        let mut state = self.state.lock();
        // Not foreign code: the loop is ours.
        state.waker = Some(waker.clone());
        (state.phase, state.lease)
    }

    pub(crate) fn renewed(&self, sent: Instant) {
        self.state.lock().lease.renewed(sent);
    }

    /// Looks at the lease; once it has lapsed the phase is `Lost`.
    pub(crate) fn watch(&self, now: Instant) -> Watch {
        let mut state = self.state.lock();
        if state.phase != Phase::In {
            return Watch::Over;
        }
        let lapses_at = state.lease.lapses_at();
        if lapses_at > now {
            return Watch::Until(lapses_at);
        }
        state.enter(Phase::Lost);
        Watch::Lapsed
    }

    /// Has the lease count as over: another member has taken over.
    pub(crate) fn revoke(&self) {
        self.state.lock().lease.revoke();
    }

    /// Has the loop give the lease back, at the latest until an instant.
    pub(crate) fn begin_to_leave(&self, until: Instant) {
        let mut state = self.state.lock();
        if state.phase == Phase::In {
            state.enter(Phase::Leaving(until));
        }
    }

    /// Notes that the lease was given back, or that nobody tries any more.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        if state.phase != Phase::Lost {
            state.enter(Phase::Left);
        }
    }

    /// Begins to take over, unless another call is about it. Dropped, it ends that; what was not
    /// decided is left to the next one.
    pub(crate) fn begin_to_decide(&self) -> Option<Deciding<'_>> {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_deciding, true) {
            return None;
        }
        Some(Deciding { member: self, is_left_over: std::mem::replace(&mut state.undecided, true) })
    }

    /// Tells whether the engine is a member, and not about to leave.
    pub(crate) fn is_in(&self) -> bool {
        self.state.lock().phase == Phase::In
    }

    /// Says that the lease was lost.
    pub(crate) fn error(&self) -> StoreError {
        StoreError::LeaseLost { node: Arc::clone(&self.name) }
    }
}

/// A call that takes over.
#[derive(Debug)]
pub(crate) struct Deciding<'a> {
    member: &'a Member,
    /// A call before has not come through: what it has taken over is to be decided.
    pub(crate) is_left_over: bool,
}

impl Deciding<'_> {
    /// Notes that nothing is left to be decided.
    pub(crate) fn is_done(&self) {
        self.member.state.lock().undecided = false;
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.member.state.lock().is_deciding = false;
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What of a lease is kept for threads that run late.
const MARGIN: Duration = Duration::from_secs(1);

/// How much of a lease is needed to stop everything, which takes so long.
pub(super) const fn reserve(to_stop: Duration) -> Duration {
    to_stop.saturating_add(MARGIN)
}
