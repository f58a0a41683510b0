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
///
/// With the feature `serde` they are written and read: durations in microseconds, rounded up, a
/// limit that is removed as null, and one that stays is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[must_use = "limits do nothing until a run has them"]
pub struct NewLimits {
    /// The time from the start to the run's own deadline.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "NewLimit::is_kept"))]
    pub(crate) timeout: NewLimit,
    /// The time from acceptance to the latest start.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "NewLimit::is_kept"))]
    pub(crate) start_within: NewLimit,
    /// The time without a sign of life in the subtree.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "NewLimit::is_kept"))]
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

#[cfg(feature = "serde")]
impl NewLimit {
    const fn is_kept(&self) -> bool {
        matches!(self, Self::Kept)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for NewLimit {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let micros =
            |span: Duration| u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        let span = if let Self::Is(span) = self { span.map(micros) } else { None };
        span.serialize(to)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for NewLimit {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let micros = <Option<u64> as serde::Deserialize>::deserialize(from)?;
        Ok(Self::Is(micros.map(Duration::from_micros)))
    }
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

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn new_limits_are_read_as_they_were_written() {
        let none = NewLimits::new();
        assert_eq!(serde_json::to_string(&none).unwrap(), "{}");
        let some = NewLimits::new().timeout(Duration::from_millis(2)).idle(None);
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(text, r#"{"timeout":2000,"idle":null}"#);
        let all = some.start_within(Duration::ZERO);
        for limits in [none, some, all, all.timeout(None)] {
            let text = serde_json::to_string(&limits).unwrap();
            assert_eq!(serde_json::from_str::<NewLimits>(&text).unwrap(), limits, "{text}");
        }
        let short = serde_json::to_string(&NewLimits::new().idle(Duration::from_nanos(1)));
        assert_eq!(short.unwrap(), r#"{"idle":1}"#, "zero would stop the run");
    }
}
