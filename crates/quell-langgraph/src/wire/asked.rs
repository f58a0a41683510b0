//! [`Asked`]: what a run keeps of the request that made it, as annotations of the run, so that it
//! is shown the same by whoever finds it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quell::store::Omitted;
use quell::{Annotations, Payload, RunId, RunRow, RunStatus};
use quell_flow::{NODES, NodesAsked};
use quell_http::{RunView, Start};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::wire::create::Strategy;
use crate::wire::exact::{Keys, null, written};
use crate::wire::modes::Modes;
use crate::wire::rows::{run_metadata, system_assistant};

/// What a run keeps of the request that made it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the request")]
pub(crate) struct Asked {
    /// An object: the caller's metadata, as it is spelt, and the three keys of the server.
    pub(crate) metadata: Payload,
    /// Its assistant, if that is not the system's.
    pub(crate) own_assistant: Option<Uuid>,
    /// As it is spelt. The body may have got more: the values of the thread.
    pub(crate) input: Payload,
    /// An object: what the request says besides, as it is spelt.
    pub(crate) kwargs: Payload,
    pub(crate) strategy: Strategy,
    pub(crate) modes: Modes,
    pub(crate) has_subgraphs: bool,
    pub(crate) is_resumable: bool,
    /// Whether its thread was made up for this run, and is deleted with it.
    pub(crate) is_temporary: bool,
    /// It is no run of the caller's, but a change of the values.
    pub(crate) is_update: bool,
    /// Its end is told to the `webhook` of `kwargs`.
    pub(crate) has_webhook: bool,
    /// It goes on where its thread was.
    pub(crate) goes_on: bool,
    /// The state on which it starts, if that is not the last one: it keeps the values.
    pub(crate) fork: Option<Uuid>,
    /// What it is asked of the nodes of its graph, as far as that was known when it was made.
    pub(crate) nodes: NodesAsked,
    /// Of a change of the values by a node that is named: what comes behind that.
    pub(crate) behind: Option<Vec<String>>,
    pub(crate) limit_ms: Option<u64>,
    /// When it was to start, if later than it was asked for: microseconds since 1970.
    pub(crate) due_us: Option<u64>,
    /// When its thread was made, as the record of that says: microseconds since 1970.
    pub(crate) record_us: Option<u64>,
}

/// The small parts, as they are written.
#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the request")]
struct Facts {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assistant: Option<String>,
    strategy: String,
    modes: Vec<String>,
    subgraphs: bool,
    resumable: bool,
    temporary: bool,
    #[serde(default)]
    update: bool,
    #[serde(default)]
    webhook: bool,
    #[serde(default)]
    goes_on: bool,
    #[serde(default)]
    fork: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<Vec<String>>,
    limit_ms: Option<u64>,
    due_us: Option<u64>,
    #[serde(default)]
    record_us: Option<u64>,
}

impl Asked {
    /// Makes what is known of a run that another contract started.
    pub(crate) fn elsewhere(run: &RunView, graph: &str) -> Self {
        Self {
            metadata: run_metadata(Keys::new(), graph, system_assistant(graph)),
            own_assistant: None,
            input: run.input().cloned().unwrap_or_else(null),
            kwargs: Payload::from(json!({ "temporary": false })),
            strategy: Strategy::Enqueue,
            modes: Modes::ALL,
            has_subgraphs: false,
            is_resumable: false,
            is_temporary: false,
            is_update: false,
            has_webhook: false,
            goes_on: false,
            fork: None,
            nodes: NodesAsked::default(),
            behind: None,
            limit_ms: None,
            due_us: None,
            record_us: None,
        }
    }

    /// Reads what a run keeps; none of one that another contract started, or a later version.
    pub(crate) fn of(run: &RunView) -> Option<Self> {
        let kept = |key| run.annotation(key).cloned();
        let facts: Facts = run.annotation(FACTS)?.parse().ok()?;
        if facts.version != VERSION {
            return None;
        }
        Some(Self {
            metadata: kept(METADATA)?,
            own_assistant: facts.assistant.and_then(|id| Uuid::try_parse(&id).ok()),
            // A list may omit it.
            input: kept(INPUT).or_else(|| run.input().cloned()).unwrap_or_else(null),
            kwargs: kept(KWARGS)?,
            strategy: Strategy::of(&facts.strategy)?,
            modes: Modes::of(facts.modes.iter().map(String::as_str)).ok()?,
            has_subgraphs: facts.subgraphs,
            is_resumable: facts.resumable,
            is_temporary: facts.temporary,
            is_update: facts.update,
            has_webhook: facts.webhook,
            goes_on: facts.goes_on,
            fork: facts.fork.and_then(|fork| Uuid::try_parse(&fork).ok()),
            nodes: kept(NODES).and_then(|nodes| nodes.parse().ok()).unwrap_or_default(),
            behind: facts.behind,
            limit_ms: facts.limit_ms,
            due_us: facts.due_us,
            record_us: facts.record_us,
        })
    }

    /// Writes it to a run that gets this input. Texts that may be large are shared with it.
    pub(crate) fn write(&self, start: Start, input: &Payload) -> Start {
        let facts = Facts {
            version: VERSION,
            assistant: self.own_assistant.map(|id| id.to_string()),
            strategy: self.strategy.name().to_owned(),
            modes: self.modes.names().map(str::to_owned).collect(),
            subgraphs: self.has_subgraphs,
            resumable: self.is_resumable,
            temporary: self.is_temporary,
            update: self.is_update,
            webhook: self.has_webhook,
            goes_on: self.goes_on,
            fork: self.fork.map(|fork| fork.to_string()),
            behind: self.behind.clone(),
            limit_ms: self.limit_ms,
            due_us: self.due_us,
            record_us: self.record_us,
        };
        let start = start
            .annotation(FACTS, written(&facts))
            .annotation(METADATA, self.metadata.clone())
            .annotation(KWARGS, self.kwargs.clone());
        let start = if self.nodes == NodesAsked::default() {
            start
        } else {
            start.annotation(NODES, written(&self.nodes))
        };
        // Mostly it is the input to the letter, which the run has already.
        if self.input == *input { start } else { start.annotation(INPUT, self.input.clone()) }
    }

    /// When it was to start, if later than it was asked for.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_micros(self.due_us?))
    }

    /// What it takes as text.
    pub(crate) fn bytes(&self) -> usize {
        let all = [&self.metadata, &self.input, &self.kwargs];
        all.into_iter().map(Payload::bytes_max).sum()
    }
}

/// Has a run keep the values of its thread on which it starts, so that it is shown on them whatever
/// becomes of the runs before it, here and on other nodes; and what comes next there, if it needs
/// that. Of values that another node may change before it starts the last run counts that has left
/// something in them, and when that ended: [`NOBODY`] if none has.
pub(crate) fn write_base(
    start: Start,
    (base, next): (Option<&Keys>, Option<&[String]>),
    last: Option<(SystemTime, RunId)>,
) -> Start {
    let base = base.map_or_else(|| written(&Keys::new()), written);
    let last = last.map(|(at, run)| (micros(at).unwrap_or_default(), run.to_string()));
    let rest = [(BASE_LAST, last.map(|last| written(&last))), (NEXT, next.map(written))];
    let rest = rest.into_iter().filter_map(|(key, text)| Some((key, text?)));
    rest.fold(start.annotation(BASE, base), |start, (key, text)| start.annotation(key, text))
}

/// Who has left something in the values of a thread in which nobody has, and when.
pub(crate) const NOBODY: (SystemTime, RunId) = (UNIX_EPOCH, RunId::from_uuid(Uuid::nil()));

/// Yields the last run that has left something in the values that a run keeps, and when that ended;
/// none if these are what it has started on, whatever runs there are.
pub(crate) fn base_last_of(run: &RunView) -> Option<(SystemTime, RunId)> {
    if run.annotation(STARTED_ON).or_else(|| run.annotation(UNKEPT)).is_some() {
        return None;
    }
    let (at, last): (u64, String) = run.annotation(BASE_LAST)?.parse().ok()?;
    let (at, last) = (Duration::from_micros(at), Uuid::try_parse(&last).ok()?);
    Some((UNIX_EPOCH.checked_add(at)?, RunId::from_uuid(last)))
}

/// Yields the values of its thread that a run keeps: empty ones if the thread had none; `None` if
/// those that the runs before it have left are to be looked for.
pub(crate) fn base_of(run: &RunView) -> Option<Keys> {
    let base = || run.annotation(BASE).filter(|_| run.annotation(UNKEPT).is_none());
    run.annotation(STARTED_ON).or_else(base)?.parse().ok()
}

/// As [`base_of`], if they are what the run has started on, whatever runs there are.
pub(crate) fn started_on(run: &RunView) -> Option<Keys> {
    if base_last_of(run).is_some() { None } else { base_of(run) }
}

/// Tells whether the input of a run was made of the values that it keeps.
pub(crate) fn has_whole_input(run: &RunView) -> bool {
    let other = [STARTED_ON, UNKEPT];
    run.annotation(BASE).is_some() && other.iter().all(|key| run.annotation(key).is_none())
}

/// Has a run keep that others may be before it: it says when it starts that it keeps on what.
pub(crate) fn write_behind(start: Start) -> Start {
    start.annotation(BEHIND, written(&true))
}

/// Yields the row of a run for what it has left in its thread. One that was cut before it kept on
/// what it starts counts as never started: it has executed nothing, and what the runs before it had
/// left may be gone when another node asks.
pub(crate) fn row_in_thread(run: &RunView) -> RunRow {
    // In this order: one that has ended keeps nothing more.
    let mut row = run.row();
    let is_cut = row.status.is_terminal() && row.status != RunStatus::Completed;
    if is_cut && is_to_begin(run) {
        row.started_at = None;
    }
    row
}

/// Yields what came next in its thread where a run starts on the values that it keeps, if it keeps
/// that.
pub(crate) fn next_of(run: &RunView) -> Option<Vec<String>> {
    run.annotation(STARTED_NEXT).or_else(|| run.annotation(NEXT))?.parse().ok()
}

/// Makes what a run is to keep beside what it keeps: on what it has started, which was not certain
/// when it was made, and what came next there, if it needs that.
pub(crate) fn on_start(base: Option<&Keys>, next: Option<&[String]>) -> Annotations {
    let base = base.map_or_else(|| written(&Keys::new()), written);
    let next = next.map(|next| (STARTED_NEXT.to_owned(), written(next)));
    [(STARTED_ON.to_owned(), base)].into_iter().chain(began()).chain(next).collect()
}

/// Makes what a run is to keep that starts on what it was made on.
pub(crate) fn began() -> Annotations {
    [(BEGAN.to_owned(), written(&true))].into()
}

/// Tells whether a run has yet to say that it keeps on what it starts.
pub(crate) fn is_to_begin(run: &RunView) -> bool {
    let has_begun = || run.annotation(BEGAN).or_else(|| run.annotation(UNKEPT)).is_some();
    run.annotation(BEHIND).is_some() && !has_begun()
}

/// Makes what a run is to keep that cannot keep on what it starts: what it has kept is not that.
pub(crate) fn unkept() -> Annotations {
    [(UNKEPT.to_owned(), written(&true))].into()
}

/// Yields the microseconds since 1970 of an instant.
pub(crate) fn micros(at: SystemTime) -> Option<u64> {
    at.duration_since(UNIX_EPOCH).ok()?.as_micros().try_into().ok()
}

/// The annotation of the small parts. Those that may be large are annotations of their own, so that
/// they are not copied whenever they are read.
const FACTS: &str = "langgraph";
const METADATA: &str = "langgraph.metadata";
const INPUT: &str = "langgraph.input";
const KWARGS: &str = "langgraph.kwargs";
const BASE: &str = "langgraph.base";
const BASE_LAST: &str = "langgraph.base_last";
const STARTED_ON: &str = "langgraph.started_on";
const BEHIND: &str = "langgraph.behind";
const BEGAN: &str = "langgraph.began";
const UNKEPT: &str = "langgraph.unkept";
const NEXT: &str = "langgraph.next";
const STARTED_NEXT: &str = "langgraph.started_next";

/// What lists of runs omit that show what they were asked: the values on which each starts, here
/// or in the input that is made of them.
pub(crate) const VALUES: Omitted =
    Omitted::Named { annotations: &[BASE, STARTED_ON], input_beside: INPUT };

/// What other lists omit: all inputs, too.
pub(crate) const INPUTS: Omitted =
    Omitted::Named { annotations: &[BASE, STARTED_ON, INPUT], input_beside: FACTS };

/// What lists omit that show nothing of what runs were asked.
pub(crate) const LARGE: Omitted = Omitted::Named {
    annotations: &[BASE, STARTED_ON, INPUT, METADATA, KWARGS],
    input_beside: FACTS,
};

/// Counted up when the annotations change so that this reader would misread them.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_of_the_first_release_keeps_is_read() {
        let first = r#"{"version": 1, "strategy": "enqueue", "modes": ["values"],
            "subgraphs": false, "resumable": true, "temporary": false}"#;
        let facts: Facts = serde_json::from_str(first).expect("later keys may be missing");
        assert!(facts.resumable && !facts.goes_on && !facts.webhook && !facts.update);
    }
}
