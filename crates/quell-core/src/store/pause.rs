//! [`StoredPause`]: what is kept of a run that waits for an answer, and [`StoredSoFar`]: what it
//! has to show by then.

use std::time::{Duration, SystemTime};

use crate::{Payload, RunId, Usage};

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
    /// What the run has to show by then. Nothing by default.
    pub so_far: StoredSoFar,
}

impl StoredPause {
    /// Makes a pause that a client has asked for, and that nothing ends but an answer or a stop.
    pub const fn new(request: Payload, attempt: u32, at: SystemTime) -> Self {
        let (asked_by, expires_at, timeout, timeout_stands) = (None, None, None, false);
        let so_far = StoredSoFar::NOTHING;
        Self { request, attempt, asked_by, at, expires_at, timeout, timeout_stands, so_far }
    }
}

/// What a run has to show before its end. A later attempt has it too, until it says otherwise.
///
/// # Examples
///
/// ```
/// use quell_core::Usage;
/// use quell_core::store::StoredSoFar;
///
/// let used = Usage { input_tokens: 9, output_tokens: 1, cost_micros: 0 };
/// let so_far = StoredSoFar { partial: Some("half of it".into()), summary: None, used };
/// assert_eq!(so_far.bytes(), "\"half of it\"".len());
/// assert_eq!(StoredSoFar::default().bytes(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "stores make them, and this is all there is")]
pub struct StoredSoFar {
    /// The output that it has set last.
    pub partial: Option<Payload>,
    /// What it says of itself.
    pub summary: Option<Payload>,
    /// What it and those below it have used.
    pub used: Usage,
}

impl StoredSoFar {
    pub(super) const NOTHING: Self = Self { partial: None, summary: None, used: Usage::ZERO };

    /// Yields the bytes of its texts.
    pub fn bytes(&self) -> usize {
        [&self.partial, &self.summary].into_iter().flatten().map(Payload::len).sum()
    }
}
