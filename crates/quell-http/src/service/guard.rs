//! [`DisconnectGuard`]: cancels a run when the client that follows it leaves (I31).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use quell::{Engine, RunId, RunRef};
use tokio_util::task::TaskTracker;

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
    follows: Follows,
    /// Whether the client has no way back to the run.
    is_for_good: bool,
    /// Set when the client is counted out before its answer is over.
    is_out: Option<Arc<AtomicBool>>,
}

/// What a client follows of a run, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Follows {
    /// This attempt, and those behind it that no answer has begun.
    Attempt(u32),
    /// Every attempt until its wait sees a pause.
    UntilSeen,
    /// The whole run.
    Run,
}

/// A wait that follows a run of another node ([`DisconnectGuard::waiting`]).
#[must_use = "it is to be said when it is over"]
pub struct Waiting(Option<(Clients, Identity, Counted, Arc<AtomicBool>)>);

/// What a client follows, and whether it has no way back.
type Counted = (Follows, bool);

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

/// Counts the clients of each run that is cancelled when the last of them leaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    /// By what they follow. The lock is a leaf. Invariant: no count of `all` is zero, and no run
    /// without a count is there.
    counts: Arc<Mutex<HashMap<Identity, Counts>>>,
    /// The stops that are owed to clients which have left, and are not decided yet.
    pub(super) owed: TaskTracker,
}

type Counts = BTreeMap<Follows, Count>;

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
                self.add(id, (Follows::Run, false));
                let (clients, engine) = (self.clone(), engine.clone());
                let (was_here, came_in) = (run.live().is_some(), run.attempt());
                let (follows, is_for_good, is_out) = (Follows::Run, false, None);
                Some(Following { clients, engine, was_here, came_in, follows, is_for_good, is_out })
            }
            _ => None,
        };
        DisconnectGuard { run: id, following, read: None, charge: None }
    }

    /// Yields the runs that this engine has not, and that clients follow who have no way back.
    pub(super) fn far(&self, engine: &Engine) -> Vec<Identity> {
        let counts = self.counts.lock();
        let is_for_good = |counts: &Counts| counts.values().any(|count| count.for_good > 0);
        let for_good = counts.iter().filter(|(_, counts)| is_for_good(counts));
        let all: Vec<_> = for_good.map(|(run, _)| *run).collect();
        drop(counts);
        all.into_iter().filter(|run| find(engine, *run).is_none()).collect()
    }

    /// Yields the most that a client follows of a run; none if nobody does.
    pub(super) fn most(&self, run: Identity) -> Option<Follows> {
        self.counts.lock().get(&run)?.last_key_value().map(|(follows, _)| *follows)
    }

    fn add(&self, run: Identity, (follows, is_for_good): Counted) {
        let mut runs = self.counts.lock();
        let count = runs.entry(run).or_default().entry(follows).or_default();
        count.all += 1;
        count.for_good += usize::from(is_for_good);
    }

    /// Counts a client out.
    fn leave(&self, run: Identity, (follows, is_for_good): Counted) {
        let mut runs = self.counts.lock();
        let Some(counts) = runs.get_mut(&run) else { return };
        if let Some(count) = counts.get_mut(&follows) {
            count.all -= 1;
            count.for_good -= usize::from(is_for_good);
            if count.all == 0 {
                counts.remove(&follows);
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
        let came_in = self.following.as_ref().map_or(1, |following| following.came_in);
        self.of_attempt(came_in)
    }

    /// As [`DisconnectGuard::until_pause`], of this attempt, whichever the run is in by now.
    pub(super) fn of_attempt(self, attempt: u32) -> Self {
        self.follow(Follows::Attempt(attempt))
    }

    /// As [`DisconnectGuard::until_pause`], of a wait that reads the run now and then, as that of a
    /// run of another node does: it may not see a pause that is answered at once, and goes on with
    /// what follows. Its client has left if the guard is dropped before [`Waiting::over`].
    pub fn waiting(self) -> (Self, Waiting) {
        let mut guard = self.follow(Follows::UntilSeen);
        let run = guard.run;
        let waiting = guard.following.as_mut().map(|following| {
            let is_out = Arc::clone(following.is_out.get_or_insert_default());
            let counted = (following.follows, following.is_for_good);
            (following.clients.clone(), run, counted, is_out)
        });
        (guard, Waiting(waiting))
    }

    /// Declares that its client has no way back to the run through another node: the run is stopped
    /// before this one ends, if another node has it ([`Service::stop_followed`]).
    ///
    /// [`Service::stop_followed`]: crate::Service::stop_followed
    pub fn for_good(self) -> Self {
        self.recount(|following| following.is_for_good = true)
    }

    fn follow(self, follows: Follows) -> Self {
        self.recount(|following| following.follows = follows)
    }

    /// Counts the client anew, before it is counted out as it was: it is always counted.
    fn recount(mut self, change: impl FnOnce(&mut Following)) -> Self {
        if let Some(following) = &mut self.following {
            let before = (following.follows, following.is_for_good);
            change(following);
            following.clients.add(self.run, (following.follows, following.is_for_good));
            following.clients.leave(self.run, before);
        }
        self
    }

    /// Counts the client out, and stops nothing: it has not left, it was refused.
    pub(super) fn give_up(mut self) {
        if let Some(Following { clients, follows, is_for_good, .. }) = self.following.take() {
            clients.leave(self.run, (follows, is_for_good));
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
        let Following { clients, engine, was_here, follows, is_for_good, is_out, .. } = following;
        let run = self.run;
        if is_out.is_some_and(|is_out| is_out.swap(true, Ordering::SeqCst)) {
            return;
        }
        clients.leave(run, (follows, is_for_good));
        Leaving { clients, engine, run, was_here, follows }.begin();
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
