//! [`Action`], [`Until`], [`Selection`] and [`Seen`]: requests to cancel, and their answers.

use std::collections::HashSet;

use axum::http::{HeaderMap, StatusCode};
use quell::{CancelRequest, Disposition, Payload, RunStatus};
use uuid::Uuid;

use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::status::{Meaning, meaning, run_status};

/// What becomes of the run besides its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is kept.
    Interrupt,
    /// It is deleted, as if it had not been.
    Rollback,
}

impl Action {
    /// Reads the query; an unknown one counts as `interrupt`.
    pub(crate) fn of(text: Option<&str>) -> Self {
        if text == Some("rollback") { Self::Rollback } else { Self::Interrupt }
    }

    /// Makes the request to the engine. Its reason is what the caller did.
    pub(crate) fn request(self, path: &str) -> CancelRequest {
        let request = |name| CancelRequest::because(format!("{name} requested via POST {path}"));
        match self {
            Self::Interrupt => request("interrupt"),
            Self::Rollback => request("rollback").rollback(),
        }
    }
}

/// For what the answer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Now,
    Terminal,
    Quiescent,
}

impl Until {
    /// Reads `wait`.
    pub(crate) fn of(text: Option<&str>) -> Self {
        match text {
            Some("quiescent") => Self::Quiescent,
            Some(text) if crate::wire::query::is_true(text) => Self::Terminal,
            _ => Self::Now,
        }
    }
}

/// The status of the answer to a single cancel; 404 with its text.
pub(crate) fn answer(
    disposition: &Disposition,
    until: Until,
    is_reached: bool,
) -> Result<StatusCode, Refusal> {
    match meaning(disposition).0 {
        // An empty 200 breaks the JavaScript client: it parses a body for all but 202 and 204.
        Meaning::Stops if until == Until::Now || !is_reached => Ok(StatusCode::ACCEPTED),
        Meaning::Stops => Ok(StatusCode::OK),
        Meaning::Ended => Err(Refusal::missing(ENDED)),
        Meaning::Unknown => Err(Refusal::missing(NONE)),
    }
}

/// The status of the answer to a bulk cancel, from the first disposition that any run got.
pub(crate) fn bulk_answer(first: &Disposition) -> Result<StatusCode, Refusal> {
    match meaning(first).0 {
        Meaning::Stops => Ok(StatusCode::NO_CONTENT),
        Meaning::Ended => Err(Refusal::missing(ENDED)),
        Meaning::Unknown => Err(Refusal::missing(NONE)),
    }
}

/// Which runs a bulk cancel selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Those of a status, perhaps of one thread only.
    Status { wanted: Wanted, thread: Option<Uuid> },
    /// These.
    Ids { thread: Uuid, runs: Vec<Uuid> },
}

/// A status to select by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Pending,
    Running,
    All,
}

impl Wanted {
    /// Tells whether a run of this status is meant.
    pub(crate) fn has(self, status: RunStatus) -> bool {
        match run_status(status) {
            "pending" => self != Self::Running,
            "running" => self != Self::Pending,
            _ => false,
        }
    }
}

impl Selection {
    /// Reads the body: the document's `oneOf`.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let thread = body.get("thread_id").map(|id| one_id("thread_id", id)).transpose()?;
        let runs = body.get("run_ids").map(many_ids).transpose()?;
        let wanted = body.get("status").map(read_status).transpose()?;
        match (wanted, thread, runs) {
            // Valid by the document's `oneOf`: of this thread (contract, section 10).
            (Some(wanted), thread, None) => Ok(Self::Status { wanted, thread }),
            (None, Some(thread), Some(runs)) => Ok(Self::Ids { thread, runs }),
            (Some(_), _, Some(_)) => {
                Err(Refusal::invalid("status: must not be given together with run_ids"))
            }
            (None, Some(_), None) => Err(Refusal::invalid("run_ids: field required")),
            (None, None, Some(_)) => Err(Refusal::invalid("thread_id: field required")),
            (None, None, None) => {
                Err(Refusal::invalid("status, or thread_id and run_ids: field required"))
            }
        }
    }
}

/// The runs that the caller saw, if the header says so: a stop of a thread, or of a status, that
/// comes late reaches none that has come since (contract, choice 14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(Option<HashSet<Uuid>>);

impl Seen {
    /// Reads the header: ids between commas. It may be repeated.
    ///
    /// # Errors
    ///
    /// Fails if any of it is no id: an empty header is no request to stop everything.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut lines = headers.get_all(IF_RUN).iter().peekable();
        if lines.peek().is_none() {
            return Ok(Self::default());
        }
        let none = || Refusal::invalid(format!("{IF_RUN}: must be UUIDs of runs"));
        let mut seen = HashSet::new();
        for line in lines {
            for id in line.to_str().map_err(|_| none())?.split(',') {
                seen.insert(Uuid::try_parse(id.trim()).map_err(|_| none())?);
            }
        }
        Ok(Self(Some(seen)))
    }

    /// Tells whether a run is one of them, or may be any.
    pub(crate) fn has(&self, run: Uuid) -> bool {
        self.0.as_ref().is_none_or(|seen| seen.contains(&run))
    }
}

fn read_status(status: &Payload) -> Result<Wanted, Refusal> {
    match status.parse::<String>().as_deref() {
        Ok("pending") => Ok(Wanted::Pending),
        Ok("running") => Ok(Wanted::Running),
        Ok("all") => Ok(Wanted::All),
        _ => Err(Refusal::invalid("status: must be 'pending', 'running' or 'all'")),
    }
}

fn one_id(key: &str, id: &Payload) -> Result<Uuid, Refusal> {
    let id = id.parse::<String>().ok().and_then(|text| Uuid::try_parse(&text).ok());
    id.ok_or_else(|| Refusal::invalid(format!("{key}: must be a UUID")))
}

fn many_ids(ids: &Payload) -> Result<Vec<Uuid>, Refusal> {
    let ids: Vec<Payload> = ids.parse().map_err(|_| Refusal::invalid("run_ids: must be a list"))?;
    if ids.len() > RUN_IDS_MAX {
        return Err(Refusal::invalid(format!("run_ids: must be {RUN_IDS_MAX} at most")));
    }
    ids.iter().map(|id| one_id("run_ids", id)).collect()
}

/// Runs that one request names. Each may cost a look into the store; a status names any number.
pub(crate) const RUN_IDS_MAX: usize = 10_000;

/// The header with the runs that the caller saw.
const IF_RUN: &str = "quell-if-run";

/// What is said of runs that are not there.
pub(crate) const NONE: &str = "No runs found to cancel.";

const ENDED: &str = "No matching runs to cancel. Please verify the thread ID and run IDs are \
                     correct, and the runs haven't been deleted or completed.";

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_cancel_is_answered_by_disposition_and_wait() {
        let accepted = Disposition::Accepted { hard_deadline: Instant::now() };
        let ended = Disposition::AlreadyTerminal { status: RunStatus::Completed };
        let table = [
            (&accepted, Until::Now, true, Ok(202)),
            (&accepted, Until::Terminal, true, Ok(200)),
            (&accepted, Until::Terminal, false, Ok(202)),
            (&accepted, Until::Quiescent, true, Ok(200)),
            (&ended, Until::Terminal, true, Err(ENDED)),
            (&Disposition::Unknown, Until::Now, true, Err(NONE)),
            (&Disposition::Forbidden, Until::Now, true, Err(NONE)),
        ];
        for (disposition, until, is_reached, expected) in table {
            let answer = answer(disposition, until, is_reached);
            let answer = answer.map(|status| status.as_u16()).map_err(|refusal| refusal.detail);
            assert_eq!(answer, expected.map_err(Into::into), "{disposition:?} {until:?}");
        }
        assert_eq!(bulk_answer(&accepted).unwrap().as_u16(), 204);
        assert_eq!(bulk_answer(&ended).unwrap_err().status.as_u16(), 404);
    }

    #[test]
    fn a_selection_is_by_status_or_by_ids() {
        let id = "01a1f7a0-b8be-771e-8334-e5af4180e25e";
        let uuid = Uuid::try_parse(id).unwrap();
        let status = |wanted, thread| Some(Selection::Status { wanted, thread });
        let table = [
            (json!({"status": "all"}), status(Wanted::All, None)),
            (json!({"status": "pending"}), status(Wanted::Pending, None)),
            (json!({"status": "running", "thread_id": id}), status(Wanted::Running, Some(uuid))),
            (
                json!({"thread_id": id, "run_ids": [id]}),
                Some(Selection::Ids { thread: uuid, runs: vec![uuid] }),
            ),
            (
                json!({"thread_id": id, "run_ids": []}),
                Some(Selection::Ids { thread: uuid, runs: vec![] }),
            ),
            (
                json!({"thread_id": id, "run_ids": vec![id; RUN_IDS_MAX]}),
                Some(Selection::Ids { thread: uuid, runs: vec![uuid; RUN_IDS_MAX] }),
            ),
            (json!({}), None),
            (json!({"status": null}), None),
            (json!({"status": "done"}), None),
            (json!({"status": "all", "run_ids": [id]}), None),
            (json!({"status": "all", "run_ids": [id], "thread_id": id}), None),
            (json!({"thread_id": id}), None),
            (json!({"run_ids": [id]}), None),
            (json!({"thread_id": "x", "run_ids": []}), None),
            (json!({"thread_id": id, "run_ids": "x"}), None),
            (json!({"thread_id": id, "run_ids": ["x"]}), None),
            (json!({"thread_id": id, "run_ids": vec![id; RUN_IDS_MAX + 1]}), None),
        ];
        for (body, expected) in table {
            let keys = Payload::from(body.clone()).parse().unwrap();
            let selection = Selection::read(&keys);
            if let Err(refusal) = &selection {
                assert_eq!(refusal.status.as_u16(), 422);
            }
            let shown: String = body.to_string().chars().take(200).collect();
            assert_eq!(selection.ok(), expected, "{shown}");
        }
    }

    #[test]
    fn a_caller_may_say_which_runs_they_saw() {
        let (one, two, other) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_RUN, line.parse().unwrap());
            }
            Seen::read(&headers)
        };
        let seen = |lines: &[&str]| [one, two, other].map(|run| read(lines).unwrap().has(run));
        let (a, b) = (one.to_string(), two.simple().to_string().to_uppercase());
        assert_eq!(seen(&[]), [true; 3]);
        assert_eq!(seen(&[&a]), [true, false, false]);
        assert_eq!(seen(&[&a, &b]), [true, true, false]);
        assert_eq!(seen(&[&format!("{a}, {b}")]), [true, true, false]);
        for bad in [&[""][..], &[&a, ""], &["*"], &[&format!("{a},")], &["é"]] {
            assert_eq!(read(bad).unwrap_err().status.as_u16(), 422, "{bad:?}");
        }
    }

    #[test]
    fn stopping_runs_are_running_ones() {
        assert!(Wanted::Running.has(RunStatus::Stopping) && Wanted::All.has(RunStatus::Stopping));
        assert!(
            !Wanted::Pending.has(RunStatus::Running) && !Wanted::Running.has(RunStatus::Queued)
        );
        assert!(!Wanted::All.has(RunStatus::Completed));
    }

    #[test]
    fn an_unknown_action_counts_as_interrupt() {
        assert_eq!(Action::of(Some("nope")), Action::Interrupt);
        assert_eq!(Action::of(None), Action::Interrupt);
        assert_eq!(Action::of(Some("rollback")), Action::Rollback);
        assert_eq!(Until::of(Some("yes")), Until::Terminal);
        assert_eq!(Until::of(Some("quiescent")), Until::Quiescent);
        assert_eq!(Until::of(Some("0")), Until::Now);
    }
}
