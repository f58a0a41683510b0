//! [`RunState`]: the object `quell`, which every contract adds to its answers about a run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue};
use quell::cluster::AskedStop;
use quell::{Abandoned, Cause, Disposition, RunId, RunReport, RunRow, RunStatus, Work};
use serde::Serialize;
use utoipa::ToSchema;

/// The side channel: `{status, cause, quiescent, abandoned}`, and `truncated` and `recorded_at`
/// where that is so.
///
/// # Examples
///
/// ```
/// use quell::RunStatus;
///
/// assert_eq!(quell_http::status_name(RunStatus::TimedOut), "timed-out");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
// Generated clients name their types after the schemas: the schema keeps its name.
#[schema(as = State)]
#[non_exhaustive]
pub struct RunState {
    /// How the run stands: `queued`, `running`, `paused`, `stopping`, `completed`, `failed`,
    /// `cancelled` or `timed-out`.
    #[schema(value_type = String, example = "cancelled")]
    pub status: &'static str,
    /// Why it was stopped, if it was.
    pub cause: Option<RunCause>,
    /// Whether nothing of it executes: it waits for its start or its answer, or it is over in every
    /// respect.
    pub quiescent: bool,
    /// The names of what did not stop in time.
    #[schema(value_type = Vec<String>)]
    pub abandoned: Vec<Arc<str>>,
    /// Whether something that it said is missing from what is shown of it, its text, tool calls or
    /// state: it said more than is kept, or faster than it was read. Left out if nothing is. Only a
    /// [`View`](crate::View) knows.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// When a stop was asked for that the node of the run has not decided yet
    /// ([`Disposition::Recorded`]), of which `cause` is the cause then, while `status` is that of
    /// the run: it may still end before it hears of the stop. Left out if there is none, in lists,
    /// and in events. RFC 3339, UTC, milliseconds. Only a [`View`](crate::View) knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<String>,
}

/// Why a run was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct RunCause {
    /// What kind of thing it was, in kebab case.
    #[schema(value_type = String, example = "user-request")]
    pub kind: &'static str,
    /// The words that came with it.
    #[schema(value_type = Option<String>)]
    pub message: Option<Arc<str>>,
    /// Who asked.
    #[schema(value_type = Option<String>)]
    pub by: Option<Arc<str>>,
    /// When the stop was accepted, or asked for if it is not decided yet: RFC 3339, UTC,
    /// milliseconds.
    pub at: String,
    /// The run at which the stop began, as its caller knows it.
    pub origin: String,
}

impl RunState {
    /// Makes the state of a report. `show` yields the id of a run as its caller knows it.
    pub fn of(report: &RunReport, show: impl Fn(RunId) -> String) -> Self {
        Self { abandoned: names(&report.abandoned), ..Self::of_row(report.own_row(), show) }
    }

    /// As [`RunState::of`], for one row: abandoned work of descendants is left out.
    pub fn of_row(row: &RunRow, show: impl Fn(RunId) -> String) -> Self {
        Self {
            status: status_name(row.status),
            cause: row.cause.as_deref().map(|cause| RunCause::of(cause, show)),
            quiescent: row.executes_nothing(),
            abandoned: names(&row.abandoned),
            truncated: false,
            recorded_at: None,
        }
    }

    /// Adds a stop that is not decided yet.
    pub(crate) fn add_recorded(&mut self, stop: &AskedStop, show: impl Fn(RunId) -> String) {
        self.recorded_at = Some(written(stop.at));
        let cause = || RunCause::of(&stop.request.to_cause(stop.at, stop.run), show);
        self.cause.get_or_insert_with(cause);
    }
}

/// Yields the names of work. That of a node stands for all runs of a tree that it may execute.
fn names(abandoned: &[Abandoned]) -> Vec<Arc<str>> {
    let mut nodes = HashSet::new();
    let named = abandoned.iter().filter(|work| work.what != Work::Node || nodes.insert(&work.name));
    named.map(|work| Arc::clone(&work.name)).collect()
}

impl RunCause {
    fn of(cause: &Cause, show: impl Fn(RunId) -> String) -> Self {
        Self {
            kind: cause.kind.as_str(),
            message: cause.message.clone(),
            by: cause.by.clone(),
            at: written(cause.at),
            origin: show(cause.origin),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Writes a time: RFC 3339, UTC, milliseconds. A time before 1970 is written as the start of 1970.
pub(crate) fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// Yields an instant to the millisecond, as a store keeps it: what a contract makes of it is the
/// same before and after a restart.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_999);
/// let whole = quell_http::whole_millis(at);
/// assert_eq!(whole, SystemTime::UNIX_EPOCH + Duration::from_millis(1));
/// ```
pub fn whole_millis(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let rest = Duration::from_nanos(u64::from(since.subsec_nanos() % 1_000_000));
    SystemTime::UNIX_EPOCH + since.saturating_sub(rest)
}

/// Yields the name of a status, as every contract's side channel spells it.
pub const fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Paused => "paused",
        RunStatus::Stopping => "stopping",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
        RunStatus::TimedOut => "timed-out",
    }
}

/// Yields the name of a disposition in the header. `Forbidden` is written as `unknown`: a run that
/// a caller may not see does not exist for it.
pub const fn disposition_name(disposition: &Disposition) -> &'static str {
    match disposition {
        Disposition::Accepted { .. } => "accepted",
        Disposition::Scheduled { .. } => "scheduled",
        Disposition::AlreadyStopping { .. } => "already-stopping",
        Disposition::Escalated { .. } => "escalated",
        Disposition::AlreadyTerminal { .. } => "already-terminal",
        Disposition::Recorded { .. } => "recorded",
        Disposition::Reserved => "reserved",
        Disposition::Unknown | Disposition::Forbidden => "unknown",
    }
}

/// Writes the headers `quell-disposition`, `quell-cause` and, if the answer waited,
/// `quell-quiescent`.
pub fn write_headers(
    headers: &mut HeaderMap,
    disposition: &Disposition,
    cause: Option<&Cause>,
    quiescent: Option<bool>,
) {
    let name = HeaderValue::from_static(disposition_name(disposition));
    headers.insert("quell-disposition", name);
    if let Some(cause) = cause {
        headers.insert("quell-cause", HeaderValue::from_static(cause.kind.as_str()));
    }
    if let Some(quiescent) = quiescent {
        let text = if quiescent { "true" } else { "false" };
        headers.insert("quell-quiescent", HeaderValue::from_static(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_once_for_a_tree_and_each_program_by_itself() {
        let of =
            |run: &str, name: &str, what| Abandoned::new(RunId::from_text(run), name.into(), what);
        let named = names(&[
            of("root", "a", Work::Node),
            of("root", "make", Work::Process),
            of("root", "b", Work::Node),
            of("below", "a", Work::Node),
            of("below", "make", Work::Process),
        ]);
        assert_eq!(
            named.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["a", "make", "b", "make"]
        );
    }

    #[test]
    fn a_clock_before_1970_is_at_its_beginning() {
        let long_ago = SystemTime::UNIX_EPOCH - Duration::from_hours(1);
        assert_eq!(written(long_ago), "1970-01-01T00:00:00.000Z");
        let later = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(written(later), "1970-01-01T00:00:01.500Z");
    }
}
