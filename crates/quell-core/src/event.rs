//! What happens to the runs of a tree, in order.

use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "serde")]
use serde_json::value::RawValue;

use crate::{Cause, Payload, RunId, RunKind, RunStatus, Usage, Work};

/// One entry in the log of a tree.
///
/// Its JSON is read back by `serde_json`, with instants to the millisecond. A kind, or a field,
/// that this release does not know is an error.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RunEvent {
    /// Its place in the log of the root: starts at 1, no gaps. Zero for [`EventKind::Lagged`],
    /// which is made for one reader and is not in the log.
    pub seq: u64,
    /// The root of the tree.
    pub root: RunId,
    /// The run to which it happened.
    pub run: RunId,
    /// When.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall"))]
    pub at: SystemTime,
    /// What.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

impl RunEvent {
    /// Puts an event together.
    pub const fn new(seq: u64, root: RunId, run: RunId, at: SystemTime, kind: EventKind) -> Self {
        Self { seq, root, run, at, kind }
    }

    /// Yields the number behind which its log goes on, and under which it is stored: its own. A gap
    /// has none, and stands in the place of the last event that is missing.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use quell_core::{EventKind, RunEvent, RunId};
    ///
    /// let (run, at) = (RunId::from_text("order-7"), SystemTime::now());
    /// assert_eq!(RunEvent::new(2, run, run, at, EventKind::Started).last_seq(), 2);
    /// let gap = EventKind::Lagged { from: 3, to: 9 };
    /// assert_eq!(RunEvent::new(0, run, run, at, gap).last_seq(), 9);
    /// ```
    pub const fn last_seq(&self) -> u64 {
        match self.kind {
            EventKind::Lagged { to, .. } => to,
            _ => self.seq,
        }
    }
}

/// An event as it is written. What belongs to its kind is kept as text until the kind is known: a
/// payload cannot be read from anything else, and keys may come in any order.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Its place in the log.
    seq: u64,
    /// The root of the tree.
    root: RunId,
    /// The run to which it happened.
    run: RunId,
    /// When.
    #[serde(with = "crate::wall")]
    at: SystemTime,
    /// The name of its kind, as JSON.
    event: Box<RawValue>,
    /// What its kind says; nothing if it says no more.
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for RunEvent {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written { seq, root, run, at, event, data } = Written::deserialize(from)?;
        let kind = match data {
            Some(data) => format!(r#"{{"event":{event},"data":{data}}}"#),
            None => format!(r#"{{"event":{event}}}"#),
        };
        let kind = serde_json::from_str(&kind).map_err(serde::de::Error::custom)?;
        Ok(Self { seq, root, run, at, kind })
    }
}

/// What happened.
///
/// A kind with a payload is read back only if `event` stands before `data`, as it is written. A
/// [`RunEvent`] is read in any order.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "event", content = "data", rename_all = "kebab-case"))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub enum EventKind {
    /// The run was accepted.
    Queued {
        /// The run that spawned it; none for a root.
        parent: Option<RunId>,
        /// What it stands for.
        kind: RunKind,
        /// Its name.
        name: Arc<str>,
        /// Whether it belongs to the cleanup of a stopped parent.
        shielded: bool,
    },
    /// Its body is about to be polled for the first time; again for each attempt after a pause.
    Started,
    /// Its body emitted a value.
    Emitted(Payload),
    /// Its body said how far it has come, from 0 to 1.
    Progress(f32),
    /// Its body used something; what its descendants use is in their events.
    Used(Usage),
    /// A tool call begins.
    ToolStarted {
        /// The id of the call.
        call: Arc<str>,
        /// The name of the tool.
        name: Arc<str>,
        /// Its input.
        input: Payload,
    },
    /// A tool call has ended; there is exactly one for each that began.
    ToolEnded {
        /// The id of the call.
        call: Arc<str>,
        /// How it ended.
        outcome: ToolOutcome,
    },
    /// The run waits for an answer, and nothing of it executes.
    Paused {
        /// What it asks.
        request: Payload,
    },
    /// The run was given its answer, and waits for the start of its next attempt.
    Resumed {
        /// The number of that attempt, from 2.
        attempt: u32,
    },
    /// A stop at the next checkpoint was asked for.
    StopRequested(Arc<Cause>),
    /// A stop was accepted.
    Stopping(Arc<Cause>),
    /// A hook ended, or was not started. Once for each that was registered before the end, but for
    /// one of a stop that did not come, and for one that still executes when its run becomes
    /// terminal: that one is `Abandoned`.
    HookEnded {
        /// Its number, in order of registration, from 0.
        hook: u32,
        /// How it ended.
        outcome: HookOutcome,
    },
    /// The body had not ended by the hard deadline although its children had; it was dropped.
    Aborted,
    /// Something was still executing when the ladder was exhausted.
    Abandoned {
        /// What sort of work it is.
        what: Work,
        /// Its name.
        name: Arc<str>,
    },
    /// The run is terminal.
    Ended(RunStatus),
    /// The run left its parent and is the root of its own tree from here on.
    Detached {
        /// The root that it left.
        from: RunId,
        /// Its name.
        name: Arc<str>,
    },
    /// A run that this one decides over will never start, because another one that it needs did not
    /// complete. There is no run of it, and so no other event.
    Skipped {
        /// Its name.
        name: Arc<str>,
        /// The name of the one that did not complete.
        unmet: Arc<str>,
    },
    /// The outcome of a run that decides over others, as a parallel step, is known. Once per run,
    /// and never after its `Stopping`: a stop that was accepted is the outcome. The stops of the
    /// losers follow.
    Decided {
        /// When, as the summary of the run says.
        #[cfg_attr(feature = "serde", serde(with = "crate::wall"))]
        decided_at: SystemTime,
        /// The name of the run that decided it, if one did.
        decided_by: Option<Arc<str>>,
    },
    /// All that a run decides over have ended. Once per run, also if it was stopped before it was
    /// decided.
    Settled {
        /// When, as the summary of the run says.
        #[cfg_attr(feature = "serde", serde(with = "crate::wall"))]
        settled_at: SystemTime,
    },
    /// Nothing of a run that ended non-quiescent executes any more.
    Quiesced,
    /// Something was over its bound and was refused.
    Refused {
        /// What it was.
        what: Arc<str>,
        /// Its size in bytes.
        bytes: usize,
        /// The bound in bytes.
        bytes_max: usize,
    },
    /// The reader was too slow, or came too late: these events are gone for it.
    Lagged {
        /// The first one missed.
        from: u64,
        /// The last one missed.
        to: u64,
    },
}

/// How a tool call ended.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_core::ToolOutcome::Cancelled, quell_core::ToolOutcome::Unknown);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new outcome")]
pub enum ToolOutcome {
    /// It returned; none if the value is over the bound of an event.
    Result(Option<Payload>),
    /// It failed, with these words.
    Error(Arc<str>),
    /// It was dropped, or gave way to a stop, and nothing that was started inside it executes.
    Cancelled,
    /// Nobody knows: the body was abandoned within the call, or what was started inside it, a
    /// closure, a process or a child, went on when it was given up.
    Unknown,
}

/// How a hook ended.
///
/// # Examples
///
/// ```
/// assert_ne!(quell_core::HookOutcome::Finished, quell_core::HookOutcome::Skipped);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum HookOutcome {
    /// It ran to its end.
    Finished,
    /// It panicked.
    Panicked,
    /// It was running when its time was over, or its runtime shut down, and was dropped.
    Aborted,
    /// It was never started: there was no time left, the stop was an abort, there were too many, or
    /// their runtime had shut down.
    Skipped,
}
