//! [`Member`] is what an engine knows of its place in a cluster.
//!
//! Invariants, under the one lock, which is a leaf:
//!
//! 1. The phase only moves forward: `In`, then `Lost`, or `Leaving` and `Left`.
//! 2. `Lost` is entered once, by the control thread: everything that executes is stopped then, and
//!    nothing is stored any more. So what a successor decides of a run is never overwritten, and
//!    nothing of it executes unseen.
//! 3. `waker` is there while the loop of the member sleeps; a new phase wakes it.
//! 4. `unplaced` has the stops that were asked for, and that are not answered because their runs
//!    are not in memory: what recovers such a run finds them, for it may have been read before. One
//!    is carried out by what recovers its run, or by the loop, and not by both ([`Unplaced`]).

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use quell_core::cluster::{AskedStop, Cluster};
use quell_core::store::StoreError;
use quell_core::{Disposition, RunId, limits};
use tokio_util::sync::CancellationToken;

use crate::cluster::lease::Lease;
use crate::cluster::unplaced::{Claim, Unplaced};
use crate::queue::SlotStanding;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::tables::lane_turns::LaneTurns;

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
    /// What is to be asked of the others for lanes.
    pub(crate) turns: Arc<LaneTurns>,
    /// How much that was asked of it is not answered, as its loop knew last.
    asked: AtomicUsize,
    /// How limits of all nodes stand, as its loop knew last; a leaf, too.
    pub(crate) slots: Mutex<Vec<SlotStanding>>,
    /// Why its lease was not renewed last, if it was not; a leaf, too.
    unrenewed: Mutex<Option<StoreError>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    phase: Phase,
    /// Whether runs may have been taken over that are not decided yet, and a call decides them.
    undecided: bool,
    /// Whether what was left under its name may not be decided yet.
    is_unrecovered: bool,
    is_deciding: bool,
    /// Roots that others may have, and that are not given up yet.
    released: Vec<RunId>,
    unplaced: Unplaced,
    waker: Option<Waker>,
}

/// How an engine stands to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It renews its lease.
    In,
    /// Its lease was not renewed in time, or another node has taken over.
    Lost,
    /// It gives its lease back.
    Leaving(Leave),
    /// It has given it back, or stopped trying.
    Left,
}

/// How a member gives its lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// When nobody waits for that any more.
    pub(crate) until: Instant,
    /// Whether all that it had begun has ended, and is stored so: nothing that is live in the store
    /// executes here.
    pub(crate) is_drained: bool,
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
        let state = State {
            lease,
            phase: Phase::In,
            undecided: false,
            is_unrecovered: true,
            is_deciding: false,
            released: Vec::new(),
            unplaced: Unplaced::default(),
            waker: None,
        };
        let (lost, left) = (CancellationToken::new(), CancellationToken::new());
        let name = cluster.name().into();
        let (asked, state) = (AtomicUsize::new(0), Mutex::new(state));
        let (turns, slots, unrenewed) = (Arc::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { cluster, name, lost, left, turns, asked, slots, unrenewed, state })
    }

    /// Yields what asks the others for turns in lanes, if there are others.
    pub(crate) fn asks(member: Option<&Arc<Self>>) -> Option<Arc<LaneTurns>> {
        member.map(|member| Arc::clone(&member.turns))
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
        *self.unrenewed.lock() = None;
    }

    /// Notes that a renewal has failed, or has not been answered in its time.
    pub(crate) fn not_renewed(&self, why: StoreError) {
        *self.unrenewed.lock() = Some(why);
    }

    /// Yields why its lease was not renewed last; none if it was.
    pub(crate) fn renewal_trouble(&self) -> Option<StoreError> {
        self.unrenewed.lock().clone()
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

    /// Yields for how long this may execute what it has; zero if it is no member any more.
    pub(crate) fn lease_left(&self, now: Instant) -> Duration {
        let state = self.state.lock();
        let is_in = state.phase == Phase::In;
        let left = state.lease.lapses_at().saturating_duration_since(now);
        if is_in { left } else { Duration::ZERO }
    }

    /// Yields how much that was asked of it is not answered.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Notes how much that was asked of it is not answered.
    pub(crate) fn note_asked(&self, count: usize) {
        self.asked.store(count, Ordering::Relaxed);
    }

    /// Has the lease count as over: another member has taken over.
    pub(crate) fn revoke(&self) {
        self.state.lock().lease.revoke();
    }

    /// Has the loop give the lease back.
    pub(crate) fn begin_to_leave(&self, leave: Leave) {
        let mut state = self.state.lock();
        if state.phase == Phase::In {
            state.enter(Phase::Leaving(leave));
        }
    }

    /// Notes that the lease was given back, or that nobody tries any more.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        if state.phase != Phase::Lost {
            state.enter(Phase::Left);
        }
    }

    /// Has the loop give roots up, so that others take them over at once. The last is the first.
    pub(crate) fn release(&self, roots: Vec<RunId>) {
        let mut state = self.state.lock();
        state.released.extend(roots);
        if !state.released.is_empty() {
            state.wake();
        }
    }

    /// Yields some of the roots that are to be given up; none if there are no more.
    pub(crate) fn take_released(&self) -> Vec<RunId> {
        let mut state = self.state.lock();
        let rest = state.released.len().saturating_sub(limits::STORE_PAGE_MAX);
        state.released.split_off(rest)
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

    /// Notes that what was left under its name is decided, and has it be asked whose turn it is in
    /// the lanes of what has ended.
    pub(crate) fn has_recovered(&self, freed: &[Arc<str>]) {
        self.state.lock().is_unrecovered = false;
        self.turns.ask_all(freed);
    }

    /// Tells whether runs that this has from others may not be decided yet, and whether those of
    /// an earlier process may not.
    pub(crate) fn has_undecided(&self) -> (bool, bool) {
        let state = self.state.lock();
        (state.undecided, state.is_unrecovered)
    }

    /// Notes a stop of a run that is not in memory. Whoever takes the run in looks for it behind
    /// that, and whoever notes it looks for the run: so one of the two carries it out.
    pub(crate) fn note_unplaced(&self, stop: &AskedStop) {
        self.state.lock().unplaced.note(stop);
    }

    /// Notes that a stop is answered, or not asked for any more.
    pub(crate) fn forget_unplaced(&self, nr: u64) {
        self.state.lock().unplaced.forget(nr);
    }

    /// Yields the stops that wait for a run that is not in memory, and was accepted at this time,
    /// the first one first.
    pub(crate) fn unplaced(&self, run: RunId, accepted_at: SystemTime) -> Vec<AskedStop> {
        self.state.lock().unplaced.of(run, accepted_at)
    }

    /// Takes those stops, for what has taken the run in. It says [what came of each](Self::placed).
    pub(crate) fn take_unplaced(&self, run: RunId, accepted_at: SystemTime) -> Vec<AskedStop> {
        self.state.lock().unplaced.take(run, accepted_at)
    }

    /// Notes what came of a stop that was taken.
    pub(crate) fn placed(&self, nr: u64, answer: Disposition) {
        self.state.lock().unplaced.decide(nr, answer);
    }

    /// Yields the answer to a stop that was taken, if it is known.
    pub(crate) fn answer_unplaced(&self, nr: u64) -> Option<Disposition> {
        self.state.lock().unplaced.answer(nr)
    }

    /// Has the loop be the one that carries a stop out, unless it was taken.
    pub(crate) fn claim_unplaced(&self, nr: u64) -> Claim {
        self.state.lock().unplaced.claim(nr)
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
        self.wake();
    }

    fn wake(&mut self) {
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

#[cfg(all(test, feature = "test-util", not(any(quell_loom, quell_shuttle))))]
mod tests {
    use quell_core::CancelRequest;

    use super::*;
    use crate::testing::cluster::Nodes;

    #[tokio::test(start_paused = true)]
    async fn i34_as_many_stops_as_may_wait_for_a_node_are_known_of_runs_that_it_takes_in() {
        let member = Member::new(Nodes::new(Duration::from_secs(15)).join("a"), Duration::ZERO);
        let run = |nr: u64| RunId::from_text(&nr.to_string());
        let request = CancelRequest::because("enough");
        for nr in 0..limits::ASKED_STOPS_WAITING_MAX as u64 {
            let (run, request) = (run(nr), request.clone());
            let at = SystemTime::UNIX_EPOCH;
            member.note_unplaced(&AskedStop { nr, run, accepted_ms: None, request, at });
        }
        let last = limits::ASKED_STOPS_WAITING_MAX as u64 - 1;
        assert_eq!(
            member
                .unplaced(run(last), SystemTime::now())
                .iter()
                .map(|stop| stop.nr)
                .collect::<Vec<_>>(),
            [last]
        );
        member.forget_unplaced(last);
        assert_eq!(member.unplaced(run(last), SystemTime::now()), []);
    }
}
