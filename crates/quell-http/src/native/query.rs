//! [`ListQuery`], [`TreeQuery`], [`LogQuery`] and [`StreamQuery`]: the query parameters of lists,
//! trees, logs and streams; [`is_given_up`] reads those of a deletion, [`has_values`] those of a
//! run, and [`no_parameters`] is for what has none.

use std::borrow::Cow;
use std::time::SystemTime;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use quell::{RunFilter, RunKind, RunStatus};
use quell_flow::{COMPONENT, ComponentKind, excerpt, guess};

use crate::ids::SESSION;
use crate::list_cursor::{BadCursor, ListCursor};
use crate::native::tree::TreeCursor;
use crate::native::wire::TWO_KINDS;
use crate::owner_lane::lane_of;
use crate::problem::Problem;
use crate::run_state::whole_millis;
use crate::run_view::RunView;
use crate::service::OnDisconnect;

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
    /// With what they have returned.
    pub(crate) has_values: bool,
}

/// The query of a tree.
#[derive(Debug)]
pub(crate) struct TreeQuery {
    pub(crate) limit: usize,
    pub(super) cursor: Option<TreeCursor>,
}

/// The query of a part of a log.
#[derive(Debug)]
pub(crate) struct LogQuery {
    pub(crate) after: u64,
    pub(crate) limit: usize,
    /// Whether to say the number of the last event.
    pub(crate) asks_last: bool,
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
            has_values: true,
        };
        let (mut kinds, mut filter) = ([None; 2], std::mem::take(&mut list.filter));
        for pair in parameters(query, &["status", "label"]) {
            let (key, value) = pair?;
            match &*key {
                "status" => {
                    for name in value.split(',') {
                        filter = filter.status(status(name)?);
                    }
                }
                "kind" => kinds[0] = Some(kind(&value)?),
                "component" => {
                    let named = ComponentKind::split(&value);
                    kinds[1] = named.map(|(kind, _)| kind.run_kind());
                    filter = filter.label(COMPONENT, named.map_or(&*value, |(_, id)| id));
                }
                "session" => filter = filter.label(SESSION, value),
                "owner" => filter = filter.owner(value),
                "lane" => list.lane = Some(value.into_owned()),
                "since" => list.since = Some(instant("since", &value)?),
                "until" => list.until = Some(instant("until", &value)?),
                "label" => {
                    let words = || bad(format!("label `{}` is not `key=value`", excerpt(&value)));
                    let (key, value) = value.split_once('=').ok_or_else(words)?;
                    filter = filter.label(key, value);
                }
                "limit" => list.limit = limit(&value, LIMIT_MAX)?,
                "values" => list.has_values = truth(&key, &value)?,
                "cursor" => {
                    let cursor = value.parse();
                    let words = |error: BadCursor| bad(format!("cursor: {error}"));
                    list.cursor = Some(cursor.map_err(words)?);
                }
                _ => return Err(unknown("parameter", &key, LIST_KEYS)),
            }
        }
        if let [Some(kind), Some(of_component)] = kinds
            && kind != of_component
        {
            return Err(bad(TWO_KINDS.into()));
        }
        list.filter = kinds.into_iter().flatten().fold(filter, RunFilter::kind);
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
        for pair in parameters(query, &[]) {
            let (key, value) = pair?;
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
    for pair in parameters(query, &[]) {
        let (key, value) = pair?;
        match &*key {
            "limit" => most = limit(&value, LIMIT_MAX)?,
            _ => return Err(unknown("parameter", &key, ["limit"])),
        }
    }
    Ok(most)
}

/// Reads the query of a deletion: whether its caller gives up what a run has left executing.
pub(super) fn is_given_up(query: Option<&str>) -> Result<bool, Problem> {
    let mut is_given_up = false;
    for pair in parameters(query, &[]) {
        let (key, value) = pair?;
        match &*key {
            "abandoned" => is_given_up = truth(&key, &value)?,
            "dry_run" => {
                return Err(bad(format!("unknown parameter `dry_run`; {NO_DRY_RUN}")));
            }
            _ => return Err(unknown("parameter", &key, ["abandoned"])),
        }
    }
    Ok(is_given_up)
}

/// Tells whether a run is to be shown with its values and its tree.
pub(super) fn has_values(query: Option<&str>) -> Result<bool, Problem> {
    let mut has_values = true;
    for pair in parameters(query, &[]) {
        let (key, value) = pair?;
        match &*key {
            "values" => has_values = truth(&key, &value)?,
            _ => return Err(unknown("parameter", &key, ["values"])),
        }
    }
    Ok(has_values)
}

fn truth(key: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(unknown(key, value, ["true", "false"])),
    }
}

/// Refuses every parameter, for a path that takes none, and says where it belongs.
pub(super) fn no_parameters(method: &Method, query: Option<&str>) -> Result<(), Problem> {
    let Some(pair) = parameters(query, &[]).next() else { return Ok(()) };
    let (key, _) = pair?;
    let has_body = [Method::POST, Method::PATCH].contains(method);
    let words = match &*key {
        "dry_run" => NO_DRY_RUN,
        _ if has_body => "there are none here: what is asked for is in the body",
        _ => "there are none here",
    };
    Err(bad(format!("unknown parameter `{}`; {words}", excerpt(&key))))
}

impl LogQuery {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut log = Self { after: 0, limit: LIMIT, asks_last: false };
        for pair in parameters(query, &[]) {
            let (key, value) = pair?;
            match &*key {
                "after" => log.after = seq(&value)?,
                "limit" => log.limit = limit(&value, LIMIT_MAX)?,
                "last" => log.asks_last = truth(&key, &value)?,
                _ => return Err(unknown("parameter", &key, ["after", "limit", "last"])),
            }
        }
        Ok(log)
    }
}

impl StreamQuery {
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut stream = Self::default();
        for pair in parameters(query, &[]) {
            let (key, value) = pair?;
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

/// Yields the parameters of a query, and refuses one that comes twice, unless it is one of those of
/// which several apply: nobody knows which was meant.
fn parameters<'a>(
    query: Option<&'a str>,
    several: &'static [&'static str],
) -> impl Iterator<Item = Result<(Cow<'a, str>, Cow<'a, str>), Problem>> {
    // Those that are known are few, and behind an unknown one nobody reads on.
    let mut seen = Vec::new();
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).map(move |(key, value)| {
        if !several.contains(&&*key) {
            if seen.contains(&key) {
                return Err(bad(format!("parameter `{}` is given twice", excerpt(&key))));
            }
            seen.push(key.clone());
        }
        Ok((key, value))
    })
}

/// Reads the number of an event.
pub(crate) fn seq(text: &str) -> Result<u64, Problem> {
    text.trim()
        .parse()
        .map_err(|_| bad(format!("`{}` is not the number of an event", excerpt(text))))
}

fn instant(key: &str, text: &str) -> Result<SystemTime, Problem> {
    let at = text.parse().ok().or_else(|| is_in_last_year(text).then_some(Timestamp::MAX));
    let at = at.ok_or_else(|| {
        // A form makes a space of a plus.
        let words = "is not an instant such as `2026-11-28T09:30:00Z` or, with its plus encoded, \
                     `2026-11-28T10:30:00%2B01:00`";
        bad(format!("{key} `{}` {words}", excerpt(text)))
    })?;
    Ok(whole_millis(at.into()))
}

/// Tells whether a text is an instant of the last year that can be written. Its last day is behind
/// what can be counted with, and means the same as that: everything is before it.
fn is_in_last_year(text: &str) -> bool {
    Pieces::parse(text).is_ok_and(|pieces| {
        let is_instant = pieces.time().is_some() && pieces.offset().is_some();
        is_instant && pieces.date().year() == Timestamp::MAX.to_zoned(TimeZone::UTC).year()
    })
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
        _ => Err(bad(format!("limit `{}` is not a number from 1 to {max}", excerpt(text)))),
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

/// What is said to whoever asks for a preview where there is none.
const NO_DRY_RUN: &str = "it is a key of the body of `POST /v1/runs/cancel`, and nothing was done";

/// The parameters of a list, and of a stream.
const LIST_KEYS: [&str; 12] = [
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
    "values",
];
const STREAM_KEYS: [&str; 2] = ["after", "on_disconnect"];

/// The limit of a list, and of a part of a log, whose query names none.
const LIMIT: usize = 100;

/// The highest one.
const LIMIT_MAX: usize = 1_000;

/// The limit of a tree whose query names none, and the highest: as many rows as a report has.
const ROWS: usize = 1_000;
const ROWS_MAX: usize = quell::limits::REPORT_ROWS_MAX;
