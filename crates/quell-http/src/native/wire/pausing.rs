//! [`PauseRun`] and [`ResumeRun`], their answer, and the pause of a run as its object shows it.

use std::time::Duration;

use quell::{PauseState, Payload};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::native::wire::millis::Millis;
use crate::run_state::{status_name, written};
use crate::run_view::RunView;

/// A client's pause. Without a body, and of null, every field has its default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseRun {
    /// What the run is to ask: any JSON, at most 256 KiB. Defaults to null.
    #[serde(default)]
    #[schema(value_type = Value)]
    pub(crate) request: Option<Box<RawValue>>,
    /// Milliseconds from the pause to the answer, after which the run ends `timed-out`. Defaults to
    /// none. More than a year counts as a year.
    expires_in_ms: Option<Millis>,
}

/// The answer to what a paused run asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeRun {
    /// Any JSON.
    #[schema(value_type = Value)]
    pub(crate) answer: Box<RawValue>,
    /// The number of the attempt that it answers, as `pause` of the run says: if another one asks
    /// now, nothing changes. Left out it answers whatever is asked.
    #[serde(default)]
    pub(crate) attempt: Option<u32>,
}

/// How a run stands that was asked to pause, or was given its answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PauseAnswer {
    /// How it stands now: it may be paused already, or be paused again.
    #[schema(value_type = String)]
    status: &'static str,
    /// The number of its attempt, from 1. Each answer begins another one.
    attempt: u32,
}

/// The pause of a run that is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PauseObject {
    /// What it asks.
    #[schema(value_type = Value)]
    request: Payload,
    /// The number of the attempt that asks, from 1: the `attempt` of the answer to it.
    attempt: u32,
    /// When it was paused: RFC 3339, UTC, milliseconds.
    paused_at: String,
    /// When it ends `timed-out` without an answer; null if the pause has no such bound.
    expires_at: Option<String>,
}

impl PauseRun {
    pub(crate) fn expires_in(&self) -> Option<Duration> {
        self.expires_in_ms.map(Millis::time)
    }
}

impl PauseAnswer {
    pub(crate) fn of(run: &RunView) -> Self {
        Self { status: status_name(run.status()), attempt: run.attempt() }
    }
}

impl PauseObject {
    pub(crate) fn of(pause: PauseState) -> Self {
        Self {
            request: pause.request,
            attempt: pause.attempt,
            paused_at: written(pause.paused_at),
            expires_at: pause.expires_at.map(written),
        }
    }
}
