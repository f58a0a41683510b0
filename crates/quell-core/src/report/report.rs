//! What remains of a run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Cause, Payload, RunId, RunKind, RunStatus, Usage};

/// What remains of a run and its subtree: flat rows in pre-order, bounded, never recursive.
///
/// The fields of the report are those of the run itself; [`rows`](Self::rows) begins with the same
/// run and goes on with its descendants.
///
/// Its JSON is read back by `serde_json`, with instants to the millisecond; an output that is null
/// is none then, because both are one text. A field that this release does not know is an error,
/// and so is a report without a row.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct RunReport {
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub status: RunStatus,
    /// Why it was stopped, if it was.
    pub cause: Option<Arc<Cause>>,
    /// Whether nothing of the subtree executes. False for a live run.
    pub quiescent: bool,
    /// What the body set as its output; only of a completed run.
    pub output: Option<Payload>,
    /// What the run left if it was stopped or failed: see [`RunRow::partial`].
    pub partial: Option<Payload>,
    /// Why it failed, if it did.
    pub error: Option<Arc<str>>,
    /// What was still executing in the subtree when its runs became terminal, as far as rows go.
    /// `quiescent` tells whether all of it has ended since.
    pub abandoned: Vec<Abandoned>,
    /// The run and its descendants in pre-order, at most the engine's bound. When there are more,
    /// those that did not complete come first.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "some_rows"))]
    pub rows: Vec<RunRow>,
    /// Descendants that have no row, by status.
    pub omitted: Counts,
}

impl RunReport {
    /// Makes the report of the run in the first row.
    ///
    /// # Panics
    ///
    /// Panics if there is no row.
    pub fn new(rows: Vec<RunRow>, omitted: Counts) -> Self {
        let own = &rows[0];
        Self {
            run: own.run,
            status: own.status,
            cause: own.cause.clone(),
            quiescent: own.quiescent,
            output: own.output.clone(),
            partial: own.partial.clone(),
            error: own.error.clone(),
            abandoned: rows.iter().flat_map(|row| row.abandoned.iter().cloned()).collect(),
            omitted,
            rows,
        }
    }

    /// Yields the row of the run itself.
    ///
    /// # Panics
    ///
    /// Panics if `rows` was emptied by hand.
    pub fn own_row(&self) -> &RunRow {
        &self.rows[0]
    }

    /// Yields the row of one run of the subtree, if it has one.
    pub fn row(&self, run: RunId) -> Option<&RunRow> {
        self.rows.iter().find(|row| row.run == run)
    }
}

/// Reads the rows of a report, of which the first is that of the run itself.
#[cfg(feature = "serde")]
fn some_rows<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<RunRow>, D::Error> {
    let rows = <Vec<RunRow> as serde::Deserialize>::deserialize(from)?;
    if rows.is_empty() { Err(serde::de::Error::custom("a report has a row")) } else { Ok(rows) }
}

/// One run in a report.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// The run that spawned it; none for a root.
    pub parent: Option<RunId>,
    /// Steps from the run that the report is of: zero for that run.
    pub depth: u32,
    /// What it stands for.
    pub kind: RunKind,
    /// Its name.
    pub name: Arc<str>,
    /// How it stands.
    pub status: RunStatus,
    /// Why it was stopped, if it was.
    pub cause: Option<Arc<Cause>>,
    /// Whether its body was dropped at the hard deadline because it had not ended by then.
    pub aborted: bool,
    /// Whether nothing of its subtree executes.
    pub quiescent: bool,
    /// What of its own was still executing when it became terminal; while it is queued or paused,
    /// what may still execute of earlier attempts, whose process is gone.
    pub abandoned: Vec<Abandoned>,
    /// When it was accepted.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall"))]
    pub queued_at: SystemTime,
    /// When its body was first polled; none if it never was.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall::option"))]
    pub started_at: Option<SystemTime>,
    /// When its stop was accepted.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall::option"))]
    pub stopped_at: Option<SystemTime>,
    /// When it became terminal.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall::option"))]
    pub ended_at: Option<SystemTime>,
    /// When its subtree became quiescent.
    #[cfg_attr(feature = "serde", serde(with = "crate::wall::option"))]
    pub quiesced_at: Option<SystemTime>,
    /// What the body set as its output; only of a completed run.
    pub output: Option<Payload>,
    /// What a run left that was stopped or failed: what it set as its output last, else the
    /// payload that its body returned after the stop, else, as a list, what it emitted, as far as
    /// its log still holds that.
    pub partial: Option<Payload>,
    /// What a run that decides over others, such as a parallel step, says of how it came to its
    /// outcome. Left out of its text if there is none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub summary: Option<Payload>,
    /// Why it failed, if it did.
    pub error: Option<Arc<str>>,
    /// Errors and panics after the stop was accepted, those of hooks, and the panic of a destructor
    /// of a body that had failed already, at most
    /// [`limits::CLEANUP_ERRORS_MAX`](crate::limits::CLEANUP_ERRORS_MAX). What comes after the end
    /// is not among them: subscribers of `tracing` are told.
    pub cleanup_errors: Vec<Arc<str>>,
    /// Hooks that were not started: there was no time left for them, the stop was an abort, there
    /// were too many, or their runtime had shut down. One that is registered after the end counts,
    /// unless it is for a stop and none has come.
    pub hooks_skipped: u32,
    /// What it and its descendants used. Left out of its text if that is nothing.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Usage::is_zero"))]
    pub usage: Usage,
    /// Writes that came after the end and were refused.
    pub late_output: u32,
    /// The root that it left, if it was detached.
    pub detached_from: Option<RunId>,
}

impl RunRow {
    /// Makes the row of a run that was just accepted; the other fields are empty.
    pub const fn new(
        run: RunId,
        kind: RunKind,
        name: Arc<str>,
        status: RunStatus,
        queued_at: SystemTime,
    ) -> Self {
        Self {
            run,
            parent: None,
            depth: 0,
            kind,
            name,
            status,
            cause: None,
            aborted: false,
            quiescent: false,
            abandoned: Vec::new(),
            queued_at,
            started_at: None,
            stopped_at: None,
            ended_at: None,
            quiesced_at: None,
            output: None,
            partial: None,
            summary: None,
            error: None,
            cleanup_errors: Vec::new(),
            hooks_skipped: 0,
            usage: Usage::ZERO,
            late_output: 0,
            detached_from: None,
        }
    }

    /// Tells whether nothing of it executes: it is quiescent, or it is queued or paused, and its
    /// earlier attempts have left nothing that may.
    pub const fn executes_nothing(&self) -> bool {
        let waits = matches!(self.status, RunStatus::Queued | RunStatus::Paused);
        self.quiescent || waits && self.abandoned.is_empty()
    }

    /// Yields how long it ran, if it started and ended.
    pub fn elapsed(&self) -> Option<Duration> {
        self.ended_at?.duration_since(self.started_at?).ok()
    }

    /// Yields how long its stop took from acceptance to the end, if it was stopped and ended.
    pub fn stop_took(&self) -> Option<Duration> {
        self.ended_at?.duration_since(self.stopped_at?).ok()
    }
}

/// Work that the ladder stopped waiting for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Abandoned {
    /// The run whose work it is.
    pub run: RunId,
    /// The name of the hook, closure, process or service, if it has one; else that of the run. That
    /// of a process ends with its number: `sh (pid 4711)`.
    pub name: Arc<str>,
    /// What sort of work.
    pub what: Work,
    /// Where in the code it was registered or started, as `file:line:column`, if the engine notes
    /// that. Left out of its text if there is none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub site: Option<Arc<str>>,
}

impl Abandoned {
    /// Names work that was abandoned.
    pub const fn new(run: RunId, name: Arc<str>, what: Work) -> Self {
        Self { run, name, what, site: None }
    }
}

/// A sort of work that a run may execute.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_core::Work::Blocking.as_str(), "blocking");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Work {
    /// The body of the run.
    Body,
    /// A hook.
    Hook,
    /// A closure on a thread of its own.
    Blocking,
    /// An operating-system process.
    Process,
    /// Work of a service elsewhere that was told to stop, or whose request was dropped, and that
    /// has not confirmed that it stopped.
    Remote,
    /// Whatever another node executed, of which nobody here can tell whether it still does: its
    /// lease was over, and this one has taken over its runs. It ends when a process has joined
    /// under the name of the node since, or somebody who knows has said that it is gone for good.
    Node,
}

impl Work {
    /// Every sort once, in the order of declaration: the one at `i` is `i` as a number.
    pub const ALL: &'static [Self] =
        &[Self::Body, Self::Hook, Self::Blocking, Self::Process, Self::Remote, Self::Node];

    /// Yields the name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Hook => "hook",
            Self::Blocking => "blocking",
            Self::Process => "process",
            Self::Remote => "remote",
            Self::Node => "node",
        }
    }
}

/// How many runs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Counts {
    /// Not terminal yet.
    pub live: u64,
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Timed out.
    pub timed_out: u64,
}

impl Counts {
    /// Counts one run.
    pub const fn add(&mut self, status: RunStatus) {
        match status {
            RunStatus::Queued | RunStatus::Running | RunStatus::Paused | RunStatus::Stopping => {
                self.live += 1;
            }
            RunStatus::Completed => self.completed += 1,
            RunStatus::Failed => self.failed += 1,
            RunStatus::Cancelled => self.cancelled += 1,
            RunStatus::TimedOut => self.timed_out += 1,
        }
    }

    /// Adds what another has counted.
    pub const fn merge(&mut self, other: Self) {
        self.live += other.live;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.timed_out += other.timed_out;
    }

    /// Yields how many were counted.
    pub const fn total(&self) -> u64 {
        self.live + self.completed + self.failed + self.cancelled + self.timed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, status: RunStatus) -> RunRow {
        let at = SystemTime::UNIX_EPOCH;
        RunRow::new(RunId::from_text(name), RunKind::Step, name.into(), status, at)
    }

    #[test]
    fn a_report_is_that_of_its_first_row_and_names_all_that_was_abandoned() {
        let (mut own, mut below) = (row("own", RunStatus::Failed), row("b", RunStatus::Cancelled));
        own.error = Some("no".into());
        below.abandoned = vec![Abandoned::new(below.run, "b".into(), Work::Body)];
        let report = RunReport::new(vec![own.clone(), below.clone()], Counts::default());
        assert_eq!((report.run, report.status), (own.run, RunStatus::Failed));
        assert_eq!((&report.error, &report.abandoned), (&own.error, &below.abandoned));
        assert_eq!((report.own_row(), report.row(below.run)), (&own, Some(&below)));
        assert_eq!(report.row(RunId::from_text("nobody")), None);
        let empty = std::panic::catch_unwind(|| RunReport::new(Vec::new(), Counts::default()));
        assert!(empty.is_err(), "a report without a row");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_site_is_left_out_of_the_text_if_there_is_none() {
        let mut left = Abandoned::new(RunId::from_text("own"), "crunch".into(), Work::Blocking);
        let keys = |left: &Abandoned| {
            let text = serde_json::to_value(left).unwrap();
            text.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&left), ["name", "run", "what"]);
        left.site = Some("src/main.rs:1:2".into());
        assert_eq!(keys(&left), ["name", "run", "site", "what"]);
        let again: Abandoned =
            serde_json::from_value(serde_json::to_value(&left).unwrap()).unwrap();
        assert_eq!(again, left);
    }

    #[test]
    fn times_are_told_of_what_has_begun_and_ended() {
        let mut row = row("own", RunStatus::Cancelled);
        let at = |secs| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        row.ended_at = at(9);
        assert_eq!((row.elapsed(), row.stop_took()), (None, None));
        (row.started_at, row.stopped_at) = (at(2), at(5));
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!((row.elapsed(), row.stop_took()), (secs(7), secs(4)));
        row.ended_at = None;
        assert_eq!((row.elapsed(), row.stop_took()), (None, None));
    }

    #[test]
    fn every_status_is_counted_once() {
        let mut counts = Counts::default();
        for status in RunStatus::ALL {
            counts.add(status);
        }
        let once = Counts { live: 4, completed: 1, failed: 1, cancelled: 1, timed_out: 1 };
        assert_eq!((counts, counts.total()), (once, 8));
        counts.merge(once);
        assert_eq!((counts.live, counts.total()), (8, 16));
    }
}
