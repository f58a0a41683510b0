//! [`NewLimits`] is what is to change of the limits of a run, [`LimitsOutcome`] what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Cause, RunStatus};

/// The limits that a run is to have from now on. One that is not named stays as it is; `None`
/// removes one. The limits of its ancestors stay.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_core::NewLimits;
///
/// let longer = NewLimits::new().timeout(Duration::from_secs(90)).idle(None);
/// assert_ne!(longer, NewLimits::new());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "limits do nothing until a run has them"]
pub struct NewLimits {
    /// The time from the start to the run's own deadline.
    pub(crate) timeout: NewLimit,
    /// The time from acceptance to the latest start.
    pub(crate) start_within: NewLimit,
    /// The time without a sign of life in the subtree.
    pub(crate) idle: NewLimit,
}

/// What becomes of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NewLimit {
    /// It stays as it is.
    #[default]
    Kept,
    /// It is replaced, or removed.
    Is(Option<Duration>),
}

impl NewLimits {
    /// Names no limit.
    pub const fn new() -> Self {
        Self { timeout: NewLimit::Kept, start_within: NewLimit::Kept, idle: NewLimit::Kept }
    }

    /// Sets the time from the first start to the run's own deadline, or removes it. Zero stops a
    /// run that has started now, another one as soon as it starts.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = NewLimit::Is(timeout.into());
        self
    }

    /// Sets the time from acceptance to the latest start, or removes it. Zero stops a run that has
    /// not started now. Without effect once the run has started.
    pub fn start_within(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.start_within = NewLimit::Is(time.into());
        self
    }

    /// Sets the time without an emit, progress or transition in the subtree, or removes it. Zero
    /// stops a run that has started now, another one as soon as it starts.
    pub fn idle(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.idle = NewLimit::Is(time.into());
        self
    }

    /// Tells whether the run is to have an idle limit that it may not have had.
    pub fn sets_idle(&self) -> bool {
        matches!(self.idle, NewLimit::Is(Some(_)))
    }
}

/// What came of new limits.
///
/// # Examples
///
/// ```
/// use quell_core::{LimitsOutcome, RunStatus};
///
/// let late = LimitsOutcome::AlreadyTerminal { status: RunStatus::Completed };
/// assert!(!late.is_changed());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new outcome")]
pub enum LimitsOutcome {
    /// They hold from now on.
    Changed {
        /// The earliest deadline of the run and its ancestors now. None if none has a timeout; that
        /// of a run that has not started is not known before it starts.
        deadline: Option<Instant>,
    },
    /// They hold, and the run was over one of them already: it was stopped at once. The cause is
    /// that limit, or a stop at the next checkpoint that was asked for before.
    Exceeded {
        /// End of the grace.
        hard_deadline: Instant,
    },
    /// A stop was accepted before; nothing changed.
    AlreadyStopping {
        /// Why it stops.
        cause: Arc<Cause>,
        /// End of the grace.
        hard_deadline: Instant,
    },
    /// It had ended; nothing changed.
    AlreadyTerminal {
        /// How it had ended.
        status: RunStatus,
    },
}

impl LimitsOutcome {
    /// Tells whether the run has the new limits.
    pub const fn is_changed(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Exceeded { .. })
    }
}
