//! [`StartRun`], [`CancelRun`] and [`SetLimits`]: the bodies of requests.

use std::collections::BTreeMap;
use std::time::Duration;

use quell::{CancelRequest, NewLimits, OnBusy};
use quell_flow::ComponentKind;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::native::wire::millis::Millis;
use crate::native::wire::object::{labels, object, object_or_null};
use crate::wait::Wait;

/// A run to be started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRun {
    /// What is to run.
    pub(crate) component: ComponentName,
    /// Its input: any JSON. Defaults to null.
    #[serde(default)]
    #[schema(value_type = Value)]
    pub(crate) input: Option<Box<RawValue>>,
    /// The caller's id: any text of 1 to 128 bytes without control characters. Defaults to a new
    /// UUID. One in use is refused.
    #[schema(max_length = 128, min_length = 1, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$")]
    pub(crate) id: Option<String>,
    /// What it belongs to: a session, a thread, a team.
    pub(crate) session: Option<String>,
    /// Texts by which it is found, at most 30; `component`, `external_id` and `session` are taken.
    #[serde(default, deserialize_with = "labels")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Milliseconds from its start to its own deadline. Defaults to none. More than a year counts
    /// as a year, here and below.
    pub(crate) timeout_ms: Option<Millis>,
    /// Milliseconds between the acceptance of a stop and abort. Defaults to the engine's.
    pub(crate) grace_ms: Option<Millis>,
    /// Its place among the runs that wait for the same lane or limit: the highest starts first, of
    /// equals the one that came first. Defaults to 0. Above 0 it is for who sees the runs of all
    /// owners: an admin. A run that waits still when its server is started again waits with 0.
    #[serde(default)]
    pub(crate) priority: i8,
    /// Its lane: runs of one lane never overlap. Defaults to none.
    #[serde(default, deserialize_with = "object_or_null")]
    pub(crate) lane: Option<LaneName>,
}

/// A component of the catalog: its name, `agent/writer`, or its kind and id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected the name of a component, such as `agent/writer`")]
pub(crate) enum ComponentName {
    Name(NameText),
    #[serde(deserialize_with = "object")]
    Parts(ComponentParts),
}

/// The name of a component: kind, slash, id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^(agent|team|workflow)/.*$", example = "agent/writer")]
pub(crate) struct NameText((ComponentKind, String));

/// A component by its kind and id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComponentParts {
    /// Its kind.
    kind: KindName,
    /// Its id.
    id: String,
}

/// The kind of a component.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KindName {
    Agent,
    Team,
    Workflow,
}

/// A lane.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LaneName {
    /// Its key.
    pub(crate) key: String,
    /// What becomes of the run if the lane is busy. Defaults to `enqueue`.
    #[serde(default)]
    pub(crate) on_busy: BusyName,
}

/// What becomes of a run whose lane is busy: it has a run that has not ended. `enqueue` has it wait
/// for its turn. `reject` refuses it. `cancel_existing` stops the runs of the lane and starts it
/// when the one that runs has ended. `rollback_existing` does that as well, takes back what they
/// have saved, and forgets them when nothing of them executes any more. `join_existing` starts
/// nothing and answers with the newest run of the lane that is not stopping; if all are, it waits
/// for its turn.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BusyName {
    #[default]
    Enqueue,
    Reject,
    CancelExisting,
    RollbackExisting,
    JoinExisting,
}

/// A request to cancel. Without a body, and of null, every field has its default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelRun {
    /// Why, in words.
    #[serde(default)]
    pub(crate) reason: String,
    /// How urgent it is. Defaults to `cooperative`.
    #[serde(default)]
    pub(crate) mode: ModeName,
    /// Milliseconds between acceptance and abort. Defaults to the run's, then the engine's. Zero
    /// drops the body at once.
    pub(crate) grace_ms: Option<Millis>,
    /// When `after_step` becomes `cooperative`. Defaults to 30,000.
    pub(crate) escalate_after_ms: Option<Millis>,
    /// Whether what the run has saved in its lane is taken back, and the run forgotten when nothing
    /// of it executes any more. Defaults to no.
    #[serde(default)]
    pub(crate) rollback: bool,
    /// What the answer waits for. Defaults to `none`. A server that has no place left for waits
    /// answers at once what there is.
    #[serde(default)]
    pub(crate) wait: WaitName,
    /// The longest wait in milliseconds. Defaults to none for `terminal`, which a hard deadline
    /// bounds, and to 30,000 for `quiescent`.
    pub(crate) wait_ms: Option<Millis>,
    /// If the run is not there yet: remembers the stop for it for so long. More than 24 h counts as
    /// 24 h. Defaults to not at all.
    pub(crate) remember_ms: Option<Millis>,
}

/// The limits that a run is to have. One that is left out stays as it is, null removes one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLimits {
    /// Milliseconds from its start to its own deadline.
    #[serde(default)]
    #[schema(value_type = Option<Millis>)]
    timeout_ms: NewTime,
    /// Milliseconds without a sign of life of it or of a run below it.
    #[serde(default)]
    #[schema(value_type = Option<Millis>)]
    idle_ms: NewTime,
}

/// A time that is to be another one.
#[derive(Clone, Copy, Debug, Default)]
enum NewTime {
    /// It was left out.
    #[default]
    Kept,
    /// It was given, or null.
    Is(Option<Millis>),
}

/// How urgent a request to cancel is.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeName {
    AfterStep,
    #[default]
    Cooperative,
    Abort,
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WaitName {
    #[default]
    None,
    Terminal,
    Quiescent,
}

impl TryFrom<String> for NameText {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let (kind, id) = ComponentKind::split(&name).ok_or("no name of a component")?;
        Ok(Self((kind, id.to_owned())))
    }
}

impl ComponentName {
    /// Yields its kind and its id.
    pub(crate) fn parts(&self) -> (ComponentKind, &str) {
        match self {
            Self::Name(NameText((kind, id))) => (*kind, id),
            Self::Parts(ComponentParts { kind, id }) => (kind.kind(), id),
        }
    }
}

impl KindName {
    pub(super) const fn kind(self) -> ComponentKind {
        match self {
            Self::Agent => ComponentKind::Agent,
            Self::Team => ComponentKind::Team,
            Self::Workflow => ComponentKind::Workflow,
        }
    }
}

impl BusyName {
    pub(crate) const fn policy(self) -> OnBusy {
        match self {
            Self::Enqueue => OnBusy::Enqueue,
            Self::Reject => OnBusy::Reject,
            Self::CancelExisting => OnBusy::CancelExisting,
            Self::RollbackExisting => OnBusy::RollbackExisting,
            Self::JoinExisting => OnBusy::JoinExisting,
        }
    }
}

impl<'de> Deserialize<'de> for NewTime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(Self::Is)
    }
}

impl SetLimits {
    /// Tells whether it names a limit.
    pub(crate) const fn names_one(&self) -> bool {
        !matches!((self.timeout_ms, self.idle_ms), (NewTime::Kept, NewTime::Kept))
    }

    pub(crate) fn limits(&self) -> NewLimits {
        let mut limits = NewLimits::new();
        if let NewTime::Is(timeout) = self.timeout_ms {
            limits = limits.timeout(timeout.map(Millis::time));
        }
        if let NewTime::Is(idle) = self.idle_ms {
            limits = limits.idle(idle.map(Millis::time));
        }
        limits
    }
}

impl CancelRun {
    pub(crate) fn request(&self) -> CancelRequest {
        let request = CancelRequest::because(&self.reason);
        let request = match self.mode {
            ModeName::AfterStep => request.after_step(self.escalate_after_ms.map(Millis::time)),
            ModeName::Cooperative => request,
            ModeName::Abort => request.abort(),
        };
        let request = match self.grace_ms {
            Some(grace) => request.grace(grace.time()),
            None => request,
        };
        if self.rollback { request.rollback() } else { request }
    }

    pub(crate) fn wait(&self) -> Wait {
        let most = self.wait_ms.map(Millis::time);
        match self.wait {
            WaitName::None => Wait::none(),
            WaitName::Terminal => {
                most.map_or(Wait::terminal(), |most| Wait::terminal().at_most(most))
            }
            WaitName::Quiescent => Wait::quiescent().at_most(most.unwrap_or(QUIESCENT_WAIT)),
        }
    }
}

/// The cap of a wait for quiescence that names none: abandoned work may go on for ever.
const QUIESCENT_WAIT: Duration = Duration::from_secs(30);
