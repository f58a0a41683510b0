//! A failure that says when to try again.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use quell::Failure;

use crate::failures;

/// A failure that says how long to wait before the next attempt, as servers under load do.
///
/// A body returns it as any other error; a [`Retry`](crate::Retry) waits at least so long, also
/// beyond its cap. Whether it tries again at all is its own to say.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::Failure;
/// use quell_flow::RetryAfter;
///
/// fn body(status: u16) -> Result<(), Failure> {
///     if status == 429 {
///         return Err(RetryAfter::because(Duration::from_secs(2), "too many requests").into());
///     }
///     Ok(())
/// }
/// let failure = body(429).unwrap_err();
/// assert_eq!(RetryAfter::of(&failure).unwrap().after(), Duration::from_secs(2));
/// assert_eq!(failure.to_string(), "retry after 2s: too many requests");
/// ```
#[derive(Debug)]
pub struct RetryAfter {
    after: Duration,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RetryAfter {
    /// Asks to wait so long. Zero asks for nothing.
    pub const fn new(after: Duration) -> Self {
        Self { after, source: None }
    }

    /// Asks to wait so long because of an error, or words.
    pub fn because(after: Duration, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { after, source: Some(source.into()) }
    }

    /// Finds it in a failure, also where that went through handles of runs.
    pub fn of(failure: &Failure) -> Option<&Self> {
        failures::find(failure)
    }

    /// Yields how long to wait.
    pub const fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retry after {}", humantime::format_duration(self.after))
    }
}

impl Error for RetryAfter {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
