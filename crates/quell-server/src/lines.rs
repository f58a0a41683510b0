//! [`line()`]: the plain view, one line per transition.

use quell::{EventKind, HookOutcome, RunEvent};

use crate::tree::{Tree, emitted_lines, fault_of};
use quell_report::text::{printable, span, still_executes};

/// Yields the line for an event that was already applied to the tree, without its end of line.
///
/// Queued runs have no line: they start at once, or end without having run. What programs write,
/// and what was missed of the events, has one only if `verbose`.
pub(crate) fn line(tree: &Tree, event: &RunEvent, verbose: bool) -> Option<String> {
    let what = match &event.kind {
        EventKind::Started => "running".into(),
        EventKind::Emitted(_) if verbose => return written(tree, event),
        EventKind::Emitted(_) => return fault(tree, event),
        EventKind::StopRequested(cause) => {
            format!("will stop after this step: {}", printable(&cause.to_string()))
        }
        EventKind::Stopping(cause) => format!("stopping: {}", printable(&cause.to_string())),
        EventKind::Paused { .. } => "paused: it waits for an answer".into(),
        EventKind::Resumed { attempt } => format!("resumed: attempt {attempt}"),
        EventKind::HookEnded { hook, outcome } => {
            format!("hook {hook} {}", hook_outcome(*outcome)?)
        }
        EventKind::Aborted => "aborted: it had not ended by the hard deadline".into(),
        EventKind::Abandoned { what, name } => {
            let (sort, name) = (what.as_str(), printable(name));
            format!("abandoned: {sort} {name} {}", still_executes(*what))
        }
        EventKind::Ended(status) => match tree.entry(event.run).and_then(|e| e.elapsed(event.at)) {
            Some(elapsed) => format!("{status} after {}", span(elapsed)),
            None => format!("{status} before it had started"),
        },
        EventKind::Skipped { name, unmet } => {
            let (name, unmet) = (printable(name), printable(unmet));
            format!("{name} is not started: it needs {unmet}, which did not complete")
        }
        EventKind::Quiesced => "quiescent: nothing of it executes any more".into(),
        EventKind::Detached { .. } => "detached".into(),
        EventKind::Refused { what, bytes, bytes_max } => {
            format!("refused: {} of {bytes} bytes, at most {bytes_max}", printable(what))
        }
        EventKind::Lagged { from, to } if verbose => {
            format!("events {from} to {to} are not shown: they came too fast, or have left the log")
        }
        _ => return None,
    };
    Some(stamped(tree, event, &what))
}

/// Yields the line for what a program wrote, without its end of line; none for other events.
pub(crate) fn written(tree: &Tree, event: &RunEvent) -> Option<String> {
    let EventKind::Emitted(payload) = &event.kind else { return None };
    let lines = emitted_lines(payload).into_iter().map(|line| format!("│ {line}"));
    let lines = lines.map(|line| stamped(tree, event, &line)).chain(fault(tree, event));
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Yields the line for what is wrong with an event that a program wrote; none for other events.
pub(crate) fn fault(tree: &Tree, event: &RunEvent) -> Option<String> {
    let EventKind::Emitted(payload) = &event.kind else { return None };
    let fault = fault_of(payload)?;
    Some(stamped(tree, event, &format!("wrote an event with a fault: {fault}")))
}

/// Yields what a line says of those that were held back before it.
pub(crate) fn held_back(count: usize) -> String {
    if count == 0 { String::new() } else { format!("  (and {count} before it; -v shows all)") }
}

fn stamped(tree: &Tree, event: &RunEvent, what: &str) -> String {
    let ms = tree.since_begin(event.at).as_millis();
    format!("{:>5}.{:03}  {}  {what}", ms / 1_000, ms % 1_000, tree.path(event.run))
}

fn hook_outcome(outcome: HookOutcome) -> Option<&'static str> {
    match outcome {
        HookOutcome::Panicked => Some("panicked"),
        HookOutcome::Aborted => Some("aborted"),
        HookOutcome::Skipped => Some("skipped"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quell::{Cause, CauseKind, RunId, RunStatus};

    use super::*;
    use crate::tree::tests::{at, event, queued};

    fn shown(events: &[RunEvent], verbose: bool) -> Vec<String> {
        let mut tree = Tree::default();
        let mut lines = Vec::new();
        for event in events {
            tree.apply(event);
            lines.extend(line(&tree, event, verbose));
        }
        lines
    }

    #[test]
    fn the_time_of_a_run_that_goes_on_in_another_process_does_not_begin_again() {
        let events = [
            queued(1, "root", None),
            event(2, "root", EventKind::Started),
            queued(70, "root", None),
            event(72, "root", EventKind::Started),
            event(80, "root", EventKind::Ended(RunStatus::Completed)),
        ];
        let expected = [
            "    0.100  root  running",
            "    7.100  root  running",
            "    7.900  root  completed after 7.80 s",
        ];
        assert_eq!(shown(&events, false), expected);
    }

    #[test]
    fn every_transition_is_one_line_with_the_path_of_the_run() {
        let cause = Cause::new(CauseKind::Deadline, at(300), RunId::from_text("a"));
        let lines = shown(
            &[
                queued(1, "root", None),
                event(2, "root", EventKind::Started),
                queued(3, "a", Some("root")),
                event(4, "a", EventKind::Started),
                event(12, "a", EventKind::Stopping(Arc::new(cause))),
                event(14, "a", EventKind::Ended(RunStatus::TimedOut)),
                queued(15, "b", Some("root")),
                event(16, "b", EventKind::Ended(RunStatus::Cancelled)),
            ],
            false,
        );
        let expected = [
            "    0.100  root  running",
            "    0.300  root/a  running",
            "    1.100  root/a  stopping: deadline",
            "    1.300  root/a  timed-out after 1.00 s",
            "    1.500  root/b  cancelled before it had started",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_programs_write_is_shown_on_request() {
        let emitted = EventKind::Emitted(serde_json::json!({ "line": "hello" }).into());
        let events = [queued(1, "root", None), event(2, "root", emitted)];
        assert!(shown(&events, false).is_empty());
        assert_eq!(shown(&events, true), ["    0.100  root  │ hello"]);
    }

    #[test]
    fn a_fault_of_an_event_is_shown_without_request() {
        let fault = "`content` has no `text`";
        let emitted = serde_json::json!({ "stream": "stdout", "line": "{}", "fault": fault });
        let events =
            [queued(1, "root", None), event(2, "root", EventKind::Emitted(emitted.into()))];
        let right = "    0.100  root  wrote an event with a fault: `content` has no `text`";
        assert_eq!(shown(&events, false), [right]);
        assert_eq!(shown(&events, true), [format!("    0.100  root  │ {{}}\n{right}")]);
    }

    #[test]
    fn what_was_missed_is_said_on_request() {
        let missed = EventKind::Lagged { from: 2, to: 9 };
        let events = [queued(1, "root", None), event(10, "root", missed)];
        assert!(shown(&events, false).is_empty());
        let words = "events 2 to 9 are not shown: they came too fast, or have left the log";
        let line = format!("    0.900  root  {words}");
        assert_eq!(shown(&events, true), [line]);
        assert_eq!(held_back(0), "");
        assert_eq!(held_back(7), "  (and 7 before it; -v shows all)");
    }
}
