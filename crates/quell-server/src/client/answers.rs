//! What a server answers, as far as the commands read it.

use std::fmt::Write as _;
use std::time::SystemTime;

use quell::{Counts, RunId, RunKind, RunReport, RunRow, RunStatus};
use quell_report::text::{cut, printable};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// An instant, RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(pub(super) SystemTime);

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A page of runs. Each is JSON still: the option for JSON prints all of it.
#[derive(Debug, Deserialize)]
pub(super) struct RunPage {
    pub(super) runs: Vec<Value>,
    pub(super) total: Option<u64>,
    pub(super) next: Option<String>,
}

/// A run of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) component: Option<String>,
    pub(super) status: RunStatus,
    pub(super) cause: Option<StopCause>,
    pub(super) quiescent: bool,
    pub(super) abandoned: Vec<String>,
    pub(super) queued_at: At,
    pub(super) started_at: Option<At>,
    pub(super) ended_at: Option<At>,
}

/// Why a run stops.
#[derive(Debug, Deserialize)]
pub(super) struct StopCause {
    kind: String,
    message: Option<String>,
    by: Option<String>,
}

impl StopCause {
    /// Says it in a few words.
    pub(super) fn words(&self) -> String {
        let mut words = self.kind.clone();
        if let Some(by) = &self.by {
            let _ = write!(words, " by {by}");
        }
        if let Some(message) = self.message.as_ref().filter(|it| !it.trim().is_empty()) {
            let _ = write!(words, ": {message}");
        }
        cut(&printable(&words), CAUSE_CHARS_MAX)
    }
}

/// A page of a tree. Each row is JSON still.
#[derive(Debug, Deserialize)]
pub(super) struct TreePage {
    pub(super) rows: Vec<Value>,
    pub(super) next: Option<String>,
    pub(super) omitted: Counts,
}

/// A part of a log. Each event is JSON still, with every digit: one of another release may be
/// unknown.
#[derive(Debug, Deserialize)]
pub(super) struct LogPage {
    pub(super) events: Vec<Box<RawValue>>,
    pub(super) after: u64,
    pub(super) has_more: bool,
    /// When the run was accepted.
    pub(super) queued_at: At,
    /// How far the log goes by now, if more may come.
    pub(super) last: Option<u64>,
}

/// A run of a tree.
#[derive(Debug, Deserialize)]
pub(super) struct TreeRow {
    pub(super) uuid: RunId,
    pub(super) parent: Option<RunId>,
    pub(super) kind: RunKind,
    pub(super) name: String,
    pub(super) status: RunStatus,
    pub(super) cause: Option<StopCause>,
    pub(super) quiescent: bool,
    pub(super) abandoned: Vec<String>,
    pub(super) aborted: bool,
    pub(super) queued_at: At,
    pub(super) started_at: Option<At>,
    pub(super) ended_at: Option<At>,
    pub(super) error: Option<String>,
}

/// A whole run, of which the report is read.
#[derive(Debug, Deserialize)]
pub(super) struct WholeRun {
    rows: Vec<RunRow>,
    omitted: Counts,
}

impl WholeRun {
    /// Yields the report; none if the server says nothing of the run itself.
    pub(super) fn report(self) -> Option<RunReport> {
        (!self.rows.is_empty()).then(|| RunReport::new(self.rows, self.omitted))
    }
}

/// The stops that are under way.
#[derive(Debug, Deserialize)]
pub(super) struct Stops {
    /// By the clock of the server.
    pub(super) at: At,
    pub(super) stops: Vec<Stop>,
}

/// A stop that is under way.
#[derive(Debug, Deserialize)]
pub(super) struct Stop {
    pub(super) id: String,
    pub(super) uuid: RunId,
    pub(super) name: String,
    pub(super) root: String,
    pub(super) cause: Option<StopCause>,
    pub(super) accepted_at: Option<At>,
    pub(super) node: Option<String>,
    pub(super) standing: Option<Standing>,
}

/// How a stop stands.
#[derive(Debug, Deserialize)]
pub(super) struct Standing {
    pub(super) hard_deadline: Option<At>,
    pub(super) given_up_at: Option<At>,
    pub(super) live: u64,
    pub(super) signalled: u64,
    pub(super) cleaning_up: Vec<Work>,
    pub(super) aborted: Vec<Named>,
    pub(super) abandoned: Vec<Work>,
    pub(super) omitted: u64,
    /// Whether it is as far as the store tells. A server of the release before does not say.
    #[serde(default)]
    pub(super) of_store: bool,
    /// Whether there may be more of all.
    #[serde(default)]
    pub(super) more: bool,
}

/// A piece of work.
#[derive(Debug, Deserialize)]
pub(super) struct Work {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) since: Option<At>,
}

/// A run by name.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// What came of a cancel of several runs.
#[derive(Debug, Deserialize)]
pub(super) struct Cancelled {
    pub(super) total: Option<u64>,
    pub(super) more: bool,
    pub(super) unknown: Vec<String>,
    pub(super) runs: Vec<Value>,
}

/// What came of it for one run.
#[derive(Debug, Deserialize)]
pub(super) struct CancelledRun {
    pub(super) id: String,
    pub(super) component: Option<String>,
    pub(super) status: Option<RunStatus>,
    pub(super) disposition: Option<String>,
    pub(super) quiescent: Option<bool>,
    pub(super) reached: bool,
    pub(super) hard_deadline_in_ms: Option<u64>,
}

/// How a run stands that was asked to pause, or got its answer.
#[derive(Debug, Deserialize)]
pub(super) struct Paused {
    pub(super) status: RunStatus,
    pub(super) attempt: u32,
}

/// The servers on the database.
#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Value>,
    pub(super) lost: Vec<Value>,
    pub(super) more: bool,
}

/// The most that is shown of why a run stops.
const CAUSE_CHARS_MAX: usize = 160;
