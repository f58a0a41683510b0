//! [`render`]: the report of a run as a tree of text. A pure function of the rows.

use std::collections::HashSet;
use std::fmt::Write as _;

use quell::{Abandoned, CauseKind, Counts, Payload, RunReport, RunRow, Work};
use quell_flow::StepSummary;

use crate::closing::summary;
use crate::output::{Errors, is_own, kept, was_killed, written};
use crate::parallel;
use crate::skipped;
use crate::text::{NAME_COLUMNS_MAX, cut, printable, span, still_executes, width};
use crate::waiting;

/// Draws a report: a line per run with its details below, then a summary of the stop.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// use quell::{Engine, RunSpec};
///
/// let engine = Engine::new();
/// let run = engine.submit(RunSpec::agent("writer"), async |_| Ok("done")).unwrap();
/// let report = run.ended().await;
/// let text = quell_report::render(&report);
/// assert!(text.starts_with("writer  completed"), "{text}");
/// # });
/// ```
pub fn render(report: &RunReport) -> String {
    draw(&report.rows, report.omitted)
}

/// Draws rows in pre-order. A row may be deeper than the one before it by more than one: the rows
/// in between were left out.
fn draw(rows: &[RunRow], omitted: Counts) -> String {
    let branches = branches(rows);
    let name_width = branches
        .iter()
        .zip(rows)
        .map(|(branch, row)| width(&branch.head) + width(&printable(&row.name)))
        .max()
        .unwrap_or(0)
        .min(NAME_COLUMNS_MAX);
    let errors = Errors::of(rows);
    let mut text = String::new();
    for (at, (row, branch)) in rows.iter().zip(&branches).enumerate() {
        let name = cut(&printable(&row.name), NAME_COLUMNS_MAX);
        let label = format!("{}{name}", branch.head);
        let pad = name_width.saturating_sub(width(&label));
        let elapsed = match (row.elapsed(), row.started_at) {
            (Some(elapsed), _) => span(elapsed),
            (None, Some(_)) => "not ended".into(),
            (None, None) => "never ran".into(),
        };
        let status = waiting::status(row);
        let _ = writeln!(text, "{label}{:pad$}  {status:<9}  {elapsed:>10}", "");
        for (what, fact) in facts(rows, at, &errors, branch.has_child) {
            for (nth, line) in fact.lines().enumerate() {
                let title = if nth == 0 { what } else { "" };
                let fact = format!("{} {title:<8} {}", branch.below, printable(line));
                let _ = writeln!(text, "{}", fact.trim_end());
            }
        }
    }
    text.push_str(&summary(rows, omitted));
    text
}

/// The text to the left of a row, and of the lines below it.
struct Branch {
    head: String,
    below: String,
    has_child: bool,
}

fn branches(rows: &[RunRow]) -> Vec<Branch> {
    // From the last row to the first: `open[d]` is set while a later row at depth `d` has the same
    // ancestor, so that a line must lead down to it.
    let mut open: Vec<bool> = Vec::new();
    let mut branches: Vec<Branch> = Vec::with_capacity(rows.len());
    for row in rows.iter().rev() {
        let depth = usize::try_from(row.depth).unwrap_or(usize::MAX).min(DEPTH_SHOWN_MAX);
        let has_child = open.get(depth + 1).copied().unwrap_or(false);
        let has_next = open.get(depth).copied().unwrap_or(false);
        open.resize(depth + 1, false);
        let mut left: String =
            open.iter().take(depth).skip(1).map(|open| if *open { "│  " } else { "   " }).collect();
        let mut head = left.clone();
        if depth > 0 {
            head.push_str(if has_next { "├─ " } else { "└─ " });
            left.push_str(if has_next { "│  " } else { "   " });
        }
        left.push(if has_child { '│' } else { ' ' });
        open[depth] = true;
        branches.push(Branch { head, below: left, has_child });
    }
    branches.reverse();
    branches
}

/// Yields the details of one run, each with its title. An output that a run assembled from those of
/// its children is shown at the children; that of its own program, which cleanup below it follows,
/// here.
fn facts(
    rows: &[RunRow],
    at: usize,
    errors: &Errors<'_>,
    has_child: bool,
) -> Vec<(&'static str, String)> {
    let row = &rows[at];
    let mut facts = Vec::new();
    if let Some(cause) = &row.cause {
        let origin = rows.iter().find(|origin| origin.run == cause.origin);
        facts.push(match (cause.kind, origin) {
            (CauseKind::ParentStopped, Some(origin)) => {
                ("cause", format!("{} was stopped", origin.name))
            }
            _ => ("cause", cause.to_string()),
        });
    }
    if let Some(stop) = stop(row) {
        facts.push(("stop", stop));
    }
    if let Some(error) = row.error.as_ref().filter(|_| !waiting::passes_on(row)) {
        facts.push(("error", errors.shown(at, error)));
    }
    for error in &row.cleanup_errors {
        facts.push(("cleanup", error.as_ref().to_owned()));
    }
    // Without a stop, too: hooks of every end may have no time left.
    if row.hooks_skipped > 0 {
        facts.push(("cleanup", format!("{} hooks skipped", row.hooks_skipped)));
    }
    // A root of which nothing executes has nothing below it that does.
    let is_over = row.quiescent || rows[0].quiescent;
    let title = if is_over { "left" } else { "running" };
    // Runs below this one may each have left the same: that is said once.
    let mut told = HashSet::new();
    let left = row.abandoned.iter().map(|left| abandoned(left, is_over));
    facts.extend(left.filter(|text| told.insert(text.clone())).map(|text| (title, text)));
    if row.late_output > 0 {
        facts.push(("late", format!("{} writes after the end were refused", row.late_output)));
    }
    if !row.usage.is_zero() {
        facts.push(("used", row.usage.to_string()));
    }
    let step = StepSummary::of(row);
    if let Some(step) = &step {
        facts.push(("policy", parallel::decision(step, row)));
        facts.push((
            "branches",
            parallel::branch_lines(step, row, &|error| errors.shown(at, error)),
        ));
    }
    facts.extend(skipped::facts(row));
    let is_shown = |left: &&Payload| !has_child && step.is_none() || is_own(rows, at, left);
    let (output, partial) =
        (row.output.as_ref().filter(is_shown), row.partial.as_ref().filter(is_shown));
    if let Some(written) = written(row).filter(|_| partial.is_some()) {
        let streams = [("stdout", written.stdout), ("stderr", written.stderr)];
        facts.extend(streams.into_iter().filter(|(_, text)| !text.is_empty()));
        return facts;
    }
    if let Some(output) = output {
        facts.push(("output", kept(output)));
    }
    if let Some(partial) = partial {
        facts.push(("partial", kept(partial)));
    }
    facts
}

fn abandoned(left: &Abandoned, is_over: bool) -> String {
    let Abandoned { what, name, site, .. } = left;
    let from = site.as_ref().map_or_else(String::new, |site| format!(" ({site})"));
    let how = if *what == Work::Node { "lost" } else { "abandoned" };
    let now = if is_over { "executes nothing of it any more" } else { still_executes(*what) };
    format!("{} {name}{from} was {how} and {now}", what.as_str())
}

fn stop(row: &RunRow) -> Option<String> {
    row.stopped_at?;
    let mut text = String::from("signalled");
    if row.started_at.is_none() {
        text = "before it had started".into();
    }
    if was_killed(row) {
        text.push_str(", SIGKILL");
    }
    if row.aborted {
        text.push_str(", aborted");
    }
    if let Some(took) = row.stop_took() {
        let _ = write!(text, ", took {}", span(took));
    }
    Some(text)
}

/// Deeper runs are drawn at this depth.
const DEPTH_SHOWN_MAX: usize = 32;

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use quell::{Abandoned, Cause, RunId, RunKind, RunStatus, Usage, Work};

    use super::*;

    pub(crate) fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    pub(crate) fn row(name: &str, depth: u32, status: RunStatus) -> RunRow {
        let run = RunId::from_text(name);
        let mut row = RunRow::new(run, RunKind::Step, name.into(), status, at(0));
        row.depth = depth;
        row.started_at = Some(at(0));
        row.ended_at = Some(at(1_500));
        row.quiescent = true;
        row
    }

    fn stopped(name: &str, depth: u32, status: RunStatus, kind: CauseKind) -> RunRow {
        let mut row = row(name, depth, status);
        row.cause = Some(Arc::new(Cause::new(kind, at(1_000), RunId::from_text(name))));
        row.stopped_at = Some(at(1_000));
        row
    }

    #[test]
    fn a_report_is_drawn_as_a_tree_with_what_the_stop_did() {
        let mut slow = stopped("slow", 2, RunStatus::TimedOut, CauseKind::Deadline);
        let output = serde_json::json!({ "stdout": "one\ntwo\n", "exit_code": null, "signal": 9 });
        slow.partial = Some(output.into());
        slow.aborted = true;
        let mut tour = row("tour", 0, RunStatus::Completed);
        tour.usage = Usage { input_tokens: 9, output_tokens: 1, cost_micros: 70 };
        let rows = [
            tour,
            row("gather", 1, RunStatus::Completed),
            slow,
            row("hash", 2, RunStatus::Completed),
            row("end", 1, RunStatus::Completed),
        ];
        let expected = "\
tour        completed      1.50 s
│ used     9 tokens in, 1 tokens out, cost 0.000070
├─ gather   completed      1.50 s
│  ├─ slow  timed-out      1.50 s
│  │    cause    deadline
│  │    stop     signalled, SIGKILL, aborted, took 500 ms
│  │    partial  8 bytes, last line: two
│  │             ended by signal 9
│  └─ hash  completed      1.50 s
└─ end      completed      1.50 s

completed after 1.50 s: 4 completed, 1 timed-out
signalled  1 (slow)
SIGKILL    1 (slow)
aborted    1 (slow)
abandoned  none
the longest stop took 500 ms
nothing of it was found running
";
        assert_eq!(draw(&rows, Counts::default()), expected);
    }

    #[test]
    fn an_abandoned_body_is_named_and_the_run_is_not_called_quiescent() {
        let mut root = stopped("deaf", 0, RunStatus::Cancelled, CauseKind::UserRequest);
        root.quiescent = false;
        root.abandoned = vec![Abandoned::new(root.run, "deaf".into(), Work::Process)];
        let text = draw(&[root], Counts::default());
        assert!(text.contains("process deaf was abandoned and may still execute"), "{text}");
        assert!(text.contains("abandoned  1 (deaf)\n"), "{text}");
        assert!(
            text.ends_with("not quiescent: what was abandoned may still be running\n"),
            "{text}"
        );
    }

    #[test]
    fn a_lost_node_is_named_with_what_to_do_and_after_that_nothing_is_said_to_execute() {
        let mut root = row("p", 0, RunStatus::Failed);
        root.quiescent = false;
        let mut lost = row("slow", 1, RunStatus::Failed);
        lost.quiescent = false;
        // Of a run that goes on the root has all that its runs have left.
        lost.abandoned =
            [root.run, lost.run].map(|run| Abandoned::new(run, "web-1".into(), Work::Node)).into();
        let text = draw(&[root.clone(), lost.clone()], Counts::default());
        assert_eq!(text.matches("web-1 was lost and may still execute\n").count(), 1, "{text}");
        let says = "not quiescent: node web-1 was lost and may still execute something of it";
        assert!(text.contains(says) && text.contains("`quell nodes forget NAME`"), "{text}");
        // Somebody has said that it is gone: the row of the root alone knows.
        root.quiescent = true;
        let text = draw(&[root, lost], Counts::default());
        let says = "left     node web-1 was lost and executes nothing of it any more\n";
        assert!(text.contains(says) && !text.contains("still execute"), "{text}");
        assert!(text.ends_with("nothing of it executes any more\n"), "{text}");
    }

    #[test]
    fn hooks_that_were_skipped_are_told_with_and_without_a_stop() {
        let stopped = stopped("root", 0, RunStatus::Cancelled, CauseKind::UserRequest);
        for mut row in [stopped, row("root", 0, RunStatus::Completed)] {
            row.hooks_skipped = 2;
            let text = draw(&[row], Counts::default());
            assert!(text.contains("  cleanup  2 hooks skipped\n"), "{text}");
        }
    }

    #[test]
    fn a_program_with_cleanup_below_it_shows_what_it_wrote_and_one_with_attempts_once() {
        let wrote = serde_json::json!({ "exit_code": 1, "stdout": "half\n", "stderr_tail": "oh" });
        let failed = |name: &str, depth| {
            let mut row = row(name, depth, RunStatus::Failed);
            row.error = Some("`sh` ended with exit status: 1: oh".into());
            row.partial = Some(wrote.clone().into());
            row
        };
        let cleanup = row("on_failure", 1, RunStatus::Completed);
        for below in [vec![cleanup.clone()], vec![failed("attempt 1", 1), cleanup]] {
            let rows = [vec![failed("a", 0)], below].concat();
            let text = draw(&rows, Counts::default());
            for once in ["stdout   half\n", "stderr   oh\n"] {
                assert_eq!(text.matches(once).count(), 1, "{text}");
            }
            assert!(text.contains("error    `sh` ended with exit status: 1\n"), "{text}");
        }
        // A table that has a step of that name is not the output of a program.
        let mut table = row("a", 0, RunStatus::Failed);
        table.partial = Some(serde_json::json!({ "stdout": "of a step" }).into());
        let text = draw(&[table, row("stdout", 1, RunStatus::Completed)], Counts::default());
        assert!(!text.contains("of a step"), "{text}");
    }

    #[test]
    fn a_run_that_never_started_was_not_signalled() {
        let mut late = stopped("late", 1, RunStatus::Cancelled, CauseKind::ParentStopped);
        late.started_at = None;
        let root = stopped("root", 0, RunStatus::Cancelled, CauseKind::UserRequest);
        let text = draw(&[root, late], Counts::default());
        assert!(text.contains("never ran"), "{text}");
        assert!(text.contains("before it had started"), "{text}");
        assert!(text.contains("signalled  1 (root)"), "{text}");
    }

    #[tokio::test]
    async fn what_waits_for_an_answer_is_paused_and_no_failure() {
        use quell::{Engine, RunContext, RunSpec};
        let engine = Engine::new();
        let run = engine.submit_resumable(RunSpec::workflow("p"), async |ctx: RunContext| {
            let answer = ctx.resumed_with();
            let asks = ctx.spawn(RunSpec::step("a`b"), async move |ctx: RunContext| match answer {
                None => Err(ctx.pause("go?")),
                Some(answer) => Ok(answer),
            });
            Ok(asks.await?)
        });
        let run = run.unwrap().into_ref();
        run.paused().await.unwrap();
        let text = render(&run.report());
        assert!(text.starts_with("p       paused      not ended\n"), "{text}");
        assert!(text.contains("└─ a`b  paused  ") && !text.contains("error"), "{text}");
        let end = "\npaused: 2 paused\nnothing of it runs until it has its answer\n";
        assert!(text.ends_with(end), "{text}");
        run.resume("yes").unwrap();
        let text = render(&*run.ended().await);
        assert!(text.contains(": 2 completed, 1 paused\n"), "{text}");
    }

    #[test]
    fn names_and_causes_cannot_steer_the_terminal() {
        let mut root = stopped("a\u{1b}[2Jb", 0, RunStatus::Failed, CauseKind::UserRequest);
        root.error = Some("bad\u{7}\nworse".into());
        let text = draw(&[root], Counts::default());
        assert!(text.contains("error    bad\\u{7}\n           worse\n"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }

    #[test]
    fn gaps_in_depth_and_very_deep_rows_are_drawn() {
        let rows = [row("root", 0, RunStatus::Completed), row("x", 10_000, RunStatus::Completed)];
        let mut omitted = Counts::default();
        omitted.add(RunStatus::Cancelled);
        let text = draw(&rows, omitted);
        assert!(text.contains("└─ x"), "{text}");
        assert!(text.contains("2 completed, 1 cancelled"), "{text}");
        assert!(text.contains("1 more runs have no row"), "{text}");
    }
}
