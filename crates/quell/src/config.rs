//! [`EngineConfig`] says how an engine is set up, and [`Limits`] what it may hold.

use std::sync::Arc;
use std::time::Duration;

use quell_core::cluster::Cluster;
use quell_core::limits;
use quell_core::store::Store;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::queue::{RunLimits, Scope};

/// How an engine is set up. Every option has a default.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::EngineConfig;
///
/// let (grace, wait) = (Duration::from_secs(2), Duration::from_millis(500));
/// let config = EngineConfig::new().grace(grace).abort_wait(wait);
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until an engine is made with it"]
pub struct EngineConfig {
    pub(crate) runtime: Option<Handle>,
    pub(crate) grace: Duration,
    pub(crate) abort_wait: Duration,
    pub(crate) escalate_after: Duration,
    pub(crate) parent_token: Option<CancellationToken>,
    pub(crate) all: RunLimits,
    pub(crate) scopes: Vec<(Scope, RunLimits)>,
    /// How many roots may run on all nodes together.
    pub(crate) all_nodes: Vec<(Scope, usize)>,
    pub(crate) limits: Limits,
    pub(crate) spawn_sites: bool,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) cluster: Option<Arc<dyn Cluster>>,
    #[cfg(feature = "test-util")]
    pub(crate) control_on_runtime: bool,
}

/// The bounds of an engine that an embedder may move. The others are in [`crate::limits`].
///
/// # Examples
///
/// ```
/// let limits = quell::Limits::default().runs_max(1_000).children_max(100);
/// assert_eq!((limits.runs_max, limits.children_max), (1_000, 100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Limits {
    /// Live runs of the engine. Defaults to 4,000,000. One more is refused. Zero refuses all.
    pub runs_max: usize,
    /// Live children of one run. Defaults to 1,000,000. One more is refused. Zero refuses all.
    pub children_max: u32,
    /// Depth of a tree, the root being at 1. Defaults to 10,000. A deeper spawn is refused.
    pub depth_max: u32,
    /// Events held per root. Defaults to 4,096. The oldest leave first. Zero holds none.
    pub events_per_root_max: usize,
    /// Bytes of the events held per root: their values, names and words, and 128 for each event.
    /// Those that are held compressed count as much. Defaults to 4 MiB. The oldest leave first.
    /// Zero holds none.
    pub events_per_root_bytes_max: usize,
    /// Bytes that live runs hold: inputs, labels, names, outputs and logs. Defaults to 1 GiB. A
    /// submit or an output that would exceed it is refused; a log gives up its oldest events
    /// earlier. Zero refuses every run that brings more than 256 bytes.
    pub live_bytes_max: usize,
    /// Rows in a report. Defaults to 10,000. The rest is counted. Zero counts as one: the run
    /// itself always has a row.
    pub report_rows_max: usize,
    /// Ended trees kept in memory. Defaults to 10,000. The oldest leave first. Zero keeps none.
    pub ended_trees_max: usize,
    /// Bytes of the ended trees kept in memory, about: payloads, texts and events, and 1 KiB for
    /// each run. Defaults to 256 MiB. The oldest leave first. Zero keeps none.
    pub ended_bytes_max: usize,
    /// How long an ended tree is kept. Defaults to 1 h. Zero keeps none.
    pub ended_trees_ttl: Duration,
    /// Stops remembered for unknown ids. Defaults to 65,536. The oldest leave first. Zero
    /// remembers none.
    pub reservations_max: usize,
    /// Idempotency keys kept of runs that were forgotten, each for 24 h. Defaults to 65,536. The
    /// oldest leave first. Zero keeps none: then a key is free once its run is forgotten. The key
    /// of a run that is live or kept does not count.
    pub keys_max: usize,
    /// What one owner may use of `runs_max`, `live_bytes_max`, `ended_trees_max`,
    /// `ended_bytes_max`, `keys_max`, and, by the actor of the request, of `reservations_max`, in
    /// percent; runs without an owner have no share. Defaults to 25. Zero counts as 1, more than
    /// 100 as 100: no bound of its own.
    pub owner_share_percent: u8,
}

impl Limits {
    /// Sets [`runs_max`](field@Self::runs_max).
    pub const fn runs_max(mut self, max: usize) -> Self {
        self.runs_max = max;
        self
    }

    /// Sets [`children_max`](field@Self::children_max).
    pub const fn children_max(mut self, max: u32) -> Self {
        self.children_max = max;
        self
    }

    /// Sets [`depth_max`](field@Self::depth_max).
    pub const fn depth_max(mut self, max: u32) -> Self {
        self.depth_max = max;
        self
    }

    /// Sets [`events_per_root_max`](field@Self::events_per_root_max).
    pub const fn events_per_root_max(mut self, max: usize) -> Self {
        self.events_per_root_max = max;
        self
    }

    /// Sets [`events_per_root_bytes_max`](field@Self::events_per_root_bytes_max).
    pub const fn events_per_root_bytes_max(mut self, max: usize) -> Self {
        self.events_per_root_bytes_max = max;
        self
    }

    /// Sets [`live_bytes_max`](field@Self::live_bytes_max).
    pub const fn live_bytes_max(mut self, max: usize) -> Self {
        self.live_bytes_max = max;
        self
    }

    /// Sets [`report_rows_max`](field@Self::report_rows_max).
    pub const fn report_rows_max(mut self, max: usize) -> Self {
        self.report_rows_max = max;
        self
    }

    /// Sets [`ended_trees_max`](field@Self::ended_trees_max).
    pub const fn ended_trees_max(mut self, max: usize) -> Self {
        self.ended_trees_max = max;
        self
    }

    /// Sets [`ended_bytes_max`](field@Self::ended_bytes_max).
    pub const fn ended_bytes_max(mut self, max: usize) -> Self {
        self.ended_bytes_max = max;
        self
    }

    /// Sets [`ended_trees_ttl`](field@Self::ended_trees_ttl).
    pub const fn ended_trees_ttl(mut self, time: Duration) -> Self {
        self.ended_trees_ttl = time;
        self
    }

    /// Sets [`reservations_max`](field@Self::reservations_max).
    pub const fn reservations_max(mut self, max: usize) -> Self {
        self.reservations_max = max;
        self
    }

    /// Sets [`keys_max`](field@Self::keys_max).
    pub const fn keys_max(mut self, max: usize) -> Self {
        self.keys_max = max;
        self
    }

    /// Sets [`owner_share_percent`](field@Self::owner_share_percent).
    pub const fn owner_share_percent(mut self, percent: u8) -> Self {
        self.owner_share_percent = percent;
        self
    }

    /// Yields what one owner may have of a bound; at least one of it, unless it is zero.
    pub(crate) fn share_of(&self, max: usize) -> usize {
        limits::share_of(max, self.owner_share_percent)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            runs_max: limits::RUNS_MAX,
            children_max: limits::CHILDREN_MAX,
            depth_max: limits::DEPTH_MAX,
            events_per_root_max: limits::EVENTS_PER_ROOT_MAX,
            events_per_root_bytes_max: limits::EVENTS_PER_ROOT_BYTES_MAX,
            live_bytes_max: limits::LIVE_BYTES_MAX,
            report_rows_max: limits::REPORT_ROWS_MAX,
            ended_trees_max: limits::ENDED_TREES_MAX,
            ended_bytes_max: limits::ENDED_BYTES_MAX,
            ended_trees_ttl: limits::ENDED_TREES_TTL,
            reservations_max: limits::RESERVATIONS_MAX,
            keys_max: limits::KEYS_MAX,
            owner_share_percent: limits::OWNER_SHARE_PERCENT,
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            runtime: None,
            grace: limits::GRACE,
            abort_wait: limits::ABORT_WAIT,
            escalate_after: limits::ESCALATE_AFTER,
            parent_token: None,
            all: RunLimits::new(),
            scopes: Vec::new(),
            all_nodes: Vec::new(),
            limits: Limits::default(),
            spawn_sites: false,
            store: None,
            cluster: None,
            #[cfg(feature = "test-util")]
            control_on_runtime: false,
        }
    }
}

impl EngineConfig {
    /// Takes every default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the runtime of bodies and hooks. Defaults to the runtime in which the engine is made.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Sets the time between the acceptance of a stop and abort. Defaults to 5 s. Zero drops
    /// bodies at once.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the time between abort and abandon. Defaults to 1 s. Zero abandons at once what is not
    /// dropped at the hard deadline.
    pub const fn abort_wait(mut self, wait: Duration) -> Self {
        self.abort_wait = wait;
        self
    }

    /// Sets when an `after_step` request that names no time becomes cooperative. Defaults to 30 s.
    /// Zero is at once.
    pub const fn escalate_after(mut self, time: Duration) -> Self {
        self.escalate_after = time;
        self
    }

    /// Stops every run with cause `ExternalToken` when the token is cancelled, those to come
    /// included. Defaults to none.
    pub fn parent_token(mut self, token: CancellationToken) -> Self {
        self.parent_token = Some(token);
        self
    }

    /// Bounds how many roots run at once; the others wait in `Queued`, those of the highest
    /// [priority](crate::RunSpec::priority) first, of equals first come, first served. A run that
    /// ended non-quiescent keeps its slot. They are those of all owners: one may have all slots
    /// while the others wait, unless [`Scope::EachOwner`] has a [`limit`](Self::limit) as well.
    /// Defaults to no bound. Zero starts none.
    pub const fn running_max(mut self, max: usize) -> Self {
        self.all.running_max = Some(max);
        self
    }

    /// Bounds how many roots wait for their start at once, in number: for a slot, their lane or
    /// their due time. One more is refused with
    /// [`SubmitError::QueueFull`](crate::SubmitError::QueueFull). Defaults to no bound. Zero lets
    /// none wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, EngineConfig, RunSpec, Scope, SubmitError};
    ///
    /// let engine = Engine::with_config(EngineConfig::new().running_max(1).queued_max(1));
    /// let submit = || engine.submit(RunSpec::agent("one"), async |_| Ok(()));
    /// let (_runs, _waits) = (submit()?, submit()?);
    /// let refused = submit().unwrap_err();
    /// assert_eq!(refused, SubmitError::QueueFull { scope: Scope::All, max: 1 });
    /// assert_eq!(refused.to_string(), "queue is full: at most 1 run may wait (in all)");
    /// # Ok::<(), SubmitError>(())
    /// # }).unwrap();
    /// ```
    pub const fn queued_max(mut self, max: usize) -> Self {
        self.all.queued_max = Some(max);
        self
    }

    /// Bounds how many roots of a scope run and wait at once, besides those of the other scopes;
    /// the last limits for a scope count. Defaults to none.
    /// [`Engine::set_limit`](crate::Engine::set_limit) changes them later.
    pub fn limit(mut self, scope: Scope, limits: RunLimits) -> Self {
        match scope {
            Scope::All => self.all = limits,
            scope => self.scopes.push((scope, limits)),
        }
        self
    }

    /// Yields every limit that is set.
    pub(crate) fn run_limits(&self) -> Vec<(Scope, RunLimits)> {
        let all = Some((Scope::All, self.all)).filter(|(_, all)| *all != RunLimits::new());
        all.into_iter().chain(self.scopes.iter().cloned()).collect()
    }

    /// Sets the bounds. Defaults to [`Limits::default`].
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Has reports say where in the code hooks, blocking closures and holds come from: in
    /// [`Abandoned::site`](crate::Abandoned::site), and in the
    /// [`cleanup_errors`](crate::RunRow::cleanup_errors) of hooks. Defaults to false: reports may
    /// be shown to those whom the code does not concern.
    pub const fn spawn_sites(mut self, noted: bool) -> Self {
        self.spawn_sites = noted;
        self
    }

    /// Runs the control loop as a task of the engine's runtime instead of a thread, so that a
    /// paused clock drives it too. For tests: a blocked worker then blocks deadlines.
    #[cfg(feature = "test-util")]
    pub const fn control_on_runtime(mut self) -> Self {
        self.control_on_runtime = true;
        self
    }
}
