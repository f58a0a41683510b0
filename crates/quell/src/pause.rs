//! [`Pause`] is what a run asks when it is paused, [`PauseState`] how that pause stands;
//! [`PauseError`] and [`ResumeError`] say why one was not paused or resumed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell_core::store::{StoreError, StoredPause};
use quell_core::{Payload, RunId, RunStatus};

use crate::queue::{Scope, runs};

/// What a run asks when it is paused, and for how long it waits for the answer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::Pause;
///
/// let pause = Pause::new("may I delete the file?").expires_in(Duration::from_secs(3_600));
/// assert_eq!(pause.request().as_text().as_deref(), Some("may I delete the file?"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a pause does nothing until a run is asked for it"]
pub struct Pause {
    request: Payload,
    expires_in: Option<Duration>,
}

impl Pause {
    /// Asks something, in at most 256 KiB.
    pub fn new(request: impl Into<Payload>) -> Self {
        Self { request: request.into(), expires_in: None }
    }

    /// Bounds the time from the pause to the answer: then the run ends `TimedOut`, with cause
    /// `Deadline`. Defaults to none. Zero leaves no time to answer.
    pub const fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// Yields what it asks.
    pub const fn request(&self) -> &Payload {
        &self.request
    }

    pub(crate) fn into_parts(self) -> (Payload, Option<Duration>) {
        (self.request, self.expires_in)
    }
}

impl From<Payload> for Pause {
    fn from(request: Payload) -> Self {
        Self::new(request)
    }
}

impl From<&str> for Pause {
    fn from(request: &str) -> Self {
        Self::new(request)
    }
}

impl From<String> for Pause {
    fn from(request: String) -> Self {
        Self::new(request)
    }
}

/// The pause of a run that is paused, as [`RunRef::pause_state`](crate::RunRef::pause_state) yields
/// it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PauseState {
    /// What it asks.
    pub request: Payload,
    /// The number of the attempt that asks, from 1: with it an answer says which pause it is for
    /// ([`RunRef::resume_attempt`](crate::RunRef::resume_attempt)).
    pub attempt: u32,
    /// When it was paused.
    pub paused_at: SystemTime,
    /// When it ends `TimedOut` without an answer; none if the pause has no such bound. A timeout of
    /// the run may come first.
    pub expires_at: Option<SystemTime>,
}

impl From<&StoredPause> for PauseState {
    fn from(StoredPause { request, attempt, at, expires_at, .. }: &StoredPause) -> Self {
        let (request, attempt) = (request.clone(), *attempt);
        Self { request, attempt, paused_at: *at, expires_at: *expires_at }
    }
}

/// A run below another one has asked for a pause: what its handle yields, and what
/// [`RunContext::pause`](crate::RunContext::pause) fails with.
///
/// Only roots are paused. A body that returns it as its own error passes it on: of a child to the
/// parent, of a root to the engine, which then pauses the run.
#[derive(Clone, Debug, thiserror::Error)]
#[error("run `{name}` waits for an answer")]
#[non_exhaustive]
pub struct PauseAsked {
    /// The run.
    pub run: RunId,
    /// Its name.
    pub name: Arc<str>,
    /// What it asks.
    pub request: Payload,
    /// How long the pause may be.
    pub(crate) expires_in: Option<Duration>,
}

/// Why a run is not paused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// Nothing could make the body of its next attempt.
    #[error("run cannot be paused: it was not submitted with `Engine::submit_resumable`")]
    NotResumable,
    /// It belongs to the tree of another run. Its body may ask for a pause of that one.
    #[error("run is not a root")]
    NotRoot,
    /// It stops, or has ended.
    #[error("run is {0}")]
    Over(RunStatus),
    /// What it asks is beyond a bound.
    #[error("request of a pause has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound: that of an event, or what is left for live runs.
        max: usize,
    },
}

/// Why a run was not resumed. Nothing has changed, unless the variant says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// No such run.
    #[error("no run has this id")]
    Unknown,
    /// It is not paused: it was resumed before, was stopped, or has not come to its pause.
    #[error("run is {0}, not paused")]
    NotPaused(RunStatus),
    /// It is paused, and the answer is to an attempt other than the one that asks now.
    #[error("run waits for the answer to attempt {asks}, and not for one to attempt {answered}")]
    OtherAttempt {
        /// The attempt that the answer is to.
        answered: u32,
        /// The attempt that asks now.
        asks: u32,
    },
    /// It would have to wait, and one of its limits lets no more runs wait.
    #[error("queue is full: at most {} may wait ({scope})", runs(*max))]
    QueueFull {
        /// Whose queue it is.
        scope: Scope,
        /// How many may wait in it.
        max: usize,
    },
    /// It was paused in an earlier process, and the one that has it now has not said what makes its
    /// next body: see [`Recovery`](crate::Recovery). It stays paused, for a process that does.
    #[error("run was paused by an earlier process, and the one that has it has no body for it")]
    NoBody,
    /// The store is in trouble, and takes no answer now.
    #[error("answer was not taken, and the run stays paused: {0}")]
    NotTaken(StoreError),
    /// The run has its answer, and goes on when that is stored. It is not known to be: the store is
    /// in trouble, or has refused it.
    #[error("answer is not known to be stored: {0}")]
    NotStored(StoreError),
    /// The answer is beyond a bound.
    #[error("answer has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound: that of a payload, or what is left for live runs.
        max: usize,
    },
}
