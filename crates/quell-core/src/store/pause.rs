//! [`StoredPause`]: what is kept of a run that waits for an answer.

use std::time::{Duration, SystemTime};

use crate::{Payload, RunId};

/// What is kept of a run that waits for an answer: what it asks, and what counts meanwhile.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use quell_core::store::StoredPause;
///
/// let at = SystemTime::now();
/// let mut pause = StoredPause::new("may I?".into(), 1, at);
/// pause.timeout = Some(Duration::from_secs(60));
/// assert_eq!(pause.expires_at, None);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredPause {
    /// What the run asks.
    pub request: Payload,
    /// The number of the attempt that has ended with it, from 1.
    pub attempt: u32,
    /// The run whose body has asked: the paused one, or one below it. None if a client has.
    pub asked_by: Option<RunId>,
    /// When the run was paused.
    pub at: SystemTime,
    /// When it has waited for too long, and times out. None by default: it waits for ever.
    pub expires_at: Option<SystemTime>,
    /// The timeout of the run, which counts from its first start. None by default.
    pub timeout: Option<Duration>,
    /// Whether that stands still while the run is paused. It goes on by default.
    pub timeout_stands: bool,
}

impl StoredPause {
    /// Makes a pause that a client has asked for, and that nothing ends but an answer or a stop.
    pub const fn new(request: Payload, attempt: u32, at: SystemTime) -> Self {
        let (asked_by, expires_at, timeout, timeout_stands) = (None, None, None, false);
        Self { request, attempt, asked_by, at, expires_at, timeout, timeout_stands }
    }
}
