//! [`Scope`], [`RunLimits`] and [`QueuePosition`]: how many roots may run and wait, and where one
//! of them stands.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use quell_core::{RunKind, limits};

/// Which roots a limit counts together.
///
/// A root counts in every scope that it belongs to, and starts when each of them has room.
///
/// # Examples
///
/// ```
/// use quell::{EngineConfig, RunKind, RunLimits, Scope};
///
/// let config = EngineConfig::new()
///     .running_max(100)
///     .limit(Scope::Kind(RunKind::Workflow), RunLimits::new().running_max(10))
///     .limit(Scope::component(RunKind::Agent, "writer"), RunLimits::new().running_max(2))
///     .limit(Scope::EachOwner, RunLimits::new().running_max(5).queued_max(20));
/// assert_eq!(Scope::component(RunKind::Agent, "writer").to_string(), "component agent/writer");
/// # let _ = config;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Every root of the engine.
    All,
    /// The roots of one kind.
    Kind(RunKind),
    /// The roots of one kind and name.
    Component(RunKind, Arc<str>),
    /// The roots of one owner: each owner has a count of its own, and roots without an owner share
    /// one.
    EachOwner,
}

impl Scope {
    /// Names the roots of one kind and name.
    pub fn component(kind: RunKind, name: impl Into<Arc<str>>) -> Self {
        Self::Component(kind, name.into())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("in all"),
            Self::Kind(kind) => write!(f, "kind {kind}"),
            Self::Component(kind, name) => write!(f, "component {kind}/{name}"),
            Self::EachOwner => f.write_str("owner"),
        }
    }
}

/// How many roots of a [`Scope`] may run at once, and how many may wait for their start.
///
/// # Examples
///
/// ```
/// let limits = quell::RunLimits::new().running_max(4).queued_max(100);
/// assert_eq!((limits.running_max, limits.queued_max), (Some(4), Some(100)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub struct RunLimits {
    /// Roots that run at once, in number; the others wait in `Queued`. A run that ended
    /// non-quiescent still counts. Defaults to no bound. Zero starts none.
    pub running_max: Option<usize>,
    /// Roots that wait at once for a slot, their lane or their due time, in number. One more is
    /// refused with [`QueueFull`](crate::SubmitError::QueueFull); one that can start at once is
    /// not. Defaults to no bound. Zero lets none wait.
    pub queued_max: Option<usize>,
}

impl RunLimits {
    /// Bounds nothing.
    pub const fn new() -> Self {
        Self { running_max: None, queued_max: None }
    }

    /// Sets [`running_max`](field@Self::running_max).
    pub const fn running_max(mut self, max: usize) -> Self {
        self.running_max = Some(max);
        self
    }

    /// Sets [`queued_max`](field@Self::queued_max).
    pub const fn queued_max(mut self, max: usize) -> Self {
        self.queued_max = Some(max);
        self
    }
}

/// How a limit of all nodes stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotStanding {
    /// The roots that it bounds.
    pub scope: Scope,
    /// How many of them may run at once, in number: what the node has set that joined last. Of
    /// [`Scope::EachOwner`] it is the maximum of each.
    pub max: usize,
    /// How many slots all nodes have, those included that are kept for a moment; of
    /// [`Scope::EachOwner`], for the owners of whom this node has any.
    pub taken: usize,
    /// How many slots this node has.
    pub held: usize,
}

/// Where a run stood in the queue when it was asked: see
/// [`RunRef::queue_position`](crate::RunRef::queue_position).
///
/// It is a moment's view. Runs that come later may be more urgent, those before it may be stopped,
/// and when what it waits for is free, it may have to wait for another limit.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use quell::{Engine, EngineConfig, RunSpec, Scope, WaitsFor};
///
/// let engine = Engine::with_config(EngineConfig::new().running_max(0));
/// let first = engine.submit(RunSpec::agent("first"), async |_| Ok(())).unwrap().into_ref();
/// let second = engine.submit(RunSpec::agent("second"), async |_| Ok(())).unwrap().into_ref();
/// let position = second.queue_position().unwrap();
/// assert_eq!((position.ahead, position.waits_for), (1, WaitsFor::Slot(Scope::All)));
///
/// engine.set_limit(Scope::All, engine.limit(&Scope::All).running_max(2));
/// assert_eq!((first.queue_position(), second.queue_position()), (None, None));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuePosition {
    /// How many of the runs that wait for the same would start before it. Counted up to
    /// [`QUEUE_AHEAD_MAX`](crate::limits::QUEUE_AHEAD_MAX), which stands for as many or more. Zero
    /// for a run that waits for its due time.
    pub ahead: usize,
    /// What it waits for first.
    pub waits_for: WaitsFor,
}

impl QueuePosition {
    /// Makes a position from the runs ahead, of which only so many need be counted.
    pub(crate) fn new(ahead: usize, waits_for: WaitsFor) -> Self {
        Self { ahead: ahead.min(limits::QUEUE_AHEAD_MAX), waits_for }
    }
}

/// What a queued run waits for.
///
/// # Examples
///
/// ```
/// use quell::{RunKind, Scope, WaitsFor};
///
/// let waits_for = WaitsFor::Slot(Scope::Kind(RunKind::Agent));
/// assert_eq!(waits_for.to_string(), "a slot (kind agent)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Its due time.
    DueTime(SystemTime),
    /// Its lane, which another run holds.
    Lane(Arc<str>),
    /// A slot of the first scope that is full: its owner, its component, its kind, or all.
    Slot(Scope),
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DueTime(_) => f.write_str("its due time"),
            Self::Lane(key) => write!(f, "lane `{key}`"),
            Self::Slot(scope) => write!(f, "a slot ({scope})"),
        }
    }
}

/// Says how many runs.
pub(crate) fn runs(count: usize) -> String {
    format!("{count} run{}", if count == 1 { "" } else { "s" })
}
