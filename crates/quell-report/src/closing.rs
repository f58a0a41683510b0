//! [`summary`]: the last lines of a report, which count its runs and say what a stop did.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use quell::{Counts, RunKind, RunRow, RunStatus, Work};

use crate::output::was_killed;
use crate::text::{NAME_COLUMNS_MAX, cut, printable, span};
use crate::waiting::passes_on;

/// Yields the lines below the tree.
pub(crate) fn summary(rows: &[RunRow], omitted: Counts) -> String {
    let Some(root) = rows.first() else { return String::new() };
    let counted = match root.status {
        RunStatus::Completed => counted_of_completed(rows, omitted),
        _ => counted(counts_of(rows, omitted), paused(rows)),
    };
    let after = match root.elapsed() {
        None if root.status == RunStatus::Paused => String::new(),
        elapsed => format!(" after {}", span(elapsed.unwrap_or(Duration::ZERO))),
    };
    let mut text = format!("\n{}{after}: {counted}\n", root.status);
    let longest = rows.iter().filter_map(RunRow::stop_took).max();
    if let Some(longest) = longest {
        let named = |what: &dyn Fn(&RunRow) -> bool| names(rows.iter().filter(|row| what(row)));
        let was_signalled = |row: &RunRow| row.stopped_at.is_some() && row.started_at.is_some();
        let _ = writeln!(text, "signalled  {}", named(&was_signalled));
        let _ = writeln!(text, "SIGKILL    {}", named(&was_killed));
        let _ = writeln!(text, "aborted    {}", named(&|row| row.aborted));
        let _ = writeln!(text, "abandoned  {}", named(&|row| !row.abandoned.is_empty()));
        let _ = writeln!(text, "the longest stop took {}", span(longest));
    }
    if omitted.total() > 0 {
        let _ = writeln!(text, "{} more runs have no row", omitted.total());
    }
    let left = || rows.iter().flat_map(|row| &row.abandoned);
    let _ = if root.status == RunStatus::Paused {
        writeln!(text, "nothing of it runs until it has its answer")
    } else if !root.quiescent {
        let doubtful = rows.iter().filter(|row| !row.quiescent).flat_map(|row| &row.abandoned);
        let nodes = doubtful.filter(|left| left.what == Work::Node).map(|left| &*left.name);
        match nodes.collect::<BTreeSet<_>>() {
            lost if lost.is_empty() => {
                writeln!(text, "not quiescent: what was abandoned may still be running")
            }
            lost => writeln!(text, "not quiescent: {}", in_doubt(&lost)),
        }
    } else if left().next().is_some() {
        writeln!(text, "nothing of it executes any more")
    } else {
        writeln!(text, "nothing of it was found running")
    };
    text
}

/// Says which nodes were lost, and what to do about it.
fn in_doubt(lost: &BTreeSet<&str>) -> String {
    let shown = lost.iter().take(NAMES_SHOWN_MAX);
    let mut names: Vec<_> = shown.map(|name| cut(&printable(name), NAME_COLUMNS_MAX)).collect();
    if lost.len() > NAMES_SHOWN_MAX {
        names.push(format!("{} more", lost.len() - NAMES_SHOWN_MAX));
    }
    let (node, was) = if lost.len() == 1 { ("node", "was") } else { ("nodes", "were") };
    format!(
        "{node} {} {was} lost and may still execute something of it; `quell nodes forget NAME` \
         says of one that it is gone for good",
        names.join(", "),
    )
}

/// Counts the runs of a tree, but for those that wait for an answer.
fn counts_of(rows: &[RunRow], omitted: Counts) -> Counts {
    let mut counts = omitted;
    for row in rows.iter().filter(|row| !is_paused(row)) {
        counts.add(row.status);
    }
    counts
}

fn paused(rows: &[RunRow]) -> usize {
    rows.iter().filter(|row| is_paused(row)).count()
}

fn is_paused(row: &RunRow) -> bool {
    row.status == RunStatus::Paused || passes_on(row)
}

/// Counts the runs of a tree that completed: what failed in it was not needed.
fn counted_of_completed(rows: &[RunRow], omitted: Counts) -> String {
    let counts = counts_of(rows, omitted);
    let mut others = counts;
    others.failed = 0;
    let others = counted(others, paused(rows));
    let has_failed = |row: &&RunRow| row.status == RunStatus::Failed && !is_paused(row);
    let failed = || rows.iter().filter(has_failed);
    let kind = failed().next().map(|row| row.kind);
    let is_one_kind = omitted.failed == 0 && failed().all(|row| Some(row.kind) == kind);
    let (one, more) = match kind {
        Some(RunKind::Attempt) if is_one_kind => ("attempt", "attempts"),
        Some(RunKind::Branch) if is_one_kind => ("branch", "branches"),
        Some(RunKind::Step) if is_one_kind => ("step", "steps"),
        _ => ("run", "runs"),
    };
    match counts.failed {
        0 => others,
        1 => format!("{others}; 1 {one} failed and was not needed"),
        failed => format!("{others}; {failed} {more} failed and were not needed"),
    }
}

fn counted(counts: Counts, paused: usize) -> String {
    let all = [
        (counts.completed, RunStatus::Completed.as_str()),
        (counts.failed, RunStatus::Failed.as_str()),
        (counts.timed_out, RunStatus::TimedOut.as_str()),
        (counts.cancelled, RunStatus::Cancelled.as_str()),
        (counts.live, "live"),
        (paused as u64, RunStatus::Paused.as_str()),
    ];
    let some = all.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, status)| format!("{count} {status}")).collect::<Vec<_>>().join(", ")
}

fn names<'a>(rows: impl Iterator<Item = &'a RunRow>) -> String {
    let all: Vec<_> = rows.map(|row| cut(&printable(&row.name), NAME_COLUMNS_MAX)).collect();
    match all.len() {
        0 => "none".into(),
        count @ 1..=NAMES_SHOWN_MAX => format!("{count} ({})", all.join(", ")),
        count => {
            let shown = all[..NAMES_SHOWN_MAX].join(", ");
            format!("{count} ({shown} and {} more)", count - NAMES_SHOWN_MAX)
        }
    }
}

/// The most names in one line of the summary.
const NAMES_SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::row;

    /// The line that counts the runs of a tree with this root.
    fn counted(root: RunStatus, kinds: &[(RunKind, RunStatus)], omitted: Counts) -> String {
        let below = kinds.iter().enumerate().map(|(at, (kind, status))| {
            let mut row = row(&format!("r{at}"), 1, *status);
            row.kind = *kind;
            row
        });
        let rows: Vec<RunRow> = std::iter::once(row("p", 0, root)).chain(below).collect();
        let text = summary(&rows, omitted);
        let line = text.lines().find(|line| !line.is_empty()).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    }

    #[test]
    fn what_failed_in_a_run_that_completed_was_not_needed() {
        use RunKind::{Attempt, Branch, Step};
        use RunStatus::{Completed, Failed, TimedOut};
        let none = Counts::default();
        for (kinds, says) in [
            (
                &[(Attempt, Failed), (Attempt, Completed)][..],
                "2 completed; 1 attempt failed and was not needed",
            ),
            (
                &[(Branch, Failed), (Branch, Failed), (Branch, TimedOut)],
                "1 completed, 1 timed-out; 2 branches failed and were not needed",
            ),
            (&[(Step, Failed)], "1 completed; 1 step failed and was not needed"),
            (&[(Branch, Failed), (Step, Failed)], "1 completed; 2 runs failed and were not needed"),
            (&[(Branch, Completed)], "2 completed"),
        ] {
            assert_eq!(counted(Completed, kinds, none), says);
        }
        let mut omitted = none;
        omitted.add(Failed);
        let says = "1 completed; 2 runs failed and were not needed";
        assert_eq!(counted(Completed, &[(Branch, Failed)], omitted), says);
        assert_eq!(counted(Failed, &[(Attempt, Failed)], none), "2 failed");
    }
}
