//! [`CancelRequest`]: what is asked of a run that is to stop.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cause::text_bytes;
use crate::{Cause, CauseKind, RunId, limits};

/// How urgent a request to stop is. Requests merge to the most urgent one.
///
/// # Examples
///
/// ```
/// use quell_core::StopMode;
///
/// assert!(StopMode::AfterStep < StopMode::Cooperative && StopMode::Cooperative < StopMode::Abort);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum StopMode {
    /// Stop at the run's next checkpoint; a run that ends first keeps its own outcome.
    AfterStep,
    /// Signal, grace, abort.
    #[default]
    Cooperative,
    /// No grace: drop the body at its next await; hooks are skipped and reported as skipped.
    Abort,
}

impl StopMode {
    /// Yields the name on the wire: snake case, as the cancel APIs spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AfterStep => "after_step",
            Self::Cooperative => "cooperative",
            Self::Abort => "abort",
        }
    }
}

/// A request to stop a run: why, by whom, how urgently, and how long it may take.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_core::{CancelRequest, StopMode};
///
/// let grace = Duration::from_secs(2);
/// let request = CancelRequest::because("user pressed stop").by("ada").grace(grace);
/// assert_eq!(request.mode(), StopMode::Cooperative);
/// ```
///
/// With the feature `serde` it is written and read: durations in milliseconds, and what is as by
/// default is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[must_use = "a request does nothing until it is given to `cancel`"]
pub struct CancelRequest {
    /// What brought the stop about; a user by default.
    pub(crate) kind: CauseKind,
    /// The reason, bounded; none if it is empty.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read_bounded")
    )]
    pub(crate) message: Option<Arc<str>>,
    /// Who asks, bounded; none if it is empty.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read_bounded")
    )]
    pub(crate) by: Option<Arc<str>>,
    /// How urgent it is; cooperative by default.
    pub(crate) mode: StopMode,
    /// The time until abort; that of the run by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "grace_ms",
            default,
            with = "span",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub(crate) grace: Option<Duration>,
    /// When an `after_step` request becomes cooperative; as the engine says by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "escalate_after_ms",
            default,
            with = "span",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub(crate) escalate_after: Option<Duration>,
    /// How long it is remembered for an unknown id; not at all by default.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "remember_for_ms",
            default,
            with = "span",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub(crate) remember_for: Option<Duration>,
    /// Whether what the run has saved is taken back; not by default.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "rollback", default, skip_serializing_if = "std::ops::Not::not")
    )]
    pub(crate) is_rollback: bool,
    /// Whether the run is deleted; not by default.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "deletion", default, skip_serializing_if = "std::ops::Not::not")
    )]
    pub(crate) is_deletion: bool,
}

impl CancelRequest {
    /// Asks for a cooperative stop, with the reason that reports will show.
    ///
    /// A reason longer than [`limits::REASON_BYTES_MAX`] is cut and marked with `…`.
    pub fn because(reason: impl AsRef<str>) -> Self {
        Self {
            kind: CauseKind::UserRequest,
            message: bounded(reason.as_ref()),
            by: None,
            mode: StopMode::Cooperative,
            grace: None,
            escalate_after: None,
            remember_for: None,
            is_rollback: false,
            is_deletion: false,
        }
    }

    /// Names who asks. Defaults to nobody. A name longer than [`limits::REASON_BYTES_MAX`] is cut
    /// and marked with `…`.
    pub fn by(mut self, actor: impl AsRef<str>) -> Self {
        self.by = bounded(actor.as_ref());
        self
    }

    /// Says what kind of thing asks. Defaults to [`CauseKind::UserRequest`].
    pub const fn kind(mut self, kind: CauseKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the time between acceptance and abort. Defaults to the grace of the run, then of the
    /// engine (5 s). Zero drops the body at once.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Asks for [`StopMode::Abort`].
    pub const fn abort(mut self) -> Self {
        self.mode = StopMode::Abort;
        self
    }

    /// Asks for [`StopMode::AfterStep`], which becomes cooperative after `escalate_after`.
    /// `None` takes the engine's default (30 s). Zero is a cooperative stop at once.
    pub const fn after_step(mut self, escalate_after: Option<Duration>) -> Self {
        self.mode = StopMode::AfterStep;
        self.escalate_after = escalate_after;
        self
    }

    /// Remembers the stop for so long if the id is not known yet, and uses it once. Defaults to
    /// not at all; more than 24 h counts as 24 h. Zero remembers nothing.
    pub const fn remember_for(mut self, time: Duration) -> Self {
        self.remember_for = Some(time);
        self
    }

    /// Takes back what a root has saved, all at once when it is terminal, and forgets the run when
    /// nothing of it executes any more (I36). Of several requests one is enough. A run that ends
    /// by itself, before it is stopped, keeps all. Defaults to no rollback.
    pub const fn rollback(mut self) -> Self {
        self.is_rollback = true;
        self
    }

    /// Stops the run since it is deleted: it is rolled back ([`rollback`](Self::rollback)), and
    /// whoever keeps what a run came to shows nobody that of this one, whatever stopped it first.
    /// Defaults to no deletion.
    pub const fn deletion(mut self) -> Self {
        (self.is_rollback, self.is_deletion) = (true, true);
        self
    }

    /// Adds what a later request for the same run asks for, while nothing of the run executes: it
    /// is to come, or its node is gone. The first one stands, with its cause, and takes the run
    /// back if any of them does (I6, I36). Mode, grace and escalation of the later one are dropped
    /// on purpose: the run ends at once, whatever they are.
    pub const fn merge(&mut self, later: &Self) {
        self.is_rollback |= later.is_rollback;
        self.is_deletion |= later.is_deletion;
    }

    /// Tells whether what the run has saved is taken back.
    pub const fn is_rollback(&self) -> bool {
        self.is_rollback
    }

    /// Tells whether the run is deleted.
    pub const fn is_deletion(&self) -> bool {
        self.is_deletion
    }

    /// Yields who asks, if the request names them.
    pub fn asked_by(&self) -> Option<&str> {
        self.by.as_deref()
    }

    /// Yields what kind of thing asks.
    pub const fn cause_kind(&self) -> CauseKind {
        self.kind
    }

    /// Yields how many bytes its texts have.
    pub fn bytes(&self) -> usize {
        text_bytes(&[&self.message, &self.by])
    }

    /// Yields how urgent the request is.
    pub const fn mode(&self) -> StopMode {
        self.mode
    }

    /// Yields the grace that the request asks for, if it does.
    pub const fn grace_asked(&self) -> Option<Duration> {
        self.grace
    }

    /// Yields when an `after_step` request escalates, if it says so.
    pub const fn escalate_after(&self) -> Option<Duration> {
        self.escalate_after
    }

    /// Yields for how long the stop is remembered for an unknown id; zero: not at all.
    pub fn remembered_for(&self) -> Duration {
        self.remember_for.unwrap_or(Duration::ZERO).min(limits::RESERVATIONS_TTL)
    }

    /// Makes the cause that a run at `origin` records when it accepts this request.
    pub fn to_cause(&self, at: SystemTime, origin: RunId) -> Cause {
        Cause { kind: self.kind, message: self.message.clone(), by: self.by.clone(), at, origin }
    }
}

fn bounded(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| limits::cut(text, limits::REASON_BYTES_MAX).into())
}

/// Reads a text as a caller gives it: bounded, and none if it is empty.
#[cfg(feature = "serde")]
fn read_bounded<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Arc<str>>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(from)?;
    Ok(text.and_then(|text| bounded(&text)))
}

/// How a duration that may be absent is written: in whole milliseconds.
#[cfg(feature = "serde")]
mod span {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        span.map(ms).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "serde")]
    #[test]
    fn a_mode_has_one_spelling() {
        for mode in [StopMode::AfterStep, StopMode::Cooperative, StopMode::Abort] {
            let text = serde_json::to_string(&mode).unwrap();
            assert_eq!(text, format!("\"{}\"", mode.as_str()));
            assert_eq!(serde_json::from_str::<StopMode>(&text).unwrap(), mode);
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_request_is_read_as_it_was_written() {
        let plain = CancelRequest::because("");
        let text = serde_json::to_string(&plain).unwrap();
        assert_eq!(text, r#"{"kind":"user-request","mode":"cooperative"}"#);
        let ms = Duration::from_millis;
        let whole = CancelRequest::because("häh \0").by("ada").kind(CauseKind::Superseded);
        let whole = whole.grace(ms(1_500)).after_step(Some(ms(0))).remember_for(ms(7)).rollback();
        for request in [plain, whole.clone(), whole.clone().abort(), whole.deletion()] {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<CancelRequest>(&text).unwrap(), request, "{text}");
        }
        let long = "x".repeat(2 * limits::REASON_BYTES_MAX);
        let long = format!(r#"{{"kind":"user-request","mode":"abort","message":"{long}"}}"#);
        let read = serde_json::from_str::<CancelRequest>(&long).unwrap();
        assert!(read.bytes() <= limits::REASON_BYTES_MAX);
    }

    #[test]
    fn a_reason_beyond_its_bound_is_cut_at_a_character_and_marked() {
        let request = CancelRequest::because("ä".repeat(limits::REASON_BYTES_MAX));
        let message = request.message.expect("a reason was given");
        assert!(message.len() <= limits::REASON_BYTES_MAX);
        assert!(message.ends_with('…'));
        let request = CancelRequest::because("why").by("ä".repeat(limits::REASON_BYTES_MAX));
        let actor = request.asked_by().expect("an actor was named");
        assert!(actor.len() <= limits::REASON_BYTES_MAX && actor.ends_with('…'));
    }

    #[test]
    fn a_request_keeps_what_it_is_given_and_its_cause_says_it() {
        let request = CancelRequest::because("häh").by("ada").kind(CauseKind::Superseded);
        assert_eq!((request.asked_by(), request.bytes()), (Some("ada"), 7));
        assert_eq!((request.mode(), request.grace_asked()), (StopMode::Cooperative, None));
        assert_eq!(request.remembered_for(), Duration::ZERO);
        let (at, origin) = (SystemTime::UNIX_EPOCH, RunId::from_text("origin"));
        let cause = request.to_cause(at, origin);
        assert_eq!((cause.kind, cause.at, cause.origin), (CauseKind::Superseded, at, origin));
        assert_eq!((cause.message.as_deref(), cause.by.as_deref()), (Some("häh"), Some("ada")));
        assert_eq!(cause.bytes(), request.bytes());
        let told = cause.inherited(CauseKind::ParentStopped);
        assert_eq!(told.kind, CauseKind::ParentStopped);
        assert_eq!(told.inherited(CauseKind::Superseded), cause, "nothing else has changed");

        let second = Duration::from_secs(1);
        let request = request.grace(second).after_step(Some(second));
        assert_eq!((request.mode(), request.grace_asked()), (StopMode::AfterStep, Some(second)));
        assert_eq!(request.escalate_after(), Some(second));
        assert_eq!(request.clone().abort().mode(), StopMode::Abort);
        let long = request.remember_for(limits::RESERVATIONS_TTL + second);
        assert_eq!(long.remembered_for(), limits::RESERVATIONS_TTL);
        assert_eq!(long.remember_for(Duration::ZERO).remembered_for(), Duration::ZERO);
    }
}
