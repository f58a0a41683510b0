//! [`facts`]: the steps of a plan that were not started, and why; and the one that asks.

use quell::{RunRow, RunStatus};
use quell_flow::{SkipReason, SkippedStep};

use crate::text::{NAME_COLUMNS_MAX, cut, printable, width};

/// Yields lines about the steps of a run, each with its title: which one waits for an answer, if
/// the run is paused, and which were not started.
pub(crate) fn facts(row: &RunRow) -> Vec<(&'static str, String)> {
    let mut steps = SkippedStep::all_of(row);
    // Once the run has been stopped nothing asks any more.
    let is_asking = |step: &SkippedStep| row.status == RunStatus::Paused && step.ask.is_some();
    let asking = steps.iter().position(is_asking).map(|at| steps.remove(at));
    let mut facts = Vec::new();
    if let Some(step) = &asking {
        let ask = step.ask.as_deref().unwrap_or_default();
        facts.push(("waits", format!("{}  {}", shown(step), printable(ask))));
    }
    if !steps.is_empty() {
        facts.push(("skipped", lines(&steps, asking.as_ref())));
    }
    facts
}

fn shown(step: &SkippedStep) -> String {
    cut(&printable(&step.name), NAME_COLUMNS_MAX)
}

/// Yields a line per step.
fn lines(steps: &[SkippedStep], asking: Option<&SkippedStep>) -> String {
    let columns = steps.iter().map(|step| width(&shown(step))).max().unwrap_or(0);
    let waits = asking.map(|step| format!("not started: {} waits for an answer", shown(step)));
    let line = |step: &SkippedStep| {
        let name = shown(step);
        let pad = columns - width(&name);
        let why = waits.as_deref().filter(|_| step.reason == SkipReason::Paused);
        format!("{name}{:pad$}  {}", "", why.unwrap_or(because(step.reason)))
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Yields a reason as people read it.
const fn because(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::StepFailed => "an earlier step failed",
        SkipReason::Stopped => "the run was stopped before",
        SkipReason::Paused => "the run was paused before",
        SkipReason::ConditionFalse => "the condition was false",
        SkipReason::ConditionTrue => "the condition was true",
        SkipReason::OtherRoute => "another route was taken",
        SkipReason::GraceOver => "cleanup: the grace was over",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use quell::{Payload, RunStatus};
    use serde_json::json;

    use super::*;
    use crate::render::tests::row;

    #[test]
    fn every_step_that_was_not_started_is_a_line_with_the_reason() {
        let mut run = row("p", 0, RunStatus::Failed);
        let skipped = json!([
            { "name": "ship", "reason": "step-failed" },
            { "name": "a\u{7}", "reason": "grace-over" },
        ]);
        run.summary = Some(Payload::from(json!({ "skipped": skipped })));
        let expected = "ship    an earlier step failed\na\\u{7}  cleanup: the grace was over";
        assert_eq!(facts(&run), [("skipped", expected.to_owned())]);
    }

    #[test]
    fn a_step_that_asks_waits_and_those_behind_it_wait_for_it_until_the_run_is_stopped() {
        let mut run = row("p", 0, RunStatus::Paused);
        let skipped = json!([
            { "name": "no", "reason": "condition-false" },
            { "name": "ok", "reason": "paused", "ask": "go\u{7}?" },
            { "name": "ship", "reason": "paused" },
        ]);
        run.summary = Some(Payload::from(json!({ "skipped": skipped })));
        let behind = "no    the condition was false\nship  not started: ok waits for an answer";
        let expected = [("waits", "ok  go\\u{7}?".to_owned()), ("skipped", behind.to_owned())];
        assert_eq!(facts(&run), expected);
        run.status = RunStatus::Cancelled;
        let all = facts(&run);
        assert!(matches!(&all[..], [("skipped", text)] if text.lines().count() == 3), "{all:?}");
        assert!(all[0].1.contains("ok    the run was paused before"), "{all:?}");
    }
}
