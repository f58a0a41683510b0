//! [`Disposition`]: what came of a request to stop.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::{Cause, RunStatus, StopMode};

/// The engine's answer to a request to stop.
///
/// Exhaustive on purpose, so that every adapter must name a new answer.
///
/// # Examples
///
/// ```
/// use quell_core::Disposition;
///
/// assert_eq!(Disposition::Unknown.as_str(), "unknown");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new answer")]
pub enum Disposition {
    /// The run is stopping because of this request; its body is aborted at `hard_deadline`.
    Accepted {
        /// End of the grace.
        hard_deadline: Instant,
    },
    /// The run stops at its next checkpoint, or at `escalate_at`.
    Scheduled {
        /// When the request becomes cooperative.
        escalate_at: Instant,
    },
    /// It was stopping already; the hard deadline is the earlier of both.
    AlreadyStopping {
        /// The first cause.
        cause: Arc<Cause>,
        /// End of the grace.
        hard_deadline: Instant,
    },
    /// It was asked to stop already; this request is more urgent.
    Escalated {
        /// The mode so far.
        from: StopMode,
        /// The mode from now on.
        to: StopMode,
    },
    /// It had ended; nothing changed.
    AlreadyTerminal {
        /// How it had ended.
        status: RunStatus,
    },
    /// Another node has the run, and has not answered in time: the stop is durable, and not
    /// decided yet. It is honoured when the owner is heard of again, or by who takes over from it.
    Recorded {
        /// The name of the node that has the run.
        owner: Arc<str>,
        /// Until when it has it at least, by the clock of the store.
        lease_until: SystemTime,
    },
    /// No such run; nothing changed.
    Unknown,
    /// No such run yet; the stop is remembered and used once.
    Reserved,
    /// The caller may not. Never made by the engine: access control answers so.
    Forbidden,
}

impl Disposition {
    /// Yields what can be written: the name as `disposition`, and beside it what the answer says,
    /// under the names of the native HTTP API. An instant means nothing to another process, so each
    /// is given in milliseconds from `now` on; zero if it has passed.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "serde")] {
    /// use std::time::{Duration, Instant};
    ///
    /// use quell_core::Disposition;
    ///
    /// let now = Instant::now();
    /// let accepted = Disposition::Accepted { hard_deadline: now + Duration::from_secs(5) };
    /// let text = serde_json::to_string(&accepted.as_of(now)).unwrap();
    /// assert_eq!(text, r#"{"disposition":"accepted","hard_deadline_in_ms":5000}"#);
    /// # }
    /// ```
    #[cfg(feature = "serde")]
    pub fn as_of(&self, now: Instant) -> impl serde::Serialize + use<'_> {
        AsOf(self, now)
    }

    /// Reads what [`as_of`](Self::as_of) has written; `now` is when that was, by the clock of the
    /// reader. A time that is too long for an instant ends with the longest that there is.
    ///
    /// # Errors
    ///
    /// Fails if it is no answer that is known here.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use quell_core::Disposition;
    ///
    /// let text = r#"{"disposition":"accepted","hard_deadline_in_ms":5000}"#;
    /// let now = Instant::now();
    /// let read = Disposition::read_as_of(&mut serde_json::Deserializer::from_str(text), now);
    /// let hard_deadline = now + Duration::from_secs(5);
    /// assert_eq!(read.unwrap(), Disposition::Accepted { hard_deadline });
    /// ```
    #[cfg(feature = "serde")]
    pub fn read_as_of<'de, D: serde::Deserializer<'de>>(
        from: D,
        now: Instant,
    ) -> Result<Self, D::Error> {
        let read: Read = serde::Deserialize::deserialize(from)?;
        let at = |ms| crate::lifecycle::later(now, std::time::Duration::from_millis(ms));
        Ok(match read {
            Read::Accepted { hard_deadline_in_ms } => {
                Self::Accepted { hard_deadline: at(hard_deadline_in_ms) }
            }
            Read::Scheduled { escalates_in_ms } => {
                Self::Scheduled { escalate_at: at(escalates_in_ms) }
            }
            Read::AlreadyStopping { cause, hard_deadline_in_ms } => {
                Self::AlreadyStopping { cause, hard_deadline: at(hard_deadline_in_ms) }
            }
            Read::Escalated { from, to } => Self::Escalated { from, to },
            Read::AlreadyTerminal { status } => Self::AlreadyTerminal { status },
            Read::Recorded { owner, lease_until } => Self::Recorded { owner, lease_until },
            Read::Unknown => Self::Unknown,
            Read::Reserved => Self::Reserved,
            Read::Forbidden => Self::Forbidden,
        })
    }

    /// Yields the name on the wire: kebab-case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Scheduled { .. } => "scheduled",
            Self::AlreadyStopping { .. } => "already-stopping",
            Self::Escalated { .. } => "escalated",
            Self::AlreadyTerminal { .. } => "already-terminal",
            Self::Recorded { .. } => "recorded",
            Self::Unknown => "unknown",
            Self::Reserved => "reserved",
            Self::Forbidden => "forbidden",
        }
    }
}

/// A disposition with its instants as milliseconds from one of them; see [`Disposition::as_of`].
#[cfg(feature = "serde")]
struct AsOf<'a>(&'a Disposition, Instant);

#[cfg(feature = "serde")]
impl serde::Serialize for AsOf<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;

        let in_ms = |at: &Instant| {
            u64::try_from(at.saturating_duration_since(self.1).as_millis()).unwrap_or(u64::MAX)
        };
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("disposition", self.0.as_str())?;
        match self.0 {
            Disposition::Accepted { hard_deadline } => {
                map.serialize_entry("hard_deadline_in_ms", &in_ms(hard_deadline))?;
            }
            Disposition::Scheduled { escalate_at } => {
                map.serialize_entry("escalates_in_ms", &in_ms(escalate_at))?;
            }
            Disposition::AlreadyStopping { cause, hard_deadline } => {
                map.serialize_entry("cause", cause)?;
                map.serialize_entry("hard_deadline_in_ms", &in_ms(hard_deadline))?;
            }
            Disposition::Escalated { from, to } => {
                map.serialize_entry("from", from)?;
                map.serialize_entry("to", to)?;
            }
            Disposition::AlreadyTerminal { status } => map.serialize_entry("status", status)?,
            Disposition::Recorded { owner, lease_until } => {
                map.serialize_entry("owner", owner)?;
                map.serialize_entry("lease_until", &Wall(lease_until))?;
            }
            Disposition::Unknown | Disposition::Reserved | Disposition::Forbidden => {}
        }
        map.end()
    }
}

/// A disposition as it is read.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(tag = "disposition", rename_all = "kebab-case")]
enum Read {
    Accepted {
        /// Until the end of the grace.
        hard_deadline_in_ms: u64,
    },
    Scheduled {
        /// Until the request becomes cooperative.
        escalates_in_ms: u64,
    },
    AlreadyStopping {
        /// The first cause.
        cause: Arc<Cause>,
        /// Until the end of the grace.
        hard_deadline_in_ms: u64,
    },
    Escalated {
        /// The mode so far.
        from: StopMode,
        /// The mode from now on.
        to: StopMode,
    },
    AlreadyTerminal {
        /// How it had ended.
        status: RunStatus,
    },
    Recorded {
        /// The name of the node that has the run.
        owner: Arc<str>,
        /// Until when it has it at least.
        #[serde(deserialize_with = "crate::wall::deserialize")]
        lease_until: SystemTime,
    },
    Unknown,
    Reserved,
    Forbidden,
}

/// An instant of the wall clock, as it is written.
#[cfg(feature = "serde")]
struct Wall<'a>(&'a SystemTime);

#[cfg(feature = "serde")]
impl serde::Serialize for Wall<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        crate::wall::serialize(self.0, to)
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_disposition_is_written_with_what_it_says() {
        let now = Instant::now();
        let written = |said: Disposition| serde_json::to_string(&said.as_of(now)).unwrap();
        let later = now + Duration::from_hours(1);
        let accepted = written(Disposition::Accepted { hard_deadline: later });
        assert_eq!(accepted, r#"{"disposition":"accepted","hard_deadline_in_ms":3600000}"#);
        let past = written(Disposition::Scheduled { escalate_at: now });
        assert_eq!(past, r#"{"disposition":"scheduled","escalates_in_ms":0}"#);
        let raised =
            written(Disposition::Escalated { from: StopMode::AfterStep, to: StopMode::Abort });
        assert_eq!(raised, r#"{"disposition":"escalated","from":"after_step","to":"abort"}"#);
        let over = written(Disposition::AlreadyTerminal { status: RunStatus::TimedOut });
        assert_eq!(over, r#"{"disposition":"already-terminal","status":"timed-out"}"#);
        assert_eq!(written(Disposition::Unknown), r#"{"disposition":"unknown"}"#);
    }

    #[test]
    fn every_disposition_is_read_as_it_was_written() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let cause = crate::CancelRequest::because("enough").by("ada");
        let lease_until = SystemTime::UNIX_EPOCH + ms(1_790_000_000_123);
        let cause = cause.to_cause(lease_until, crate::RunId::from_text("r"));
        let hard_deadline = now + ms(1_234);
        for said in [
            Disposition::Accepted { hard_deadline },
            Disposition::Scheduled { escalate_at: hard_deadline },
            Disposition::AlreadyStopping { cause: cause.into(), hard_deadline },
            Disposition::Escalated { from: StopMode::AfterStep, to: StopMode::Abort },
            Disposition::AlreadyTerminal { status: RunStatus::TimedOut },
            Disposition::Recorded { owner: "node \u{1f600}".into(), lease_until },
            Disposition::Unknown,
            Disposition::Reserved,
            Disposition::Forbidden,
        ] {
            let text = serde_json::to_string(&said.as_of(now)).unwrap();
            let from = &mut serde_json::Deserializer::from_str(&text);
            assert_eq!(Disposition::read_as_of(from, now).unwrap(), said, "{text}");
            // Another process reads it later, by a clock of its own.
            let from = &mut serde_json::Deserializer::from_str(&text);
            let later = Disposition::read_as_of(from, now + ms(9)).unwrap();
            assert_eq!(serde_json::to_string(&later.as_of(now + ms(9))).unwrap(), text);
        }
        let forever = r#"{"disposition":"accepted","hard_deadline_in_ms":18446744073709551615}"#;
        let from = &mut serde_json::Deserializer::from_str(forever);
        assert!(Disposition::read_as_of(from, now).is_ok());
    }
}
