//! [`CancelRuns`]: a stop of several runs at once, and its answer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use axum::http::StatusCode;
use quell::{Disposition, RunFilter, RunStatus};
use quell_flow::{COMPONENT, ComponentKind};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::SESSION;
use crate::native::wire::millis::Millis;
use crate::native::wire::object::{labels, object_or_null};
use crate::native::wire::request::{CancelRun, KindName, ModeName, WaitName};
use crate::native::wire::response::{component_of, millis};
use crate::problem::Problem;
use crate::run_state::{disposition_name, status_name};
use crate::run_view::RunView;
use crate::service::CancelOutcome;

/// A request to cancel runs. One of `where`, `all` and `runs` says which.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelRuns {
    /// Stops the roots that have not ended and to which all of this applies: at least one
    /// condition.
    #[serde(default, rename = "where", deserialize_with = "object_or_null")]
    conditions: Option<Conditions>,
    /// Stops all roots that have not ended. Defaults to no.
    #[serde(default)]
    all: bool,
    /// Stops the runs with these ids, those below a root as well: at most 10,000.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 10_000)]
    runs: Option<RunTexts>,
    /// Stops nothing, and answers what would be stopped. Defaults to no.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Why, in words.
    #[serde(default)]
    reason: String,
    /// How urgent it is. Defaults to `cooperative`.
    #[serde(default)]
    mode: ModeName,
    /// Milliseconds between acceptance and abort. Defaults to that of each run, then the engine's.
    /// Zero drops the bodies at once.
    grace_ms: Option<Millis>,
    /// When `after_step` becomes `cooperative`. Defaults to 30,000.
    escalate_after_ms: Option<Millis>,
    /// Whether what the runs have saved in their lanes is taken back, and the runs forgotten when
    /// nothing of them executes any more. Defaults to no.
    #[serde(default)]
    rollback: bool,
    /// What the answer waits for, of all runs. Defaults to `none`. A server that has no place left
    /// for waits answers at once what there is.
    #[serde(default)]
    wait: WaitName,
    /// The longest wait in milliseconds, for all together. Defaults to none for `terminal`, which
    /// hard deadlines bound, and to 30,000 for `quiescent`.
    wait_ms: Option<Millis>,
}

/// Which runs are meant: those to which all of this applies, in the words of a list.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conditions {
    /// One of these statuses.
    #[serde(default)]
    status: Vec<LiveStatus>,
    /// This kind.
    kind: Option<KindName>,
    /// This component: its name, `agent/writer`, or its id.
    component: Option<String>,
    /// This session.
    session: Option<String>,
    /// This owner.
    owner: Option<String>,
    /// This lane, as its owner calls it.
    lane: Option<String>,
    /// These labels.
    #[serde(default, deserialize_with = "labels")]
    labels: BTreeMap<String, String>,
}

/// How a run stands that has not ended.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum LiveStatus {
    Queued,
    Running,
    Paused,
    Stopping,
}

/// Ids of runs as their caller wrote them, bounded in number while they are read.
#[derive(Debug)]
pub(crate) struct RunTexts(Vec<String>);

/// Which runs a request means.
#[derive(Debug)]
pub(crate) enum Meant {
    /// Roots that a filter lets through, of this lane if one is named.
    Filter(RunFilter, Option<String>),
    /// Those with these ids.
    Named(Vec<String>),
}

/// What came of a request to cancel runs, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelRunsAnswer {
    /// Whether nothing was stopped: it was only asked what would be.
    pub(crate) dry_run: bool,
    /// How many runs are meant, of those that the caller may stop; null if there are more than
    /// were looked at.
    pub(crate) total: Option<usize>,
    /// Whether there are more of them than 10,000, which one request stops: the others go on, and
    /// the same request again stops the next.
    pub(crate) more: bool,
    /// The ids of the request of which there is no run, or none that the caller may stop.
    pub(crate) unknown: Vec<String>,
    /// The runs, those that were queued first.
    pub(crate) runs: Vec<RunStop>,
}

/// What came of it for one run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunStop {
    /// Its id as its caller knows it.
    id: String,
    /// Its id as the event log knows it.
    uuid: String,
    /// The name of its component, `agent/writer`; null if it has none.
    component: Option<String>,
    /// How it stands when the wait is over; null if it is gone.
    #[schema(value_type = Option<String>)]
    status: Option<&'static str>,
    /// As that of a cancel of it alone; besides `unknown`, if it has gone since it was found, and
    /// `not-stored`: a restart may forget the stop, also if it is in effect. Ask again. Null if
    /// nothing was stopped.
    #[schema(value_type = Option<String>)]
    disposition: Option<&'static str>,
    /// Whether nothing of it executes; null if nothing was waited for.
    quiescent: Option<bool>,
    /// Whether what was waited for came to pass within the longest wait.
    reached: bool,
    /// Milliseconds until its body is aborted, from the acceptance on.
    hard_deadline_in_ms: Option<u64>,
    /// Milliseconds until a stop that waits for its next checkpoint does so no longer.
    escalates_in_ms: Option<u64>,
}

impl CancelRuns {
    /// Yields which runs are meant.
    ///
    /// # Errors
    ///
    /// Fails unless there is one way to say so: an empty object stops nothing.
    pub(crate) fn meant(&mut self) -> Result<Meant, Problem> {
        match (self.conditions.take(), self.all, self.runs.take()) {
            (Some(conditions), false, None) => conditions.meant(),
            (None, true, None) => Ok(Meant::Filter(RunFilter::new().roots().live(), None)),
            (None, false, Some(RunTexts(ids))) => Ok(Meant::Named(ids)),
            (None, false, None) => Err(bad("one of `where`, `all` and `runs` has to say what to \
                stop; `\"all\": true` stops everything")),
            _ => Err(bad("only one of `where`, `all` and `runs` can say what to stop")),
        }
    }

    /// Yields the same request for each of the runs.
    pub(crate) fn of_each(self) -> CancelRun {
        CancelRun {
            reason: self.reason,
            mode: self.mode,
            grace_ms: self.grace_ms,
            escalate_after_ms: self.escalate_after_ms,
            rollback: self.rollback,
            wait: self.wait,
            wait_ms: self.wait_ms,
            remember_ms: None,
        }
    }
}

impl Conditions {
    fn meant(self) -> Result<Meant, Problem> {
        let Self { status, kind, component, session, owner, lane, labels } = self;
        let texts = [&component, &session, &owner, &lane];
        let has_one = texts.into_iter().any(Option::is_some) || kind.is_some();
        if status.is_empty() && labels.is_empty() && !has_one {
            return Err(bad("`where` has no condition; `\"all\": true` stops everything"));
        }
        let mut kind = kind.map(KindName::kind);
        let mut filter = RunFilter::new().roots().live();
        for status in status {
            filter = filter.status(status.status());
        }
        for (key, value) in labels {
            filter = filter.label(key, value);
        }
        if let Some(name) = component {
            filter = match ComponentKind::split(&name) {
                Some((of_name, _)) if kind.is_some_and(|kind| kind != of_name) => {
                    return Err(bad(TWO_KINDS));
                }
                Some((of_name, id)) => {
                    kind = Some(of_name);
                    filter.label(COMPONENT, id)
                }
                None => filter.label(COMPONENT, name),
            };
        }
        if let Some(kind) = kind {
            filter = filter.kind(kind.run_kind());
        }
        if let Some(session) = session {
            filter = filter.label(SESSION, session);
        }
        if let Some(owner) = owner {
            filter = filter.owner(owner);
        }
        Ok(Meant::Filter(filter, lane))
    }
}

fn bad(words: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-request", words.to_owned())
}

impl LiveStatus {
    const fn status(self) -> RunStatus {
        match self {
            Self::Queued => RunStatus::Queued,
            Self::Running => RunStatus::Running,
            Self::Paused => RunStatus::Paused,
            Self::Stopping => RunStatus::Stopping,
        }
    }
}

impl<'de> Deserialize<'de> for RunTexts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = RunTexts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {RUNS_MAX} ids")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<RunTexts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = from.next_element()? {
                    if texts.len() == RUNS_MAX {
                        return Err(serde::de::Error::invalid_length(RUNS_MAX + 1, &self));
                    }
                    texts.push(text);
                }
                Ok(RunTexts(texts))
            }
        }

        from.deserialize_seq(Texts)
    }
}

impl RunStop {
    /// Tells of a run that would be stopped.
    pub(crate) fn would(run: &RunView) -> Self {
        Self {
            id: run.external_id().into_owned(),
            uuid: run.id().to_string(),
            component: component_of(run),
            status: Some(status_name(run.status())),
            disposition: None,
            quiescent: None,
            reached: true,
            hard_deadline_in_ms: None,
            escalates_in_ms: None,
        }
    }

    /// Tells of a run that was to be stopped.
    pub(crate) fn of(run: &RunView, cancelled: &CancelOutcome, now: Instant) -> Self {
        let is_stored = cancelled.stored.is_ok();
        let given = if is_stored { disposition_name(&cancelled.disposition) } else { NOT_STORED };
        let hard = match &cancelled.disposition {
            Disposition::Accepted { hard_deadline }
            | Disposition::AlreadyStopping { hard_deadline, .. } => Some(*hard_deadline),
            _ => None,
        };
        let escalates = match &cancelled.disposition {
            Disposition::Scheduled { escalate_at } => Some(*escalate_at),
            _ => None,
        };
        Self {
            status: cancelled.row.as_ref().map(|row| status_name(row.status)),
            disposition: Some(given),
            quiescent: cancelled.quiescent,
            reached: is_stored && cancelled.is_reached,
            hard_deadline_in_ms: hard.map(|hard| millis(hard, now)),
            escalates_in_ms: escalates.map(|at| millis(at, now)),
            ..Self::would(run)
        }
    }
}

/// The disposition of a stop that the store has not taken.
pub(crate) const NOT_STORED: &str = "not-stored";

/// What is wrong with a kind, and a component that names another one.
pub(crate) const TWO_KINDS: &str = "`kind` and `component` name two kinds: no run has both";

/// Runs that one request stops.
pub(crate) const RUNS_MAX: usize = 10_000;
