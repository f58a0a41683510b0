//! [`ListQuery`], [`TreeQuery`] and [`StreamQuery`]: the query parameters of lists, trees and
//! streams.

use std::time::SystemTime;

use axum::http::StatusCode;
use jiff::Timestamp;
use quell::{RunFilter, RunKind, RunStatus};
use quell_flow::{COMPONENT, ComponentKind, excerpt, guess};

use crate::ids::SESSION;
use crate::list_cursor::{BadCursor, ListCursor};
use crate::native::tree::TreeCursor;
use crate::problem::Problem;
use crate::run_state::whole_millis;
use crate::run_view::RunView;
use crate::service::OnDisconnect;
use crate::start::lane_of;

/// The query of a list.
#[derive(Debug)]
pub(crate) struct ListQuery {
    pub(crate) filter: RunFilter,
    /// The lane that a run has to have, as its owner calls it.
    pub(crate) lane: Option<String>,
    /// When it was accepted at the earliest, and before when.
    pub(crate) since: Option<SystemTime>,
    until: Option<SystemTime>,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<ListCursor>,
}

/// The query of a tree.
#[derive(Debug)]
pub(crate) struct TreeQuery {
    pub(crate) limit: usize,
    pub(super) cursor: Option<TreeCursor>,
}

/// The query of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamQuery {
    pub(crate) after: Option<u64>,
    pub(crate) on_disconnect: OnDisconnect,
}

impl ListQuery {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut list = Self {
            filter: RunFilter::new().roots(),
            lane: None,
            since: None,
            until: None,
            limit: LIMIT,
            cursor: None,
        };
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let filter = std::mem::take(&mut list.filter);
            list.filter = match &*key {
                "status" => value.split(',').try_fold(filter, |filter, name| {
                    status(name).map(|status| filter.status(status))
                })?,
                "kind" => filter.kind(kind(&value)?),
                "component" => match ComponentKind::split(&value) {
                    Some((kind, id)) => filter.kind(kind.run_kind()).label(COMPONENT, id),
                    None => filter.label(COMPONENT, value),
                },
                "session" => filter.label(SESSION, value),
                "owner" => filter.owner(value),
                "lane" => {
                    list.lane = Some(value.into_owned());
                    filter
                }
                "since" => {
                    list.since = Some(instant("since", &value)?);
                    filter
                }
                "until" => {
                    list.until = Some(instant("until", &value)?);
                    filter
                }
                "label" => {
                    let (key, value) = value
                        .split_once('=')
                        .ok_or_else(|| bad(format!("label `{value}` is not `key=value`")))?;
                    filter.label(key, value)
                }
                "limit" => {
                    list.limit = limit(&value, LIMIT_MAX)?;
                    filter
                }
                "cursor" => {
                    let cursor =
                        value.parse().map_err(|error: BadCursor| bad(format!("cursor: {error}")));
                    list.cursor = Some(cursor?);
                    filter
                }
                _ => return Err(unknown("parameter", &key, LIST_KEYS)),
            };
        }
        Ok(list)
    }

    /// Tells whether a run is meant that the filter lets through.
    pub(crate) fn means(&self, run: &RunView) -> bool {
        let at = whole_millis(run.queued_at());
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.lane.as_deref().is_none_or(|lane| is_in_lane(run, lane))
    }
}

/// Tells whether a run is in the lane that its owner calls so.
pub(super) fn is_in_lane(run: &RunView, lane: &str) -> bool {
    run.lane().is_some_and(|own| own == lane_of(run.owner(), lane))
}

impl TreeQuery {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut tree = Self { limit: ROWS, cursor: None };
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "limit" => tree.limit = limit(&value, ROWS_MAX)?,
                "cursor" => {
                    let cursor = value.parse();
                    let cursor = cursor.map_err(|()| bad("cursor: it is none of a tree".into()));
                    tree.cursor = Some(cursor?);
                }
                _ => return Err(unknown("parameter", &key, ["limit", "cursor"])),
            }
        }
        Ok(tree)
    }
}

/// Reads a query that has a limit and nothing else.
pub(super) fn limit_alone(query: Option<&str>) -> Result<usize, Problem> {
    let mut most = LIMIT;
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "limit" => most = limit(&value, LIMIT_MAX)?,
            _ => return Err(unknown("parameter", &key, ["limit"])),
        }
    }
    Ok(most)
}

impl StreamQuery {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut stream = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "after" => stream.after = Some(seq(&value)?),
                "on_disconnect" => {
                    stream.on_disconnect = match &*value {
                        "continue" => OnDisconnect::Continue,
                        "cancel" => OnDisconnect::Cancel,
                        _ => return Err(unknown("on_disconnect", &value, ["continue", "cancel"])),
                    }
                }
                _ => return Err(unknown("parameter", &key, STREAM_KEYS)),
            }
        }
        Ok(stream)
    }
}

/// Reads the number of an event.
pub(crate) fn seq(text: &str) -> Result<u64, Problem> {
    text.trim().parse().map_err(|_| bad(format!("`{text}` is not the number of an event")))
}

fn instant(key: &str, text: &str) -> Result<SystemTime, Problem> {
    let at: Result<Timestamp, _> = text.parse();
    let at = at.map_err(|_| {
        // A form makes a space of a plus.
        let words = "is not an instant such as `2026-11-28T09:30:00Z` or, with its plus encoded, \
                     `2026-11-28T10:30:00%2B01:00`";
        bad(format!("{key} `{}` {words}", excerpt(text)))
    })?;
    Ok(whole_millis(at.into()))
}

fn status(name: &str) -> Result<RunStatus, Problem> {
    let known = RunStatus::ALL.into_iter().find(|status| status.as_str() == name);
    known.ok_or_else(|| unknown("status", name, RunStatus::ALL.map(RunStatus::as_str)))
}

fn kind(name: &str) -> Result<RunKind, Problem> {
    match name {
        "agent" => Ok(RunKind::Agent),
        "team" => Ok(RunKind::Team),
        "workflow" => Ok(RunKind::Workflow),
        _ => Err(unknown("kind", name, ComponentKind::ALL.map(ComponentKind::as_str))),
    }
}

fn limit(text: &str, max: usize) -> Result<usize, Problem> {
    match text.parse() {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(bad(format!("limit `{text}` is not a number from 1 to {max}"))),
    }
}

/// Refuses a word that is not one of these, with the one that is meant, or with all.
fn unknown<const N: usize>(what: &str, found: &str, known: [&str; N]) -> Problem {
    let found = excerpt(found);
    if let Some(meant) = guess(&found, known) {
        return bad(format!("unknown {what} `{found}`; did you mean `{meant}`?"));
    }
    let known = known.map(|word| format!("`{word}`")).join(", ");
    bad(format!("unknown {what} `{found}`; expected one of {known}"))
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-parameter", detail)
}

/// The parameters of a list, and of a stream.
const LIST_KEYS: [&str; 11] = [
    "status",
    "kind",
    "component",
    "session",
    "owner",
    "lane",
    "label",
    "since",
    "until",
    "limit",
    "cursor",
];
const STREAM_KEYS: [&str; 2] = ["after", "on_disconnect"];

/// The limit of a list whose query names none.
const LIMIT: usize = 100;

/// The highest limit of a list.
const LIMIT_MAX: usize = 1_000;

/// The limit of a tree whose query names none, and the highest: as many rows as a report has.
const ROWS: usize = 1_000;
const ROWS_MAX: usize = quell::limits::REPORT_ROWS_MAX;
