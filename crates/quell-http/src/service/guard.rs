//! [`DisconnectGuard`]: cancels a run when the client that follows it leaves (I31).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use quell::{Engine, RunId, RunRef};

use crate::ids::{Identity, find};
use crate::ledger::{Charge, Overdrawn};
use crate::readers::Read;
use crate::run_view::RunView;
use crate::service::leaving::Leaving;
use crate::service::view::View;

/// The policy for a run whose client leaves before its end.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_http::OnDisconnect::default(), quell_http::OnDisconnect::Continue);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it goes on or it does not")]
pub enum OnDisconnect {
    /// The run goes on.
    #[default]
    Continue,
    /// The run is cancelled with cause `Disconnected` when the last client that asked for this has
    /// gone. Each node of a cluster counts its own clients: the last one of any of them stops it.
    Cancel,
}

/// A guard that an answer holds for as long as its client follows the run.
///
/// If it is dropped while the run is live, the client has gone: the server gave up the body, the
/// server ended the stream, or the handler was dropped before its end. If it is dropped after the
/// run has ended, it does nothing.
///
/// It holds the identity of the run, and not the run: the engine keeps every live run. What a
/// stream reads ([`DisconnectGuard::reading`]) belongs to the stream.
#[must_use = "dropped at once, it means that the client is gone"]
pub struct DisconnectGuard {
    run: Identity,
    /// Counts this client, if the run is cancelled when the last one leaves.
    following: Option<Following>,
    /// What the stream will read; taken when its body is made. Boxed: it leaves the guard.
    read: Option<Box<Read>>,
    /// The client's share of the streams and waits, given back when the answer is over.
    charge: Option<Charge>,
}

/// How a run is cancelled that its clients follow.
struct Following {
    clients: Clients,
    engine: Engine,
    /// Whether this node had the run when the client came.
    was_here: bool,
    /// The attempt of the run when the client came.
    came_in: u32,
    /// The attempt that the client follows; none for the whole run.
    attempt: Option<u32>,
    /// Whether the client has no way back to the run.
    is_for_good: bool,
    /// Set when the client is counted out before its answer is over.
    is_out: Option<Arc<AtomicBool>>,
}

/// Every attempt until the next pause that its wait sees.
const ALL_UNTIL_SEEN: u32 = u32::MAX;

/// A wait that follows a run of another node ([`DisconnectGuard::waiting`]).
#[must_use = "it is to be said when it is over"]
pub struct Waiting(Option<(Clients, Identity, Counted, Arc<AtomicBool>)>);

/// The attempt that a client follows, and whether it has no way back.
type Counted = (Option<u32>, bool);

impl Waiting {
    /// Says that the wait has seen what it waited for: its client has all that it follows.
    pub fn over(self) {
        if let Some((clients, run, counted, is_out)) = self.0
            && !is_out.swap(true, Ordering::SeqCst)
        {
            clients.leave(run, counted);
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

/// Counts the clients of each run that is cancelled when the last of them leaves, by the attempt
/// that they follow; none for the whole run. The lock is a leaf. Invariant: no count of `all` is
/// zero, and no run without a count is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<Identity, Counts>>>, Arc<AtomicUsize>);

type Counts = BTreeMap<Option<u32>, Count>;

#[derive(Debug, Default)]
struct Count {
    all: usize,
    /// Those of them that have no way back.
    for_good: usize,
}

impl Clients {
    pub(crate) fn guard(
        &self,
        engine: &Engine,
        run: &RunView,
        policy: OnDisconnect,
    ) -> DisconnectGuard {
        let is_live = match run {
            RunView::Live(_) => true,
            RunView::Stored(run) => {
                !run.record().status.is_terminal() && engine.is_elsewhere(run.record())
            }
        };
        let id = run.identity();
        let following = match policy {
            OnDisconnect::Cancel if is_live => {
                self.add(id, (None, false));
                let (clients, engine) = (self.clone(), engine.clone());
                let (was_here, came_in) = (run.live().is_some(), run.attempt());
                let (attempt, is_for_good, is_out) = (None, false, None);
                Some(Following { clients, engine, was_here, came_in, attempt, is_for_good, is_out })
            }
            _ => None,
        };
        DisconnectGuard { run: id, following, read: None, charge: None }
    }

    /// Yields the runs that this engine has not, and that clients follow who have no way back.
    pub(super) fn far(&self, engine: &Engine) -> Vec<Identity> {
        let counts = self.0.lock();
        let is_for_good = |counts: &Counts| counts.values().any(|count| count.for_good > 0);
        let for_good = counts.iter().filter(|(_, counts)| is_for_good(counts));
        let all: Vec<_> = for_good.map(|(run, _)| *run).collect();
        drop(counts);
        all.into_iter().filter(|run| find(engine, *run).is_none()).collect()
    }

    /// Counts the stops that are owed to clients which have left, and are not decided yet.
    pub(super) fn owed(&self) -> &AtomicUsize {
        &self.1
    }

    /// Yields which attempts of a run clients follow, and whether some follow the whole run.
    pub(super) fn followed(&self, run: Identity) -> Vec<Option<u32>> {
        self.0.lock().get(&run).into_iter().flat_map(BTreeMap::keys).copied().collect()
    }

    fn add(&self, run: Identity, (attempt, is_for_good): Counted) {
        let mut runs = self.0.lock();
        let count = runs.entry(run).or_default().entry(attempt).or_default();
        count.all += 1;
        count.for_good += usize::from(is_for_good);
    }

    /// Counts a client out.
    fn leave(&self, run: Identity, (attempt, is_for_good): Counted) {
        let mut runs = self.0.lock();
        let Some(counts) = runs.get_mut(&run) else { return };
        if let Some(count) = counts.get_mut(&attempt) {
            count.all -= 1;
            count.for_good -= usize::from(is_for_good);
            if count.all == 0 {
                counts.remove(&attempt);
            }
        }
        if counts.is_empty() {
            runs.remove(&run);
        }
    }
}

impl View {
    /// Charges one stream or wait to the principal
    /// ([`ServiceLimits::streams_max`](crate::ServiceLimits)). Call it before the request makes
    /// anything, and give the charge to [`DisconnectGuard::holding`].
    ///
    /// # Errors
    ///
    /// Fails if there are as many as may be, of all callers or of this one.
    pub fn charge_stream(&self) -> Result<Charge, Overdrawn> {
        self.service().shared().streams.charge(self.principal().owner(), 1)
    }
}

impl DisconnectGuard {
    /// Declares that the answer is a stream that reads the run, and so keeps the run and its log in
    /// memory. Once the engine has forgotten the run, they count as under way for the principal; if
    /// there is no room for them, the stream is cut. A stream of a run that is only in the store
    /// keeps no more than a page of it.
    pub fn reading(mut self, view: &View, run: impl Into<RunView>) -> Self {
        let RunView::Live(run) = run.into() else { return self };
        let (service, owner) = (view.service(), view.principal().owner());
        let shared = service.shared();
        self.read = Some(Box::new(Read {
            run,
            name: self.run,
            engine: service.engine().clone(),
            requests: shared.requests.clone(),
            owner: owner.cloned(),
            readers: shared.readers.clone(),
            is_kept: None,
        }));
        self
    }

    /// As [`DisconnectGuard::reading`], for a run that the adapter may keep after the engine has
    /// forgotten it. While `is_kept` says so, the adapter counts the run and the stream is not
    /// charged.
    pub fn reading_kept(
        self,
        view: &View,
        run: &RunRef,
        is_kept: impl Fn(RunId) -> bool + Send + Sync + 'static,
    ) -> Self {
        let mut guard = self.reading(view, run);
        if let Some(read) = &mut guard.read {
            read.is_kept = Some(Box::new(is_kept));
        }
        guard
    }

    /// Declares that the answer ends when the run is paused: a client that leaves after that
    /// cancels nothing, also when the run goes on with another client.
    pub fn until_pause(self) -> Self {
        let attempt = self.following.as_ref().map(|following| following.came_in);
        self.follow(attempt, false)
    }

    /// As [`DisconnectGuard::until_pause`], of this attempt, whichever the run is in by now.
    pub(super) fn of_attempt(self, attempt: u32) -> Self {
        self.follow(Some(attempt), false)
    }

    /// As [`DisconnectGuard::until_pause`], of a wait that reads the run now and then, as that of a
    /// run of another node does: it may not see a pause that is answered at once, and goes on with
    /// what follows. Its client has left if the guard is dropped before [`Waiting::over`].
    pub fn waiting(self) -> (Self, Waiting) {
        let mut guard = self.follow(Some(ALL_UNTIL_SEEN), false);
        let run = guard.run;
        let waiting = guard.following.as_mut().map(|following| {
            let is_out = Arc::clone(following.is_out.get_or_insert_default());
            let counted = (following.attempt, following.is_for_good);
            (following.clients.clone(), run, counted, is_out)
        });
        (guard, Waiting(waiting))
    }

    /// Declares that its client has no way back to the run through another node: the run is stopped
    /// before this one ends, if another node has it ([`Service::stop_followed`]).
    ///
    /// [`Service::stop_followed`]: crate::Service::stop_followed
    pub fn for_good(self) -> Self {
        let attempt = self.following.as_ref().and_then(|following| following.attempt);
        self.follow(attempt, true)
    }

    /// Counts the client anew, before it is counted out as it was: it is always counted.
    fn follow(mut self, attempt: Option<u32>, is_for_good: bool) -> Self {
        if let Some(following) = &mut self.following {
            let before = (following.attempt, following.is_for_good);
            following.attempt = attempt;
            following.is_for_good |= is_for_good;
            following.clients.add(self.run, (attempt, following.is_for_good));
            following.clients.leave(self.run, before);
        }
        self
    }

    /// Counts the client out, and stops nothing: it has not left, it was refused.
    pub(super) fn give_up(mut self) {
        if let Some(Following { clients, attempt, is_for_good, .. }) = self.following.take() {
            clients.leave(self.run, (attempt, is_for_good));
        }
    }

    /// Keeps the charge of the stream or wait ([`View::charge_stream`]) until the answer is over.
    pub fn holding(mut self, charge: Charge) -> Self {
        self.charge = Some(charge);
        self
    }

    /// Takes what the stream reads of the run.
    pub(crate) fn take_read(&mut self) -> Option<Box<Read>> {
        self.read.take()
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        let Some(following) = self.following.take() else { return };
        let Following { clients, engine, was_here, attempt, is_for_good, is_out, .. } = following;
        let run = self.run;
        if is_out.is_some_and(|is_out| is_out.swap(true, Ordering::SeqCst)) {
            return;
        }
        clients.leave(run, (attempt, is_for_good));
        Leaving { clients, engine, run, was_here, attempt }.begin();
    }
}

impl fmt::Debug for DisconnectGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_charge = self.charge.is_some();
        f.debug_struct("DisconnectGuard")
            .field("run", &self.run.0)
            .field("has_charge", &has_charge)
            .finish_non_exhaustive()
    }
}
