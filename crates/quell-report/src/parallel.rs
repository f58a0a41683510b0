//! [`decision`] and [`branch_lines`]: the summary of a parallel step as text. It says which branch
//! decided the step, when, and how each branch ended.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use quell::RunRow;
use quell_flow::{BranchRow, StepSummary};

use crate::text::{NAME_COLUMNS_MAX, cut, printable, span, width};

/// Yields when the step was decided and settled, and by which branch. `row` is the row of the step.
pub(crate) fn decision(step: &StepSummary, row: &RunRow) -> String {
    let after = |at| since(row.started_at, at).map(span);
    let mut text = String::from(&*step.policy);
    match (after(step.decided_at), &step.decided_by) {
        (Some(after), Some(by)) => {
            let _ = write!(text, ", decided after {after} by {by}");
        }
        (Some(after), None) => {
            let _ = write!(text, ", decided after {after} by nobody");
        }
        (None, _) => text.push_str(", not decided"),
    }
    match after(step.settled_at) {
        Some(after) => {
            let _ = write!(text, ", settled after {after}");
        }
        None => text.push_str(", not settled"),
    }
    text
}

/// Yields a line per branch: how it ended. `row` is the row of the step; `said` yields what is
/// shown of an error.
pub(crate) fn branch_lines(
    step: &StepSummary,
    row: &RunRow,
    said: &dyn Fn(&str) -> String,
) -> String {
    let name = |branch: &BranchRow| cut(&printable(&branch.name), NAME_COLUMNS_MAX);
    let shown = &step.branches[..step.branches.len().min(BRANCHES_SHOWN_MAX)];
    let columns = shown.iter().map(|branch| width(&name(branch))).max().unwrap_or(0);
    let mut lines: Vec<String> = Vec::with_capacity(shown.len() + 1);
    for branch in shown {
        let name = name(branch);
        let pad = columns - width(&name);
        let (status, counted_as) = (branch.status, branch.counted_as.as_str());
        let time = time(branch, row.started_at);
        let mut line = format!("{name}{:pad$}  {status:<9}  {counted_as:<7}  {time:<19}", "");
        let notes = notes(branch, said);
        if !notes.is_empty() {
            let _ = write!(line, "  {}", notes.join(", "));
        }
        lines.push(line.trim_end().to_owned());
    }
    let more = step.branches.len() - shown.len() + step.branches_omitted;
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// Yields when a branch started and ended, from the start of the step.
fn time(branch: &BranchRow, from: Option<SystemTime>) -> String {
    let at = |at| since(from, at).map(span);
    match (at(branch.started_at), at(branch.ended_at)) {
        (None, _) => "never started".into(),
        (Some(start), Some(end)) => format!("{start} to {end}"),
        (Some(start), None) => format!("{start} to …"),
    }
}

/// Yields the details of a branch besides its end.
fn notes(branch: &BranchRow, said: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut notes = Vec::new();
    match (&branch.unmet, &branch.cause) {
        (Some(need), _) => {
            let need = cut(&printable(need), NAME_COLUMNS_MAX);
            notes.push(format!("needs {need}, which did not complete"));
        }
        (None, cause) => notes.extend(cause.as_ref().map(|cause| cause.kind.to_string())),
    }
    if branch.attempts > 1 {
        notes.push(format!("{} attempts", branch.attempts));
    }
    notes.extend(branch.grace_used.map(|grace| format!("grace used {}", span(grace))));
    if branch.detached {
        notes.push("detached".into());
    }
    if branch.partial.is_some() {
        notes.push("left a partial output".into());
    }
    if branch.late_success {
        notes.push("late success".into());
    }
    for work in &branch.abandoned {
        notes.push(format!("{} {} abandoned", work.what.as_str(), work.name));
    }
    if !branch.usage.is_zero() {
        notes.push(branch.usage.to_string());
    }
    notes.extend(branch.error.iter().map(|error| format!("error: {}", shown(&said(error)))));
    let suppressed =
        branch.suppressed_errors.iter().filter(|error| Some(*error) != branch.error.as_ref());
    notes.extend(suppressed.map(|error| format!("suppressed: {}", shown(&said(error)))));
    notes
}

/// The first line of an error, cut.
fn shown(error: &str) -> String {
    cut(&printable(error.lines().next().unwrap_or_default()), ERROR_CHARS_MAX)
}

/// Yields the time from the start of the step to an instant, if both are known.
fn since(start: Option<SystemTime>, at: Option<SystemTime>) -> Option<Duration> {
    // The summary has milliseconds, the row has nanoseconds: an instant at the start must not seem
    // to be before it.
    Some(at?.duration_since(start?).unwrap_or_default())
}

/// The most branches that are listed.
const BRANCHES_SHOWN_MAX: usize = 100;

/// The most characters of an error in a line.
const ERROR_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use quell::{Payload, RunId, RunKind, RunStatus};
    use serde_json::{Value, json};

    use super::*;
    use crate::render::tests::at;

    fn cause() -> Value {
        let origin = RunId::from_text("step").to_string();
        json!({ "kind": "race-lost", "message": null, "by": null, "at": wall(0), "origin": origin })
    }

    fn branch(name: &str, change: &Value) -> Value {
        let mut row = json!({
            "name": name, "run": null, "status": "cancelled", "counted_as": "noise", "attempts": 1,
            "detached": false, "cause": cause(), "started_at": null, "stopped_at": null,
            "ended_at": null, "grace_used_ms": null, "output": null, "partial": null,
            "error": null, "abandoned": [], "late_success": false, "suppressed_errors": [],
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        row
    }

    fn wall(ms: u64) -> String {
        humantime::format_rfc3339_millis(at(ms)).to_string()
    }

    fn row(summary: &Value) -> RunRow {
        let id = RunId::from_text("step");
        let mut row = RunRow::new(id, RunKind::Step, "step".into(), RunStatus::Completed, at(0));
        row.started_at = Some(at(100));
        row.summary = Some(Payload::json(summary).unwrap());
        row
    }

    #[test]
    fn a_parallel_step_says_who_decided_and_what_became_of_every_branch() {
        let loser = RunId::from_text("loser");
        let loser = json!({
            "started_at": wall(100), "ended_at": wall(1_600), "grace_used_ms": 500, "attempts": 3,
            "late_success": true, "suppressed_errors": ["hook: oh\nno"], "partial": { "a": 1 },
            "abandoned": [{ "run": loser.to_string(), "name": "loser", "what": "body" }],
            "usage": { "input_tokens": 3, "output_tokens": 4, "cost_micros": 0 },
        });
        let winner = json!({
            "status": "completed", "counted_as": "ok", "cause": null, "started_at": wall(100),
            "ended_at": wall(1_100), "output": 7,
        });
        let failed = json!({
            "status": "failed", "counted_as": "noise", "cause": null, "started_at": wall(600),
            "ended_at": wall(1_300), "error": "no route", "suppressed_errors": ["no route"],
        });
        let gone = json!({ "status": "running", "cause": null, "detached": true,
            "started_at": wall(200) });
        let row = row(&json!({
            "policy": "first_success", "decided_at": wall(1_100), "settled_at": wall(1_600),
            "decided_by": "a",
            "branches": [branch("loser", &loser), branch("a", &winner), branch("bad", &failed),
                branch("gone", &gone),
                branch("spare", &json!({ "counted_as": "skipped", "attempts": 0 })),
                branch("next", &json!({ "counted_as": "skipped", "unmet": "b\u{7}d" }))],
        }));
        let step = StepSummary::of(&row).unwrap();
        let decided = "first_success, decided after 1.00 s by a, settled after 1.50 s";
        assert_eq!(decision(&step, &row), decided);
        let expected = "\
loser  cancelled  noise    0 ms to 1.50 s       race-lost, 3 attempts, grace used 500 ms, \
left a partial output, late success, body loser abandoned, 3 tokens in, 4 tokens out, \
suppressed: hook: oh
a      completed  ok       0 ms to 1.00 s
bad    failed     noise    500 ms to 1.20 s     error: no route
gone   running    noise    100 ms to …          detached
spare  cancelled  skipped  never started        race-lost
next   cancelled  skipped  never started        needs b\\u{7}d, which did not complete";
        assert_eq!(branch_lines(&step, &row, &str::to_owned), expected);
    }

    #[test]
    fn a_step_that_was_stopped_and_one_with_many_branches_say_so() {
        let branches: Vec<_> = (0..120).map(|n| branch(&n.to_string(), &json!({}))).collect();
        let row = row(&json!({
            "policy": "all", "decided_at": null, "settled_at": null, "decided_by": null,
            "branches": branches, "branches_omitted": 3,
        }));
        let step = StepSummary::of(&row).unwrap();
        assert_eq!(decision(&step, &row), "all, not decided, not settled");
        assert_eq!(branch_lines(&step, &row, &str::to_owned).lines().count(), 101);
        assert!(branch_lines(&step, &row, &str::to_owned).ends_with("\nand 23 more"));
    }

    #[test]
    fn the_output_of_anything_else_is_no_step() {
        assert!(StepSummary::of(&row(&json!({ "policy": "all" }))).is_none());
        assert!(StepSummary::of(&row(&json!("all"))).is_none());
    }
}
