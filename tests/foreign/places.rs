//! The places where code of a user runs, and how its tree may end there.

/// Where code of a user runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Body,
    BodyDestructor,
    UnstartedBody,
    ValueUnread,
    ValueOfFailed,
    ValueInHandle,
    ValueAbandoned,
    ErrorInWords,
    ErrorAbandoned,
    ErrorExpired,
    PayloadWritten,
    PayloadReplaced,
    PayloadExpired,
    Hook,
    HookAborted,
    HookSkipped,
    EndHook,
    EndHookAborted,
    WakerOfEnd,
    WakerOfHandle,
    WakerOfStop,
    WakerReplaced,
    WakerOfToken,
    WakerOfEvents,
    WakerOfAllEvents,
    Blocking,
    BlockingValue,
    Predicate,
    RetryPredicate,
    Reader,
    SpanMade,
    SpanEntered,
    SpanExited,
    SpanRecorded,
    SpanClosed,
    EventTold,
}

/// How the tree ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Naturally,
    Cancel,
    /// By its own timeout: on the control thread.
    Deadline,
    Abort,
}

impl Place {
    pub(super) const ALL: &[Self] = &[
        Self::Body,
        Self::BodyDestructor,
        Self::UnstartedBody,
        Self::ValueUnread,
        Self::ValueOfFailed,
        Self::ValueInHandle,
        Self::ValueAbandoned,
        Self::ErrorInWords,
        Self::ErrorAbandoned,
        Self::ErrorExpired,
        Self::PayloadWritten,
        Self::PayloadReplaced,
        Self::PayloadExpired,
        Self::Hook,
        Self::HookAborted,
        Self::HookSkipped,
        Self::EndHook,
        Self::EndHookAborted,
        Self::WakerOfEnd,
        Self::WakerOfHandle,
        Self::WakerOfStop,
        Self::WakerReplaced,
        Self::WakerOfToken,
        Self::WakerOfEvents,
        Self::WakerOfAllEvents,
        Self::Blocking,
        Self::BlockingValue,
        Self::Predicate,
        Self::RetryPredicate,
        Self::Reader,
        Self::SpanMade,
        Self::SpanEntered,
        Self::SpanExited,
        Self::SpanRecorded,
        Self::SpanClosed,
        Self::EventTold,
    ];

    /// How the tree may end so that the code runs.
    pub(super) const fn ends(self) -> &'static [End] {
        use End::{Abort, Cancel, Deadline, Naturally};
        match self {
            Self::Body
            | Self::BodyDestructor
            | Self::WakerOfEnd
            | Self::WakerOfHandle
            | Self::WakerOfEvents
            | Self::WakerOfAllEvents
            | Self::Reader
            | Self::SpanMade
            | Self::SpanEntered
            | Self::SpanExited
            | Self::SpanRecorded
            | Self::SpanClosed
            | Self::EventTold
            | Self::PayloadExpired => &[Naturally, Cancel, Deadline, Abort],
            Self::UnstartedBody
            | Self::WakerOfStop
            | Self::WakerOfToken
            | Self::ValueAbandoned
            | Self::ErrorAbandoned
            | Self::HookSkipped => &[Cancel, Deadline, Abort],
            Self::Hook | Self::HookAborted => &[Cancel, Deadline],
            Self::EndHook | Self::EndHookAborted => &[Naturally, Cancel, Deadline],
            Self::ValueUnread
            | Self::ValueOfFailed
            | Self::ValueInHandle
            | Self::ErrorInWords
            | Self::ErrorExpired
            | Self::PayloadWritten
            | Self::PayloadReplaced
            | Self::WakerReplaced
            | Self::Blocking
            | Self::BlockingValue
            | Self::Predicate
            | Self::RetryPredicate => &[Naturally],
        }
    }

    /// The code runs when the tree is forgotten, on the control thread.
    pub(super) const fn is_at_expiry(self) -> bool {
        matches!(self, Self::ErrorExpired | Self::PayloadExpired)
    }
}
