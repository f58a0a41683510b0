//! The status of a run.

use std::fmt;

/// Where a run stands.
///
/// ```text
///         submit              start           body Ok, children ended
///  (none) ──────► Queued ───────────► Running ──────────────────────► Completed
///                   │                  │   │  body Err, panic, child policy
///                   │ stop             │   └────────────────────────► Failed
///                   ▼                  ▼ stop accepted (any cause)
///                 ┌───────── Stopping ─────────┐  quiescent, or ladder exhausted
///                 │                            ├────────────────────► Cancelled
///                 └────────────────────────────┘  own deadline or idle limit was the cause
///                                               ────────────────────► TimedOut
/// ```
///
/// A root may also be `Paused`: a running one that waits for an answer, with nothing of it
/// executing. From there it goes back to `Queued`, as its next attempt, or to `Stopping`.
///
/// There is no edge from `Stopping` to `Completed`: an accepted stop ends in `Cancelled` or
/// `TimedOut`, and whatever the body still returns is kept as partial output.
///
/// Exhaustive on purpose, so that every adapter must name a new status.
///
/// # Examples
///
/// ```
/// use quell_core::RunStatus;
///
/// assert!(RunStatus::TimedOut.is_terminal());
/// assert!(!RunStatus::Stopping.is_terminal());
/// assert_eq!(RunStatus::TimedOut.as_str(), "timed-out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new status")]
pub enum RunStatus {
    /// Accepted, body not started.
    Queued,
    /// The body or a child is at work, and no stop was accepted.
    Running,
    /// A stop was accepted; the run will end `Cancelled` or `TimedOut`.
    Stopping,
    /// The body returned `Ok`, and every attached child had ended.
    Completed,
    /// The body returned an error or panicked, or a child's failure went unseen.
    Failed,
    /// A stop ended the run.
    Cancelled,
    /// The run's own deadline or idle limit ended it.
    TimedOut,
    /// A root waits for an answer; nothing of it executes. The last one, since stores keep the
    /// numbers of the others.
    Paused,
}

impl RunStatus {
    /// Every status once, in the order of declaration: the one at `i` is `i` as a number.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::RunStatus;
    ///
    /// let named = RunStatus::ALL.into_iter().find(|status| status.as_str() == "timed-out");
    /// assert_eq!(named, Some(RunStatus::TimedOut));
    /// assert_eq!(RunStatus::ALL.into_iter().filter(|status| status.is_terminal()).count(), 4);
    /// ```
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Stopping,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Paused,
    ];

    /// Tells whether the status is final.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut)
    }

    /// Yields the name on the wire: kebab-case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed-out",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
